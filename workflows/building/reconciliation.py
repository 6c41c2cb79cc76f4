"""What was asked beside what there is: for each split and source the clips that are there, lacking, broken or replaced,
and the videos that nobody asked for; beside the counts that are known of Kinetics.

It is computed from the commit markers, and kept beside the dataset as `reconciliation.json` by each build.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from kinetics_pipeline.annotations.published import PUBLISHED
from kinetics_pipeline.annotations.table import clips_of
from kinetics_pipeline.dataset.card import write_card
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.records import ENLARGED, NEEDS_ACCESS, RETRYABLE, Clip, among
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.archives.copies import COPIES, CVDF
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.state import last_run, read_state

if TYPE_CHECKING:
    from kinetics_pipeline.workflows.building.request import Asked

FILE = "reconciliation.json"
_KINDS = ["split", "outcome", "source", "detail"]
_ENTRIES = pa.schema([(name, pa.string()) for name in ("clip_id", *_KINDS)])
SUMMARY_COLUMNS = _ENTRIES.append(pa.field("rows", pa.int16()))
"""What counts, card and reconciliation are made of."""
SOURCES = "state/sources.json"
"""What the last build's sources held."""
NO_FILE = ": no file"
"""What follows the name of a source that had nothing, in the detail of a record (`building.driver`)."""
USED = "used "
"""How the detail begins that names the file which took the place of a broken one (`clip.process_clip`)."""


_Count = Annotated[int, msgspec.Meta(ge=0)]


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one source holds."""

    videos: _Count
    extra: _Count
    """Those that no clip asks for."""
    archives: _Count = 0
    """Archives of a public copy, as far as they are listed."""
    unread: _Count = 0
    """Those that were not read yet."""
    damaged: _Count = 0
    """Those of which only a part could be read."""
    lost: _Count = 0
    """Those of which nothing could be had, or that were not there."""
    sizes_unknown: _Count = 0
    """Those whose servers do not say a size, or that are not there."""

    def told(self, name: str) -> str:
        """A line about the archives of a copy; empty for another source."""
        if not self.archives:
            return ""
        kinds = {"not read yet": self.unread, "read in part": self.damaged, "lost": self.lost}
        more = {"of unknown size": self.sizes_unknown}
        return f"{name}: {counted(self.archives, 'archive')}" + "".join(
            f", {number} {kind}" for kind, number in (kinds | more).items() if number
        )


@dataclass
class SourceCounts:
    """Clips of one split, as far as one source is concerned."""

    there: int = 0
    """Given by it."""
    lacking: int = 0
    """It had none."""
    broken: int = 0
    """Its file was broken or too short, and no other source gave the clip."""
    replaced: int = 0
    """Given by it, by a file that takes the place of a broken one."""
    enlarged: int = 0
    """Given by it, from pictures smaller than the recipe's short side."""


@dataclass
class SplitCounts:
    """Clips of one split."""

    asked: int = 0
    known: int | None = None
    """Clips of the list as it was published, where that is known."""
    in_copy: int | None = None
    """Videos of the public copy, where that is known."""
    there: int = 0
    lacking: int = 0
    """Nobody has them: `not_found`, `gone`."""
    broken: int = 0
    """`decode`, `too_short`."""
    needs_access: int = 0
    may_come: int = 0
    """Clips to be tried again, or not tried yet."""
    withdrawn: int = 0
    sources: dict[str, SourceCounts] = field(default_factory=dict)


@dataclass
class Reconciliation:
    splits: dict[str, SplitCounts]
    held: dict[str, Held]
    """What the last build's local sources held, by name."""
    versions: list[str]
    """The versions of Kinetics that were asked for by name."""
    terms: list[str]

    def enlarged(self) -> Counter[str]:
        """Clips by source that came from pictures smaller than the recipe's short side."""
        found = Counter[str]()
        for counts in self.splits.values():
            found.update({name: one.enlarged for name, one in counts.sources.items() if one.enlarged})
        return found

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        return document | {"held": {name: msgspec.structs.asdict(one) for name, one in self.held.items()}}


def enlarged_from(detail: str) -> int:
    """The short side, in pixels, of the pictures that a clip was enlarged from, by its record's detail; 0 where it was
    not."""
    found = re.search(rf"(?:^|; ){ENLARGED}(\d{{1,5}})(?:;|$)", detail)
    return int(found[1]) if found else 0


def note_sources(store: Store, asked: Asked) -> None:
    """Keeps with the dataset what the sources of a build hold beyond what is asked."""
    from kinetics_pipeline.sources.local.folder import FolderSource
    from kinetics_pipeline.sources.local.tars import TarSource
    from kinetics_pipeline.sources.objects.videos import ObjectVideos
    from kinetics_pipeline.workflows.building.copies import CopySource

    table, held = asked.annotations.columns, {}
    for key, source in zip(asked.keys, asked.sources, strict=True):
        if isinstance(source, CopySource):
            held[source.name] = _held_in_archives(store, key, source.name, clips_of(table))
        elif isinstance(source, TarSource):
            held[source.name] = Held(len(source), len(source.orphans(clips_of(table))))
        elif isinstance(source, FolderSource) and not len(source):
            held[source.name] = Held(0, 0)
        elif isinstance(source, FolderSource):
            used = {str(media.path) for clip in clips_of(table) for media in source.candidates(clip)}
            held[source.name] = Held(len(source), max(0, len(source) - len(used)))
        elif isinstance(source, ObjectVideos) and source.paths is not None:
            keys = {key for clip in clips_of(table) for key, _ in source.keys(clip)}
            held[source.name] = Held(len(source.paths), max(0, len(source.paths) - len(keys)))
    store.write(SOURCES, msgspec.json.encode(held))


def _held_in_archives(store: Store, key: str, name: str, clips: Iterable[Clip]) -> Held:
    """What the archives of a copy hold that were read so far."""
    from kinetics_pipeline.sources.local.tars import ArchiveSource
    from kinetics_pipeline.workflows.building.archives.state import ArchiveState, as_archive

    state = ArchiveState(store)
    known = [(one, state.contents(one)) for one in state.list.archives if one.copy == key]
    source = ArchiveSource(name, [as_archive(one, contents) for one, contents in known if contents is not None])
    found = [contents for _, contents in known]
    return Held(
        len(source),
        len(source.orphans(clips)),
        archives=len(known),
        unread=sum(contents is None for contents in found),
        damaged=sum(bool(one.damage) and not one.given_up for one in found if one is not None),
        lost=sum(one.given_up for one in found if one is not None),
        sizes_unknown=sum(None in one.sizes or one.is_absent for one, _ in known),
    )


def reconcile(dataset: Dataset) -> Reconciliation:
    """See the module. Raises JobFailed where the dataset is damaged."""
    versions, cvdf = _asked_by_name(dataset)
    splits: dict[str, SplitCounts] = {}
    entries = dataset.newest_table(_ENTRIES)
    kinds = entries.group_by(_KINDS, use_threads=False).aggregate([([], "count_all")]).to_pylist()
    names = {kind["source"] for kind in kinds if kind["source"]}
    for kind in kinds:
        counts = splits.setdefault(kind["split"], SplitCounts())
        counts.asked += kind["count_all"]
        details = (kind["detail"] or "").split("; ")
        _add(counts, kind["outcome"], kind["source"] or "", details, names, kind["count_all"])
    for split, number in _pending(dataset, entries["clip_id"]).items():
        counts = splits.setdefault(split, SplitCounts())
        counts.asked += number
        counts.may_come += number
    if len(versions) == 1:
        for split, counts in splits.items():
            counts.known = PUBLISHED[versions[0]].asked.get(split)
            counts.in_copy = PUBLISHED[versions[0]].in_copy.get(split)
    held = read_state(dataset.store, SOURCES, dict[str, Held]) or {}
    return Reconciliation(dict(sorted(splits.items())), held, versions, _terms(versions, cvdf))


def refresh_summaries(uri: str) -> None:
    """Writes the card and `FILE` beside a dataset that may or may not be there. Nothing is raised: a build that ends
    for another reason says that one."""
    with suppress(UserError, OSError):
        dataset = Dataset.open(uri)
        with dataset.one_listing():
            write_summaries(dataset)


def write_summaries(dataset: Dataset) -> None:
    """Writes the card and `FILE` of a dataset. Nothing is raised, as by `refresh_summaries`."""
    for write in (write_card, write_reconciliation):
        with suppress(UserError, OSError):
            write(dataset)


def write_reconciliation(dataset: Dataset) -> None:
    dataset.store.write(FILE, (json.dumps(reconcile(dataset).to_json(), indent=1) + "\n").encode())


def _add(counts: SplitCounts, outcome: str, source: str, details: list[str], names: set[str], clips: int) -> None:
    """Counts clips of which the same is recorded."""
    without = {one.partition(NO_FILE)[0] for one in details if NO_FILE in one}
    for name in without:
        counts.sources.setdefault(name, SourceCounts()).lacking += clips
    if outcome == "ok":
        counts.there += clips
        mine = counts.sources.setdefault(source, SourceCounts())
        mine.there += clips
        mine.replaced += clips * any(one.startswith(USED) for one in details)
        mine.enlarged += clips * any(enlarged_from(one) > 0 for one in details)
        return
    kind = _kind(outcome)
    setattr(counts, kind, getattr(counts, kind) + clips)
    others = names - without
    if kind in ("broken", "lacking") and len(others) == 1:  # of several nobody can say which it was
        mine = counts.sources.setdefault(others.pop(), SourceCounts())
        setattr(mine, kind, getattr(mine, kind) + clips)


def _kind(outcome: str) -> str:
    if outcome in ("decode", "too_short"):
        return "broken"
    if outcome in NEEDS_ACCESS:
        return "needs_access"
    if outcome in RETRYABLE:
        return "may_come"
    return "withdrawn" if outcome == "withdrawn" else "lacking"


def _pending(dataset: Dataset, recorded: pa.ChunkedArray) -> Counter[str]:
    """Clips by split that a plan has and no marker."""
    waiting: dict[str, str] = {}
    for plan in dataset.open_plan_columns(["clip_id", "shard"]):
        left = plan.filter(pc.invert(among(plan["clip_id"], recorded)))
        for clip, shard in zip(left["clip_id"].to_pylist(), left["shard"].to_pylist(), strict=True):
            waiting[clip] = shard.rpartition("-")[0]
    return Counter(waiting.values())


def _asked_by_name(dataset: Dataset) -> tuple[list[str], bool]:
    """The versions of Kinetics that the last command named, and whether the public copy was a source."""
    run = last_run(dataset.store)
    try:
        words = [] if run is None else shlex.split(run.command)
    except ValueError:
        return [], False
    return list(dict.fromkeys(word.lower() for word in words if word.lower() in PUBLISHED)), CVDF in words


def terms_of(dataset: Dataset) -> list[str]:
    """The terms of the annotations and copies that the last command named."""
    with suppress(JobFailed):  # what the last build left behind is damaged; the clips are not
        return _terms(*_asked_by_name(dataset))
    return []


def _terms(versions: Sequence[str], cvdf: bool) -> list[str]:
    annotations = [f"{name}: {PUBLISHED[name].terms}" for name in versions]
    return annotations + [f"{name}: {COPIES[name].terms}" for name in versions if cvdf and name in COPIES]


def told(found: Reconciliation) -> list[list[str]]:
    """Rows for a table: split, source, asked, there, lacking, broken, replaced, extra, known."""
    rows = []
    for split, counts in found.splits.items():
        known = "" if counts.known is None else str(counts.known)
        replaced = sum(one.replaced for one in counts.sources.values())
        numbers = (counts.asked, counts.there, counts.lacking, counts.broken, replaced)
        rows.append([split, "all", *map(str, numbers), "", known])
        for name, one in sorted(counts.sources.items(), key=lambda item: -item[1].there):
            asked = one.there + one.lacking + one.broken
            extra = _extra(found.held, name)
            in_copy = "" if counts.in_copy is None or name != CVDF else str(counts.in_copy)
            numbers = (asked, one.there, one.lacking, one.broken, one.replaced)
            rows.append(["", name, *map(str, numbers), extra, in_copy])
    return rows


def _extra(held: Mapping[str, Held], name: str) -> str:
    return str(held[name].extra) if name in held else ""
