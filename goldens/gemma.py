"""fixtures/gemma, gemma2, gemma3_text: norms stored less one, a scaled embedding, GELU by tanh; heads wider than hidden / heads.

gemma: bf16, `hidden_act` as the first release wrote it. Its variant:
    named       `hidden_act: gelu_pytorch_tanh`
gemma2: f32, bounds of scores and logits that bite, a window of 8 in every other block. Its variants:
    unbounded   no bounds
    layer_types the blocks with the window named one by one
gemma3_text: f16, norms of heads, two rotary bases, a window of 8 in two of three blocks. Its variants:
    old_keys    rotary and window as transformers before version 5 wrote them, the full one scaled linearly
    untied      `tie_word_embeddings: false` and biases (own weights)
"""

import torch
from transformers import Gemma2Config, Gemma3TextConfig, GemmaConfig

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, old_style, write_checkpoint, write_golden, write_variant

SIZES = dict(
    vocab_size=97, hidden_size=40, intermediate_size=76, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    head_dim=12, max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=1,
)
ROTARY = {"rope_type": "default", "rope_theta": 1e4}
BOTH = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}


def write() -> None:
    first = FIXTURES / "gemma"
    write_checkpoint(first, GemmaConfig(**SIZES, rope_parameters=ROTARY), torch.bfloat16, seed=41)
    write_variant(first, first, hidden_act="gelu", **old_style(1e4, None))
    write_variant(first / "named", first, hidden_act="gelu_pytorch_tanh")

    second = FIXTURES / "gemma2"
    config = Gemma2Config(
        **SIZES, rope_parameters=ROTARY, sliding_window=8, query_pre_attn_scalar=20, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    )
    write_checkpoint(second, config, torch.float32, seed=42)
    write_variant(second, second, layer_types=LEFT_OUT)
    write_variant(second / "unbounded", second, attn_logit_softcapping=None, final_logit_softcapping=None)
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    write_variant(second / "layer_types", second, layer_types=kinds)
    assert_differs(second / "unbounded", second)
    assert_differs(second / "layer_types", second)

    third = FIXTURES / "gemma3_text"
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    options = dict(sliding_window=8, layer_types=kinds, query_pre_attn_scalar=20)
    write_checkpoint(third, Gemma3TextConfig(**SIZES, **options, rope_parameters=BOTH), torch.float16, seed=43)
    write_variant(third, third)
    old = old_style(1e6, {"rope_type": "linear", "factor": 4.0})
    write_variant(
        third / "old_keys", third, **old, rope_local_base_freq=100.0, layer_types=LEFT_OUT, sliding_window_pattern=3
    )
    assert_differs(third / "old_keys", third)
    untied = Gemma3TextConfig(
        **SIZES, **options, rope_parameters=BOTH, tie_word_embeddings=False, attention_bias=True
    )
    write_checkpoint(third / "untied", untied, torch.float32, seed=44)
    write_golden(third / "untied")


if __name__ == "__main__":
    write()
