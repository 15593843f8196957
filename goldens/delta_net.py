"""fixtures/qwen3_next, qwen3_5_text, qwen3_5, qwen3_5_moe_text, qwen3_5_moe: Gated DeltaNet in some blocks, gated attention in the others.

qwen3_next: bf16, two fused matrices of the mixer, block 1 attends, 5 experts and one for every token in all blocks but the first; its
    variant:
    interval    every second block attends, as older files say it
qwen3_5_text: f32, four matrices of the mixer, blocks 0 and 2 attend with biases, a feed-forward layer, tied.
qwen3_5: bf16, the same as the text part of a model of images, tied, with a layer that predicts further ahead (two of its tensors).
qwen3_5_moe_text: f32, experts. qwen3_5_moe: f16, the same as the text part of a model of images, experts stacked as the published files
    have them.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3_5Config, Qwen3_5MoeConfig, Qwen3_5MoeTextConfig, Qwen3_5TextConfig, Qwen3NextConfig

import text_part
from experts import as_in_file, load, write_golden, write_variant
from fixtures import FIXTURES
from text_part import QWEN_IMAGES, write_whole
from tiny_checkpoint import LEFT_OUT, write_checkpoint, write_config

SIZES = dict(
    vocab_size=97, hidden_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=1, linear_conv_kernel_dim=3, linear_key_head_dim=6,
    linear_value_head_dim=10, linear_num_key_heads=2, linear_num_value_heads=4,
    layer_types=["linear_attention", "full_attention", "linear_attention"],
)
ROTARY = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
THREE_POSITIONS = ROTARY | {"mrope_section": [1, 1, 1], "mrope_interleaved": True}
EXPERTS = dict(
    moe_intermediate_size=20, shared_expert_intermediate_size=28, num_experts=5, num_experts_per_tok=2,
)
IMAGES = {key: value for key, value in QWEN_IMAGES.items() if key != "deepstack_visual_indexes"} | {"out_hidden_size": 40}


def write() -> None:
    next_ = FIXTURES / "qwen3_next"
    config = Qwen3NextConfig(**SIZES, **EXPERTS, intermediate_size=44, mlp_only_layers=[0], rope_parameters=ROTARY)
    write_checkpoint(next_, config, torch.bfloat16, seed=190)
    write_golden(next_)
    write_variant(
        next_ / "interval", next_, layer_types=LEFT_OUT, full_attention_interval=2, norm_topk_prob=False, rope_parameters=LEFT_OUT,
        rope_theta=1e4, partial_rotary_factor=0.5,
    )

    dense = FIXTURES / "qwen3_5_text"
    kinds = ["full_attention", "linear_attention", "full_attention"]
    config = Qwen3_5TextConfig(
        **SIZES | {"layer_types": kinds}, intermediate_size=44, rope_parameters=THREE_POSITIONS, attention_bias=True, tie_word_embeddings=True,
    )
    write_checkpoint(dense, config, torch.float32, seed=191)
    write_golden(dense)
    experts = FIXTURES / "qwen3_5_moe_text"
    config = Qwen3_5MoeTextConfig(**SIZES, **EXPERTS, rope_parameters=THREE_POSITIONS)
    write_checkpoint(experts, config, torch.float32, seed=197)
    write_golden(experts)

    text = SIZES | dict(intermediate_size=44, rope_parameters=THREE_POSITIONS)
    config = Qwen3_5Config(text_config=text, vision_config=IMAGES, tie_word_embeddings=True)
    whole = write_whole("qwen3_5", config, torch.bfloat16, seed=198)
    look_ahead(whole)
    text_part.write_golden(whole, load=text_part.load)
    text = SIZES | EXPERTS | dict(rope_parameters=THREE_POSITIONS)
    config = Qwen3_5MoeConfig(text_config=text, vision_config=IMAGES)
    whole = write_whole("qwen3_5_moe", config, torch.float16, seed=194)
    stack(whole / "model.safetensors")
    text_part.write_golden(whole, load=text_part.load)


def look_ahead(folder: Path) -> None:
    """Add tensors of a layer that predicts further ahead, which transformers does not read."""
    tensors = load_file(folder / "model.safetensors")
    for name in ("norm.weight", "layers.0.mlp.up_proj.weight"):
        tensors[f"mtp.{name}"] = tensors[f"model.language_model.{name}"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text())
    said["text_config"]["mtp_num_hidden_layers"] = 1
    write_config(folder, said)


def stack(path: Path) -> None:
    """Put the matrices of all experts of a layer into one tensor: the gates and what they gate, and the others."""
    tensors, stacks = load_file(path), {}
    for name in sorted(name for name in tensors if ".mlp.experts." in name):
        layer, rest = name.split("experts.")
        expert, matrix, _ = rest.split(".")
        stacks.setdefault(layer + "experts.", {}).setdefault(matrix, {})[int(expert)] = tensors.pop(name)
    for layer, matrices in stacks.items():
        gate, up, down = (torch.stack([own[expert] for expert in sorted(own)]) for own in (
            matrices["gate_proj"], matrices["up_proj"], matrices["down_proj"]))
        tensors |= {layer + "gate_up_proj": torch.cat((gate, up), dim=1), layer + "down_proj": down}
    save_file(tensors, path, metadata={"format": "pt"})


def write_gradients() -> None:
    """The whole block 1, as window.py has those of others."""
    from window import save_block

    save_block("qwen3_5_text", "qwen3_5_text", "qwen3_5_text", seed=195)
    save_block("qwen3_next", "qwen3_next", "qwen3_next", 196, load, as_in_file)


if __name__ == "__main__":
    write()
    write_gradients()
