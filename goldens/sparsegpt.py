"""fixtures/pruning/sparsegpt.{safetensors,json}: SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1).

U is the upper Cholesky factor of H⁻¹ (H⁻¹ = UᵀU). For each block of columns: choose the mask by w²/U_jj², then for each
column j of it, err = (w_j − ŵ_j)/U_jj, subtracted as err·U_j: from the columns to the right. All in f64.
At 50 % the mask of a block is chosen at its start over the block as a whole (all rows); at 2:4 at the first column of each group
of four, within each row. Deviation from the authors' code: exactly ⌊sparsity·n⌋ weights of a block are pruned (theirs
compares with `<=` and takes one more).

Tensors: weight.<pattern>.<block> f64 and mask.<pattern>.<block> for patterns 50, 2of4 and blocks 128, 8. At 2:4 the result
does not depend on the block.
"""

import torch
from torch import Tensor

from fixtures import save_json, save_tensors
from layer_problem import FOLDER, errors, hessian, problem
from selection import keep_highest


def choose(weight: Tensor, pivots: Tensor, pattern: str) -> Tensor:
    """Mask of the columns of `weight` [rows, n]: half of them all, or two of each row of four."""
    scores = weight.square() / pivots.square()
    if pattern == "2of4":
        return keep_highest(scores, 2)
    return keep_highest(scores.flatten(), scores.numel() // 2).reshape(scores.shape)


def sweep(weight: Tensor, inputs: Tensor, mask: Tensor | None, block: int, pattern: str = "") -> Tensor:
    """The pruned and compensated weight, f64; with `mask` None the mask is chosen on the way."""
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian(inputs)), upper=True)
    w = weight.double().clone()
    columns = w.shape[1]
    kept = torch.ones_like(w, dtype=torch.bool) if mask is None else mask
    for start in range(0, columns, block):
        end = min(start + block, columns)
        block_errors = torch.zeros(w.shape[0], end - start, dtype=torch.float64)
        if mask is None and pattern == "50":
            kept[:, start:end] = choose(w[:, start:end], upper.diagonal()[start:end], pattern)
        for j in range(start, end):
            if mask is None and pattern == "2of4" and j % 4 == 0:
                kept[:, j : j + 4] = choose(w[:, j : j + 4], upper.diagonal()[j : j + 4], pattern)
            error = torch.where(kept[:, j], 0.0, w[:, j]) / upper[j, j]
            w[:, j:end] -= error[:, None] * upper[j, j:end]
            w[~kept[:, j], j] = 0.0  # exactly, where the update gives it up to rounding
            block_errors[:, j - start] = error
        w[:, end:] -= block_errors @ upper[start:end, end:]
    return w


def write() -> None:
    weight, inputs = problem()
    tensors, report = {}, {}
    for pattern in ("50", "2of4"):
        for block in (128, 8):
            result = sweep(weight, inputs, None, block, pattern)
            name = f"{pattern}.{block}"
            tensors |= {f"weight.{name}": result, f"mask.{name}": result != 0}
            report[name] = errors(weight, result, inputs)
            assert (result == 0).sum() == weight.numel() // 2
    save_tensors(FOLDER / "sparsegpt.safetensors", tensors)
    save_json(FOLDER / "sparsegpt.json", report)


if __name__ == "__main__":
    write()
