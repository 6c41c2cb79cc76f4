"""Ways out to YouTube: which of them share a budget, and who is asked when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.sources.http.template import UrlTemplate
from kinetics_pipeline.sources.pace.breaker import VIDEOS
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.executor import Moment
from kinetics_pipeline.workflows.building.fetch import Fetching, FetchJob
from kinetics_pipeline.workflows.building.lanes import FOLLOW_EVERY, Lanes, Pace, lanes_of
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig

PROXIES = ("one.example:80", "two.example:80")
NODES = {"ab12": "first", "cd34": "second"}


@pytest.mark.parametrize(
    ("nodes", "sharing", "lanes_of_each_budget"),
    [({}, "shared", [2]), ({}, "per-proxy", [1, 1]), (NODES, "per-node", [2, 2])],
    ids=["shared", "per-proxy", "per-node"],
)
def test_proxies_share_a_budget_unless_each_was_given_its_own(nodes, sharing, lanes_of_each_budget):
    lanes = list(lanes_of(YouTube(), Pace(rate=300, proxies=PROXIES, sharing=sharing), nodes))
    assert sorted(Counter(lane.budget for lane in lanes).values()) == lanes_of_each_budget
    assert len({lane.name for lane in lanes}) == len(lanes)
    assert not any("example" in lane.name for lane in lanes)  # names are stored, addresses never


class Nodes:
    """An executor whose clock and nodes the test sets, and that starts nothing."""

    def __init__(self) -> None:
        self.time = 1e9
        self.there = {"ab12": "first"}
        self.started: list[FetchJob] = []

    def now(self) -> Moment:
        return Moment(self.time, self.time)

    def nodes(self) -> dict[str, str]:
        return dict(self.there)

    def start_fetch(self, job: FetchJob, node: str) -> int:
        assert node in self.there
        self.started.append(job)
        return len(self.started)


class PlentyOfRoom:
    def promise(self, to: Any, amount: int) -> None:
        pass


def fetching(nodes: Nodes, folder: Path, **pace: Any) -> Fetching:
    lanes = Lanes(nodes, open_store(str(folder)), {"youtube": YouTube()}, Pace(rate=300, **pace))
    return Fetching(nodes, lanes, PlentyOfRoom())


def want(fetch: Fetching, *videos: str) -> None:
    for video_id in videos:
        fetch.lanes.want("youtube", Clip(f"{video_id}_000000_000010", video_id, 0.0, 10.0, "a", "train"))


def test_what_cannot_be_a_youtube_id_takes_nothing_of_the_rate(tmp_path):
    nodes = Nodes()
    fetch = fetching(nodes, tmp_path)
    want(fetch, "not-an-id", "tooshort", "abcdefghijk", "lmnopqrstuv")
    for _ in range(4):
        fetch.dispatch(9, lambda video_id: 1, nodes.now())
        for _, lane in fetch.lanes:
            lane.in_flight = 0
    # The fourth waits its twelve seconds.
    assert [job.video_id for job in nodes.started] == ["not-an-id", "tooshort", "abcdefghijk"]
    nodes.time += 15
    fetch.dispatch(9, lambda video_id: 1, nodes.now())
    assert nodes.started[-1].video_id == "lmnopqrstuv"


def test_lanes_follow_the_nodes_that_come_and_go(tmp_path):
    nodes = Nodes()
    fetch = fetching(nodes, tmp_path, sharing="per-node")
    want(fetch, *(f"abcdefgh{number:03d}" for number in range(40)))

    def waiting() -> dict[str | None, int]:
        return {lane.node: len(lane.waiting) for _, lane in fetch.lanes}

    assert waiting() == {"ab12": 40}
    [(_, first)] = fetch.lanes
    first.egress = replace(first.egress, paused_until=nodes.time + 600)
    nodes.there["cd34"] = "second"
    nodes.time += FOLLOW_EVERY
    fetch.dispatch(9, lambda video_id: 1, nodes.now())
    assert len(nodes.started) == 1  # by the second: the first goes on resting
    assert waiting().keys() == {"ab12", "cd34"}
    assert sum(waiting().values()) == 39
    assert min(waiting().values()) > 5
    fetch.lanes.save()
    del nodes.there["ab12"]
    fetch.lanes.follow_nodes(nodes.now(), at_once=True)
    assert waiting() == {"cd34": 39}
    nodes.there["ef56"] = nodes.there.pop("cd34")  # the machine came back as another node
    fetch.lanes.follow_nodes(nodes.now(), at_once=True)
    assert waiting() == {"ef56": 39}


def mirror_answers(fetch: Fetching, nodes: Nodes, failure: Failure | None) -> frozenset[str]:
    """One answer for everything that is under way; the videos that are not to be blamed."""
    doubted: frozenset[str] = frozenset()
    for job, lane in list(fetch.running.values()):
        lane.in_flight -= 1
        media = {clip.clip_id: Media(Path("video.mp4"), "mirror") for clip in job.clips} if failure is None else {}
        doubted |= fetch.lanes.answered(lane, job.clips[0], Download(media, failure, requests=1), nodes.now()).doubted
    fetch.running.clear()
    return doubted


def test_a_mirror_that_does_not_answer_pauses_and_is_then_tried_with_one_video_at_a_time(tmp_path):
    nodes = Nodes()
    mirror = UrlTemplate("https://host.example/{video_id}.mp4")
    lanes = Lanes(nodes, open_store(str(tmp_path)), {"mirror": mirror}, Pace(rate=1, slots=2))
    fetch = Fetching(nodes, lanes, PlentyOfRoom())
    for number in range(20):
        lanes.want("mirror", Clip(f"v{number}", f"v{number}", None, None, "a", "train"))
    nobody = Failure("network", "the request failed (TransportError)", unreachable=True)

    def asked() -> list[str]:
        before = len(nodes.started)
        fetch.dispatch(9, lambda video_id: 1, nodes.now())
        return [job.video_id for job in nodes.started[before:]]

    assert asked() == ["v0", "v1"]
    assert mirror_answers(fetch, nodes, nobody) == frozenset()
    assert asked() == ["v2", "v3"]
    assert mirror_answers(fetch, nodes, nobody) == {"v0", "v1", "v2", "v3"}
    assert asked() == []
    for rest in (60, 120):
        assert lanes.resumes_at(nodes.now()) == nodes.time + rest
        nodes.time += rest
        [tried] = asked()
        assert tried in mirror_answers(fetch, nodes, nobody)
    nodes.time += 240
    assert len(asked()) == 1
    assert mirror_answers(fetch, nodes, None) == frozenset()
    assert len(asked()) == 2  # it answers again


def test_a_server_in_trouble_with_every_video_pauses_whichever_source_it_is(tmp_path):
    nodes = Nodes()
    mirror = UrlTemplate("https://host.example/{video_id}.mp4")
    lanes = Lanes(nodes, open_store(str(tmp_path)), {"mirror": mirror}, Pace(rate=1, slots=1))
    fetch = Fetching(nodes, lanes, PlentyOfRoom())
    for number in range(2 * VIDEOS):
        lanes.want("mirror", Clip(f"v{number}", f"v{number}", None, None, "a", "train"))
    doubted: frozenset[str] = frozenset()
    while not doubted:
        fetch.dispatch(1, lambda video_id: 1, nodes.now())
        doubted = mirror_answers(fetch, nodes, Failure("network", "HTTP 502 Bad Gateway"))
    assert doubted == {f"v{number}" for number in range(VIDEOS)}


def test_a_budget_for_each_proxy_needs_proxies():
    with pytest.raises(UserError, match="no --proxy is given"):
        BuildConfig(output="dataset", egress="per-proxy")
