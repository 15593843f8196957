"""Tiny random checkpoints with golden logits: what the family scripts share.

A folder holds config.json, weights as `save_pretrained` writes them, and golden.safetensors:
    input_ids.0 [24], input_ids.1 [17]       two sequences, run separately
    logits.0 [24, vocab], logits.1 [17, vocab]  float32 model, eager attention
    hidden.{i} [24, hidden]                  output of block i (before the model's final norm), first sequence
A variant holds config.json and golden.safetensors only, and uses the weights of its family's folder.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from fixtures import FIXTURES, generator, save_tensors

LENGTHS = (24, 17)
LEFT_OUT = object()
"""Marks a key of config.json that a variant drops."""
IN_MEMORY = {"embed_out.weight": "lm_head.weight"}
"""Tensors that transformers names in the file otherwise than in the model (the head of GPT-NeoX)."""


def randomise(model: PreTrainedModel, seed: int) -> None:
    """Give every parameter values that show a mistake: norms are not one, biases not zero."""
    source = generator(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=source)
        if name.endswith("bias"):
            parameter.data = 0.3 * noise
        elif "norm" in name or ".ln_" in name or name.endswith(("router.scale", "per_expert_scale")):
            parameter.data = 1.0 + 0.25 * noise
        elif "embed" in name:
            parameter.data = 0.7 * noise
        else:  # a linear layer [d_out, d_in] that keeps the scale of its input
            parameter.data = 1.2 * noise / parameter.shape[-1] ** 0.5
    for name, buffer in sorted(model.named_buffers()):
        if name.endswith(("correction_bias", "expert_bias")):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=source))
        elif name.endswith("layer_scalar"):
            buffer.copy_(1.0 + 0.25 * torch.randn(buffer.shape, generator=source))


def write_checkpoint(
    folder: Path, config: PreTrainedConfig, dtype: torch.dtype, seed: int, kind: type = AutoModelForCausalLM,
    **save_options: object,
) -> None:
    """Save a random model of this config in `dtype`."""
    shutil.rmtree(folder, ignore_errors=True)
    model = kind.from_config(config)
    randomise(model, seed)
    model.tie_weights()
    model.to(dtype).save_pretrained(folder, **save_options)
    (folder / "generation_config.json").unlink(missing_ok=True)


def write_config(folder: Path, config: dict) -> None:
    """Write config.json in the layout of transformers, without the keys that are LEFT_OUT."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in config.items() if value is not LEFT_OUT}
    (folder / "config.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def old_style(rope_theta: float, rope_scaling: dict | None) -> dict:
    """The rotary keys as transformers before version 5 wrote them."""
    return {"rope_parameters": LEFT_OUT, "rope_theta": rope_theta, "rope_scaling": rope_scaling}


def load(folder: Path, weights: Path) -> PreTrainedModel:
    """The float32 model of `folder`/config.json with the weights stored in `weights`."""
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    state = {}
    for shard in sorted(weights.glob("*.safetensors")):
        if shard.name != "golden.safetensors":
            state |= {IN_MEMORY.get(name, name): tensor.float() for name, tensor in load_file(shard).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= set(model._tied_weights_keys or ()), (missing, unexpected)
    model.tie_weights()
    return model.eval()


@torch.inference_mode()
def write_golden(
    folder: Path, weights: Path | None = None, load: Callable[[Path, Path], PreTrainedModel] = load
) -> None:
    """Run both sequences. Each gets a fresh model: dynamic rotary scaling remembers longer ones."""
    golden = {}
    for index, length in enumerate(LENGTHS):
        model = load(folder, weights or folder)
        vocabulary = model.config.get_text_config().vocab_size
        ids = torch.randint(vocabulary, (length,), generator=generator(100 + index))
        hidden = record_blocks(model)
        golden[f"input_ids.{index}"] = ids
        golden[f"logits.{index}"] = model(input_ids=ids[None], use_cache=False).logits[0]
        if index == 0:
            golden |= {f"hidden.{block}": state for block, state in enumerate(hidden)}
    save_tensors(folder / "golden.safetensors", golden)


def write_variant(
    folder: Path, weights: Path, load: Callable[[Path, Path], PreTrainedModel] = load, **changes: object
) -> None:
    """Write a config that differs from the one beside `weights`, and the golden it gives."""
    config = json.loads((weights / "config.json").read_text()) | changes
    write_config(folder, config)
    write_golden(folder, weights, load)


def record_blocks(model: PreTrainedModel) -> list[torch.Tensor]:
    """The list that the output of each block [T, hidden] will be appended to."""
    recorded: list[torch.Tensor] = []

    def record(_module: object, _inputs: object, output: torch.Tensor | tuple) -> None:
        states = output[0] if isinstance(output, tuple) else output
        recorded.append(states[0].clone())

    for block in blocks(model):
        block.register_forward_hook(record)
    return recorded


def blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The decoder blocks; OPT and models of images keep them one level deeper than the others, BLOOM and GPT-2 call them h."""
    base = model.base_model
    decoder = getattr(base, "decoder", getattr(base, "language_model", base))
    return decoder.layers if hasattr(decoder, "layers") else decoder.h


def assert_differs(variant: Path, base: Path, by: float = 0.05) -> None:
    """A variant whose logits equal those of its family would test nothing."""
    ours, theirs = (load_file(folder / "golden.safetensors")["logits.1"] for folder in (variant, base))
    assert (ours - theirs).abs().max() > by, f"{variant.relative_to(FIXTURES)} has the logits of its base"
