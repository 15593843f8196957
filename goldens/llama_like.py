"""fixtures/granite, olmo, olmo2, smollm3, arcee, seed_oss: families that differ from Llama in a few things.

granite: bf16, factors of embedding, branches, scores and logits. seed_oss: f16, heads of their own width, biases on the way in.
olmo: f32, norms without weights; its variant:
    clipped     `clip_qkv` that bites
olmo2: bf16, norms of queries, keys and of what branches give.
smollm3: f16, tied, the second of every two blocks has no rotary positions; its variant:
    listed      `no_rope_layers` says which, and those slide
arcee: f32, squared ReLU without a gate.
"""

import torch
from transformers import ArceeConfig, GraniteConfig, Olmo2Config, OlmoConfig, SeedOssConfig, SmolLM3Config

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, old_style, write_checkpoint, write_golden, write_variant

SIZES = dict(
    vocab_size=97, hidden_size=48, intermediate_size=76, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=1,
)
ROTARY = {"rope_type": "default", "rope_theta": 1e4}


def write() -> None:
    granite = GraniteConfig(
        **SIZES, rope_parameters=ROTARY, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.125,
        logits_scaling=2.5, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-3,
    )
    write_checkpoint(FIXTURES / "granite", granite, torch.bfloat16, seed=51)
    write_variant(FIXTURES / "granite", FIXTURES / "granite", **old_style(1e4, None))

    olmo = FIXTURES / "olmo"
    write_checkpoint(olmo, OlmoConfig(**SIZES, rope_parameters=ROTARY), torch.float32, seed=52)
    write_golden(olmo)
    write_variant(olmo / "clipped", olmo, clip_qkv=0.5)
    assert_differs(olmo / "clipped", olmo)

    olmo2 = FIXTURES / "olmo2"
    write_checkpoint(olmo2, Olmo2Config(**SIZES, rope_parameters=ROTARY), torch.bfloat16, seed=53)
    write_golden(olmo2)

    smollm3 = FIXTURES / "smollm3"
    config = SmolLM3Config(**SIZES, rope_parameters=ROTARY, no_rope_layer_interval=2)
    write_checkpoint(smollm3, config, torch.float16, seed=54)
    write_variant(smollm3, smollm3, no_rope_layers=LEFT_OUT, layer_types=LEFT_OUT)
    write_variant(
        smollm3 / "listed", smollm3, no_rope_layers=[0, 1, 1], use_sliding_window=True, sliding_window=8,
        layer_types=LEFT_OUT,
    )
    assert_differs(smollm3 / "listed", smollm3)

    arcee = FIXTURES / "arcee"
    write_checkpoint(arcee, ArceeConfig(**SIZES, rope_parameters=ROTARY), torch.float32, seed=55)
    write_golden(arcee)

    seed_oss = FIXTURES / "seed_oss"
    write_checkpoint(seed_oss, SeedOssConfig(**SIZES, head_dim=10, rope_parameters=ROTARY), torch.float16, seed=56)
    write_golden(seed_oss)


if __name__ == "__main__":
    write()
