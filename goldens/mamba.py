"""fixtures/mamba, mamba2, falcon_mamba: state-space models, without attention.

mamba: bf16, tied, an odd number of channels more than 16, filters over 3 tokens, steps made of 5 numbers; its variant:
    biased      biases of the projections, none of the filter, untied (own weights, f32)
mamba2: bf16, two groups of four heads; its variant:
    biased      biases of the projections, one group, tied, steps between limits (own weights, f32)
falcon_mamba: f32, untied, norms without weights of what steps, B and C are made of.
"""

import torch
from transformers import FalconMambaConfig, Mamba2Config, MambaConfig

from fixtures import FIXTURES
from tiny_checkpoint import write_checkpoint, write_golden

SIZES = dict(
    vocab_size=97, hidden_size=36, num_hidden_layers=3, state_size=6, time_step_rank=4, conv_kernel=3, pad_token_id=0,
    bos_token_id=2, eos_token_id=1,
)


def write() -> None:
    mamba = FIXTURES / "mamba"
    write_checkpoint(mamba, MambaConfig(**SIZES), torch.bfloat16, seed=140)
    write_golden(mamba)
    config = MambaConfig(**SIZES, use_bias=True, use_conv_bias=False, tie_word_embeddings=False, layer_norm_epsilon=1e-3)
    write_checkpoint(mamba / "biased", config, torch.float32, seed=141)
    write_golden(mamba / "biased")
    second = FIXTURES / "mamba2"
    sizes = SIZES | dict(num_heads=8, head_dim=9, n_groups=2, chunk_size=8)
    write_checkpoint(second, Mamba2Config(**sizes), torch.bfloat16, seed=146)
    write_golden(second)
    config = Mamba2Config(
        **sizes | {"n_groups": 1}, use_bias=True, use_conv_bias=False, tie_word_embeddings=True, time_step_limit=(0.4, 1.5),
    )
    write_checkpoint(second / "biased", config, torch.float32, seed=147)
    write_golden(second / "biased")
    falcon = FIXTURES / "falcon_mamba"
    sizes = SIZES | {"time_step_rank": "auto", "expand": 1, "hidden_size": 52}
    write_checkpoint(falcon, FalconMambaConfig(**sizes, tie_word_embeddings=False), torch.float32, seed=142)
    write_golden(falcon)


def write_gradients() -> None:
    """The whole block 1, as window.py has those of others."""
    from window import save_block

    for seed, folder in enumerate(("mamba", "falcon_mamba", "mamba2"), start=143):
        save_block(folder, folder, folder, seed)


if __name__ == "__main__":
    write()
    write_gradients()
