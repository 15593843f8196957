"""fixtures/qwen3: the Qwen3 family, dense. bf16, tied, an RMS norm on every query and key head, old-style rotary keys.

Heads x head_dim (48) is wider than hidden (40). config.json has the keys of the published ones: no sliding window.
Variants with the weights of the family's folder:
    sliding_layers  a window of 8 for blocks from `max_window_layers` on
    layer_types     the blocks with the window named one by one, against `max_window_layers`
Variant biased: `attention_bias: true`, f32, untied, 2 blocks, rms_norm_eps 1e-3 (own weights).
"""

import torch
from transformers import Qwen3Config

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, old_style, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "qwen3"
SIZES = dict(
    vocab_size=97, hidden_size=40, intermediate_size=76, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
    max_position_embeddings=128,
)
ROTARY = {"rope_type": "default", "rope_theta": 1e6}
PUBLISHED = old_style(1e6, None) | {
    "dtype": LEFT_OUT, "torch_dtype": "bfloat16", "layer_types": LEFT_OUT,
    "use_sliding_window": False, "sliding_window": None, "max_window_layers": 3,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 8}
LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]


def write() -> None:
    config = Qwen3Config(
        **SIZES, num_hidden_layers=3, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=ROTARY
    )
    write_checkpoint(FOLDER, config, torch.bfloat16, seed=31)
    write_variant(FOLDER, FOLDER, **PUBLISHED)
    write_variant(FOLDER / "sliding_layers", FOLDER, **WINDOW, max_window_layers=1)
    write_variant(FOLDER / "layer_types", FOLDER, **WINDOW, layer_types=LAYER_TYPES)
    assert_differs(FOLDER / "sliding_layers", FOLDER)
    assert_differs(FOLDER / "layer_types", FOLDER)
    assert_differs(FOLDER / "layer_types", FOLDER / "sliding_layers")
    biased = Qwen3Config(
        **SIZES, num_hidden_layers=2, rms_norm_eps=1e-3, tie_word_embeddings=False, rope_parameters=ROTARY,
        attention_bias=True,
    )
    write_checkpoint(FOLDER / "biased", biased, torch.float32, seed=32)
    write_golden(FOLDER / "biased")


if __name__ == "__main__":
    write()
