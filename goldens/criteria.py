"""fixtures/pruning/criteria.safetensors: scores and masks (u8, 1 = kept) on the shared layer problem.

    wanda.scores [24, 32] = |W_ij| · ‖X_j‖₂        (Sun et al. 2023, arXiv 2306.11695, eq. 1)
    wanda.50     the lower half of each row is pruned
    wanda.2of4   of each 4 consecutive inputs of a row the 2 highest are kept
    magnitude.50 the lower half of |W| over the whole matrix is pruned
"""

from torch import Tensor

from fixtures import save_tensors
from layer_problem import FOLDER, problem
from selection import keep_highest


def wanda_scores(weight: Tensor, inputs: Tensor) -> Tensor:
    return weight.abs() * inputs.norm(dim=0)


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
    save_tensors(FOLDER / "criteria.safetensors", {"wanda.scores": wanda_scores(*problem())} | masks())


if __name__ == "__main__":
    write()
