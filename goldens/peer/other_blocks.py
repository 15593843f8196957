"""Decoder blocks of OPT and GPT-NeoX in plain PyTorch, with biases everywhere, for the peers to time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from block import Linear, rotate


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention; all [batch, T, heads, head_dim] -> [batch, T, hidden]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class OptBlock(nn.Module):
    """x + attention(norm(x)), then x + fc2(relu(fc1(norm(x))))."""

    def __init__(self, hidden: int, heads: int, intermediate: int) -> None:
        super().__init__()
        self.head_dim = hidden // heads
        self.norm, self.mlp_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (Linear(hidden, hidden, bias=True) for _ in range(4))
        self.fc1, self.fc2 = Linear(hidden, intermediate, bias=True), Linear(intermediate, hidden, bias=True)

    def forward(self, x: Tensor, _rotary: tuple[Tensor, Tensor]) -> Tensor:
        normed = self.norm(x)
        heads = (linear(normed).unflatten(-1, (-1, self.head_dim)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        x = x + self.o_proj(attend(*heads))
        return x + self.fc2(functional.relu(self.fc1(self.mlp_norm(x))))


class NeoxBlock(nn.Module):
    """x + attention(norm(x)) + mlp(other norm(x)); as much of each head as the table is wide is rotated."""

    def __init__(self, hidden: int, heads: int, intermediate: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query_key_value, self.dense = Linear(hidden, 3 * hidden, bias=True), Linear(hidden, hidden, bias=True)
        self.up, self.down = Linear(hidden, intermediate, bias=True), Linear(intermediate, hidden, bias=True)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.query_key_value(self.norm(x)).unflatten(-1, (self.heads, -1)).chunk(3, dim=-1)
        cos, sin = (table[:, None] for table in rotary)
        width = cos.shape[-1]
        q, k = (torch.cat((rotate(x[..., :width], (cos, sin)), x[..., width:]), dim=-1) for x in (q, k))
        return x + self.dense(attend(q, k, v)) + self.down(functional.gelu(self.up(self.mlp_norm(x))))
