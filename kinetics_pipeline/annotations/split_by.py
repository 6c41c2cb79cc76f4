"""`--split-by 0.9,0.1`: clips without a split are shared out among train, val and test, by video."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import CLIP_ID

SEED = b"kinetics-split"
"""Never changed: a video keeps its split, whatever else is asked for."""
NAMES = ("train", "val", "test")


def parse_shares(text: str) -> tuple[float, ...]:
    """`0.9,0.1` -> shares of train and val, or with a third of test, too. Raises UserError."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) not in (2, 3) or not all(0 < share < 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"--split-by is {text!r}; allowed: shares of train,val or train,val,test that add up to 1")
    return shares


def split_of(video_id: str, shares: Sequence[float]) -> str:
    """The split of a video: by a hash of its id, so that it does not depend on the other videos. The pieces of one
    video (`{id}_{start}_{end}`) share it."""
    named = CLIP_ID.fullmatch(video_id)
    video = named["video"] if named is not None else video_id
    digest = hashlib.blake2b(video.encode(), digest_size=8, key=SEED).digest()
    drawn = int.from_bytes(digest, "big") / 2**64
    for name, share in zip(NAMES, shares, strict=False):
        if drawn < share:
            return name
        drawn -= share
    return NAMES[len(shares) - 1]
