"""The live state: counted from what the driver tells, judged by pure functions, stored and read as untrusted text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, Spent
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.workflows.building.events import BuildEvent, ClipFinished, ClipProcessed, ClipTakenBack
from kinetics_pipeline.workflows.building.executor import Moment
from kinetics_pipeline.workflows.building.process import ClipJob, Processed
from kinetics_pipeline.workflows.building.watch.judgement import limiting, why_nothing_goes_on
from kinetics_pipeline.workflows.building.watch.live import LIVE, CacheState, Live, Straggler, read_live
from kinetics_pipeline.workflows.building.watch.look import LaneLook, Look, Work
from kinetics_pipeline.workflows.building.watch.observer import Observer
from kinetics_pipeline.workflows.datasets.live_screen import lines, summary
from tests.builders.driven_builds import DrivenBuild, Watched
from tests.builders.youtube_builds import asked_for

NOW = Moment(1e9, 1000.0)
LANE = LaneLook("youtube", "youtube", 5, 1, 1, 12.0, 0.0, 0.0, "", False, 10, 1000)


class Server:
    """A source that has three of four videos; the others' answer is `failure`."""

    on_network, paced, name, uses_credentials = True, True, "server", False

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def accepts(self, video_id: str) -> bool:
        return True

    def for_clips(self, clips: object) -> Server:
        return self

    def download(self, video_id: str, clips: tuple[Clip, ...], folder: Path, *_: object) -> Download:
        if sum(video_id.encode()) % 4 == 0:
            return Download(failure=self.failure, requests=1)
        return Download({clip.clip_id: Media(folder / "x.mp4", self.name) for clip in clips}, None, 1, 1000, 1000)

    def probe(self, clip: Clip, folder: Path) -> Download:
        return Download(requests=1)


def test_the_state_counts_what_the_shards_hold(tmp_path: Path) -> None:
    build = DrivenBuild(tmp_path, Server(Failure("gone", "it was removed")))  # type: ignore[arg-type]
    watched = Watched()
    videos = [f"okokoko{number:04d}" for number in range(30)]
    table = load_annotations([str(asked_for(tmp_path, videos).annotations)]).table
    assert build.run(table, watched=watched) == 0
    live = watched.states[-1]
    assert live.outcomes == Counter(build.outcomes.values())
    assert (live.done, live.total, live.shards) == (30, 30, len(build.executor.written_shards))
    assert live.bytes_fetched == 1000 * live.outcomes["ok"]
    assert [node.clips for node in live.nodes] == [live.outcomes["ok"]]
    assert [(error.kind, error.count, error.detail) for error in live.errors] == [
        ("gone", live.outcomes["gone"], "it was removed")
    ]
    assert all(earlier.done <= later.done for earlier, later in zip(watched.states, watched.states[1:], strict=False))


def test_without_a_network_the_reason_is_told_within_30_seconds(tmp_path: Path) -> None:
    build = DrivenBuild(tmp_path, Server(Failure("network", "", unreachable=True)))  # type: ignore[arg-type]
    build.source.failure = Failure("network", "no route to host", unreachable=True)  # type: ignore[attr-defined]
    build.source.download = lambda *_: Download(failure=build.source.failure)  # type: ignore[attr-defined, method-assign]
    watched = Watched()
    table = load_annotations([str(asked_for(tmp_path, [f"okokoko{n:04d}" for n in range(8)]).annotations)]).table
    assert build.run(table, watched=watched, max_wait=120.0) == 3
    told = [live for live in watched.states if live.no_progress]
    assert told[0].no_progress == "server cannot be reached from here: no route to host"
    assert told[0].time - told[0].since <= 30


def record(number: int, outcome: str = "ok") -> Record:
    clip = Clip(f"v{number}_000000_000010", f"v{number}", 0.0, 10.0, "a", "train")
    return Record.of(clip, outcome, "", Spent(0, {"decode": 1.0, "flow": 8.0, "encode": 1.0}), frames=250)  # type: ignore[arg-type]


def processed(number: int) -> ClipProcessed:
    one = record(number)
    clip = Clip(one.clip_id, one.video_id, 0.0, 10.0, "a", "train")
    return ClipProcessed(ClipJob(clip, "x", (), 0, Spent(), Recipe(), 60.0, None), Processed(one, "node", 1000))


def test_what_takes_three_times_as_long_as_is_usual_is_named_once_there_is_something_to_go_by() -> None:
    observer = Observer(NOW)
    observer.begin("00000", "clips", 100, (), NOW)
    slow = Look(NOW, 2, processing=2, long=(Work("process", "slow", 61.0), Work("process", "not so slow", 60.5)))
    observer.take([processed(number) for number in range(19)], NOW)
    assert observer.state(slow).stragglers == []
    observer.take([processed(19)], NOW)
    assert [one.name for one in observer.state(slow).stragglers] == ["slow", "not so slow"]
    observer.take(
        [
            replace(p, result=replace(p.result, record=replace(p.result.record, seconds={"flow": 20.2})))
            for p in map(processed, range(60))
        ],
        NOW,
    )  # type: ignore[arg-type]
    assert [(one.name, one.usual) for one in observer.state(slow).stragglers] == [("slow", 20.2)]


@pytest.mark.parametrize(
    ("look", "limits", "why"),
    [
        (
            Look(NOW, 4, 2, processing=4, waiting=7),
            "flow",
            "2 of 2 GPUs busy, 7 clips waiting; flow takes 80% of the time",
        ),
        (
            Look(NOW, 2, processing=3, waiting=1),
            "flow",
            "2 of 2 cores busy, 2 clips waiting; flow takes 80% of the time",
        ),
        (
            Look(NOW, 2, fetching=1, lanes=(replace(LANE, next_allowed_at=NOW.unix + 9),)),
            "fetch",
            "youtube is asked for 300 videos an hour at most (--rate); 5 videos waiting",
        ),
        (
            Look(NOW, 2, fetching=4, lanes=(replace(LANE, interval=0.0, in_flight=4),)),
            "fetch",
            "4 downloads at a time; 5 videos waiting",
        ),
        (Look(NOW, 2, cache=CacheState(9, 0, 9, "no room")), "cache", "no room"),
        (Look(NOW, 2, processing=1), "flow", "1 clip at work, none waits"),
        (Look(NOW, 2, writing=1), "write", "1 shard being written"),
        (Look(NOW, 2), "", ""),
    ],
)
def test_what_sets_the_pace_is_named_with_its_reason(look: Look, limits: str, why: str) -> None:
    assert limiting([look], {"fetch": 99.0, "decode": 1.0, "flow": 8.0, "encode": 1.0}) == (limits, why)


def test_a_paused_address_is_the_reason_that_nothing_goes_on() -> None:
    lane = replace(LANE, paused_until=NOW.unix + 3600, reason="bot_check")
    told = why_nothing_goes_on(Look(NOW, 2, lanes=(lane,)), 25.0, "")
    assert told.startswith("youtube paused until ")
    assert told.endswith(": it was taken for a bot")
    unreached = replace(lane, reason="outage", is_unreached=True)
    assert why_nothing_goes_on(Look(NOW, 2, lanes=(unreached,)), 25.0, "no route") == (
        "YouTube cannot be reached from here: no route; `doctor --canary` says more"
    )


def test_work_that_goes_on_as_usual_is_no_standstill() -> None:
    at_work = Look(NOW, 2, processing=2, oldest={"process": Work("process", "v", 100.0)}, time_limit=1800.0)
    assert why_nothing_goes_on(at_work, 100.0, "", usual=40.0) == ""
    given_up = "; decoding is given up after 30 min 00 s (--clip-time-limit)"
    longer = why_nothing_goes_on(at_work, 100.0, "", usual=30.0)
    assert longer == f"2 clips at work, v for 1 min 40 s, usually 30 s{given_up}"
    slow_source = Look(NOW, 2, fetching=1, oldest={"fetch": Work("fetch", "v", 50.0)}, lanes=(LANE,))
    assert why_nothing_goes_on(slow_source, 25.0, "", usual_fetch=18.0) == ""
    assert why_nothing_goes_on(slow_source, 25.0, "", usual_fetch=16.0).startswith("1 download under way, v for 50 s")
    its_turn = Look(NOW, 2, lanes=(replace(LANE, in_flight=0, next_allowed_at=NOW.unix + 9),))
    assert why_nothing_goes_on(its_turn, 100.0, "") == ""


def test_clips_that_lack_a_gpu_are_what_limits_while_videos_still_come() -> None:
    limit, why = limiting([Look(NOW, 1, waiting=5, fetching=3, lacks="a GPU: 1 asked, 0 there")], {})
    assert (limit, why) == ("process", "5 clips waiting for a GPU: 1 asked, 0 there")


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (
            Look(NOW, 2, processing=2, oldest={"process": Work("process", "v", 25.0)}),
            "2 clips at work, v for 25 s, none has ended yet",
        ),
        (
            Look(NOW, 2, processing=3, unplaced=3, oldest={"process": Work("process", "v", 25.0)}),
            "3 clips at the cluster, none of whose cores is free; v was sent 25 s ago",
        ),
        (Look(NOW, 1, waiting=5), "5 clips waiting for a core or a GPU: the cluster has none now"),
        (
            Look(NOW, 1, waiting=5, lacks="a GPU: 2 asked, 0 there; its autoscaler brings 1 gpu"),
            "5 clips waiting for a GPU: 2 asked, 0 there; its autoscaler brings 1 gpu",
        ),
        (
            Look(NOW, 2, fetching=4, oldest={"fetch": Work("fetch", "v", 25.0), "write": Work("write", "s", 90.0)}),
            "4 downloads under way, v for 25 s",
        ),
        (
            Look(NOW, 2, writing=1, oldest={"write": Work("write", "s", 25.0)}, store_trouble="s3://b is gone"),
            "1 shard being written, s for 25 s; s3://b is gone",
        ),
    ],
)
def test_what_hangs_is_told_within_30_seconds_with_its_own_time(look: Look, why: str) -> None:
    assert why_nothing_goes_on(look, 25.0, "") == why


@given(st.lists(st.sampled_from("ofb"), max_size=60))
def test_whatever_happens_in_whatever_order_the_counts_stay_right_and_the_state_can_be_stored(steps: list[str]) -> None:
    observer, finished, now = Observer(NOW), [], NOW
    observer.begin("00000", "clips", 60, (), now)
    for number, step in enumerate(steps):
        now = Moment(now.unix + 7, now.monotonic + 7)
        events: list[BuildEvent] = []
        if step == "b" and finished:
            events = [ClipTakenBack(finished.pop())]
        elif step != "b":
            finished.append(record(number, "ok" if step == "o" else "gone"))
            events = [ClipFinished(finished[-1])]
        observer.take(events, now)
        live = observer.state(Look(now, 2, processing=1))
        assert msgspec.json.decode(msgspec.json.encode(live), type=Live) == live
        assert live.outcomes == Counter(one.outcome for one in finished)


DAMAGED = [
    *(b"", b"{", b"[" * 100_000, b'{"time": "now"}', b'{"time": 1e999}', b"\xff\xfe", b" " * (2 << 20)),
    b'{"time":1,"since":1,"things":"x","done":-1,"total":1}',
]


@pytest.mark.parametrize("stored", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_state_is_a_line_and_ends_nothing(tmp_path: Path, stored: bytes) -> None:
    store = LocalStore(tmp_path)
    store.write(LIVE, stored)
    with pytest.raises(ValueError, match=r"live\.json"):
        read_live(store)


def test_a_state_that_a_stranger_wrote_shows_no_control_characters(tmp_path: Path) -> None:
    odd = "a\x1b[2J\u202eb"
    texts = {"things": odd, "plan": odd, "no_progress": odd, "ended": "", "limiting": odd, "why": odd}
    named = {"name": odd, "stage": odd, "unit": odd, "reason": odd, "kind": odd, "detail": odd, "short": odd}
    counts = ["in_flight", "waiting", "clips", "requests", "bytes", "count", "used", "free", "limit"]
    numbers = dict.fromkeys([*counts, "per_hour", "usual", "seconds", "time"], 3)
    kinds = ("stages", "stragglers", "nodes", "lanes", "errors")
    many = {kind: [{**named, **numbers, "paused_until": 2**39}] * 2 for kind in kinds}
    document = {"time": 1, "since": 2**40, "done": 2**60, "total": 1, **texts, **many, "cache": {**named, **numbers}}
    document |= {"outcomes": {odd: 1}, "seconds": {odd: 2.0}, "left": 2**40, "left_low": 0, "left_high": 2**40}
    store = LocalStore(tmp_path)
    store.write(LIVE, msgspec.json.encode(document))
    live = read_live(store)
    assert live is not None
    for shown in (lines(live, 1.0), [summary(live)], lines(msgspec.structs.replace(live, things="clips"), 1.0)):
        assert all(line.isprintable() for line in shown)


def test_the_screen_fits_into_80_columns() -> None:
    observer = Observer(NOW)
    observer.begin("00000", "clips", 650_000, (), NOW)
    observer.take([processed(number) for number in range(40)], NOW)
    observer.take([ClipFinished(record(number, "network")) for number in range(40)], NOW)
    lanes = tuple(
        replace(LANE, name=f"youtube proxy {n} node 0a1b2c3d", waiting=123_456, bytes=10**12) for n in range(3)
    )
    later = Moment(NOW.unix + 60, NOW.monotonic + 60)
    look = Look(
        later,
        8,
        processing=8,
        waiting=100_000,
        fetching=3,
        lanes=lanes,
        nodes={str(n): f"0a1b2c3{n}" for n in range(9)},
        cache=CacheState(10**12, 10**12, 2 * 10**12),
    )
    live = observer.state(look)
    straggler = Straggler("process", "abcdefghijk_000417_000427", 12 * 60 + 31, 130.0)
    steps = ("fetch", "decode", "flow", "encode", "keep", "unpack", "write")
    live = msgspec.structs.replace(
        live,
        since=live.time - 724,
        left=730.0,
        left_low=605.0,
        left_high=870.0,
        stragglers=[straggler],
        seconds=dict.fromkeys(steps, 10.0),
    )
    shown = lines(live, live.time + 14)
    assert [line for line in shown if len(line) > 80] == []
    assert "12 min 10 s left (10 min 05 s to 14 min 30 s)" in " ".join(shown)
