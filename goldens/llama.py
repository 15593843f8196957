"""fixtures/llama: the Llama family. Untied, f32, heads x head_dim (64) wider than hidden (32).

Variants: every rotary scaling (with the weights of the family's folder), and biases everywhere (own weights).
"""

import torch
from transformers import LlamaConfig

from fixtures import FIXTURES
from tiny_checkpoint import assert_differs, old_style, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "llama"
SIZES = dict(
    vocab_size=96, hidden_size=32, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2,
    head_dim=16, max_position_embeddings=64, rms_norm_eps=1e-5,
)
THETA = 10000.0

# Names of rope types; the original lengths are short enough for 17 tokens to feel the scaling.
ROTARY_VARIANTS = {
    "linear": old_style(THETA, {"type": "linear", "factor": 4.0}),  # "type": the oldest spelling
    "dynamic": {
        "max_position_embeddings": 12,
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0},
    },
    "llama3": {"max_position_embeddings": 256} | old_style(THETA, {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }),
    "yarn": {
        "max_position_embeddings": 256,
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": THETA, "factor": 4.0, "original_max_position_embeddings": 64,
        },
    },
}


def write() -> None:
    rotary = {"rope_type": "default", "rope_theta": THETA}
    config = LlamaConfig(**SIZES, num_hidden_layers=3, tie_word_embeddings=False, rope_parameters=rotary)
    write_checkpoint(FOLDER, config, torch.float32, seed=1)
    write_golden(FOLDER)
    for name, changes in ROTARY_VARIANTS.items():
        write_variant(FOLDER / name, FOLDER, **changes)
        assert_differs(FOLDER / name, FOLDER)
    biased = LlamaConfig(
        **SIZES, num_hidden_layers=2, tie_word_embeddings=True, rope_parameters=rotary,
        attention_bias=True, mlp_bias=True,
    )
    write_checkpoint(FOLDER / "biased", biased, torch.float32, seed=2)
    write_golden(FOLDER / "biased")


if __name__ == "__main__":
    write()
