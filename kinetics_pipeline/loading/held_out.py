"""Clips held out of a training split, to look at while a network trains: whole groups of clips that look alike.

Clips cut from one video differ little, so one half of a video says nothing of how well the other half was learned. A
group is: of UCF-101 the group of a class (`v_Archery_g08_c01`: g08), of HMDB-51 the video that the clip was cut from
(`April_09_brush_hair_u_nm_np1_ba_goo_0`: April_09), of other datasets the video.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict

import pyarrow as pa

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted

_UCF = re.compile(r"v_(.+)_g(\d+)_c\d+")
_HMDB = re.compile(r"(.+)_[a-z]_[cn]m_np\d+_[a-z]{2}_(?:bad|med|goo)_\d+")
"""VIDEO_ACTION, then body parts, camera motion, people, view, quality and number (HMDB-51's web page)."""


def group_of(video_id: str, label: str) -> str:
    """The name of the group that a clip is in."""
    if (ucf := _UCF.fullmatch(video_id)) is not None:
        return f"{ucf[1]} g{ucf[2]}"
    if (hmdb := _HMDB.fullmatch(video_id)) is not None:
        return hmdb[1].removesuffix(f"_{label.replace(' ', '_')}")
    return video_id


def held_out(index: pa.Table, share: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """The clip ids of `index` (columns clip_id, video_id, label) to train on, and those held out, both sorted.

    Whole groups are held out, in an order that depends on their names and `seed` alone, until every class has `share`
    of its clips there; each class keeps at least one group to train on. Clips without a label are in neither.

    Raises UserError when no class has a second group.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    columns = (index[name].to_pylist() for name in ("clip_id", "video_id", "label"))
    for clip_id, video_id, label in zip(*columns, strict=True):
        if label is not None:
            members[group_of(video_id, label)].append((clip_id, label))
    clips = Counter(label for group in members.values() for _, label in group)
    groups_left = Counter(label for group in members.values() for label in {label for _, label in group})
    held: Counter[str] = Counter()
    out: list[str] = []
    for name in sorted(members, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest()):
        counts = Counter(label for _, label in members[name])
        wanted = any(held[label] < share * clips[label] for label in counts)
        if wanted and all(groups_left[label] > 1 for label in counts):
            held += counts
            groups_left.subtract(counts.keys())
            out += [clip_id for clip_id, _ in members[name]]
    if not out:
        raise UserError(
            f"no class has two groups of clips, so that one could be held out; {counted(len(members), 'group')} in all"
        )
    chosen = set(out)
    kept = [clip_id for group in members.values() for clip_id, _ in group if clip_id not in chosen]
    return sorted(kept), sorted(out)
