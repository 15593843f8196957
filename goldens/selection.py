"""Masks from scores, with a guard: a golden must not hang on a tie that rounding could turn."""

from torch import Tensor

SMALLEST_GAP = 1e-5


def keep_highest(scores: Tensor, pruned: int) -> Tensor:
    """Mask (true = kept) over the last dimension that drops its `pruned` lowest scores."""
    ordered = scores.sort(-1).values
    gap = ordered[..., pruned] / ordered[..., pruned - 1]
    assert (gap > 1 + SMALLEST_GAP).all(), "two scores at the cut are too close; choose another seed"
    return scores.argsort(-1).argsort(-1) >= pruned
