"""Axes of tensors."""

from __future__ import annotations

from torch import Tensor


def split_axis(x: Tensor, axis: int, sizes: tuple[int, int]) -> Tensor:
    """`x` with one axis made two of these sizes, of which one may be -1 for what is left.

    It is torch's `unflatten`, which has no types.
    """
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])
