"""Medians of 3x3 and 5x5 windows by minima and maxima, as Triton functions; `cpu.median` explains the networks."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _sorted5(a, b, c, d, e):  # type: ignore[no-untyped-def]
    a, d = tl.minimum(a, d), tl.maximum(a, d)
    b, e = tl.minimum(b, e), tl.maximum(b, e)
    a, c = tl.minimum(a, c), tl.maximum(a, c)
    b, d = tl.minimum(b, d), tl.maximum(b, d)
    a, b = tl.minimum(a, b), tl.maximum(a, b)
    c, e = tl.minimum(c, e), tl.maximum(c, e)
    b, c = tl.minimum(b, c), tl.maximum(b, c)
    d, e = tl.minimum(d, e), tl.maximum(d, e)
    c, d = tl.minimum(c, d), tl.maximum(c, d)
    return a, b, c, d, e


@triton.jit
def _median3(a, b, c):  # type: ignore[no-untyped-def]
    return tl.maximum(tl.minimum(a, b), tl.minimum(tl.maximum(a, b), c))


@triton.jit
def median9(a, b, c):  # type: ignore[no-untyped-def]
    """The median of a 3x3 window: three columns of five pixels, of which [1], [2] and [3] count."""
    low = tl.maximum(_least3(a), tl.maximum(_least3(b), _least3(c)))
    high = tl.minimum(_most3(a), tl.minimum(_most3(b), _most3(c)))
    middle = _median3(_median3(a[1], a[2], a[3]), _median3(b[1], b[2], b[3]), _median3(c[1], c[2], c[3]))
    return _median3(low, middle, high)


@triton.jit
def _least3(a):  # type: ignore[no-untyped-def]
    return tl.minimum(a[1], tl.minimum(a[2], a[3]))


@triton.jit
def _most3(a):  # type: ignore[no-untyped-def]
    return tl.maximum(a[1], tl.maximum(a[2], a[3]))


@triton.jit
def median25(a, b, c, d, e):  # type: ignore[no-untyped-def]
    """The median of a 5x5 window, given as five columns."""
    p = _sorted5(a[0], a[1], a[2], a[3], a[4])
    q = _sorted5(b[0], b[1], b[2], b[3], b[4])
    r = _sorted5(c[0], c[1], c[2], c[3], c[4])
    s = _sorted5(d[0], d[1], d[2], d[3], d[4])
    t = _sorted5(e[0], e[1], e[2], e[3], e[4])
    _, _, _, a3, a4 = _sorted5(p[0], q[0], r[0], s[0], t[0])
    _, _, b2, b3, b4 = _sorted5(p[1], q[1], r[1], s[1], t[1])
    _, c1, c2, c3, _ = _sorted5(p[2], q[2], r[2], s[2], t[2])
    d0, d1, d2, _, _ = _sorted5(p[3], q[3], r[3], s[3], t[3])
    e0, e1, _, _, _ = _sorted5(p[4], q[4], r[4], s[4], t[4])
    b3, e0 = tl.minimum(b3, e0), tl.maximum(b3, e0)
    a4, d1 = tl.minimum(a4, d1), tl.maximum(a4, d1)
    b3, c2 = tl.minimum(b3, c2), tl.maximum(b3, c2)
    c2, d0 = tl.minimum(c2, d0), tl.maximum(c2, d0)
    a3, d0 = tl.minimum(a3, d0), tl.maximum(a3, d0)
    b4, c1 = tl.minimum(b4, c1), tl.maximum(b4, c1)
    b3, d1 = tl.minimum(b3, d1), tl.maximum(b3, d1)
    d2, e0 = tl.minimum(d2, e0), tl.maximum(d2, e0)
    a4, d0 = tl.minimum(a4, d0), tl.maximum(a4, d0)
    b2, e1 = tl.minimum(b2, e1), tl.maximum(b2, e1)
    b4, d2 = tl.minimum(b4, d2), tl.maximum(b4, d2)
    d2, e1 = tl.minimum(d2, e1), tl.maximum(d2, e1)
    a3, d2 = tl.minimum(a3, d2), tl.maximum(a3, d2)
    c1, c2 = tl.minimum(c1, c2), tl.maximum(c1, c2)
    c2, d2 = tl.minimum(c2, d2), tl.maximum(c2, d2)
    c2, d0 = tl.minimum(c2, d0), tl.maximum(c2, d0)
    b2, d1 = tl.minimum(b2, d1), tl.maximum(b2, d1)
    c2, c3 = tl.minimum(c2, c3), tl.maximum(c2, c3)
    a4, c2 = tl.minimum(a4, c2), tl.maximum(a4, c2)
    c2, d1 = tl.minimum(c2, d1), tl.maximum(c2, d1)
    return c2
