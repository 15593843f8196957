"""Input statistics, the Wanda mask, and the joint compensation by conjugate gradients."""

import torch
from torch import Tensor

from block import Block, Linear, product

DAMPING = 0.01
ITERATIONS = 20


def linears(block: Block) -> list[tuple[Linear, str]]:
    """Every prunable linear of a block with the name under which the block taps its input."""
    attention, mlp = block.attention, block.mlp
    return [
        (attention.q_proj, "attention"), (attention.k_proj, "attention"), (attention.v_proj, "attention"),
        (attention.o_proj, "o_proj"), (mlp.gate_proj, "mlp"), (mlp.up_proj, "mlp"), (mlp.down_proj, "down_proj"),
    ]


class Statistics:
    """Sums over the inputs x [tokens, d_in] of each tap: Σx² per column, or the Gram matrix XᵀX."""

    def __init__(self, gram: bool) -> None:
        self.gram = gram
        self.sums: dict[str, Tensor] = {}

    def __call__(self, name: str, inputs: Tensor) -> None:
        x = inputs.flatten(0, 1)
        update = product(x.T, x.T) if self.gram else x.square().sum(0)
        self.sums[name] = self.sums[name].add_(update) if name in self.sums else update

    def column_norms(self, name: str) -> Tensor:
        sums = self.sums[name]
        return (sums.diagonal() if self.gram else sums).sqrt()


def wanda_mask(weight: Tensor, column_norms: Tensor, pattern: str) -> Tensor:
    """True = kept. Scores |W_ij|·‖X_j‖; half of each row, or two of each four inputs (arXiv 2306.11695)."""
    scores = weight.abs() * column_norms
    groups = scores.unflatten(1, (-1, 4)) if pattern == "2:4" else scores
    width = groups.shape[-1]
    pruned = groups.topk(width // 2, dim=-1, largest=False, sorted=False).indices
    return torch.ones_like(groups, dtype=torch.bool).scatter_(-1, pruned, False).view_as(scores)


def joint(weight: Tensor, mask: Tensor, gram: Tensor) -> Tensor:
    """Minimise tr((W − Ŵ)H(W − Ŵ)ᵀ) over Ŵ that obeys the mask; every row is a problem of its own, solved together.

    Conjugate gradients restricted to the mask, Jacobi preconditioner, H = G + 0.01·mean(diag G)·I.
    """
    kept = mask.to(weight.dtype)
    hessian = gram.clone()
    hessian.diagonal().add_(DAMPING * gram.diagonal().mean())
    inverse_diagonal = 1 / hessian.diagonal()
    solution = weight * kept
    residual = product(weight - solution, hessian).mul_(kept)  # H is symmetric: P·Hᵀ = P·H
    preconditioned = residual * inverse_diagonal
    direction = preconditioned.clone()
    energy = (residual * preconditioned).sum(1, keepdim=True)
    tiny = torch.finfo(weight.dtype).tiny
    for _ in range(ITERATIONS):
        curvature = product(direction, hessian).mul_(kept)
        step = energy / (direction * curvature).sum(1, keepdim=True).clamp_min(tiny)
        solution.addcmul_(direction, step)
        residual.addcmul_(curvature, step, value=-1)
        torch.mul(residual, inverse_diagonal, out=preconditioned)
        previous, energy = energy, (residual * preconditioned).sum(1, keepdim=True)
        direction.mul_(energy / previous.clamp_min(tiny)).add_(preconditioned)
    return solution
