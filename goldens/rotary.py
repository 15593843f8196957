"""fixtures/rotary.json: what `ROPE_INIT_FUNCTIONS` of transformers gives for published settings.

Each case: `config` (the keys of config.json that matter), `sequence_length` (for `dynamic`), `inverse_frequencies`
[head_dim / 2] f32, `attention_scaling`, and at each of `positions` the row of `cos` and of `sin` [head_dim / 2] f32,
already multiplied by the scaling; the second half of a head repeats the first.
An angle is position · frequency in f32, so cos and sin at position p are known to about p · 6e-8.
"""

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from fixtures import FIXTURES, save_json, short_floats

POSITIONS = [0, 1, 2, 17, 255, 2047, 8191, 32767]

LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 4096,
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5], "long_factor": [1.0, 1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 64.0],
}

# name: (head_dim, max_position_embeddings, sequence length, rope_parameters)
CASES = {
    "default_llama2": (128, 4096, None, {"rope_type": "default", "rope_theta": 10000.0}),
    "default_smollm2": (64, 8192, None, {"rope_type": "default", "rope_theta": 100000.0}),
    "linear_by_4": (64, 8192, None, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "proportional_of_gemma4": (512, 131072, None, {
        "rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25,
    }),
    "proportional_by_4": (20, 8192, None, {"rope_type": "proportional", "rope_theta": 10000.0, "factor": 4.0}),
    "dynamic_short": (64, 4096, 1000, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
    "dynamic_long": (64, 4096, 32768, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
    "llama3_of_3.2_1b": (64, 131072, None, {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }),
    "yarn_of_qwen2.5": (128, 32768, None, {
        "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 32768,
    }),
    "yarn_with_every_key": (64, 163840, None, {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 4096,
        "beta_fast": 24.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.707, "truncate": False,
    }),
    "yarn_with_attention_factor": (64, 16384, None, {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096,
        "attention_factor": 1.25,
    }),
    "longrope_short": (16, 131072, 4096, LONGROPE),
    "longrope_long": (16, 131072, 4097, LONGROPE),
    "longrope_with_factor": (16, 4096, 100, LONGROPE | {"factor": 8.0}),
    "longrope_with_attention_factor": (16, 131072, 100, LONGROPE | {"attention_factor": 1.25}),
}


def case(head_dim: int, longest: int, sequence_length: int | None, parameters: dict) -> dict:
    """One setting as stored."""
    config = LlamaConfig(
        hidden_size=4 * head_dim, num_attention_heads=4, max_position_embeddings=longest,
        rope_parameters=dict(parameters),
    )
    kind = parameters["rope_type"]
    start = ROPE_INIT_FUNCTIONS.get(kind, LlamaRotaryEmbedding.compute_default_rope_parameters)
    frequencies, scaling = start(config, device=None, seq_len=sequence_length)
    angles = torch.tensor(POSITIONS).float()[:, None] * frequencies.float()
    return {
        "config": {"head_dim": head_dim, "max_position_embeddings": longest, "rope_parameters": parameters},
        "sequence_length": sequence_length,
        "inverse_frequencies": short_floats(frequencies),
        "attention_scaling": scaling,
        "cos": short_floats(angles.cos() * scaling),
        "sin": short_floats(angles.sin() * scaling),
    }


def write() -> None:
    cases = {name: case(*setting) for name, setting in CASES.items()}
    save_json(FIXTURES / "rotary.json", {"positions": POSITIONS} | cases)


if __name__ == "__main__":
    write()
