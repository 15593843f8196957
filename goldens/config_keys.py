"""Which key of config.json counts, where several say the same thing, as transformers reads it.

`config_keys.json`: rows of `family`, `keys` (added to a tiny configuration of the family; null is a value), and what the model is then:
`frequencies` and `scaling` of the rotary positions of a short sequence (by kind of attention where each has its own), `head_dim`, `kv_heads`, `tied`.
"""

import json
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from fixtures import FIXTURES, save_json, short_floats

BASE = {
    "vocab_size": 16, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4,
    "max_position_embeddings": 64, "pad_token_id": 0,
}
LINEAR = {"rope_type": "linear", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 2.0, 3.0, 4.0]}

TWO_KINDS = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}

ROWS = [
    ("llama", {}),
    ("llama", {"rope_theta": 7000.0}),
    ("llama", {"rope_parameters": {"rope_theta": 9000.0}}),
    ("llama", {"rope_parameters": {"rope_type": "default"}, "rope_theta": 7000.0}),
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 9000.0}, "rope_theta": 7000.0}),
    ("llama", {"rope_parameters": None, "rope_theta": 7000.0}),
    ("llama", {"rope_parameters": LINEAR | {"rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": LINEAR, "rope_theta": 7000.0}),
    ("llama", {"rope_scaling": LINEAR | {"rope_theta": 9000.0}, "rope_theta": 7000.0}),
    ("llama", {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default", "rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": LINEAR, "rope_parameters": {"rope_theta": 9000.0}, "rope_theta": 7000.0}),
    ("llama", {"rope_scaling": {}, "rope_parameters": LINEAR | {"rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": None, "rope_parameters": LINEAR | {"rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 2.0}}),
    ("llama", {"rope_parameters": {"type": "linear", "factor": 2.0, "rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": YARN}),
    ("llama", {"rope_scaling": YARN | {"original_max_position_embeddings": 16}}),
    ("llama", {"rope_scaling": YARN, "original_max_position_embeddings": 32}),
    ("llama", {"rope_scaling": YARN | {"original_max_position_embeddings": 16}, "original_max_position_embeddings": 32}),
    ("llama", {"rope_parameters": LLAMA3 | {"rope_theta": 9000.0, "original_max_position_embeddings": 16}}),
    ("llama", {"rope_parameters": LLAMA3 | {"rope_theta": 9000.0}}),
    ("llama", {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 16}, "original_max_position_embeddings": 32}),
    ("llama", {"head_dim": 16}),
    ("llama", {"head_dim": None}),
    ("llama", {"num_key_value_heads": 2}),
    ("llama", {"num_key_value_heads": None}),
    ("llama", {"tie_word_embeddings": True}),
    ("qwen3", {"num_key_value_heads": 4}),
    ("qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
    ("qwen3", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("gemma", {"num_key_value_heads": 4}),
    ("gemma", {"num_key_value_heads": 4, "head_dim": 16, "tie_word_embeddings": False}),
    ("phi3", {"original_max_position_embeddings": 32, "rope_scaling": LONG}),
    ("phi3", {"rope_scaling": LONG | {"original_max_position_embeddings": 16}}),
    ("phi3", {"original_max_position_embeddings": 32, "rope_parameters": LONG | {"original_max_position_embeddings": 16, "rope_theta": 9000.0}}),
    ("phi3", {"original_max_position_embeddings": 32, "rope_scaling": LONG | {"type": "longrope"}, "rope_theta": 7000.0}),
    ("phi", {}),
    ("phi", {"partial_rotary_factor": 0.25}),
    ("phi", {"rope_parameters": {"rope_theta": 9000.0, "partial_rotary_factor": 1.0}}),
    ("phi", {"rope_parameters": {"rope_theta": 9000.0, "partial_rotary_factor": 1.0}, "partial_rotary_factor": 0.25}),
    ("phi", {"rope_parameters": {"rope_theta": 9000.0}, "partial_rotary_factor": 0.25}),
    ("gpt_neox", {}),
    ("gpt_neox", {"rotary_pct": 0.5}),
    ("gpt_neox", {"rotary_emb_base": 7000}),
    ("gpt_neox", {"rotary_pct": 0.5, "rope_parameters": {"rope_theta": 9000.0, "partial_rotary_factor": 1.0}}),
    ("gpt_neox", {"rotary_emb_base": 7000, "rope_theta": 5000.0}),
    ("stablelm", {"num_key_value_heads": 4}),
    ("stablelm", {"num_key_value_heads": 4, "partial_rotary_factor": 0.5}),
    ("stablelm", {"num_key_value_heads": 4, "rope_parameters": {"rope_theta": 9000.0, "partial_rotary_factor": 0.5}, "partial_rotary_factor": 1.0}),
    ("glm4", {"num_key_value_heads": 2}),
    ("glm4", {"num_key_value_heads": 2, "head_dim": 16, "partial_rotary_factor": 0.25}),
    ("gemma3_text", TWO_KINDS | {"num_key_value_heads": 2}),
    ("gemma3_text", TWO_KINDS | {"num_key_value_heads": 2, "rope_theta": 7000.0, "rope_local_base_freq": 500.0}),
    ("gemma3_text", TWO_KINDS | {"num_key_value_heads": 2, "rope_theta": 7000.0, "rope_scaling": LINEAR}),
    ("gemma3_text", TWO_KINDS | {"num_key_value_heads": 2, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 9000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
    }}),
    ("gemma3_text", TWO_KINDS | {"num_key_value_heads": 2, "rope_local_base_freq": 500.0, "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 9000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
    }}),
]


def read(family: str, keys: dict) -> dict:
    """What transformers makes of a config.json."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({"model_type": family} | BASE | keys))
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    body = model.base_model
    rotary = body.rotary_emb
    named = dict(rotary.named_buffers())
    kinds = sorted({name.removesuffix("_inv_freq") for name in named if name.endswith("_attention_inv_freq") and "original" not in name})
    if kinds:
        frequencies = {kind: short_floats(named[f"{kind}_inv_freq"]) for kind in kinds}
        scaling = {kind: getattr(rotary, f"{kind}_attention_scaling") for kind in kinds}
    else:
        frequencies, scaling = short_floats(rotary.inv_freq), rotary.attention_scaling
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return {"frequencies": frequencies, "scaling": scaling, "head_dim": head_dim, "kv_heads": kv_heads, "tied": tied}


def write() -> None:
    rows = [{"family": family, "keys": keys} | read(family, keys) for family, keys in ROWS]
    save_json(FIXTURES / "config_keys.json", {f"{number}": row for number, row in enumerate(rows)})


if __name__ == "__main__":
    write()
