"""fixtures/qwen2: the Qwen2 family. f16, tied, biases on q, k and v, sharded files with an index.

config.json names a sliding window that `use_sliding_window: false` switches off, as the published ones do.
Variant sliding_layers: switched on, for blocks from `max_window_layers` on (shares the weights).
"""

import torch
from transformers import Qwen2Config

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, write_checkpoint, write_variant

FOLDER = FIXTURES / "qwen2"
WINDOW = {"sliding_window": 8, "max_window_layers": 1, "layer_types": LEFT_OUT}


def write() -> None:
    config = Qwen2Config(
        vocab_size=96, hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    write_checkpoint(FOLDER, config, torch.float16, seed=4, max_shard_size="40KB")
    assert len(list(FOLDER.glob("model-*.safetensors"))) >= 2
    write_variant(FOLDER, FOLDER, use_sliding_window=False, **WINDOW)
    write_variant(FOLDER / "sliding_layers", FOLDER, use_sliding_window=True, **WINDOW)
    assert_differs(FOLDER / "sliding_layers", FOLDER)


if __name__ == "__main__":
    write()
