"""fixtures/minimax_m2, solar_open, exaone_moe, hunyuan_v1_moe: families with experts that differ from others in a few things.

minimax_m2: bf16, norms of all queries and of all keys, half of each head turned as the published files say it, scores corrected.
solar_open: f32, biases, experts in groups, one for every token, no feed-forward layer anywhere.
exaone_moe: f16, block 1 slides, the others have no positions, the kinds of blocks listed, two experts for every token.
hunyuan_v1_moe: bf16, norms after the positions, one expert for every token, how many are chosen listed by block.
"""

import json

import torch
from transformers import ExaoneMoeConfig, HunYuanMoEV1Config, MiniMaxM2Config, SolarOpenConfig

from experts import ROTARY, SIZES, load, write_golden
from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, old_style, write_checkpoint, write_config


def write() -> None:
    minimax = FIXTURES / "minimax_m2"
    config = MiniMaxM2Config(**SIZES, head_dim=12, intermediate_size=20, num_local_experts=6, num_experts_per_tok=2)
    write_checkpoint(minimax, config, torch.bfloat16, seed=200)
    said = json.loads((minimax / "config.json").read_text())
    write_config(minimax, said | old_style(1e4, None) | {"rotary_dim": 6})
    write_golden(minimax)

    solar = FIXTURES / "solar_open"
    config = SolarOpenConfig(
        **SIZES, head_dim=12, moe_intermediate_size=20, n_routed_experts=8, num_experts_per_tok=2, n_group=4, topk_group=2,
        routed_scaling_factor=1.3, attention_bias=True, rope_parameters=dict(ROTARY),
    )
    write_checkpoint(solar, config, torch.float32, seed=201)
    write_golden(solar)

    exaone = FIXTURES / "exaone_moe"
    config = ExaoneMoeConfig(
        **SIZES, intermediate_size=44, moe_intermediate_size=20, num_experts=6, num_experts_per_tok=2, num_shared_experts=2,
        sliding_window=6, layer_types=["full_attention", "sliding_attention", "full_attention"],
        mlp_layer_types=["sparse", "dense", "sparse"], rope_parameters=dict(ROTARY),
    )
    write_checkpoint(exaone, config, torch.float16, seed=212)
    write_golden(exaone)

    hunyuan = FIXTURES / "hunyuan_v1_moe"
    config = HunYuanMoEV1Config(
        **SIZES, head_dim=12, intermediate_size=20, num_experts=5, moe_topk=2, rope_parameters=dict(ROTARY),
    )
    write_checkpoint(hunyuan, config, torch.bfloat16, seed=203)
    said = json.loads((hunyuan / "config.json").read_text())
    write_config(hunyuan, said | {"moe_topk": [2, 2, 2]})
    write_golden(hunyuan)


if __name__ == "__main__":
    write()
