"""What runs on the nodes: fetch, process, write. Each returns a small status; none raises for a bad clip.

Ray repeats a task that was lost with its node. Refusals and bad clips are results, and `policy` says what follows.
"""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from kinetics_pipeline.clip import Processed as Made
from kinetics_pipeline.clip import process_clip
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.shards.writer import Superseded, write_shard
from kinetics_pipeline.sources.base import Download, Media, NetworkSource
from kinetics_pipeline.sources.local.tars import unpack
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.video.container import BrokenVideo
from kinetics_pipeline.video.segment import cut_segment, segment_name
from kinetics_pipeline.workflows.building.cache_folders import Located, Workplace, bring, this_node
from kinetics_pipeline.workflows.building.lease import is_current


@dataclass(frozen=True)
class Fetched:
    download: Download
    node: str
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """A file that may hold a clip; `node` is None for a local source, whose files every node sees."""

    media: Media
    node: str | None = None
    home: str | None = None
    """Of a file within an archive: the node that read the archive first, and has its points."""


@dataclass(frozen=True)
class Processed:
    record: Record
    node: str
    bytes: int = 0
    """Of its encoded rows."""


@dataclass(frozen=True)
class Written:
    shard: str
    lost: tuple[str, ...] = ()
    """Clips whose encoded rows are gone with their node; when there are any, nothing was written."""
    bytes: int = 0
    superseded: bool = False
    """A later build holds the lease; nothing was committed."""


@ray.remote(num_cpus=0)
class Fetcher:
    """The downloads of one node, each in a child process that can be killed, at most `slots` at a time."""

    def __init__(self, workplace: Workplace, slots: int) -> None:
        from kinetics_pipeline.sources.child_process import KillableChild

        self.workplace = workplace
        # The last one first: it is running, and keeps connections and the guest session of its last video.
        self.children: queue.LifoQueue[KillableChild] = queue.LifoQueue()
        for _ in range(slots):
            self.children.put(KillableChild())

    def fetch(
        self, source: NetworkSource, video_id: str, clips: Sequence[Clip], time_limit: float, allowance: int
    ) -> Fetched:
        """`allowance`: bytes that the download may write."""
        started = time.monotonic()
        folder = self.workplace.video(source.name, video_id)
        folder.mkdir(parents=True, exist_ok=True)
        child = self.children.get()
        try:
            download = child.download(source, video_id, clips, folder, time_limit, allowance)
        finally:
            self.children.put(child)
        return Fetched(download, this_node(), time.monotonic() - started)

    def forget(self, folders: Sequence[Path]) -> None:
        """Takes away downloads whose clips are all committed."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def process(
    workplace: Workplace,
    clip: Clip,
    candidates: Sequence[Candidate],
    recipe: Recipe,
    label: int,
    time_limit: float,
    before: Record,
    keep: str | None = None,
) -> Processed:
    """One clip from its file to its encoded rows in this node's spool.

    `keep`: where its segment is kept as mp4, before the clip counts as done.

    `before` is the clip's record so far: requests, fetch time and what other sources said are kept in the new one.

    A clip that is in the spool is done: Ray repeats a task whose node went between the work and the word of it.
    """
    spool = Spool(workplace.spool)
    if (kept := spool.get(clip.clip_id)) is not None:
        return Processed(kept[0], this_node(), len(kept[1]))
    with workplace.desk() as desk:
        media = []
        for number, candidate in enumerate(candidates):
            path = candidate.media.path
            if candidate.media.inside is not None:
                try:
                    path = _unpacked(candidate, desk / str(number))
                except OSError as error:
                    reason = f"{path.name} cannot be read on its node: {error.strerror or type(error).__name__}"
                    return Processed(replace(before, outcome="internal", detail=reason), "")
            sound = candidate.media.sound
            if candidate.node is not None:
                try:
                    path = bring(Located(path, candidate.node), desk)
                    sound = bring(Located(sound, candidate.node), desk) if sound else None
                except FileNotFoundError:
                    continue
            media.append(replace(candidate.media, path=path, sound=sound))
        if not media:
            return Processed(replace(before, outcome="internal", detail="the download went with its node"), "")
        done = process_clip(clip, media, recipe, label, decode_timeout=time_limit)
        if done.outcome == "ok" and keep is not None:
            done = _kept(done, clip, keep, desk, time_limit)
    record = replace(
        before,
        outcome=done.outcome,
        detail=done.detail,
        source=done.source,
        frames=done.frames,
        seconds={**before.seconds, **done.seconds},
    )
    if done.outcome == "ok":
        detail = "; ".join(filter(None, (before.detail, done.detail)))
        record = replace(record, detail=detail)
        spool.put(record, done.payload)
    return Processed(record, this_node(), len(done.payload))


def _unpacked(candidate: Candidate, desk: Path) -> Path:
    """A video of an archive as a file in `desk`. Raises OSError."""
    inside = candidate.media.inside
    assert inside is not None
    desk.mkdir()
    points = inside.points
    if points is not None:
        assert candidate.home is not None
        points = bring(Located(points, candidate.home), desk)
    return unpack(candidate.media, desk, points)


def _kept(done: Made, clip: Clip, keep: str, desk: Path, time_limit: float) -> Made:
    """Keeps the clip's segment; a clip whose segment cannot be made is not done, one without its sound is."""
    assert done.media is not None
    began = time.monotonic()
    file, silent = desk / "segment.mp4", done.media.silent
    try:
        try:
            _cut(done.media, clip, file, time_limit)
        except BrokenVideo as error:
            if done.media.sound is None:
                raise
            _cut(replace(done.media, sound=None), clip, file, time_limit)
            silent = f"with it {error}"
    except (BrokenVideo, TimeoutError) as error:
        return replace(done, outcome="internal", detail=f"its segment could not be cut: {error}", payload=b"")
    open_store(keep).upload(file, segment_name(clip))
    detail = "; ".join(filter(None, (done.detail, f"kept without sound: {silent}" if silent else "")))
    return replace(done, detail=detail, seconds={**done.seconds, "keep": round(time.monotonic() - began, 3)})


def _cut(media: Media, clip: Clip, to: Path, time_limit: float) -> None:
    start, end = clip.time_start, clip.time_end
    cut_segment(media.path, start, end, to, offset=media.offset, sound=media.sound, timeout=time_limit)


process_on_cpu = ray.remote(num_cpus=1, max_retries=3)(process)


@ray.remote
class GpuProcessor:
    """Processes on a GPU: several clips at a time, so that decoding and encoding hide behind the flow.

    One actor a GPU, with a few threads; the kernels of different threads share the device. The driver replaces one
    that dies: Ray would restart it only where it finds another GPU, and let its clips wait until then.
    """

    def process(self, *arguments: object) -> Processed:
        return process(*arguments)  # type: ignore[arg-type]


@ray.remote(num_cpus=0, max_retries=3)
def write(
    workplace: Workplace,
    uri: str,
    shard: str,
    plan: str,
    records: Sequence[Record],
    homes: Mapping[str, str],
    recipe: Recipe,
    classes: Sequence[str],
    generation: int,
) -> Written:
    """A shard from the spooled rows of its clips; `homes` says on which node each clip that is ok was spooled."""
    store, spool = open_store(uri), Spool(workplace.spool)
    with workplace.desk() as desk:
        lost = [
            record.clip_id
            for record in records
            if record.outcome == "ok" and not _at_hand(spool, record.clip_id, homes[record.clip_id], desk)
        ]
        if lost:
            return Written(shard, lost=tuple(lost))
        clips = ((record, _rows(record, spool, Spool(desk))) for record in records)
        try:
            marker = write_shard(
                store,
                name=shard,
                plan=plan,
                clips=clips,
                recipe=recipe,
                classes=classes,
                scratch=desk,
                still_current=lambda: is_current(store, generation),
            )
        except _Lost as error:
            return Written(shard, lost=(error.clip_id,))
        except Superseded:
            return Written(shard, superseded=True)
    return Written(shard, bytes=marker["bytes"])


class _Lost(Exception):
    def __init__(self, clip_id: str) -> None:
        super().__init__(clip_id)
        self.clip_id = clip_id


def _at_hand(spool: Spool, clip_id: str, home: str, desk: Path) -> bool:
    try:
        bring(Located(spool.path(clip_id), home), desk)
    except FileNotFoundError:
        return False
    return True


def _rows(record: Record, *spools: Spool) -> bytes:
    if record.outcome != "ok":
        return b""
    for spool in spools:
        if found := spool.get(record.clip_id):
            return found[1]
    raise _Lost(record.clip_id)  # damaged: `get` has removed it


@ray.remote(num_cpus=0, max_retries=1)
def spooled(workplace: Workplace) -> tuple[str, list[Record]]:
    """What earlier runs finished on this node and no shard holds yet."""
    spool = Spool(workplace.spool)
    return this_node(), [found[0] for name in spool.ids() if (found := spool.get(name))]


@ray.remote(num_cpus=0, max_retries=1)
def clear(workplace: Workplace, *, everything: bool) -> None:
    """Takes away what a killed run left half-done on this node; `everything`: downloads and finished clips too.

    Raises UserError when the cache cannot be written.
    """
    if everything:
        workplace.clear()
        return
    shutil.rmtree(workplace.scratch, ignore_errors=True)
    for path in workplace.spool.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    workplace.prepare()


@ray.remote(num_cpus=0, max_retries=1)
def unspool(workplace: Workplace, clip_ids: Sequence[str]) -> None:
    """Takes away the rows of clips that a shard now holds."""
    spool = Spool(workplace.spool)
    for clip_id in clip_ids:
        spool.remove(clip_id)
