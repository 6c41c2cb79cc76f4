"""A whole build in one process and without Ray: the shipped order, stages, lease and commit, one clip after another.

So a build takes a part of a second, and can be killed at each of its writes.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.dataset.card import refresh_card
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards import writer
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.sources.local.folder import FolderSource
from kinetics_pipeline.sources.local.held import held
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building import process as processing
from kinetics_pipeline.workflows.building import write as writing
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.dataset_build import DatasetBuild, Limits, WantedClips
from kinetics_pipeline.workflows.building.disk import CacheUsage, measured
from kinetics_pipeline.workflows.building.executor import Lost, Moment, Ref
from kinetics_pipeline.workflows.building.lanes import Pace
from kinetics_pipeline.workflows.building.lease import Lease
from kinetics_pipeline.workflows.building.process import ClipJob
from kinetics_pipeline.workflows.building.state import RUN
from kinetics_pipeline.workflows.building.write import WriteJob

HERE = "here"


class InlineExecutor:
    """Does what is started at once, in this process. A `BuildExecutor` for local sources."""

    def __init__(self, folders: CacheFolders) -> None:
        self.folders = folders
        self._results: dict[Ref, Any] = {}
        self._numbers = itertools.count()
        setattr(processing, "this_node", lambda: HERE)  # noqa: B010 (there it asks Ray)

    def _done(self, result: Any) -> Ref:
        ref = next(self._numbers)
        self._results[ref] = result
        return ref

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def here(self) -> str:
        return HERE

    def nodes(self) -> Mapping[str, str]:
        return {HERE: HERE}

    def keep_nodes(self, nodes: Collection[str]) -> None:
        """There is one, and it stays."""

    def places(self) -> int:
        return 1

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        return list(refs)

    def start_measuring(self, node: str) -> Ref:
        return self._done(measured(self.folders))

    def start_fetch(self, job: Any, node: str) -> Ref:
        raise NotImplementedError("local sources only")

    def start_clip(self, job: ClipJob) -> Ref:
        try:
            return self._done(processing.process(self.folders, job))
        except FileNotFoundError as error:  # another build has removed what it works in
            return self._done(Lost(str(error)))

    def start_write(self, job: WriteJob, near: str | None) -> Ref:
        return self._done(writing.write(self.folders, job))

    def _take(self, ref: Ref) -> Any:
        return self._results.pop(ref)

    fetched = processed = written = _take

    def measured(self, ref: Ref) -> CacheUsage:
        usage: CacheUsage = self._take(ref)
        return usage

    def cancel(self, ref: Ref, reason: str) -> None:
        """What is started is done."""

    def forget_downloads(self, downloads: Sequence[Any]) -> None:
        """There are none."""

    def forget_rows(self, node: str, clip_ids: Sequence[str]) -> None:
        for clip_id in clip_ids:
            Spool(self.folders.spool).remove(clip_id)

    def finished_clips(self) -> list[tuple[str, list[Record]]]:
        return [(HERE, self.folders.finished())]

    def clear(self, *, everything: bool) -> None:
        if everything:
            self.folders.clear()
        else:
            self.folders.clear_unfinished()

    def end_removals(self) -> None:
        """They ended at once."""


@dataclass(frozen=True)
class InlineBuild:
    """What is built, and where."""

    place: str
    cache: str
    annotations: str
    videos: str
    clips_per_shard: int = 2

    def run(self) -> None:
        """Builds as `job.build` does. Raises UserError."""
        recipe = Recipe(short_side=32, flow="none")
        annotations = load_annotations([self.annotations])
        source = FolderSource(Path(self.videos))
        store = open_store(self.place)
        with Lease.acquire(store) as lease:
            dataset = Dataset.open_or_create(self.place, recipe, annotations.labels, annotations.hashes)
            store.sweep()
            store.write(RUN, json.dumps({"command": "kinetics-pipeline build", "config": {}}).encode())
            folders = CacheFolders.of(Path(self.cache), self.place)
            wanted = WantedClips(
                annotations.columns,
                PlanSettings(clips_per_shard=self.clips_per_shard),
                lambda clips: held(source, clips),
            )
            build = DatasetBuild(
                dataset,
                lease,
                InlineExecutor(folders),
                {"folder": source},
                wanted,
                Limits(Pace(rate=3600.0, time_limit=60.0)),
            )
            for driver in build.drivers(folders.scratch):
                for _ in driver.run():
                    lease.require_held()
            with dataset.one_listing():
                dataset.refresh_index()
            refresh_card(self.place)


# Faults that a campaign must find


def _marker_first() -> None:
    """A shard's marker is written before its data file."""
    upload, committed = writer._upload, writer._committed
    later: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> str:
        later.append(arguments)
        return str(arguments[2])

    def committed_at_last(store: Any, name: str) -> dict[str, Any]:
        while later:
            upload(*later.pop())
        return committed(store, name)

    setattr(writer, "_upload", note)  # noqa: B010 (of another type)
    setattr(writer, "_committed", committed_at_last)  # noqa: B010


def _clip_dropped() -> None:
    """A shard lacks one of its clips."""
    write_shard = writer.write_shard

    def without_the_last(*arguments: Any, **named: Any) -> Any:
        return write_shard(*arguments, **{**named, "clips": list(named["clips"])[:-1] or list(named["clips"])})

    setattr(writing, "write_shard", without_the_last)  # noqa: B010


def _rows_left() -> None:
    """Finished clips stay in the cache after their shard is committed."""
    InlineExecutor.forget_rows = lambda self, node, clip_ids: None  # type: ignore[method-assign]
    CacheFolders.clear = lambda self: None  # type: ignore[method-assign]


PLANTED: dict[str, Callable[[], None]] = {
    "marker first": _marker_first,
    "clip dropped": _clip_dropped,
    "rows left": _rows_left,
}
