"""What the driver tells, as lines of the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kinetics_pipeline.records import Record
from kinetics_pipeline.workflows.building.events import (
    BuildEvent,
    ClipFinished,
    ClipProcessed,
    ClipTakenBack,
    ClipTriedAgain,
    ShardCommitted,
    VideoFetched,
)
from kinetics_pipeline.workflows.building.executor import Lost, Moment
from kinetics_pipeline.workflows.building.watch.event_log import Line, iso
from kinetics_pipeline.workflows.building.watch.live import LaneState, Live


def lines_of(events: Sequence[BuildEvent], names: Mapping[str, str], now: Moment) -> Iterator[Line]:
    """`names`: of the nodes, by id."""
    time = iso(now.unix)
    for event in events:
        if isinstance(event, ClipFinished):
            yield _record(time, "finished", event.record)
        elif isinstance(event, ClipProcessed):
            yield _processed(time, event, names)
        elif isinstance(event, VideoFetched):
            yield _fetched(time, event, names)
        elif isinstance(event, ClipTriedAgain):
            yield Line(time, "again", clip=event.clip_id, until=iso(now.unix + event.after_seconds))
        elif isinstance(event, ClipTakenBack):
            yield _record(time, "taken_back", event.record)
        elif isinstance(event, ShardCommitted):
            seconds = round(event.seconds, 3)
            yield Line(time, "committed", shard=event.name, stage="write", seconds=seconds, bytes=event.bytes)


def _record(time: str, event: str, record: Record) -> Line:
    return Line(
        time,
        event,
        clip=record.clip_id,
        video=record.video_id,
        source=record.source,
        outcome=record.outcome,
        seconds=round(sum(record.seconds.values()), 3),
        requests=record.requests,
        detail=record.detail,
    )


def _processed(time: str, event: ClipProcessed, names: Mapping[str, str]) -> Line:
    clip, result = event.job.clip, event.result
    line = Line(time, "processed", clip=clip.clip_id, video=clip.video_id, stage="process")
    if isinstance(result, Lost):
        line.outcome, line.detail = "lost", result.reason
        return line
    record = result.record
    line.steps = {step: seconds for step, seconds in record.seconds.items() if step != "fetch"}
    line.node, line.seconds = names.get(result.node, ""), round(sum(line.steps.values()), 3)
    line.source, line.outcome, line.bytes = record.source, record.outcome, result.bytes
    line.detail = record.detail if record.outcome != "ok" else ""
    return line


def _fetched(time: str, event: VideoFetched, names: Mapping[str, str]) -> Line:
    job, result = event.answer.job, event.answer.result
    clips = [clip.clip_id for clip in job.clips]
    line = Line(time, "fetched", video=job.video_id, clips=clips, stage="fetch", lane=event.answer.lane)
    if isinstance(result, Lost):
        line.outcome, line.detail = "lost", result.reason
        return line
    download = result.download
    line.node, line.seconds = names.get(result.node, ""), round(result.seconds, 3)
    line.bytes, line.requests, line.outcome = download.bytes_fetched, download.requests, "ok"
    if download.failure is not None:
        line.outcome, line.detail = download.failure.outcome, download.failure.detail
    elif download.no_room:
        line.outcome, line.detail = "no_room", "it goes on when there is room"
    return line


def pauses(before: Sequence[LaneState], live: Live) -> Iterator[LaneState]:
    """The lanes that were paused since."""
    known = {lane.name: lane.paused_until for lane in before}
    for lane in live.lanes:
        if lane.paused_until > live.time and lane.paused_until != known.get(lane.name, 0.0):
            yield lane
