"""Read a Llama-type checkpoint (config.json, *.safetensors, tokenizer.json) into the plain blocks of this folder, f32."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from block import Block, Shape

NAMES = {
    "attention.norm": "input_layernorm", "attention.q_proj": "self_attn.q_proj", "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj", "attention.o_proj": "self_attn.o_proj",
    "mlp.norm": "post_attention_layernorm", "mlp.gate_proj": "mlp.gate_proj", "mlp.up_proj": "mlp.up_proj",
    "mlp.down_proj": "mlp.down_proj",
}


@dataclass
class Model:
    shape: Shape
    theta: float
    embedding: Tensor  # [vocabulary, hidden]
    blocks: list[Block]
    norm: Tensor
    head: Tensor  # [vocabulary, hidden]


def load(folder: Path) -> Model:
    """A model without biases and with default rotary frequencies; anything else is refused."""
    config = json.loads((folder / "config.json").read_text())
    rotary = config.get("rope_parameters") or {"rope_theta": config["rope_theta"]}
    assert rotary.get("rope_type", "default") == "default" and not config.get("rope_scaling"), rotary
    heads = config["num_attention_heads"]
    shape = Shape(
        config["hidden_size"], heads, config["num_key_value_heads"],
        config.get("head_dim") or config["hidden_size"] // heads, config["intermediate_size"], config["rms_norm_eps"],
    )
    tensors: dict[str, Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
    tensors = {name: tensors.pop(name).float() for name in list(tensors)}
    blocks = [block(shape, tensors, index) for index in range(config["num_hidden_layers"])]
    embedding = tensors.pop("model.embed_tokens.weight")
    head, norm = tensors.pop("lm_head.weight", embedding), tensors.pop("model.norm.weight")
    assert not tensors, f"unknown tensors: {sorted(tensors)}"
    return Model(shape, rotary["rope_theta"], embedding, blocks, norm, head)


def block(shape: Shape, tensors: dict[str, Tensor], index: int) -> Block:
    """Block `index`, which takes its tensors out of the dictionary."""
    result = Block(shape)
    names = {f"{ours}.weight": f"model.layers.{index}.{theirs}.weight" for ours, theirs in NAMES.items()}
    result.load_state_dict({ours: tensors.pop(theirs) for ours, theirs in names.items()}, assign=True)
    return result


def token_ids(folder: Path, text: Path) -> list[int]:
    """The text tokenised once, rows joined as for WikiText-2 (a blank line is an empty row), without BOS."""
    rows = [line + "\n" if line.strip() else "" for line in text.read_text().split("\n")[:-1]]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return tokenizer.encode("\n\n".join(rows), add_special_tokens=False).ids
