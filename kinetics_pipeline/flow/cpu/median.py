"""The median filter on the flow, borders repeated, by networks of minima and maxima without a branch.

Sorting the five pixels of every column once serves the five windows that it is in. In each window the rows (the five
smallest, ..., the five largest of the columns) are then sorted; of a matrix sorted both ways, twelve elements cannot be
the median, and the median of the other thirteen is that of all 25. Operations whose result nobody reads are dropped by
the compiler, so full sorts are written where part of one is needed.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from kinetics_pipeline.flow.cpu.layout import FIELDS, pitch_of, rounded_up, row_start
from kinetics_pipeline.flow.cpu.simd import LANES, least, load, most, store


@njit(forceinline=True)
def _sorted5(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Nine comparisons (the shortest network of five)."""
    a, d = least(a, d), most(a, d)
    b, e = least(b, e), most(b, e)
    a, c = least(a, c), most(a, c)
    b, d = least(b, d), most(b, d)
    a, b = least(a, b), most(a, b)
    c, e = least(c, e), most(c, e)
    b, c = least(b, c), most(b, c)
    d, e = least(d, e), most(d, e)
    c, d = least(c, d), most(c, d)
    return a, b, c, d, e


@njit(forceinline=True)
def _median_of_sorted_columns(scratch: Any, at: int, line: int) -> Any:
    """The medians of sixteen 5x5 windows; row k of the scratch, `line` floats long, holds the k-th of every column.

    The comparisons after the sorts were found by a search over all 252 ways to split a sorted matrix into low and high.
    """
    _, _, _, a3, a4 = _sorted5(*_window(scratch, at))
    _, _, b2, b3, b4 = _sorted5(*_window(scratch, at + line))
    _, c1, c2, c3, _ = _sorted5(*_window(scratch, at + 2 * line))
    d0, d1, d2, _, _ = _sorted5(*_window(scratch, at + 3 * line))
    e0, e1, _, _, _ = _sorted5(*_window(scratch, at + 4 * line))
    b3, e0 = least(b3, e0), most(b3, e0)
    a4, d1 = least(a4, d1), most(a4, d1)
    b3, c2 = least(b3, c2), most(b3, c2)
    c2, d0 = least(c2, d0), most(c2, d0)
    a3, d0 = least(a3, d0), most(a3, d0)
    b4, c1 = least(b4, c1), most(b4, c1)
    b3, d1 = least(b3, d1), most(b3, d1)
    d2, e0 = least(d2, e0), most(d2, e0)
    a4, d0 = least(a4, d0), most(a4, d0)
    b2, e1 = least(b2, e1), most(b2, e1)
    b4, d2 = least(b4, d2), most(b4, d2)
    d2, e1 = least(d2, e1), most(d2, e1)
    a3, d2 = least(a3, d2), most(a3, d2)
    c1, c2 = least(c1, c2), most(c1, c2)
    c2, d2 = least(c2, d2), most(c2, d2)
    c2, d0 = least(c2, d0), most(c2, d0)
    b2, d1 = least(b2, d1), most(b2, d1)
    c2, c3 = least(c2, c3), most(c2, c3)
    a4, c2 = least(a4, c2), most(a4, c2)
    c2, d1 = least(c2, d1), most(c2, d1)
    return c2


@njit(forceinline=True)
def _window(scratch: Any, at: int) -> Any:
    return load(scratch, at - 2), load(scratch, at - 1), load(scratch, at), load(scratch, at + 1), load(scratch, at + 2)


@njit(forceinline=True)
def _median3(a: Any, b: Any, c: Any) -> Any:
    return most(least(a, b), least(most(a, b), c))


@njit(forceinline=True)
def _median_of_sorted_columns3(scratch: Any, at: int, line: int) -> Any:
    """The medians of sixteen 3x3 windows: of the largest minimum, the median median and the smallest maximum."""
    low, middle, high = at + line, at + 2 * line, at + 3 * line
    return _median3(
        most(most(load(scratch, low - 1), load(scratch, low)), load(scratch, low + 1)),
        _median3(load(scratch, middle - 1), load(scratch, middle), load(scratch, middle + 1)),
        least(least(load(scratch, high - 1), load(scratch, high)), load(scratch, high + 1)),
    )


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def median(state: Any, field: int, height: int, width: int, side: int, scratch: Any) -> None:
    """Filters one field in place. side: 3 or 5; scratch: 8 * (rounded_up(width) + 2 * LANES) floats.

    A row's result waits in the scratch until the rows below have read what was there.
    """
    padded, step = rounded_up(width), FIELDS * pitch_of(width)
    line = padded + 2 * LANES
    first = row_start(0, width) + field * pitch_of(width)
    waiting = 5 * line
    for y in range(height):
        here = first + y * step
        up1, down1 = first + max(y - 1, 0) * step, first + min(y + 1, height - 1) * step
        up2, down2 = first + max(y - 2, 0) * step, first + min(y + 2, height - 1) * step
        for x in range(0, padded, LANES):
            at = LANES + x
            b, c, d = load(state, up1 + x), load(state, here + x), load(state, down1 + x)
            if side == 5:
                a, b, c, d, e = _sorted5(load(state, up2 + x), b, c, d, load(state, down2 + x))
                store(scratch, at, a)
                store(scratch, at + 4 * line, e)
            else:
                b, c, d = least(least(b, c), d), _median3(b, c, d), most(most(b, c), d)
            store(scratch, at + line, b)
            store(scratch, at + 2 * line, c)
            store(scratch, at + 3 * line, d)
        for rank in range(5):
            start = rank * line + LANES
            scratch[start - 2] = scratch[start - 1] = scratch[start]
            scratch[start + width] = scratch[start + width + 1] = scratch[start + width - 1]
        if y >= 2:
            _copy(scratch, waiting + (y - 2) % 3 * line, state, here - 2 * step, padded)
        result = waiting + y % 3 * line
        for x in range(0, padded, LANES):
            if side == 5:
                store(scratch, result + x, _median_of_sorted_columns(scratch, LANES + x, line))
            else:
                store(scratch, result + x, _median_of_sorted_columns3(scratch, LANES + x, line))
    for y in range(max(height - 2, 0), height):
        _copy(scratch, waiting + y % 3 * line, state, first + y * step, padded)


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _copy(source: Any, start: int, target: Any, to: int, count: int) -> None:
    for x in range(0, count, LANES):
        store(target, to + x, load(source, start + x))
