"""fixtures/gptj: the GPT-J family. f16, untied with a bias of the head; one norm before both branches; pairs of neighbours.

A rotary embedding turns the first 8 of the 16 numbers of a head.
"""

import torch
from transformers import GPTJConfig

from fixtures import FIXTURES
from tiny_checkpoint import write_checkpoint, write_golden

FOLDER = FIXTURES / "gptj"


def write() -> None:
    config = GPTJConfig(
        vocab_size=97, n_embd=48, n_layer=3, n_head=3, n_positions=64, rotary_dim=8, layer_norm_epsilon=1e-3,
        bos_token_id=1, eos_token_id=1,
    )
    write_checkpoint(FOLDER, config, torch.float16, seed=49)
    write_golden(FOLDER)


if __name__ == "__main__":
    write()
