"""TV-L1's inner steps as Triton kernels. A program is one tile of one pair; a launch is all tiles of the pairs listed.

No program waits for another and none writes what another of its launch reads: flow and dual variables exist twice, an
iteration reads one copy and writes the other. Which copy of a pair is the newest follows from the number of iterations
it has made. That number and the sum of squared change exist three times: a launch reads one, adds to the second, and
clears the third for the launch that follows. Sums are integers, so that they depend neither on the order of additions
nor on the tiles: every form of these kernels stops a pair at the same iteration, in every run.

A program leaves a pair alone that has stopped, and `list_live` takes such pairs off the list, without a call of the
host.

Layouts, all contiguous, float32 where nothing else is said: images [frames, H, W]; flow [2 copies, N, 2 (u, v), H, W];
dual [2 copies, N, 4 (p11, p12, p21, p22), H, W]; data [N, 4 (ix, iy, rho, 1 / |gradient|^2), H, W]; change: int64 [3,
N], px^2 times `ONE`; made: int32 [3, N], iterations; first_frames: int32 [N], each pair's first frame; live: int32 [N],
numbers of the pairs that go on, then -1. `now` (0, 1 or 2) is the newest copy of change and made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

from kinetics_pipeline.flow.cuda.median_network import median9, median25

NO_GRADIENT = tl.constexpr(1.1920929e-7)
"""Squared gradients up to this (FLT_EPSILON) are none, as in OpenCV."""

ONE = 2.0**26
"""What a change of 1 px^2 counts in the sums. A pixel's is rounded up, so that none but a change of zero counts as
zero: 2^-26 px^2 are far below the mean at which a pair stops, epsilon^2 = 10^-4 px^2."""
MOST = 4096.0
"""px^2 that a pixel counts at most (a move of 64 px in one iteration): 2^24 pixels then fit into 63 bits."""
SCALE: tl.constexpr = tl.constexpr(ONE)
LIMIT: tl.constexpr = tl.constexpr(MOST)

SIZES = ["now", "pairs", "height", "width"]
"""Arguments whose value is not worth a variant of a kernel: levels have any size, and compiling takes a second."""

Decorator = Callable[[Callable[..., Any]], Any]
helper: Decorator = triton.jit
kernel: Decorator = triton.jit(do_not_specialize=SIZES)


@helper
def _tile(height, width, tile_h: tl.constexpr, tile_w: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows [tile_h, 1] and columns [1, tile_w] of this program's tile."""
    across = tl.cdiv(width, tile_w)
    y = tl.program_id(0) // across * tile_h + tl.arange(0, tile_h)
    x = tl.program_id(0) % across * tile_w + tl.arange(0, tile_w)
    return y[:, None], x[None, :]


@helper
def _goes_on(change, now, pairs, pair, threshold):  # type: ignore[no-untyped-def]
    """Whether a pair's squared change of the last iteration is above the threshold. A pair of -1 does not go on."""
    return tl.load(change + now * pairs + pair, mask=pair >= 0, other=0).to(tl.float32) > threshold


@helper
def _sum(moved):  # type: ignore[no-untyped-def]
    """The sum of a tile's squared changes, px^2, as an integer."""
    return tl.sum(tl.ceil(tl.minimum(moved, LIMIT) * SCALE).to(tl.int64))


@helper
def _cubic(t):  # type: ignore[no-untyped-def]
    """Bicubic weights (A = -0.75) of the taps at -1, 0, 1, 2."""
    before = -0.75 * t * (1.0 + t * (t - 2.0))
    at = 1.0 + t * t * (1.25 * t - 2.25)
    after = t * (0.75 + t * (1.5 - 1.25 * t))
    return before, at, after, 0.75 * t * t * (t - 1.0)


@helper
def _sample_row(image, y, left, wx0, wx1, wx2, wx3, height, width):  # type: ignore[no-untyped-def]
    """Four taps of one row, weighted; zero outside the image."""
    row, inside = image + y * width + left, (y >= 0) & (y < height)
    total = wx0 * tl.load(row - 1, mask=inside & (left >= 1) & (left <= width), other=0.0)
    total += wx1 * tl.load(row, mask=inside & (left >= 0) & (left < width), other=0.0)
    total += wx2 * tl.load(row + 1, mask=inside & (left >= -1) & (left < width - 1), other=0.0)
    return total + wx3 * tl.load(row + 2, mask=inside & (left >= -2) & (left < width - 2), other=0.0)


@helper
def _sample(image, top, left, ty, tx, height, width):  # type: ignore[no-untyped-def]
    wx0, wx1, wx2, wx3 = _cubic(tx)
    wy0, wy1, wy2, wy3 = _cubic(ty)
    total = wy0 * _sample_row(image, top - 1, left, wx0, wx1, wx2, wx3, height, width)
    total += wy1 * _sample_row(image, top, left, wx0, wx1, wx2, wx3, height, width)
    total += wy2 * _sample_row(image, top + 1, left, wx0, wx1, wx2, wx3, height, width)
    return total + wy3 * _sample_row(image, top + 2, left, wx0, wx1, wx2, wx3, height, width)


@kernel
def warp(  # type: ignore[no-untyped-def]
    image,
    image_x,
    image_y,
    first_frames,
    flow,
    data,
    made,
    now,
    pairs,
    height,
    width,
    tile_h: tl.constexpr,
    tile_w: tl.constexpr,
):
    """Fills `data` for the newest flow of every pair. image_x, image_y: centred differences of `image`."""
    pair = tl.program_id(1).to(tl.int64)
    y, x = _tile(height, width, tile_h, tile_w)
    inside, plane = (y < height) & (x < width), height * width
    at = y * width + x
    first = tl.load(first_frames + pair).to(tl.int64) * plane
    second = first + plane
    flow += ((tl.load(made + now * pairs + pair) % 2) * pairs + pair) * 2 * plane
    u, v = tl.load(flow + at, mask=inside, other=0.0), tl.load(flow + plane + at, mask=inside, other=0.0)
    # Two pixels past an edge every tap is zero: positions are kept near, for the indices' sake.
    px = tl.minimum(tl.maximum(x + u, -4.0), width + 4.0)
    py = tl.minimum(tl.maximum(y + v, -4.0), height + 4.0)
    left, top = tl.floor(px), tl.floor(py)
    tx, ty, column, row = px - left, py - top, left.to(tl.int32), top.to(tl.int32)
    warped = _sample(image + second, row, column, ty, tx, height, width)
    ix = _sample(image_x + second, row, column, ty, tx, height, width)
    iy = _sample(image_y + second, row, column, ty, tx, height, width)
    norm = ix * ix + iy * iy
    data += pair * 4 * plane
    tl.store(data + at, ix, mask=inside)
    tl.store(data + plane + at, iy, mask=inside)
    rho = warped - ix * u - iy * v - tl.load(image + first + at, mask=inside, other=0.0)
    tl.store(data + 2 * plane + at, rho, mask=inside)
    inverse = tl.where(norm > NO_GRADIENT, 1.0 / tl.maximum(norm, NO_GRADIENT), 0.0)
    tl.store(data + 3 * plane + at, inverse, mask=inside)


@helper
def _flow_at(flow, dual, data, y, x, height, width, step, theta):  # type: ignore[no-untyped-def]
    """Old and new flow of the pixels (x, y): thresholding step and divergence of the dual variables."""
    plane, at = height * width, y * width + x
    inside = (y < height) & (x < width)
    u, v = tl.load(flow + at, mask=inside, other=0.0), tl.load(flow + plane + at, mask=inside, other=0.0)
    ix, iy = tl.load(data + at, mask=inside, other=0.0), tl.load(data + plane + at, mask=inside, other=0.0)
    rho = tl.load(data + 2 * plane + at, mask=inside, other=0.0) + ix * u + iy * v
    inverse = tl.load(data + 3 * plane + at, mask=inside, other=0.0)
    fi = tl.minimum(tl.maximum(-rho * inverse, -step), step)
    left, above = inside & (x > 0), inside & (y > 0)
    div_u = tl.load(dual + at, mask=inside, other=0.0) - tl.load(dual + at - 1, mask=left, other=0.0)
    div_v = tl.load(dual + 2 * plane + at, mask=inside, other=0.0)
    div_v -= tl.load(dual + 2 * plane + at - 1, mask=left, other=0.0)
    div_u += tl.load(dual + plane + at, mask=inside, other=0.0)
    div_u -= tl.load(dual + plane + at - width, mask=above, other=0.0)
    div_v += tl.load(dual + 3 * plane + at, mask=inside, other=0.0)
    div_v -= tl.load(dual + 3 * plane + at - width, mask=above, other=0.0)
    return u, v, u + fi * ix + theta * div_u, v + fi * iy + theta * div_v


@helper
def _dual_at(old, new, at, plane, gx, gy, tau_over_theta, inside):  # type: ignore[no-untyped-def]
    """Updates the two dual variables of one component of the flow."""
    scale = 1.0 / (1.0 + tau_over_theta * tl.sqrt(gx * gx + gy * gy))
    tl.store(new + at, (tl.load(old + at, mask=inside, other=0.0) + tau_over_theta * gx) * scale, mask=inside)
    other = tl.load(old + plane + at, mask=inside, other=0.0)
    tl.store(new + plane + at, (other + tau_over_theta * gy) * scale, mask=inside)


@kernel
def iterate(  # type: ignore[no-untyped-def]
    live,
    flow,
    dual,
    data,
    change,
    made,
    now,
    threshold,
    step,
    theta,
    tau_over_theta,
    pairs,
    height,
    width,
    tile_h: tl.constexpr,
    tile_w: tl.constexpr,
):
    """One iteration of every pair that has not stopped. step: lambda * theta; threshold: px^2 times `ONE`, of the sum.

    The new dual variables of a pixel need the new flow right of it and below: it is computed again, from values that
    the neighbours load anyway, so that an iteration is one pass over memory.
    """
    pair, then = tl.load(live + tl.program_id(1)).to(tl.int64), (now + 1) % 3
    goes_on = _goes_on(change, now, pairs, pair, threshold)
    count = tl.load(made + now * pairs + pair, mask=pair >= 0, other=0)
    if goes_on:
        plane = height * width
        y, x = _tile(height, width, tile_h, tile_w)
        inside, at = (y < height) & (x < width), y * width + x
        old, new = (count % 2) * pairs + pair, (1 - count % 2) * pairs + pair
        data += pair * 4 * plane
        uv, p = flow + old * 2 * plane, dual + old * 4 * plane
        u, v, new_u, new_v = _flow_at(uv, p, data, y, x, height, width, step, theta)
        _, _, right_u, right_v = _flow_at(uv, p, data, y, x + 1, height, width, step, theta)
        _, _, below_u, below_v = _flow_at(uv, p, data, y + 1, x, height, width, step, theta)
        tl.store(flow + new * 2 * plane + at, new_u, mask=inside)
        tl.store(flow + new * 2 * plane + plane + at, new_v, mask=inside)
        has_right, has_below = x + 1 < width, y + 1 < height
        new_p = dual + new * 4 * plane
        ux, uy = tl.where(has_right, right_u - new_u, 0.0), tl.where(has_below, below_u - new_u, 0.0)
        _dual_at(p, new_p, at, plane, ux, uy, tau_over_theta, inside)
        vx, vy = tl.where(has_right, right_v - new_v, 0.0), tl.where(has_below, below_v - new_v, 0.0)
        _dual_at(p + 2 * plane, new_p + 2 * plane, at, plane, vx, vy, tau_over_theta, inside)
        moved = (new_u - u) * (new_u - u) + (new_v - v) * (new_v - v)
        tl.atomic_add(change + then * pairs + pair, _sum(tl.where(inside, moved, 0.0)), sem="relaxed")
    if (tl.program_id(0) == 0) & (pair >= 0):
        tl.store(made + then * pairs + pair, count + goes_on.to(tl.int32))
        tl.store(change + ((now + 2) % 3) * pairs + pair, 0)


@kernel
def list_live(  # type: ignore[no-untyped-def]
    live, count, change, made, now, threshold, pairs, block: tl.constexpr
):
    """Lists the pairs that go on, in their order, and their number in `count`, int32 [1]. One program.

    All copies of `made`, and those of `change` of pairs that stopped, become what the newest says: a pair that is not
    listed is not kept up to date by `iterate`.
    """
    found = 0
    for start in range(0, pairs, block):
        pair = start + tl.arange(0, block)
        exists = pair < pairs
        goes_on = _goes_on(change, now, pairs, tl.where(exists, pair, -1), threshold)
        tl.store(live + found + tl.cumsum(goes_on.to(tl.int32), 0) - 1, pair, mask=goes_on)
        found += tl.sum(goes_on.to(tl.int32))
        latest = tl.load(made + now * pairs + pair, mask=exists)
        tl.store(made + ((now + 1) % 3) * pairs + pair, latest, mask=exists)
        tl.store(made + ((now + 2) % 3) * pairs + pair, latest, mask=exists)
        for copy in tl.static_range(3):
            tl.store(change + copy * pairs + pair, tl.zeros([block], tl.int64), mask=exists & (goes_on == 0))
    for start in range(found, pairs, block):
        place = start + tl.arange(0, block)
        tl.store(live + place, tl.full([block], -1, tl.int32), mask=place < pairs)
    tl.store(count, found)


@helper
def _pixel(image, y, x, height, width):  # type: ignore[no-untyped-def]
    """A pixel, the border repeated."""
    y, x = tl.minimum(tl.maximum(y, 0), height - 1), tl.minimum(tl.maximum(x, 0), width - 1)
    return tl.load(image + y * width + x)


@helper
def _column(image, y, x, height, width):  # type: ignore[no-untyped-def]
    """The five pixels around (x, y) in its column."""
    above2, above = _pixel(image, y - 2, x, height, width), _pixel(image, y - 1, x, height, width)
    below, below2 = _pixel(image, y + 1, x, height, width), _pixel(image, y + 2, x, height, width)
    return above2, above, _pixel(image, y, x, height, width), below, below2


@kernel
def median(  # type: ignore[no-untyped-def]
    live,
    flow,
    filtered,
    change,
    made,
    now,
    threshold,
    pairs,
    height,
    width,
    side: tl.constexpr,
    tile_h: tl.constexpr,
    tile_w: tl.constexpr,
):
    """Medians of the newest flow of every pair that goes on, into `filtered` [N, 2, H, W]; side: 3 or 5."""
    pair, component = tl.load(live + tl.program_id(1) // 2).to(tl.int64), tl.program_id(1) % 2
    if _goes_on(change, now, pairs, pair, threshold):
        plane = height * width
        y, x = _tile(height, width, tile_h, tile_w)
        newest = (tl.load(made + now * pairs + pair) % 2) * pairs + pair
        image = flow + (newest * 2 + component) * plane
        if side == 5:
            result = median25(
                _column(image, y, x - 2, height, width),
                _column(image, y, x - 1, height, width),
                _column(image, y, x, height, width),
                _column(image, y, x + 1, height, width),
                _column(image, y, x + 2, height, width),
            )
        else:
            result = median9(
                _column(image, y, x - 1, height, width),
                _column(image, y, x, height, width),
                _column(image, y, x + 1, height, width),
            )
        target = filtered + (pair * 2 + component) * plane + y * width + x
        tl.store(target, result, mask=(y < height) & (x < width))


@kernel
def take_filtered(  # type: ignore[no-untyped-def]
    live,
    flow,
    filtered,
    change,
    made,
    now,
    threshold,
    pairs,
    height,
    width,
    tile_h: tl.constexpr,
    tile_w: tl.constexpr,
):
    """Puts what `median` made in the newest flow's place."""
    pair, component = tl.load(live + tl.program_id(1) // 2).to(tl.int64), tl.program_id(1) % 2
    if _goes_on(change, now, pairs, pair, threshold):
        plane = height * width
        y, x = _tile(height, width, tile_h, tile_w)
        inside, at = (y < height) & (x < width), y * width + x
        newest = (tl.load(made + now * pairs + pair) % 2) * pairs + pair
        values = tl.load(filtered + (pair * 2 + component) * plane + at, mask=inside)
        tl.store(flow + (newest * 2 + component) * plane + at, values, mask=inside)
