"""fixtures/granitemoehybrid, bamba, falcon_h1, nemotron_h, jamba, lfm2, lfm2_moe: attention in some blocks, something else in others.

granitemoehybrid: bf16, Mamba 2 with two groups, attention without positions, 5 stacked experts, 2 for a token, and one for every token; its
    variants:
    dense       no experts, attention with rotary positions, biases (own weights, f16)
bamba: f32, half of each head turned, steps between limits, biases of the feed-forward layer.
falcon_h1: f16, attention and Mamba 2 side by side, every factor; its variant:
    normed      a norm by groups before the gate, an own width, biases (own weights, f32)
nemotron_h: bf16, a block of every kind, steps not below a limit, experts without gates; its variant:
    latent      letters instead of a list, experts that read a narrow value, biases (own weights, f32)
jamba: bf16, Mamba with norms of what steps, B and C are made of, block 1 attends, blocks 0 and 2 have experts; its variant:
    dense       no experts (own weights, f32)
lfm2: f32, filters with biases, blocks 0 and 2 attend, the width of the feed-forward layer follows; its variant:
    listed      the numbers of the blocks that attend, as in older files
lfm2_moe: bf16, the same without biases, block 1 attends, experts after the first block.
"""

import json

import torch
from transformers import (
    BambaConfig, FalconH1Config, GraniteMoeHybridConfig, JambaConfig, Lfm2Config, Lfm2MoeConfig, NemotronHConfig,
)

from experts import load, write_golden
from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, write_checkpoint, write_config, write_variant

SIZES = dict(
    vocab_size=97, hidden_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=1,
)
ROTARY = {"rope_type": "default", "rope_theta": 1e4}
MAMBA = dict(mamba_n_heads=8, mamba_d_head="auto", mamba_d_state=6, mamba_d_conv=3, mamba_chunk_size=8)
ATTENDING = ["linear_attention", "full_attention", "linear_attention"]


def write() -> None:
    granite = FIXTURES / "granitemoehybrid"
    sizes = SIZES | MAMBA | dict(
        intermediate_size=20, shared_intermediate_size=28, mamba_n_groups=2, embedding_multiplier=2.5, residual_multiplier=0.7,
        attention_multiplier=0.2, logits_scaling=3.0, layer_types=ATTENDING,
    )
    config = GraniteMoeHybridConfig(**sizes, num_local_experts=5, num_experts_per_tok=2)
    write_checkpoint(granite, config, torch.bfloat16, seed=160)
    write_golden(granite)
    config = GraniteMoeHybridConfig(
        **sizes, num_local_experts=0, position_embedding_type="rope", rope_parameters=dict(ROTARY), attention_bias=True, mamba_proj_bias=True,
        tie_word_embeddings=True,
    )
    write_checkpoint(granite / "dense", config, torch.float16, seed=161)
    write_golden(granite / "dense")

    bamba = FIXTURES / "bamba"
    config = BambaConfig(
        **SIZES | {"hidden_size": 48}, **MAMBA, intermediate_size=44, attn_layer_indices=[1], mlp_bias=True, time_step_limit=(0.4, 1.5),
        mamba_conv_bias=False, rope_parameters=dict(ROTARY),
    )
    write_checkpoint(bamba, config, torch.float32, seed=162)
    write_golden(bamba)

    falcon = FIXTURES / "falcon_h1"
    sizes = SIZES | MAMBA | dict(
        intermediate_size=44, head_dim=8, embedding_multiplier=2.0, lm_head_multiplier=0.4, mlp_multipliers=[0.8, 1.3],
        key_multiplier=0.6, attention_in_multiplier=1.1, attention_out_multiplier=0.9, ssm_in_multiplier=1.2, ssm_out_multiplier=0.7,
        ssm_multipliers=[0.9, 1.1, 0.8, 1.2, 0.7], rope_parameters=dict(ROTARY),
    )
    write_checkpoint(falcon, FalconH1Config(**sizes), torch.float16, seed=163)
    write_golden(falcon)
    config = FalconH1Config(
        **sizes | dict(mamba_d_ssm=48, mamba_d_head=6), mamba_n_groups=2, mamba_rms_norm=True, attention_bias=True,
        mlp_bias=True, projectors_bias=True, mamba_proj_bias=True,
    )
    write_checkpoint(falcon / "normed", config, torch.float32, seed=164)
    write_golden(falcon / "normed")

    nemotron = FIXTURES / "nemotron_h"
    sizes = SIZES | dict(
        intermediate_size=44, head_dim=8, mamba_num_heads=8, mamba_head_dim=9, ssm_state_size=6, n_groups=2, conv_kernel=3, chunk_size=8,
        time_step_min=0.5, n_routed_experts=6, num_experts_per_tok=2, n_group=2, topk_group=1, moe_intermediate_size=20,
        moe_shared_expert_intermediate_size=28, routed_scaling_factor=1.4,
    )
    del sizes["num_hidden_layers"]
    kinds = ["linear_attention", "moe", "full_attention", "mlp"]
    write_checkpoint(nemotron, NemotronHConfig(**sizes, layers_block_type=kinds), torch.bfloat16, seed=169)
    write_golden(nemotron)
    config = NemotronHConfig(**sizes, layers_block_type=kinds[:2], moe_latent_size=24, mlp_bias=True, use_bias=True)
    write_checkpoint(nemotron / "latent", config, torch.float32, seed=170)
    letters = json.loads((nemotron / "latent" / "config.json").read_text())
    write_config(nemotron / "latent", letters | {"layers_block_type": LEFT_OUT, "hybrid_override_pattern": "ME"})
    write_golden(nemotron / "latent")

    jamba = FIXTURES / "jamba"
    sizes = SIZES | dict(
        intermediate_size=20, num_experts=5, num_experts_per_tok=2, expert_layer_period=2, expert_layer_offset=0, attn_layer_period=3,
        attn_layer_offset=1, mamba_d_state=6, mamba_d_conv=3, mamba_dt_rank=4,
    )
    write_checkpoint(jamba, JambaConfig(**sizes), torch.bfloat16, seed=165)
    write_golden(jamba)
    config = JambaConfig(**sizes | {"num_experts": 1, "num_experts_per_tok": 1, "mamba_proj_bias": True})
    write_checkpoint(jamba / "dense", config, torch.float32, seed=166)
    write_golden(jamba / "dense")

    lfm2 = FIXTURES / "lfm2"
    config = Lfm2Config(
        **SIZES, intermediate_size=52, block_multiple_of=16, block_ffn_dim_multiplier=1.1, conv_bias=True,
        layer_types=["full_attention", "conv", "full_attention"],
    )
    write_checkpoint(lfm2, config, torch.float32, seed=167)
    write_golden(lfm2)
    write_variant(lfm2 / "listed", lfm2, layer_types=LEFT_OUT, full_attn_idxs=[0, 2], intermediate_size=LEFT_OUT, block_ff_dim=52)

    config = Lfm2MoeConfig(
        **SIZES, intermediate_size=44, moe_intermediate_size=20, num_experts=5, num_experts_per_tok=2, num_dense_layers=1,
        routed_scaling_factor=1.4, layer_types=["conv", "full_attention", "conv"],
    )
    lfm2_moe = FIXTURES / "lfm2_moe"
    write_checkpoint(lfm2_moe, config, torch.bfloat16, seed=168)
    write_golden(lfm2_moe)


def write_gradients() -> None:
    """The whole block 1, as window.py has those of others."""
    from window import save_block

    for seed, folder in enumerate(("falcon_h1", "lfm2"), start=173):
        save_block(folder, folder, folder, seed)
    save_block("falcon_h1/normed", "falcon_h1/normed", "falcon_h1_normed", seed=175)


if __name__ == "__main__":
    write()
    write_gradients()
