"""What is known of a clip: what was asked (`Clip`), what became of it (`Record`), and the outcomes there are."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

from kinetics_pipeline.redaction import html_table

Final = Literal["gone", "not_found", "too_short", "decode", "withdrawn"]
NeedsAccess = Literal["private", "age_restricted", "members_only", "geo_blocked"]
Retryable = Literal["network", "no_format", "internal"]
Outcome = Literal["ok", Final, NeedsAccess, Retryable]

FINAL: frozenset[str] = frozenset(get_args(Final))
"""Outcomes that trying again cannot change."""
NEEDS_ACCESS: frozenset[str] = frozenset(get_args(NeedsAccess))
"""Outcomes that credentials or another place might change."""
RETRYABLE: frozenset[str] = frozenset(get_args(Retryable))
"""Outcomes that another day might change."""
OUTCOMES: frozenset[str] = frozenset({"ok"}) | FINAL | NEEDS_ACCESS | RETRYABLE

HOPE: tuple[Outcome, ...] = (
    "withdrawn",
    "not_found",
    "gone",
    "decode",
    "too_short",
    "geo_blocked",
    "members_only",
    "private",
    "age_restricted",
    "internal",
    "no_format",
    "network",
    "ok",
)
"""Every outcome, from the least to the most hopeful: of several failures of one clip the last in this order counts.

`withdrawn` comes first only for the order to be total: a withdrawn clip is never tried.
"""

ENLARGED = "enlarged from a short side of "
"""How the part of a detail begins that says that a picture was smaller than the recipe asks; the pixels follow."""

MAX_ID = 128
VIDEO_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_ID}}}")
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_TIME = r"\d{6,}(?:\.\d{3})?"
CLIP_ID = re.compile(rf"(?P<video>{VIDEO_ID.pattern}?)(?:_{_TIME}_{_TIME})?")
"""What `clip_id` makes. A video's own id may end as if it had times; then it is taken for a clip of another video."""
SPLIT = re.compile(r"[a-z0-9_]+")
_TEXTS_AT_ONCE = 1 << 16


def clip_id(video_id: str, time_start: float | None = None, time_end: float | None = None) -> str:
    """`{video_id}_{start:06d}_{end:06d}` in whole seconds, three decimals when not whole; the id alone without times.

    >>> clip_id("0wR5jVB-WPk", 417, 427), clip_id("abc", 1.5, 3), clip_id("abc")
    ('0wR5jVB-WPk_000417_000427', 'abc_000001.500_000003', 'abc')
    """
    if time_start is None or time_end is None:
        return video_id
    return f"{video_id}_{_seconds(time_start)}_{_seconds(time_end)}"


@lru_cache(maxsize=1 << 16)  # the clips of a list begin at few different seconds
def _seconds(time: float) -> str:
    milliseconds = round(time * 1000)
    return f"{milliseconds // 1000:06d}" if milliseconds % 1000 == 0 else f"{milliseconds / 1000:010.3f}"


@dataclass(frozen=True)
class Clip:
    """A labelled piece of a video, as an annotation file asks for it. Times are seconds of the whole video."""

    clip_id: str
    video_id: str
    time_start: float | None
    """None (with `time_end`) for a whole video."""
    time_end: float | None
    label: str | None
    """None for a test clip without a label."""
    split: str
    path: str | None = None
    """The file as the annotation names it, relative to a folder given as source; None where it names an id."""


@dataclass(frozen=True)
class Spent:
    """What a clip took before it was processed, and what the sources that failed said of it."""

    requests: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each stage took."""
    detail: str = ""


@dataclass(frozen=True)
class FrameFacts:
    """What is known of the frames of a clip that is ok, and of the video they come from. None: not recorded."""

    source_fps: float | None = None
    """Frames a second of the video file, the mean where they vary."""
    source_width: int | None = None
    source_height: int | None = None
    """Pixels of a picture in the file, before it is turned or scaled."""
    repeated: int | None = None
    """Stored RGB frames whose bytes are those of the frame before: of a video slower than the recipe's frame rate."""


_NO_FACTS = FrameFacts()


@lru_cache(maxsize=16)
def _utc(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Record:
    """What became of a clip: one for every clip of a shard, in its commit marker. JSON through `to_json`."""

    clip_id: str
    video_id: str
    time_start: float | None
    time_end: float | None
    label: str | None
    outcome: Outcome
    detail: str = ""
    """Why, in words without account names, addresses or signed URLs; of every source that failed."""
    source: str = ""
    """The source that gave the clip: `youtube`, a URL template, a folder; empty when none did."""
    requests: int = 0
    """Network requests spent on the clip's video (extractions and downloads)."""
    frames: int = 0
    """RGB frames stored; flow has as many."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Processing time by stage (`fetch`, `decode`, `flow`, `encode`)."""
    source_fps: float | None = None
    source_width: int | None = None
    source_height: int | None = None
    repeated: int | None = None
    """These four: see `FrameFacts`. None also in datasets that were built before they were recorded."""
    finished: str | None = None
    """When the clip had its outcome: UTC, `2026-11-28T05:40:42Z`. None as above."""

    @classmethod
    def of(
        cls,
        clip: Clip,
        outcome: Outcome,
        detail: str,
        spent: Spent,
        *,
        source: str = "",
        frames: int = 0,
        facts: FrameFacts | None = None,
    ) -> Record:
        """The record of a clip that ends with `outcome`; `at` says when."""
        return cls(
            clip_id=clip.clip_id,
            video_id=clip.video_id,
            time_start=clip.time_start,
            time_end=clip.time_end,
            label=clip.label,
            outcome=outcome,
            detail=detail,
            source=source,
            requests=spent.requests,
            frames=frames,
            seconds=dict(spent.seconds),
            **vars(facts or _NO_FACTS),
        )

    def at(self, unix: float) -> Record:
        """The record of a clip that had its outcome at this time, seconds since 1970."""
        return Record(**{**vars(self), "finished": _utc(int(unix))})

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "seconds": dict(self.seconds)}  # a hundred times as fast as `asdict`

    def _repr_html_(self) -> str:
        """How a notebook shows it: what is known, a line each."""
        known = {name: value for name, value in self.to_json().items() if value not in (None, "", {})}
        return html_table(f"clip {self.clip_id}: {self.outcome}", list(known.items())[1:])

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Record:
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in document.items() if k in known})


def most_hopeful(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome, of several, that leaves most hope (`HOPE`). Raises ValueError when there are none."""
    return max(outcomes, key=HOPE.index)


def clip_ids(videos: pa.Array, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    """`clip_id` of many clips; times are float64 [N], NaN for a whole video."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = np.isnan(starts)

    def texts(times: np.ndarray) -> pa.Array:
        different, places = np.unique(np.where(whole, 0.0, times), return_inverse=True)
        return pa.array([_seconds(time) for time in different.tolist()], pa.string()).take(pa.array(places))

    timed = pc.binary_join_element_wise(videos, texts(starts), texts(ends), "_")
    return pc.if_else(pa.array(whole), videos, timed) if whole.any() else timed


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 [N]: numbers that are equal for equal texts, and nearly always only for these. Others in each process."""
    import numpy as np

    found = array("q")
    for begin in range(0, len(texts), _TEXTS_AT_ONCE):
        found.extend(map(hash, texts.slice(begin, _TEXTS_AT_ONCE).to_pylist()))
    return np.asarray(found, np.int64)


def perhaps_repeated(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The rows, in their order, whose text some other row has too; of texts with equal hashes all. Takes a tenth of the
    memory of a set of the texts."""
    import numpy as np

    hashes = text_hashes(texts)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(np.diff(hashes[order]) == 0)
    return np.unique(order[np.concatenate([same, same + 1])])


def count_different(texts: pa.ChunkedArray) -> int:
    """How many of the texts are different; in a fraction of the memory of a set of them where most are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    some = texts.take(pa.array(perhaps_repeated(texts)))
    return len(texts) - len(some) + int(pc.count_distinct(some).as_py())


def among(clip_ids: pa.ChunkedArray, known: pa.ChunkedArray) -> pa.Array:
    """Marks the clip_ids that are among the known ones, which are all different. `pyarrow.compute.is_in` says the same
    with several times the memory, which for a million ids is hundreds of megabytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(clip_ids) or not len(known):
        return pa.array(np.zeros(len(clip_ids), np.bool_))
    of_known = text_hashes(known)
    order = np.argsort(of_known)
    places = np.searchsorted(of_known[order], text_hashes(clip_ids))
    nearest = known.combine_chunks().take(pa.array(order[np.minimum(places, len(order) - 1)]))
    return pc.fill_null(pc.equal(clip_ids.combine_chunks(), nearest), False)
