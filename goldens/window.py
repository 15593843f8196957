"""fixtures/window/{block,attention,mlp}.safetensors: gradients of one window of block 1 of fixtures/llama.

    loss = mean over all elements of (window(x) - target)²,  x [2, 24, hidden], each sequence at positions 0..23
    block      the decoder block
    attention  x + attention(norm(x))
    mlp        x + mlp(norm(x))
    blocks     blocks 1 and 2, one after the other; gradients by the number of the block
Each file: x, target, output, loss [1], grad.x, and grad.<name of the parameter inside the block>; all f32.

The same for the other kinds of block, each file from block 1 of one checkpoint:
    qwen3_attention          fixtures/qwen3          x + attention(norm(x)), with norms on the query and key heads
    opt_attention            fixtures/opt            x + attention(norm(x)), with biases
    opt_mlp                  fixtures/opt            x + mlp(norm(x)), with biases
    opt_post_norm_attention  fixtures/opt/post_norm  norm(x + attention(x))
    opt_post_norm_mlp        fixtures/opt/post_norm  norm(x + mlp(x))
    gpt_neox_block           fixtures/gpt_neox       x + attention(norm(x)) + mlp(other norm(x))
The whole block 1 of other checkpoints, as the model calls it:
    bloom_block, gpt2_block, gptj_block, gemma2_block, gemma3_text_block, granite_block, arcee_block
    olmo_clipped_block       fixtures/olmo/clipped
    gpt_bigcode_block, phi3_block, glm4_block, hunyuan_v1_dense_block, nemotron_block, cohere_block
    phi_normed_block         fixtures/phi/normed
    falcon_grouped_block     fixtures/falcon/grouped
    mixtral_block, qwen2_moe_block, glm4_moe_block, granitemoeshared_block, gpt_oss_block, deepseek_v2_block, deepseek_v3_block (by experts.py), each expert's own matrices as the files name
    them; of a stacked one `name[expert]`
    mamba_block, falcon_mamba_block, mamba2_block (by mamba.py)
    falcon_h1_block, falcon_h1_normed_block, lfm2_block (by hybrids.py)
    qwen3_5_text_block, qwen3_next_block (by delta_net.py)
    gemma4_text_block, gemma4_experts_block (by gemma4.py)
A bias of OPT's keys shifts all scores of a query alike, so its gradient is zero but for rounding.

model.safetensors: the whole model on ids [2, 24]: loss [1], the mean cross-entropy of the next tokens, and grad.<name> of every
parameter but embedding and head.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.opt.modeling_opt import OPTDecoderLayer

import delta_net
import experts
import gemma4
import hybrids
import mamba
from fixtures import FIXTURES, generator, save_tensors
from tiny_checkpoint import blocks, load

BATCH, LENGTH = 2, 24
CAUSAL = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)[None, None]


def windows(block: nn.Module, rotary: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three windows as functions of x [batch, T, hidden]; of GPT-NeoX only the block."""
    positions = torch.arange(LENGTH)[None]

    def attention(x: Tensor) -> Tensor:
        output, _ = block.self_attn(
            hidden_states=block.input_layernorm(x), attention_mask=CAUSAL, position_embeddings=rotary(x, positions)
        )
        return x + output

    def mlp(x: Tensor) -> Tensor:
        return x + block.mlp(block.post_attention_layernorm(x))

    def whole(x: Tensor) -> Tensor:
        return block(x, attention_mask=CAUSAL, position_embeddings=rotary(x, positions))

    return {"block": whole, "attention": attention, "mlp": mlp}


def golden(block: nn.Module, window: Callable[[Tensor], Tensor], x: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Output, loss and every gradient of one window."""
    block.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    output = window(x)
    loss = nn.functional.mse_loss(output, target)
    loss.backward()
    gradients = {f"grad.{name}": p.grad for name, p in block.named_parameters() if p.grad is not None}
    return {"x": x, "target": target, "output": output, "loss": loss.reshape(1), "grad.x": x.grad} | gradients


class Blocks(nn.Module):
    """Consecutive blocks."""

    def __init__(self, blocks: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, block in blocks.items():
            self.add_module(name, block)

    def forward(self, x: Tensor, **arguments: object) -> Tensor:
        for block in self.children():
            x = block(x, **arguments)
        return x


def predictions(model: nn.Module) -> dict[str, Tensor]:
    """Cross-entropy of the next tokens of random texts."""
    model.zero_grad(set_to_none=True)
    ids = torch.randint(model.config.vocab_size, (BATCH, LENGTH), generator=generator(19))
    logits = model(ids).logits[:, :-1]
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    named = {n: p.grad for n, p in model.named_parameters() if "embed_tokens" not in n and "lm_head" not in n}
    return {"ids": ids, "loss": loss.reshape(1)} | {f"grad.{name}": gradient for name, gradient in named.items()}


def opt_windows(block: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """The two branches of a block of OPT, with the norm before the branch or after the sum."""

    def attention(x: Tensor) -> Tensor:
        return block.self_attn(hidden_states=x, attention_mask=CAUSAL)[0]

    def mlp(x: Tensor) -> Tensor:
        return block.fc2(block.activation_fn(block.fc1(x)))

    def before(branch: Callable[[Tensor], Tensor], norm: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda x: x + branch(norm(x))

    def after(branch: Callable[[Tensor], Tensor], norm: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda x: norm(x + branch(x))

    place = before if block.do_layer_norm_before else after
    return {"attention": place(attention, block.self_attn_layer_norm), "mlp": place(mlp, block.final_layer_norm)}


def whole_block(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Block 1 as a function of x, with everything else that the model calls it with."""
    block, calls = blocks(model)[1], []
    handle = block.register_forward_pre_hook(lambda _, rest, named: calls.append((rest[1:], named)), with_kwargs=True)
    with torch.no_grad():
        model(torch.zeros((BATCH, LENGTH), dtype=torch.long), use_cache=False)
    handle.remove()
    (rest, named), = calls

    def window(x: Tensor) -> Tensor:
        output = block(x, *rest, **named)
        return output[0] if isinstance(output, tuple) else output

    return window


def save_block(
    folder: str, weights: str, name: str, seed: int, load: Callable = load,
    as_in_file: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """The whole block 1 of a checkpoint, the gradients under the names that `as_in_file` gives them."""
    model = load(FIXTURES / folder, FIXTURES / weights)
    source = generator(seed)
    shape = (BATCH, LENGTH, model.config.hidden_size)
    x = torch.randn(shape, generator=source)
    target = x + torch.randn(shape, generator=source)
    tensors = as_in_file(golden(blocks(model)[1], whole_block(model), x, target))
    save_tensors(FIXTURES / "window" / f"{name}_block.safetensors", tensors)


def save_windows(folder: str, prefix: str, names: tuple[str, ...], seed: int) -> None:
    """The named windows of block 1 of a checkpoint, all on the same input and target."""
    model = load(FIXTURES / folder, FIXTURES / folder)
    block = blocks(model)[1]
    known = opt_windows(block) if isinstance(block, OPTDecoderLayer) else windows(block, model.base_model.rotary_emb)
    source = generator(seed)
    shape = (BATCH, LENGTH, model.config.hidden_size)
    x = torch.randn(shape, generator=source)
    target = x + torch.randn(shape, generator=source)
    for name in names:
        save_tensors(FIXTURES / "window" / f"{prefix}_{name}.safetensors", golden(block, known[name], x, target))


def write() -> None:
    model = load(FIXTURES / "llama", FIXTURES / "llama")
    source = generator(5)
    shape = (BATCH, LENGTH, model.config.hidden_size)
    x = torch.randn(shape, generator=source)
    target = x + torch.randn(shape, generator=source)
    block = model.model.layers[1]
    for name, window in windows(block, model.model.rotary_emb).items():
        save_tensors(FIXTURES / "window" / f"{name}.safetensors", golden(block, window, x, target))
    both = Blocks({str(index): model.model.layers[index] for index in (1, 2)})
    whole = windows(both, model.model.rotary_emb)["block"]
    save_tensors(FIXTURES / "window" / "blocks.safetensors", golden(both, whole, x, target))
    save_tensors(FIXTURES / "window" / "model.safetensors", predictions(model))
    save_windows("qwen3", "qwen3", ("attention",), seed=37)
    save_windows("opt", "opt", ("attention", "mlp"), seed=38)
    save_windows("opt/post_norm", "opt_post_norm", ("attention", "mlp"), seed=39)
    save_windows("gpt_neox", "gpt_neox", ("block",), seed=40)
    for seed, name in enumerate(("bloom", "gpt2", "gemma2", "gemma3_text", "granite", "arcee"), start=60):
        save_block(name, name, name, seed)
    save_block("olmo/clipped", "olmo", "olmo_clipped", seed=66)
    save_block("gptj", "gptj", "gptj", seed=67)
    for seed, name in enumerate(("gpt_bigcode", "phi3", "glm4", "hunyuan_v1_dense", "nemotron", "cohere"), start=93):
        save_block(name, name, name, seed)
    save_block("phi/normed", "phi/normed", "phi_normed", seed=99)
    save_block("falcon/grouped", "falcon/grouped", "falcon_grouped", seed=100)
    experts.write_gradients()
    mamba.write_gradients()
    hybrids.write_gradients()
    delta_net.write_gradients()
    gemma4.write_gradients()


if __name__ == "__main__":
    write()
