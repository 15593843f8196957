"""fixtures/gpt2, gpt_bigcode: the GPT-2 family and that of StarCoder 1. gpt2: f16, tied; linear layers are stored as [in, out].

Variants with the weights of the family's folder:
    by_depth    `scale_attn_by_inverse_layer_idx: true`
    unscaled    `scale_attn_weights: false`, exact GELU
Variant bare: names without `transformer.`, as the published files have them (own weights, those of the family's folder).
Variant wide: `n_inner` that is not 4 · hidden, untied, f32 (own weights).
gpt_bigcode: bf16, tied, one key for all queries, not transposed. Variant by_head: `multi_query: false`, untied, f32 (own weights).
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPTBigCodeConfig

from fixtures import FIXTURES
from tiny_checkpoint import assert_differs, write_checkpoint, write_golden, write_variant

FOLDER = FIXTURES / "gpt2"
SIZES = dict(vocab_size=97, n_embd=48, n_head=3, n_positions=64, bos_token_id=1, eos_token_id=1)


def write_bare(folder: Path) -> None:
    tensors = load_file(FOLDER / "model.safetensors")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(FOLDER / "config.json", folder)
    shutil.copy(FOLDER / "golden.safetensors", folder)
    save_file({name.removeprefix("transformer."): x for name, x in tensors.items()}, folder / "model.safetensors")


def write() -> None:
    write_checkpoint(FOLDER, GPT2Config(**SIZES, n_layer=3, layer_norm_epsilon=1e-3), torch.float16, seed=47)
    write_variant(FOLDER, FOLDER)
    write_variant(FOLDER / "by_depth", FOLDER, scale_attn_by_inverse_layer_idx=True)
    write_variant(FOLDER / "unscaled", FOLDER, scale_attn_weights=False, activation_function="gelu")
    assert_differs(FOLDER / "by_depth", FOLDER)
    assert_differs(FOLDER / "unscaled", FOLDER)
    write_bare(FOLDER / "bare")
    config = GPT2Config(**SIZES, n_layer=2, n_inner=108, tie_word_embeddings=False)
    write_checkpoint(FOLDER / "wide", config, torch.float32, seed=48)
    write_golden(FOLDER / "wide")
    code = FIXTURES / "gpt_bigcode"
    write_checkpoint(code, GPTBigCodeConfig(**SIZES, n_layer=3), torch.bfloat16, seed=91)
    write_golden(code)
    config = GPTBigCodeConfig(**SIZES, n_layer=2, multi_query=False, n_inner=108, tie_word_embeddings=False)
    write_checkpoint(code / "by_head", config, torch.float32, seed=92)
    write_golden(code / "by_head")


if __name__ == "__main__":
    write()
