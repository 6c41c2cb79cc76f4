"""A few clips that stand for many: of each class as many, the same ones whenever they are chosen."""

from __future__ import annotations

import hashlib
from collections import Counter

import pyarrow as pa


def balanced(index: pa.Table, most: int, seed: int = 0) -> list[str]:
    """The ids of at most `most` clips of `index` (columns clip_id, class), sorted.

    Of each class one clip is taken, then of each a second one, and so on; a class that has no more is passed over. In
    which order depends on the ids and `seed` alone, not on the order of `index`.
    """
    columns = (index[name].to_pylist() for name in ("clip_id", "class"))
    drawn = sorted(
        (hashlib.sha256(f"{seed} {clip}".encode()).digest(), clip, of) for clip, of in zip(*columns, strict=True)
    )
    taken: Counter[int] = Counter()
    ranked = []
    for draw, clip, of in drawn:
        ranked.append((taken[of], draw, clip))
        taken[of] += 1
    return sorted(clip for _, _, clip in sorted(ranked)[:most])
