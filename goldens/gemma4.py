"""fixtures/gemma4_text, gemma4: other heads where attention is full, values that are normed, a factor of the states after each block.

gemma4_text: bf16, tied, a window of 8 in block 1; in the others one wider head of keys that are the values too; bounds of the logits that
    bite. Its variants:
    published   the keys of the published files, which say what differs between blocks by kind; the last block attends fully whatever they say
    experts     f32 (own weights), untied, biases, a window in block 0, 5 experts beside the feed-forward layer
gemma4: f16, tied, the text part of a model of images, 5 experts, as many heads in all blocks.
"""

import torch
from transformers import Gemma4Config, Gemma4TextConfig

import experts
import text_part
from experts import as_in_gpt_oss, load
from fixtures import FIXTURES
from text_part import write_whole
from tiny_checkpoint import LEFT_OUT, assert_differs, write_checkpoint, write_golden, write_variant

SIZES = dict(
    vocab_size=97, hidden_size=40, intermediate_size=76, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
    head_dim=12, global_head_dim=20, max_position_embeddings=64, sliding_window=8, hidden_size_per_layer_input=0,
    pad_token_id=0, bos_token_id=2, eos_token_id=1,
)
BOTH = {
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e3},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = [FULL, SLIDING, FULL]
SHARED = dict(attention_k_eq_v=True, num_global_key_value_heads=1)
EXPERTS = dict(enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=20)
IMAGES = dict(
    hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
    position_embedding_size=16,
)


def write() -> None:
    text = FIXTURES / "gemma4_text"
    write_checkpoint(text, Gemma4TextConfig(**SIZES, **SHARED, layer_types=KINDS, rope_parameters=BOTH, final_logit_softcapping=3.0), torch.bfloat16, seed=210)
    write_golden(text)
    by_kind = {key: SIZES[key] for key in ("head_dim", "num_key_value_heads", "global_head_dim")} | dict(num_global_key_value_heads=1)
    write_variant(
        text / "published", text, per_layer_config=LEFT_OUT, rope_parameters=LEFT_OUT, use_bidirectional_attention="vision",
        final_logit_softcapping=None, layer_types=[FULL, SLIDING, SLIDING], **by_kind,
    )
    assert_differs(text / "published", text)

    config = Gemma4TextConfig(
        **SIZES, **SHARED, **EXPERTS, layer_types=[SLIDING, FULL, FULL], rope_parameters=BOTH, tie_word_embeddings=False, attention_bias=True,
    )
    write_checkpoint(text / "experts", config, torch.float32, seed=211)
    experts.write_golden(text / "experts")

    inner = SIZES | EXPERTS | dict(layer_types=KINDS, rope_parameters=BOTH)
    config = Gemma4Config(text_config=inner, vision_config=IMAGES, tie_word_embeddings=True)
    text_part.write_golden(write_whole("gemma4", config, torch.float16, seed=212), load=text_part.load)


def write_gradients() -> None:
    """The whole block 1, as window.py has those of others: values that are normed; keys that are values, and experts."""
    from window import save_block

    save_block("gemma4_text", "gemma4_text", "gemma4_text", seed=213)
    save_block("gemma4_text/experts", "gemma4_text/experts", "gemma4_experts", 214, load, as_in_gpt_oss)


if __name__ == "__main__":
    write()
    write_gradients()
