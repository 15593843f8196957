"""fixtures/gpt_neox: the GPT-NeoX family, as Pythia. f16, untied, two shards with an index, layer_norm_eps 1e-3.

Attention and MLP read the same input, each through its own norm. `query_key_value` [3 · hidden, hidden] holds for each head
its query, key and value rows. A rotary embedding turns the first 4 of the 16 numbers of a head. GELU is exact (erf).
config.json has the keys of the published ones: `rotary_pct` and `rotary_emb_base`, no `attention_bias`.
Variants with the weights of the family's folder:
    serial       `use_parallel_residual: false`: the MLP reads the sum of input and attention
    gelu_new     GELU by tanh
    half_rotary  `rope_parameters` with `partial_rotary_factor` 0.5
"""

import torch
from transformers import GPTNeoXConfig

from fixtures import FIXTURES
from tiny_checkpoint import LEFT_OUT, assert_differs, write_checkpoint, write_variant

FOLDER = FIXTURES / "gpt_neox"
ROTARY = {"rope_type": "default", "rope_theta": 500.0}
PUBLISHED = {
    "rope_parameters": LEFT_OUT, "rotary_emb_base": 500, "rotary_pct": 0.25, "attention_bias": LEFT_OUT,
    "dtype": LEFT_OUT, "torch_dtype": "float16",
}
NEW_STYLE = {"rotary_emb_base": LEFT_OUT, "rotary_pct": LEFT_OUT}


def write() -> None:
    config = GPTNeoXConfig(
        vocab_size=97, hidden_size=48, intermediate_size=108, num_hidden_layers=3, num_attention_heads=3,
        max_position_embeddings=64, layer_norm_eps=1e-3, rope_parameters=ROTARY | {"partial_rotary_factor": 0.25},
    )
    write_checkpoint(FOLDER, config, torch.float16, seed=36, max_shard_size="75KB")
    assert len(list(FOLDER.glob("model-*.safetensors"))) == 2
    write_variant(FOLDER, FOLDER, **PUBLISHED)
    write_variant(FOLDER / "serial", FOLDER, use_parallel_residual=False)
    write_variant(FOLDER / "gelu_new", FOLDER, hidden_act="gelu_new")
    half = ROTARY | {"partial_rotary_factor": 0.5}
    write_variant(FOLDER / "half_rotary", FOLDER, rope_parameters=half, **NEW_STYLE)
    assert_differs(FOLDER / "serial", FOLDER)
    assert_differs(FOLDER / "gelu_new", FOLDER, by=2e-4)  # the two forms of GELU differ by less than 5e-4
    assert_differs(FOLDER / "half_rotary", FOLDER)


if __name__ == "__main__":
    write()
