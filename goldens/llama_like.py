"""fixtures/granite, olmo, smollm3 and more: families that differ from Llama in a few things.

granite: bf16, factors of embedding, branches, scores and logits. seed_oss: f16, heads of their own width, biases on the way in.
olmo: f32, norms without weights; its variant:
    clipped     `clip_qkv` that bites
olmo2: bf16, norms of queries, keys and of what branches give.
smollm3: f16, tied, the second of every two blocks has no rotary positions; its variant:
    listed      `no_rope_layers` says which, and those slide
arcee: f32, squared ReLU without a gate.
olmo3: f16, norms as olmo2, three of four blocks slide; its variant:
    old_keys    rotary as transformers before version 5 wrote them, yarn for the block that does not slide
exaone4: bf16, norms of what branches give and of heads, no positions in the block that does not slide; its variant:
    full        no window, so positions everywhere
hunyuan_v1_dense: f32, tied, norms of heads after they are turned; its variant:
    alpha       a base that `alpha` makes larger
ministral: bf16, one block of three does not slide. ministral3: f16, yarn.
helium: bf16, neighbours turn together. ernie4_5: f16, the same, tied, with biases; 5 heads of 8 of a width of 48.
nemotron: bf16, layer norms stored less one, squared ReLU, half of each head turned.
starcoder2: f32, tied, layer norms, biases, no gate, a window.
phi3: bf16, fused matrices, three quarters of each head turned; its variants:
    long        longrope, trained on 20 positions: the first golden sequence is longer, the second is not
    old_keys    the same as the first files of Phi-3 wrote it, "su"
glm: f16, neighbours of the first half of each head turn together, gate and up fused. glm4: f32, the same with four norms.
"""

import torch
from transformers import (
    ArceeConfig, Ernie4_5Config, Exaone4Config, Glm4Config, GlmConfig, GraniteConfig, HeliumConfig, HunYuanDenseV1Config,
    Ministral3Config, MinistralConfig, NemotronConfig, Olmo2Config, Olmo3Config, OlmoConfig, Phi3Config, SeedOssConfig,
    SmolLM3Config, Starcoder2Config,
)

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
    write_normed()
    write_turned()
    write_plain()
    write_fused()


def write_normed() -> None:
    """Norms elsewhere than before the branches."""
    three = ["sliding_attention", "sliding_attention", "full_attention"]

    olmo3 = FIXTURES / "olmo3"
    both = {
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
    }
    config = Olmo3Config(**SIZES, rope_parameters=both, sliding_window=8, layer_types=three)
    write_checkpoint(olmo3, config, torch.float16, seed=70)
    write_golden(olmo3)
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.2}
    write_variant(olmo3 / "old_keys", olmo3, **old_style(1e4, yarn))
    assert_differs(olmo3 / "old_keys", olmo3)

    exaone4 = FIXTURES / "exaone4"
    config = Exaone4Config(**SIZES, rope_parameters=ROTARY, sliding_window=8, layer_types=three)
    write_checkpoint(exaone4, config, torch.bfloat16, seed=71)
    write_variant(exaone4, exaone4, sliding_window_pattern="LLG")
    write_variant(exaone4 / "full", exaone4, sliding_window=None, layer_types=["full_attention"] * 3)
    assert_differs(exaone4 / "full", exaone4)

    hunyuan = FIXTURES / "hunyuan_v1_dense"
    config = HunYuanDenseV1Config(**SIZES, head_dim=10, tie_word_embeddings=True, rope_parameters=ROTARY)
    write_checkpoint(hunyuan, config, torch.float32, seed=72)
    write_golden(hunyuan)
    alpha = {"type": "dynamic", "alpha": 50.0, "factor": 1.0, "mscale": 1.0}
    write_variant(hunyuan / "alpha", hunyuan, **old_style(1e4, alpha))
    assert_differs(hunyuan / "alpha", hunyuan)


def write_turned() -> None:
    """Other windows, positions and pairs."""
    ministral = FIXTURES / "ministral"
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = MinistralConfig(**SIZES, head_dim=12, rope_parameters=ROTARY, sliding_window=8, layer_types=kinds)
    write_checkpoint(ministral, config, torch.bfloat16, seed=73)
    write_golden(ministral)

    ministral3 = FIXTURES / "ministral3"
    yarn = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    }
    write_checkpoint(ministral3, Ministral3Config(**SIZES, head_dim=10, rope_parameters=yarn), torch.float16, seed=74)
    write_golden(ministral3)

    helium = FIXTURES / "helium"
    config = HeliumConfig(**SIZES, head_dim=12, rope_parameters=ROTARY, mlp_bias=True)
    write_checkpoint(helium, config, torch.bfloat16, seed=75)
    write_golden(helium)

    ernie = FIXTURES / "ernie4_5"
    sizes = SIZES | dict(num_attention_heads=5, num_key_value_heads=1)
    config = Ernie4_5Config(**sizes, head_dim=8, use_bias=True, rope_parameters=ROTARY)
    write_checkpoint(ernie, config, torch.float16, seed=76)
    write_golden(ernie)


def write_plain() -> None:
    """Layer norms, and feed-forward layers without a gate."""
    nemotron = FIXTURES / "nemotron"
    partial = ROTARY | {"partial_rotary_factor": 0.5}
    write_checkpoint(nemotron, NemotronConfig(**SIZES, head_dim=12, rope_parameters=partial), torch.bfloat16, seed=77)
    write_variant(nemotron, nemotron, **old_style(1e4, None), partial_rotary_factor=0.5)

    starcoder2 = FIXTURES / "starcoder2"
    config = Starcoder2Config(**SIZES, rope_parameters=ROTARY, sliding_window=8)
    write_checkpoint(starcoder2, config, torch.float32, seed=78)
    write_golden(starcoder2)


def write_fused() -> None:
    """Several matrices in one."""
    phi3 = FIXTURES / "phi3"
    sizes = SIZES | dict(num_attention_heads=3, num_key_value_heads=1)  # heads of 16, of which 12 turn
    partial = ROTARY | {"partial_rotary_factor": 0.75}
    write_checkpoint(phi3, Phi3Config(**sizes, rope_parameters=partial), torch.bfloat16, seed=79)
    write_golden(phi3)
    factors = {
        "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5], "long_factor": [1.0, 2.0, 3.0, 5.0, 8.0, 13.0],
    }
    trained = dict(original_max_position_embeddings=20)
    write_variant(phi3 / "long", phi3, rope_parameters=partial | factors | {"rope_type": "longrope"}, **trained)
    # transformers looks for what "su" was trained on beside its factors only
    old = old_style(1e4, factors | {"type": "su"} | trained)
    write_variant(phi3 / "old_keys", phi3, **old, partial_rotary_factor=0.75, **trained)
    assert_differs(phi3 / "long", phi3)

    glm = FIXTURES / "glm"
    partial = ROTARY | {"partial_rotary_factor": 0.5}
    config = GlmConfig(**SIZES, head_dim=12, rope_parameters=partial)
    write_checkpoint(glm, config, torch.float16, seed=80)
    write_golden(glm)

    glm4 = FIXTURES / "glm4"
    config = Glm4Config(**SIZES, head_dim=12, rope_parameters=partial, attention_bias=False)
    write_checkpoint(glm4, config, torch.float32, seed=81)
    write_golden(glm4)


if __name__ == "__main__":
    write()
