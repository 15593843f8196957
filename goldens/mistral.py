"""fixtures/mistral: the Mistral family. bf16, attention narrower (32) than hidden (48), old-style rotary keys.

The sliding window of 8 (a token sees itself and the 7 before it) is shorter than both sequences.
Variant full_attention: `sliding_window: null`, with the weights of the family's folder.
"""

import torch
from transformers import MistralConfig

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, old_style, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "mistral"


def write() -> None:
    config = MistralConfig(
        vocab_size=96, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-3, sliding_window=8,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
    write_checkpoint(FOLDER, config, torch.bfloat16, seed=3)
    old = old_style(500.0, None) | {"dtype": LEFT_OUT, "torch_dtype": "bfloat16"}
    write_variant(FOLDER, FOLDER, **old)
    write_variant(FOLDER / "full_attention", FOLDER, sliding_window=None)
    assert_differs(FOLDER / "full_attention", FOLDER)


if __name__ == "__main__":
    write()
