"""fixtures/mixtral, qwen2_moe, qwen3_moe and more: families with experts. The files have a tensor of each expert's own.

mixtral: bf16, 5 experts, 2 for a token; its variant:
    window      a sliding window
qwen2_moe: f16, biases, 6 experts and one for every token behind a gate; the first block has a feed-forward layer; its variants:
    sparse      `decoder_sparse_step` 2 says the same of blocks 0 and 2 (own weights), and the weights of a token add up to 1
    window      blocks that slide
qwen3_moe: f32, norms of heads, 7 experts, 3 for a token, block 1 named as one without; its variant:
    window      every block slides, and the weights of a token add up to 1
olmoe: bf16, norms of all queries and keys together; its variant:
    clipped     `clip_qkv` that bites
glm4_moe: f32, half of each head turned, norms of heads, experts in groups of two, two for every token.
dots1: f16, the same without groups, late windows.
deepseek_v2: bf16, latent attention with queries from the states, the best groups by their best expert, dense first block; its variant:
    greedy      no groups, weights times a factor
deepseek_v3: f32, latent attention with narrow queries and biases, yarn that makes scores grow; its variant:
    halves      the halves of a head turn together
glm4_moe_lite: f16, the same, heads of values wider than those of keys, the kinds of blocks listed.
granitemoe: bf16, factors as granite, 6 experts of which the files have every matrix stacked. granitemoeshared: f32, the same, and one for
every token.
gpt_oss: bf16, sinks, biases everywhere, windows in blocks 0 and 2, yarn, 5 stacked experts as [in, out] whose bounds bite; its variants:
    published   the keys of the published files, whose bounds are those by default
    bare        keys left out that the default says, no biases of attention (own weights)
"""

import json
from pathlib import Path

import torch
from transformers import (
    AutoConfig, AutoModelForCausalLM, DeepseekV2Config, DeepseekV3Config, Dots1Config, Glm4MoeConfig, Glm4MoeLiteConfig, GptOssConfig,
    GraniteMoeConfig, GraniteMoeSharedConfig, MixtralConfig, OlmoeConfig, PreTrainedModel, Qwen2MoeConfig, Qwen3MoeConfig,
)

import tiny_checkpoint
from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, old_style, write_checkpoint, write_config

SIZES = dict(
    vocab_size=97, hidden_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=1,
)
ROTARY = {"rope_type": "default", "rope_theta": 1e4}


def load(folder: Path, weights: Path) -> PreTrainedModel:
    """The float32 model of `folder`/config.json with the weights stored in `weights`, put together as transformers does."""
    config = AutoConfig.from_pretrained(folder)
    model, told = AutoModelForCausalLM.from_pretrained(
        weights, config=config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )
    assert not told["missing_keys"] and not told["unexpected_keys"], told
    return model.eval()


def write_golden(folder: Path, weights: Path | None = None) -> None:
    tiny_checkpoint.write_golden(folder, weights, load)


def write_variant(folder: Path, weights: Path, **changes: object) -> None:
    tiny_checkpoint.write_variant(folder, weights, load, **changes)


def write() -> None:
    mixtral = FIXTURES / "mixtral"
    config = MixtralConfig(**SIZES, intermediate_size=28, num_local_experts=5, num_experts_per_tok=2, rope_parameters=ROTARY)
    write_checkpoint(mixtral, config, torch.bfloat16, seed=120)
    write_golden(mixtral)
    write_variant(mixtral / "window", mixtral, sliding_window=6, **old_style(1e4, None))
    assert_differs(mixtral / "window", mixtral)

    qwen2 = FIXTURES / "qwen2_moe"
    sizes = SIZES | dict(
        intermediate_size=44, moe_intermediate_size=20, shared_expert_intermediate_size=36, num_experts=6, num_experts_per_tok=3,
        rope_parameters=ROTARY,
    )
    write_checkpoint(qwen2, Qwen2MoeConfig(**sizes, mlp_only_layers=[0]), torch.float16, seed=121)
    write_golden(qwen2)
    write_variant(
        qwen2 / "window", qwen2, use_sliding_window=True, sliding_window=6, max_window_layers=2, layer_types=LEFT_OUT,
    )
    assert_differs(qwen2 / "window", qwen2)
    config = Qwen2MoeConfig(**sizes, decoder_sparse_step=2, norm_topk_prob=True, qkv_bias=False)
    write_checkpoint(qwen2 / "sparse", config, torch.float32, seed=122)
    write_golden(qwen2 / "sparse")

    qwen3 = FIXTURES / "qwen3_moe"
    config = Qwen3MoeConfig(
        **SIZES, head_dim=12, intermediate_size=44, moe_intermediate_size=20, num_experts=7, num_experts_per_tok=3,
        mlp_only_layers=[1], rope_parameters=ROTARY,
    )
    write_checkpoint(qwen3, config, torch.float32, seed=123)
    write_golden(qwen3)
    write_variant(qwen3 / "window", qwen3, use_sliding_window=True, sliding_window=6, norm_topk_prob=True)
    assert_differs(qwen3 / "window", qwen3)

    olmoe = FIXTURES / "olmoe"
    config = OlmoeConfig(**SIZES, intermediate_size=20, num_experts=6, num_experts_per_tok=2, rope_parameters=ROTARY)
    write_checkpoint(olmoe, config, torch.bfloat16, seed=124)
    write_golden(olmoe)
    write_variant(olmoe / "clipped", olmoe, clip_qkv=0.5)
    assert_differs(olmoe / "clipped", olmoe)

    sizes = SIZES | dict(intermediate_size=44, moe_intermediate_size=20, first_k_dense_replace=1, num_experts_per_tok=2)
    glm4 = FIXTURES / "glm4_moe"
    config = Glm4MoeConfig(
        **sizes, head_dim=12, n_routed_experts=8, n_shared_experts=2, n_group=4, topk_group=2, routed_scaling_factor=1.5,
        use_qk_norm=True, attention_bias=True, rope_parameters=ROTARY | {"partial_rotary_factor": 0.5},
    )
    write_checkpoint(glm4, config, torch.float32, seed=125)
    write_golden(glm4)

    dots1 = FIXTURES / "dots1"
    config = Dots1Config(
        **sizes, head_dim=12, n_routed_experts=6, n_shared_experts=1, norm_topk_prob=True, sliding_window=6,
        max_window_layers=2, rope_parameters=ROTARY,
    )
    write_checkpoint(dots1, config, torch.float16, seed=126)
    write_golden(dots1)

    sizes = SIZES | dict(
        intermediate_size=20, num_local_experts=6, num_experts_per_tok=2, embedding_multiplier=3.0, residual_multiplier=0.4,
        attention_multiplier=0.125, logits_scaling=2.5, rope_parameters=ROTARY,
    )
    granite = FIXTURES / "granitemoe"
    write_checkpoint(granite, GraniteMoeConfig(**sizes, attention_bias=True), torch.bfloat16, seed=127)
    write_golden(granite)
    shared = FIXTURES / "granitemoeshared"
    write_checkpoint(shared, GraniteMoeSharedConfig(**sizes, shared_intermediate_size=28), torch.float32, seed=128)
    write_golden(shared)
    write_latent()
    write_sinks()


def write_latent() -> None:
    """Latent attention."""
    sizes = SIZES | dict(
        num_key_value_heads=4, intermediate_size=44, moe_intermediate_size=20, num_experts_per_tok=2, n_routed_experts=8,
        kv_lora_rank=16, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=12,
    )
    second = FIXTURES / "deepseek_v2"
    config = DeepseekV2Config(
        **sizes, q_lora_rank=None, n_shared_experts=2, n_group=4, topk_group=2, topk_method="group_limited_greedy",
        first_k_dense_replace=1, rope_parameters=ROTARY,
    )
    write_checkpoint(second, config, torch.bfloat16, seed=133)
    write_golden(second)
    write_variant(second / "greedy", second, topk_method="greedy", routed_scaling_factor=1.7)
    assert_differs(second / "greedy", second)

    third = FIXTURES / "deepseek_v3"
    yarn = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 0.7, "mscale_all_dim": 0.9,
    }
    config = DeepseekV3Config(
        **sizes, q_lora_rank=12, n_shared_experts=1, n_group=2, topk_group=1, routed_scaling_factor=1.6,
        first_k_dense_replace=1, attention_bias=True, rope_parameters=yarn,
    )
    write_checkpoint(third, config, torch.float32, seed=134)
    write_golden(third)
    write_variant(third / "halves", third, rope_interleave=False)
    assert_differs(third / "halves", third)

    lite = FIXTURES / "glm4_moe_lite"
    wide = sizes | dict(v_head_dim=20)
    kinds = ["sparse", "sparse", "dense"]
    config = Glm4MoeLiteConfig(**wide, q_lora_rank=12, mlp_layer_types=kinds, rope_parameters=ROTARY)
    write_checkpoint(lite, config, torch.float16, seed=135)
    write_golden(lite)


def write_sinks() -> None:
    """Attention with sinks."""
    sizes = SIZES | dict(head_dim=12, intermediate_size=20, num_local_experts=5, num_experts_per_tok=2)
    yarn = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0,
        "beta_slow": 1.0, "truncate": False,
    }
    oss = FIXTURES / "gpt_oss"
    config = GptOssConfig(**sizes, sliding_window=6, swiglu_alpha=1.3, swiglu_limit=0.7, rope_parameters=yarn)
    write_checkpoint(oss, config, torch.bfloat16, seed=180)
    write_golden(oss)
    published = dict.fromkeys(("layer_types", "swiglu_alpha", "swiglu_limit"), LEFT_OUT)
    scaling = {key: value for key, value in yarn.items() if key != "rope_theta"}
    write_variant(oss / "published", oss, **published, **old_style(1e4, scaling))
    assert_differs(oss / "published", oss)
    bare = oss / "bare"
    write_checkpoint(bare, GptOssConfig(**sizes, attention_bias=False, tie_word_embeddings=True), torch.float32, seed=181)
    left_out = dict.fromkeys(("layer_types", "sliding_window", "rope_parameters", "swiglu_alpha", "swiglu_limit"), LEFT_OUT)
    write_config(bare, json.loads((bare / "config.json").read_text()) | left_out)
    write_golden(bare)


def as_in_file(gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients of a block as the files name its tensors: those of experts apart."""
    named = {}
    for name, gradient in gradients.items():
        stem = name.removesuffix("experts.gate_up_proj").removesuffix("experts.down_proj")
        if stem == name:
            named[name.replace("block_sparse_moe.router.weight", "block_sparse_moe.router.layer.weight")] = gradient
            continue
        for expert, own in enumerate(gradient):
            if "block_sparse_moe" in stem:
                matrix = "input_linear" if "gate_up" in name else "output_linear"
                named[f"{stem}{matrix}.weight[{expert}]"] = own.clone()
            elif "down" in name:
                named[f"{stem}experts.{expert}.down_proj.weight"] = own.clone()
            else:
                gate, up = own.chunk(2)
                named[f"{stem}experts.{expert}.gate_proj.weight"] = gate.clone()
                named[f"{stem}experts.{expert}.up_proj.weight"] = up.clone()
    return named


def as_in_gpt_oss(gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients of a block of gpt-oss: those of experts apart."""
    named = {}
    for name, gradient in gradients.items():
        parts = {f"{name}[{expert}]": own.clone() for expert, own in enumerate(gradient)}
        named |= parts if ".experts." in name else {name: gradient}
    return named


def as_in_mixtral(gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same, as Mixtral names them."""
    named = {}
    for name, gradient in as_in_file(gradients).items():
        name = name.replace("grad.mlp.", "grad.block_sparse_moe.")
        for plain, own in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
            name = name.replace(plain, own)
        named[name] = gradient
    return named


def write_gradients() -> None:
    """The whole block 1 of some of them, as window.py has those of others."""
    from window import save_block

    save_block("mixtral", "mixtral", "mixtral", 129, load, as_in_mixtral)
    save_block("gpt_oss", "gpt_oss", "gpt_oss", 182, load, as_in_gpt_oss)
    for seed, family in enumerate(("qwen2_moe", "glm4_moe", "granitemoeshared", "deepseek_v2", "deepseek_v3"), start=136):
        save_block(family, family, family, seed, load, as_in_file)


if __name__ == "__main__":
    write()
    write_gradients()
