"""fixtures/pruning/compensation.{safetensors,json}: the kept weights moved in closed form, for each mask of criteria.

    joint.<mask> [24, 32] f64: per row, w_K' = w_K + w_P·H_PK·H_KK⁻¹, the optimum (arXiv 2410.15567 eq. 11-13)
    sweep.<mask> [24, 32] f64: columns left to right, each pruned one pushes its error right (arXiv 2301.00774)
The JSON gives, for `masked`, `sweep` and `joint`: ‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖² without damping, and ½·tr(δHδᵀ) with it.
"""

import torch
from torch import Tensor

from criteria import masks
from fixtures import save_json, save_tensors
from layer_problem import FOLDER, errors, hessian, problem
from sparsegpt import sweep


def joint(weight: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    """The exact optimum on this mask, row by row, f64; checked against the form with (H⁻¹)_PP."""
    h = hessian(inputs)
    inverse = torch.linalg.inv(h)
    result = torch.zeros_like(weight, dtype=torch.float64)
    for row, (w, kept) in enumerate(zip(weight.double(), mask)):
        lost = w[~kept]
        result[row, kept] = w[kept] + torch.linalg.solve(h[kept][:, kept], h[kept][:, ~kept] @ lost)
        other = w - lost @ torch.linalg.inv(inverse[~kept][:, ~kept]) @ inverse[~kept]
        assert torch.allclose(result[row], other, atol=1e-10)
    return result


def write() -> None:
    weight, inputs = problem()
    tensors, report = {}, {}
    for name, mask in masks().items():
        moved = {"sweep": sweep(weight, inputs, mask, block=8), "joint": joint(weight, inputs, mask)}
        tensors |= {f"{method}.{name}": result for method, result in moved.items()}
        report[name] = {
            method: errors(weight, result, inputs) for method, result in ({"masked": weight * mask} | moved).items()
        }
        losses = [report[name][method]["damped_loss"] for method in ("joint", "sweep", "masked")]
        assert losses == sorted(losses)
    save_tensors(FOLDER / "compensation.safetensors", tensors)
    save_json(FOLDER / "compensation.json", report)


if __name__ == "__main__":
    write()
