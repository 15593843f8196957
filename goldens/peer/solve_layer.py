"""Time the authors' way of pruning one layer with SparseGPT in PyTorch f32 (arXiv 2301.00774, algorithm 1).

    python goldens/peer/solve_layer.py --threads 2 --shape 576 1536 --pattern 50

From a weight [d_out, d_in] and its Hessian: Cholesky factor, inverse, upper Cholesky factor of the inverse; then blocks of 128
columns, in which one column after another is pruned and the columns to its right in the block are moved by an outer product, and
after which the columns beyond the block are moved by one product. 2:4 masks are chosen at the first column of each group. Prints a
JSON line with the seconds of `--rounds` runs and the error that the result leaves, so that both sides can be seen to do the same.
"""

import argparse
import json
import time

import torch
from torch import Tensor

BLOCK = 128
DAMPING = 0.01


def problem(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Weight [rows, columns] and the Hessian of correlated inputs [columns, columns]."""
    torch.manual_seed(0)
    tokens = 2 * columns
    shared = torch.randn(tokens, max(columns // 8, 1)) @ torch.randn(max(columns // 8, 1), columns) / columns**0.5
    inputs = torch.randn(tokens, columns) + shared
    return torch.randn(rows, columns), 2 * inputs.T @ inputs


def sparsegpt(weight: Tensor, hessian: Tensor, pattern: str) -> Tensor:
    w, h = weight.clone(), hessian.clone()
    columns = w.shape[1]
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    h.diagonal().add_(DAMPING * h.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    upper = torch.linalg.cholesky(inverse, upper=True)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        block, u = w[:, start:end].clone(), upper[start:end, start:end]
        kept, errors = torch.zeros_like(block), torch.zeros_like(block)
        if pattern == "50":
            scores = block.square() / u.diagonal().square()
            threshold = scores.flatten().sort().values[scores.numel() // 2]
            pruned = scores <= threshold
        else:
            pruned = torch.zeros_like(block, dtype=torch.bool)
        for j in range(end - start):
            column, pivot = block[:, j], u[j, j]
            if pattern == "2:4" and j % 4 == 0:
                scores = block[:, j : j + 4].square() / u.diagonal()[j : j + 4].square()
                pruned.scatter_(1, j + scores.topk(2, dim=1, largest=False).indices, True)
            remaining = column.clone()
            remaining[pruned[:, j]] = 0
            kept[:, j] = remaining
            error = (column - remaining) / pivot
            block[:, j:] -= error[:, None] @ u[j : j + 1, j:]
            errors[:, j] = error
        w[:, start:end] = kept
        w[:, end:] -= errors @ upper[start:end, end:]
    return w


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=2, default=(576, 1536), metavar=("D_OUT", "D_IN"))
    parser.add_argument("--pattern", choices=("50", "2:4"), default="50")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    weight, hessian = problem(*arguments.shape)
    seconds = []
    with torch.no_grad():
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            result = sparsegpt(weight, hessian, arguments.pattern)
            seconds.append(time.perf_counter() - start)
        delta = weight - result
        error = ((delta @ hessian) * delta).sum() / ((weight @ hessian) * weight).sum()
    print(json.dumps({"seconds": seconds, "relative_output_error": error.item(), "sparsity": (result == 0).float().mean().item()}))


if __name__ == "__main__":
    main()
