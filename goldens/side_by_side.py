"""fixtures/phi, stablelm, cohere, cohere2, falcon: attention and feed-forward layer read the same states.

phi: f16, biases everywhere, half of each head turned; its variant:
    normed      `qk_layernorm`: norms of heads (own weights, f32)
stablelm: bf16, a quarter of each head turned, biases on the way in, one branch after the other; its variant:
    parallel    side by side (own weights, f32)
cohere: bf16, tied, layer norms without bias, neighbours turn together, a factor of the logits.
cohere2: f16, the same; two of three blocks slide, the other has no positions.
falcon: f16, tied, one norm, one key for all queries (7B). Its variants, with weights of their own:
    grouped     two norms, queries in groups that share a key, untied, biases (40B)
    serial      one branch after the other, a key for every query
"""

import torch
from transformers import Cohere2Config, CohereConfig, FalconConfig, PhiConfig, StableLmConfig

from fixtures import FIXTURES
from llama_like import ROTARY, SIZES
from tiny_checkpoint import LEFT_OUT, old_style, write_checkpoint, write_golden, write_variant

FALCON = dict(
    vocab_size=97, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=64, pad_token_id=0,
    bos_token_id=2, eos_token_id=1, rope_parameters=ROTARY,
)


def write() -> None:
    phi = FIXTURES / "phi"
    half = ROTARY | {"partial_rotary_factor": 0.5}
    sizes = SIZES | dict(num_key_value_heads=4)
    write_checkpoint(phi, PhiConfig(**sizes, rope_parameters=half), torch.float16, seed=82)
    write_variant(phi, phi, **old_style(1e4, None), partial_rotary_factor=0.5, num_key_value_heads=None)
    config = PhiConfig(**SIZES, rope_parameters=half, qk_layernorm=True)
    write_checkpoint(phi / "normed", config, torch.float32, seed=83)
    write_golden(phi / "normed")

    stablelm = FIXTURES / "stablelm"
    quarter = ROTARY | {"partial_rotary_factor": 0.25}
    sizes = SIZES | dict(num_attention_heads=3, num_key_value_heads=3)
    config = StableLmConfig(**sizes, rope_parameters=quarter, use_qkv_bias=True)
    write_checkpoint(stablelm, config, torch.bfloat16, seed=84)
    write_variant(stablelm, stablelm, **old_style(1e4, None), partial_rotary_factor=0.25)
    config = StableLmConfig(**sizes, rope_parameters=quarter, use_parallel_residual=True)
    write_checkpoint(stablelm / "parallel", config, torch.float32, seed=85)
    write_golden(stablelm / "parallel")

    cohere = FIXTURES / "cohere"
    write_checkpoint(cohere, CohereConfig(**SIZES, rope_parameters=ROTARY, logit_scale=0.3), torch.bfloat16, seed=86)
    write_golden(cohere)

    cohere2 = FIXTURES / "cohere2"
    config = Cohere2Config(**SIZES, rope_parameters=ROTARY, sliding_window=8, sliding_window_pattern=3)
    write_checkpoint(cohere2, config, torch.float16, seed=87)
    write_variant(cohere2, cohere2, layer_types=LEFT_OUT, sliding_window_pattern=3)

    falcon = FIXTURES / "falcon"
    write_checkpoint(falcon, FalconConfig(**FALCON), torch.float16, seed=88)
    write_golden(falcon)
    grouped = FalconConfig(
        **FALCON, new_decoder_architecture=True, num_kv_heads=2, bias=True, ffn_hidden_size=76, tie_word_embeddings=False
    )
    write_checkpoint(falcon / "grouped", grouped, torch.float32, seed=89)
    write_golden(falcon / "grouped")
    serial = FalconConfig(**FALCON, parallel_attn=False, multi_query=False)
    write_checkpoint(falcon / "serial", serial, torch.float32, seed=90)
    write_golden(falcon / "serial")


if __name__ == "__main__":
    write()
