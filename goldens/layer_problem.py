"""fixtures/pruning/problem.safetensors: the layer problem that all pruning goldens share.

    weight [24, 32], inputs [200, 32]: correlated, with columns of very different norms, f32
    H = 2·XᵀX + γ·I, γ = 0.01 · mean(diag(2·XᵀX)): the damping convention of every golden in this folder.
"""

import torch
from torch import Tensor

from fixtures import FIXTURES, generator, save_json, save_tensors

FOLDER = FIXTURES / "pruning"
ROWS, COLUMNS, TOKENS = 24, 32, 200
DAMPING = 0.01


def problem() -> tuple[Tensor, Tensor]:
    """Weight [24, 32] and inputs [200, 32], f32."""
    source = generator(7)
    mixing = torch.randn(COLUMNS, COLUMNS, generator=source) / COLUMNS**0.5 + 0.5 * torch.eye(COLUMNS)
    scale = torch.exp(0.7 * torch.randn(COLUMNS, generator=source))
    inputs = (torch.randn(TOKENS, COLUMNS, generator=source) @ mixing) * scale
    return torch.randn(ROWS, COLUMNS, generator=source), inputs


def hessian(inputs: Tensor) -> Tensor:
    """The damped Hessian [32, 32], f64."""
    twice_gram = 2 * inputs.double().T @ inputs.double()
    return twice_gram + DAMPING * twice_gram.diagonal().mean() * torch.eye(COLUMNS, dtype=torch.float64)


def errors(weight: Tensor, pruned: Tensor, inputs: Tensor) -> dict[str, float]:
    """How far the output moves, and the damped loss ½·tr(δHδᵀ) that compensation minimises."""
    weight, pruned, inputs = weight.double(), pruned.double(), inputs.double()
    delta = pruned - weight
    relative = (delta @ inputs.T).square().sum() / (weight @ inputs.T).square().sum()
    loss = 0.5 * ((delta @ hessian(inputs)) * delta).sum()
    return {"relative_output_error": relative.item(), "damped_loss": loss.item()}


def write() -> None:
    weight, inputs = problem()
    save_tensors(FOLDER / "problem.safetensors", {"weight": weight, "inputs": inputs})
    gamma = DAMPING * (2 * inputs.double().square().sum(0)).mean().item()
    save_json(FOLDER / "problem.json", {"hessian": "2 XᵀX + γI", "damping": DAMPING, "gamma": gamma})


if __name__ == "__main__":
    write()
