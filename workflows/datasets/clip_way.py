"""`status --clip`: the whole way of a clip: plans, tries, record, and the log where it can be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.plan import LOCAL
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.shards.markers import marker_name, parse_marker
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.state import ATTEMPTS, read_state
from kinetics_pipeline.workflows.building.watch.event_log import lines_with, log_folder
from kinetics_pipeline.workflows.building.watch.live import PAUSES, Live
from kinetics_pipeline.workflows.datasets.status import live_state

COLUMNS = ["clip_id", "video_id", "time_start", "time_end", "label", "split", "source", "shard"]
LINES_SHOWN = 200
"""Lines of the log that are shown, the newest."""


def clip_way(uri: str, clip_id: str, cache: Path | None, as_json: bool) -> None:
    """Prints it. Raises UserError where there is no dataset, and for a clip that no plan has."""
    document = look_for(Dataset.open(uri), clip_id, cache_folder(cache))
    if as_json:
        print(json.dumps(document, indent=2))
        return
    for line in _lines(document):
        print(visible(line))


def look_for(dataset: Dataset, clip_id: str, cache: Path) -> dict[str, Any]:
    """`{"clip", "plans": [{"plan", "shard", "label", ..., "record"}], "attempts", "withdrawn", "now", "log"}`."""
    planned = list(_planned(dataset, clip_id))
    if not planned:
        raise UserError(f"--clip is {clip_id!r}, which no plan of {dataset.store.uri} has{_others(dataset, clip_id)}")
    video = planned[-1]["video_id"]
    attempts = read_state(dataset.store, ATTEMPTS, dict[str, list[Event]]) or {}
    withdrawn = dataset.withdrawn()
    live, _ = live_state(dataset.store)
    folder = log_folder(cache.absolute(), CacheFolders.of_dataset(cache, dataset).root.name)
    log = [line for line in lines_with(folder, (clip_id, video)) if _is_of(line, clip_id, video)]
    return {
        "clip": clip_id,
        "plans": planned,
        "attempts": [
            {"outcome": event.outcome, "source": event.source, "detail": event.detail}
            for event in attempts.get(clip_id, [])
        ],
        "withdrawn": withdrawn.get(clip_id) or withdrawn.get(video),
        "now": None if live is None or live.ended else _now(live, clip_id, video),
        "log_folder": str(folder),
        "log": log[-LINES_SHOWN:],
    }


def _planned(dataset: Dataset, clip_id: str) -> Iterator[dict[str, Any]]:
    """The plans that have the clip, oldest first, each with its record where its shard is committed."""
    with dataset.one_listing():
        committed = set(dataset.marker_names())
        for number, table in dataset.plan_columns(COLUMNS):
            for row in table.filter(pc.equal(table["clip_id"], clip_id)).to_pylist():
                is_committed = marker_name(row["shard"]) in committed
                record = _record(dataset, row["shard"], clip_id) if is_committed else None
                yield {"plan": plan_name(number), **row, "committed": is_committed, "record": record}


def _record(dataset: Dataset, shard: str, clip_id: str) -> Mapping[str, Any] | None:
    name = marker_name(shard)
    marker = parse_marker(f"{dataset.store.uri}/{name}", dataset.store.read(name))
    return next((entry for entry in marker.clips if entry["clip_id"] == clip_id), None)


def _others(dataset: Dataset, clip_id: str) -> str:
    """Clips of the video, where somebody gave its id."""
    found: dict[str, None] = {}
    for _, table in dataset.plan_columns(COLUMNS[:2]):
        found |= dict.fromkeys(table.filter(pc.equal(table["video_id"], clip_id))["clip_id"].to_pylist())
    return f"; it has of that video: {', '.join(list(found)[:10])}" if found else ""


def _is_of(line: Mapping[str, Any], clip_id: str, video: str) -> bool:
    if line.get("event") == "fetched":
        clips = line.get("clips")
        return line.get("video") == video and (not isinstance(clips, list) or clip_id in clips)
    return line.get("clip") == clip_id


def _now(live: Live, clip_id: str, video: str) -> str:
    slow = next((one for one in live.stragglers if one.name in (clip_id, video)), None)
    return f"in {slow.stage} for {slow.seconds:.0f} s, usually {slow.usual:.0f} s" if slow is not None else ""


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    last = document["plans"][-1]
    times = "whole" if last["time_start"] is None else f"{last['time_start']:g} to {last['time_end']:g} s"
    yield f"{document['clip']}: video {last['video_id']}, {times}, label {last['label']}, split {last['split']}"
    for one in document["plans"]:
        where = "found in a local source" if one["source"] == LOCAL else "to be fetched"
        yield f"plan {one['plan']}: shard {one['shard']}, {where}"
        yield from _record_lines(one)
    if document["withdrawn"] is not None:
        yield f"withdrawn: {document['withdrawn']}"
    for event in document["attempts"]:
        detail = f": {event['detail']}" if event["detail"] else ""
        if event["outcome"] in PAUSES:
            yield f"tried since, and not counted against it: {PAUSES[event['outcome']]}{detail}"
        else:
            yield f"tried since: {event['outcome']}{detail}"
    if document["now"]:
        yield f"now: {document['now']}"
    if not document["log"]:
        yield f"no log of it on this machine ({document['log_folder']}; --cache names another cache)"
    else:
        yield f"log ({document['log_folder']}):"
    for line in document["log"]:
        yield "  " + _log_line(line)


def _record_lines(planned: Mapping[str, Any]) -> Iterator[str]:
    record = planned["record"]
    if record is None:
        yield "  its shard is committed, without a record of it" if planned["committed"] else "  not committed yet"
        return
    yield f"  outcome {record['outcome']}" + (f": {record['detail']}" if record.get("detail") else "")
    seconds = record.get("seconds") or {}
    spent = ", ".join(f"{step} {value:.1f} s" for step, value in seconds.items())
    told = [f"source {record.get('source') or '-'}", counted(record.get("frames", 0), "frame")]
    told += [counted(record["requests"], "request")] if record.get("requests") else []
    if record.get("source_fps"):
        told.append(f"video of {record['source_width']}x{record['source_height']}, {record['source_fps']:g} fps")
    told += [counted(record["repeated"], "frame repeated", "frames repeated")] if record.get("repeated") else []
    told += [f"finished {record['finished']}"] if record.get("finished") else []
    yield "  " + ", ".join([*told, *filter(None, [spent])])


def _log_line(line: Mapping[str, Any]) -> str:
    """One event in words; of whatever the line holds, which may be anything."""
    told = [str(line.get("time", "")), str(line.get("event", ""))]
    told += [str(line[name]) for name in ("outcome", "lane", "source", "node") if line.get(name)]
    told += [f"{line['seconds']} s"] if line.get("seconds") else []
    told += [counted(line["bytes"], "byte")] if line.get("bytes") else []
    until = "not before" if line.get("event") == "again" else "until"
    told += [f"{until} {line['until']}"] if line.get("until") else []
    told += [str(line["detail"])] if line.get("detail") else []
    return "  ".join(told)
