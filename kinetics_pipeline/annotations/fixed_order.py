"""The order in which clips are planned: that of a hash of their video, whatever is selected and however a file is
sorted."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.records import perhaps_repeated

SEED = b"kinetics-pipeline"
"""Seed of the order of videos. Never changed: a dataset grows in this order over many runs."""
AT_ONCE = 1 << 16
"""Videos that are made Python objects at a time."""


def ordered(clips: pa.Table) -> pa.Table:
    """Sorts by the video's hash, then by time, a whole video before its parts. 128 bits: no two videos share a hash."""
    twice = clips["clip_id"].take(pa.array(perhaps_repeated(clips["clip_id"])))
    if pc.count_distinct(twice).as_py() != len(twice):
        raise ValueError("a clip is asked for twice")
    high, low = _video_hashes(clips["video_id"])
    order = np.argsort(high)
    same = np.flatnonzero(np.diff(high[order]) == 0)
    tied = np.unique(np.concatenate([same, same + 1]))  # nearly always the clips of one video
    rows = order[tied]
    few = clips.select(["time_start", "time_end"]).take(pa.array(rows))
    start, end = (pc.fill_null(few[name], -1.0).to_numpy() for name in ("time_start", "time_end"))
    order[tied] = rows[np.lexsort((rows, end, start, low[rows], high[rows]))]
    return clips.take(pa.array(order))


def _video_hashes(videos: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower half of each video's hash, uint64 [N]."""
    hashes, begun = bytearray(), hashlib.blake2b(digest_size=16, key=SEED)
    for begin in range(0, len(videos), AT_ONCE):
        for video in videos.slice(begin, AT_ONCE).cast(pa.binary()).to_pylist():
            one = begun.copy()
            one.update(video)
            hashes += one.digest()
    keys = np.frombuffer(hashes, dtype=">u8").reshape(-1, 2)
    return keys[:, 0].astype(np.uint64), keys[:, 1].astype(np.uint64)
