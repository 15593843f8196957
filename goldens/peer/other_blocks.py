"""Decoder blocks of OPT, GPT-NeoX, BLOOM, Gemma 3 and one with experts in plain PyTorch, for the peers to time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from block import Attention, Linear, Shape, rotate


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


class BloomBlock(nn.Module):
    """x + attention(norm(x)), then x + down(gelu(up(norm(x)))); scores fall with the distance instead of rotary positions (ALiBi)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query_key_value, self.dense = Linear(hidden, 3 * hidden, bias=True), Linear(hidden, hidden, bias=True)
        self.up, self.down = Linear(hidden, 4 * hidden, bias=True), Linear(4 * hidden, hidden, bias=True)
        self.biases: dict[int, Tensor] = {}

    def bias(self, length: int) -> Tensor:
        """What is added to the scores [heads, T, T], future tokens hidden; made once."""
        if length not in self.biases:
            slopes = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1) / self.heads)
            positions = torch.arange(length)
            steps = (positions[None, :] - positions[:, None]).float()
            self.biases[length] = (slopes[:, None, None] * steps).masked_fill(steps > 0, float("-inf"))
        return self.biases[length]

    def forward(self, x: Tensor, _rotary: tuple[Tensor, Tensor]) -> Tensor:
        heads = self.query_key_value(self.norm(x)).unflatten(-1, (self.heads, -1)).chunk(3, dim=-1)
        q, k, v = (head.transpose(1, 2) for head in heads)
        bias = self.bias(x.shape[1]).to(q.dtype)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        x = x + self.dense(mixed)
        return x + self.down(functional.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))


class GemmaBlock(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(down(gelu(gate) · up)); norms of queries and keys, every key for all queries."""

    def __init__(self, hidden: int, heads: int, head_dim: int, intermediate: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norms = nn.ModuleList(nn.RMSNorm(hidden, 1e-6) for _ in range(4))
        self.q_norm, self.k_norm = nn.RMSNorm(head_dim, 1e-6), nn.RMSNorm(head_dim, 1e-6)
        self.q_proj, self.o_proj = Linear(hidden, heads * head_dim), Linear(heads * head_dim, hidden)
        self.k_proj, self.v_proj = Linear(hidden, head_dim), Linear(hidden, head_dim)
        self.gate, self.up, self.down = Linear(hidden, intermediate), Linear(hidden, intermediate), Linear(intermediate, hidden)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        normed = self.norms[0](x)
        q, k, v = (
            linear(normed).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(self.q_norm(q), rotary), rotate(self.k_norm(k), rotary)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.norms[1](self.o_proj(mixed.transpose(1, 2).flatten(2)))
        normed = self.norms[2](x)
        gated = functional.gelu(self.gate(normed), approximate="tanh") * self.up(normed)
        return x + self.norms[3](self.down(gated))


class StateSpaceBlock(nn.Module):
    """The first block of a model as transformers has it, in plain PyTorch, called with nothing but states. Its weights are not masked."""

    def __init__(self, family: str, **sizes: object) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.for_model(family, vocab_size=1, num_hidden_layers=1, pad_token_id=None, **sizes)
        self.block = AutoModel.from_config(config).layers[0]
        self.unused = {"position_embeddings": None} if family.startswith("qwen") else {}

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        return self.block(x, **self.unused)


class Expert(nn.Module):
    """down(silu(gate(x)) · up(x))"""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = Linear(hidden, intermediate), Linear(hidden, intermediate)
        self.down_proj = Linear(intermediate, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class ExpertsBlock(nn.Module):
    """x + attention(norm(x)), then x + the weighted sum of the experts of each token: a loop over those that any token reaches, each with
    its rows picked and added where they came from, as transformers does on a CPU."""

    def __init__(self, shape: Shape, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.attention, self.norm = Attention(shape), nn.RMSNorm(shape.hidden, shape.eps)
        self.router = nn.Linear(shape.hidden, experts, bias=False)
        self.experts = nn.ModuleList(Expert(shape.hidden, shape.intermediate) for _ in range(experts))

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        x = self.attention(x, rotary)
        rows = self.norm(x).flatten(0, 1)
        weights, chosen = functional.softmax(self.router(rows).float(), dim=-1).topk(self.top_k, dim=-1)
        y = torch.zeros_like(rows)
        for index in chosen.unique().tolist():
            token, place = (chosen == index).nonzero(as_tuple=True)
            given = self.experts[index](rows[token]) * weights[token, place, None]
            y = y.index_add(0, token, given.to(y.dtype))
        return x + y.unflatten(0, x.shape[:2])
