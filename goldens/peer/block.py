"""A Llama-type decoder block in plain PyTorch: the two submodules that the peers time and train."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

Tap = Callable[[str, Tensor], None]
"""Told the input of each linear that has one of its own: attention, o_proj, mlp, down_proj."""


@dataclass(frozen=True)
class Shape:
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    eps: float


def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """a·bᵀ for f32 by oneDNN: PyTorch hands f32 to MKL, which is slower on some processors."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


class OneDnnLinear(torch.autograd.Function):
    """x·Wᵀ, forward and backward by oneDNN."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return onednn_product(x, weight)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, upstream: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = context.saved_tensors
        flat = upstream.reshape(-1, upstream.shape[-1])
        grad_x = onednn_product(upstream, weight.T) if context.needs_input_grad[0] else None
        return grad_x, onednn_product(flat.T, x.reshape(-1, x.shape[-1]).T)


class Linear(nn.Linear):
    """A linear layer, without bias unless asked for; `onednn` chooses the f32 kernels of all of them."""

    onednn = False

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.onednn and not torch.is_autocast_enabled("cpu"):
            y = OneDnnLinear.apply(x, self.weight)
            return y if self.bias is None else y + self.bias
        return super().forward(x)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a·bᵀ by the f32 kernels in use."""
    return onednn_product(a, b) if Linear.onednn else a @ b.T


def rotary_table(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin [length, head_dim]."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.arange(length).float()[:, None] * frequencies
    return angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * rotary[0] + torch.cat((-second, first), dim=-1) * rotary[1]


class Attention(nn.Module):
    """x + o(attention(norm(x))), causal, grouped queries."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.norm = nn.RMSNorm(shape.hidden, shape.eps)
        self.q_proj = Linear(shape.hidden, shape.heads * shape.head_dim)
        self.k_proj = Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.v_proj = Linear(shape.hidden, shape.kv_heads * shape.head_dim)
        self.o_proj = Linear(shape.heads * shape.head_dim, shape.hidden)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], tap: Tap | None = None) -> Tensor:
        normed = self.norm(x)
        # [batch, T, heads · head_dim] -> [batch, heads, T, head_dim]
        q, k, v = (
            linear(normed).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(
            rotate(q, rotary), rotate(k, rotary), v, is_causal=True, enable_gqa=True
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        if tap:
            tap("attention", normed)
            tap("o_proj", mixed)
        return x + self.o_proj(mixed)


class Mlp(nn.Module):
    """x + down(silu(gate(norm(x))) · up(norm(x)))."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(shape.hidden, shape.eps)
        self.gate_proj = Linear(shape.hidden, shape.intermediate)
        self.up_proj = Linear(shape.hidden, shape.intermediate)
        self.down_proj = Linear(shape.intermediate, shape.hidden)

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        normed = self.norm(x)
        gated = functional.silu(self.gate_proj(normed)) * self.up_proj(normed)
        if tap:
            tap("mlp", normed)
            tap("down_proj", gated)
        return x + self.down_proj(gated)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        return self.mlp(self.attention(x, rotary))


def freeze_pruned(linear: nn.Linear, mask: Tensor) -> RemovableHandle:
    """Zero the pruned weights and, until the handle is removed, mask their gradient as soon as it is complete."""
    linear.weight.data.mul_(mask)
    mask = mask.to(linear.weight.dtype)

    def hold(weight: Tensor) -> None:
        weight.grad.mul_(mask)

    return linear.weight.register_post_accumulate_grad_hook(hold)


def precision(bf16: bool) -> AbstractContextManager:
    """The context of a forward pass: bf16 autocast, or f32 as it stands."""
    return torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
