"""fixtures/pruning/criteria.safetensors: scores and masks (u8, 1 = kept) on the shared layer problem.

    wanda.scores [24, 32] = |W_ij| · ‖X_j‖₂        (Sun et al. 2023, arXiv 2306.11695, eq. 1)
    wanda.50     the lower half of each row is pruned
    wanda.2of4   of each 4 consecutive inputs of a row the 2 highest are kept
    magnitude.50 the lower half of |W| over the whole matrix is pruned
    ria.scores [24, 32] = (|W_ij|/Σ_k|W_kj| + |W_ij|/Σ_k|W_ik|) · ‖X_j‖₂^½   (Zhang et al., ICLR 2024)
    ria.50       the lower half of each row is pruned
    flap.scores [24, 32] = W_ij² · Var(X_j)         (An et al., AAAI 2024, arXiv 2312.11983: WIFV, weight by weight)
    wanda.neurons, flap.neurons [32]   of the inputs the half with the highest sums over rows are kept
    obs.scores [24, 32] = W_ij² / (2·[H⁻¹]_jj)      (arXiv 2410.15567 eq. 14)
    obs.50, obs.2of4
    mrp.2of4, mrp.4of8  of each group the subset P with the smallest ½·w_P·[(H⁻¹)_PP]⁻¹·w_Pᵀ is pruned   (ibid., eq. 12)
"""

from itertools import combinations

import torch
from torch import Tensor

from fixtures import save_tensors
from layer_problem import FOLDER, hessian, problem
from selection import keep_highest


def wanda_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    return weight.abs() * inputs.norm(dim=0)


def ria_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    size = weight.double().abs()
    return (size / size.sum(0) + size / size.sum(1, keepdim=True)) * inputs.double().norm(dim=0).sqrt()


def flap_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    return weight.double().square() * inputs.double().var(dim=0, unbiased=False)


def obs_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    return weight.double().square() / (2 * torch.linalg.inv(hessian(inputs)).diagonal())


def cheapest_subsets(weight: Tensor, inputs: Tensor, keep: int, of: int) -> Tensor:
    """Mask (true = kept): of each group of a row the subset whose joint removal costs least."""
    inverse, weight = torch.linalg.inv(hessian(inputs)), weight.double()
    mask = torch.ones_like(weight, dtype=torch.bool)
    for row, w in enumerate(weight):
        for first in range(0, len(w), of):
            losses = {}
            for subset in combinations(range(first, first + of), of - keep):
                members = list(subset)
                losses[subset] = 0.5 * w[members] @ torch.linalg.inv(inverse[members][:, members]) @ w[members]
            best, second = sorted(losses.values())[:2]
            assert second > best * (1 + 1e-5), "two subsets are too close; choose another seed"
            mask[row, list(min(losses, key=losses.get))] = False
    return mask


def heavier() -> dict[str, Tensor]:
    """Scores and masks of the criteria that look at more than one weight or input at a time."""
    weight, inputs = problem()
    rows, columns = weight.shape
    ria, obs, flap = ria_scores(weight, inputs), obs_scores(weight, inputs), flap_scores(weight, inputs)
    return {
        "flap.scores": flap,
        "wanda.neurons": keep_highest(wanda_scores(weight, inputs).sum(0), columns // 2),
        "flap.neurons": keep_highest(flap.sum(0), columns // 2),
        "ria.scores": ria,
        "ria.50": keep_highest(ria, columns // 2),
        "obs.scores": obs,
        "obs.50": keep_highest(obs, columns // 2),
        "obs.2of4": keep_highest(obs.reshape(rows, -1, 4), 2).reshape(rows, columns),
        "mrp.2of4": cheapest_subsets(weight, inputs, 2, 4),
        "mrp.4of8": cheapest_subsets(weight, inputs, 4, 8),
    }


def masks() -> dict[str, Tensor]:
    """The three masks [24, 32] that compensation is tested on."""
    weight, inputs = problem()
    scores = wanda_scores(weight, inputs)
    rows, columns = weight.shape
    return {
        "wanda.50": keep_highest(scores, columns // 2),
        "wanda.2of4": keep_highest(scores.reshape(rows, -1, 4), 2).reshape(rows, columns),
        "magnitude.50": keep_highest(weight.abs().flatten(), weight.numel() // 2).reshape(rows, columns),
    }


def write() -> None:
    scores = {"wanda.scores": wanda_scores(*problem())}
    save_tensors(FOLDER / "criteria.safetensors", scores | masks() | heavier())


if __name__ == "__main__":
    write()
