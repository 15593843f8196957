"""fixtures/gemma3, mistral3, qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_vl_moe: models of text and images, of which only the text is run.

gemma3: bf16, tied; its config.json says of the text only what differs from a size that was not published.
mistral3: f16, untied, around ministral3.
qwen2_vl: bf16, tied, config.json with the keys of the text beside those of the images, as it was published.
qwen2_5_vl: f32, untied. qwen3_vl: bf16, tied. qwen3_vl_moe: f16, experts stacked as [in, out], as
the published files have them.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForImageTextToText, Gemma3Config, Mistral3Config, PreTrainedConfig, PreTrainedModel, Qwen2_5_VLConfig,
    Qwen2VLConfig, Qwen3VLConfig, Qwen3VLMoeConfig,
)

from fixtures import FIXTURES
from llama_like import ROTARY, SIZES
from tiny_checkpoint import write_checkpoint, write_config, write_golden

TEXT = SIZES | dict(num_key_value_heads=2)
IMAGES = dict(
    hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
)
QWEN_IMAGES = dict(
    depth=1, embed_dim=16, hidden_size=16, num_heads=2, intermediate_size=24, out_hidden_size=48, mlp_ratio=1,
    deepstack_visual_indexes=[0], num_position_embeddings=4,
)
THREE_POSITIONS = ROTARY | {"mrope_section": [2, 2, 2]}


def load(folder: Path, _weights: Path) -> PreTrainedModel:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def write_whole(name: str, config: PreTrainedConfig, dtype: torch.dtype, seed: int) -> Path:
    folder = FIXTURES / name
    write_checkpoint(folder, config, dtype, seed, AutoModelForImageTextToText)
    return folder


def write() -> None:
    both = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    # what Gemma 3 is by default: 8 query heads, 4 key heads, heads of 256
    text = SIZES | dict(num_attention_heads=8, num_key_value_heads=4, head_dim=12, sliding_window=8, rope_parameters=both)
    config = Gemma3Config(text_config=text, vision_config=IMAGES, mm_tokens_per_image=4)
    gemma3 = write_whole("gemma3", config, torch.bfloat16, seed=110)
    said = json.loads((gemma3 / "config.json").read_text())
    kept = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim", "sliding_window", "vocab_size")
    said["text_config"] = {key: said["text_config"][key] for key in kept} | {
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}
    }
    write_config(gemma3, said)
    write_golden(gemma3, load=load)

    yarn = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    }
    text = TEXT | dict(model_type="ministral3", head_dim=10, rope_parameters=yarn)
    images = IMAGES | dict(model_type="pixtral", head_dim=8)
    config = Mistral3Config(text_config=text, vision_config=images, tie_word_embeddings=False)
    write_golden(write_whole("mistral3", config, torch.float16, seed=111), load=load)

    text = TEXT | dict(rope_parameters=THREE_POSITIONS)
    config = Qwen2VLConfig(text_config=text, vision_config=QWEN_IMAGES, tie_word_embeddings=True)
    qwen2 = write_whole("qwen2_vl", config, torch.bfloat16, seed=112)
    said = json.loads((qwen2 / "config.json").read_text())
    inner = said.pop("text_config")
    flat = {key: inner[key] for key in TEXT} | {
        "rope_theta": 1e4, "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]}, "rms_norm_eps": 1e-3
    }
    write_config(qwen2, said | flat)
    write_golden(qwen2, load=load)

    config = Qwen2_5_VLConfig(text_config=text, vision_config=QWEN_IMAGES)
    write_golden(write_whole("qwen2_5_vl", config, torch.float32, seed=113), load=load)

    text = TEXT | dict(head_dim=12, rope_parameters=THREE_POSITIONS)
    config = Qwen3VLConfig(text_config=text, vision_config=QWEN_IMAGES, tie_word_embeddings=True)
    write_golden(write_whole("qwen3_vl", config, torch.bfloat16, seed=114), load=load)

    experts = dict(moe_intermediate_size=20, num_experts=5, num_experts_per_tok=2, mlp_only_layers=[0])
    config = Qwen3VLMoeConfig(text_config=text | experts, vision_config=QWEN_IMAGES)
    moe = write_whole("qwen3_vl_moe", config, torch.float16, seed=115)
    tensors = load_file(moe / "model.safetensors")
    turned = {name: tensor.transpose(1, 2).contiguous() for name, tensor in tensors.items() if ".experts." in name}
    save_file(tensors | turned, moe / "model.safetensors", metadata={"format": "pt"})
    write_golden(moe, load=load)


if __name__ == "__main__":
    write()
