"""Ways out to YouTube: which of them share a budget."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building import fetch as fetching
from kinetics_pipeline.workflows.building.fetch import Fetching, Lane, lanes_of
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig

PROXIES = ("one.example:80", "two.example:80")
NODES = {"ab12": "first", "cd34": "second"}


@pytest.mark.parametrize(
    ("nodes", "each_its_own", "lanes_of_each_budget"),
    [({}, False, [2]), ({}, True, [1, 1]), (NODES, False, [2, 2])],
    ids=["shared", "per-proxy", "per-node"],
)
def test_proxies_share_a_budget_unless_each_was_given_its_own(nodes, each_its_own, lanes_of_each_budget):
    lanes = list(lanes_of(YouTube(), 300, PROXIES, nodes, 4, each_its_own))
    assert sorted(Counter(lane.budget for lane in lanes).values()) == lanes_of_each_budget
    assert len({lane.name for lane in lanes}) == len(lanes)
    assert not any("example" in lane.name for lane in lanes)  # names are stored, addresses never


class Started(Fetching):
    """Notes what would be fetched."""

    def _start(self, key: str, lane: Lane, allowed: int) -> None:
        self.started = [*getattr(self, "started", []), lane.waiting.popitem(last=False)[0]]


def test_what_cannot_be_a_youtube_id_takes_nothing_of_the_rate(tmp_path):
    lanes = Started(None, open_store(str(tmp_path)), {"youtube": YouTube()}, None, rate=300)
    for video_id in ("not-an-id", "tooshort", "abcdefghijk", "lmnopqrstuv"):
        lanes.want("youtube", Clip(f"{video_id}_000000_000010", video_id, 0.0, 10.0, "a", "train"))
    lanes.dispatch(9, lambda video_id: 1)
    assert lanes.started == ["not-an-id", "tooshort", "abcdefghijk"]  # the fourth waits its twelve seconds


def test_lanes_follow_the_nodes_that_come_and_go(tmp_path, monkeypatch):
    nodes = {"ab12": "first"}
    monkeypatch.setattr(fetching, "named_nodes", lambda: dict(nodes))
    lanes = Started(None, open_store(str(tmp_path)), {"youtube": YouTube()}, None, rate=300, egress="per-node")
    videos = [f"abcdefgh{number:03d}" for number in range(40)]
    for video_id in videos:
        lanes.want("youtube", Clip(f"{video_id}_000000_000010", video_id, 0.0, 10.0, "a", "train"))

    def waiting() -> dict[str | None, int]:
        return {lane.node: len(lane.waiting) for lane in lanes.lanes["youtube"]}

    assert waiting() == {"ab12": 40}
    [first] = lanes.lanes["youtube"]
    first.egress = replace(first.egress, paused_until=time.time() + 600)
    nodes["cd34"] = "second"
    monkeypatch.setattr(fetching.time, "time", lambda: first.egress.paused_until - 500)
    lanes.dispatch(9, lambda video_id: 1)
    assert len(lanes.started) == 1  # by the second: the first goes on resting
    assert waiting().keys() == {"ab12", "cd34"}
    assert sum(waiting().values()) == 39
    assert min(waiting().values()) > 5
    lanes.save()
    del nodes["ab12"]
    lanes._follow_nodes()
    assert waiting() == {"cd34": 39}
    nodes["ef56"] = nodes.pop("cd34")  # the machine came back as another node
    lanes._follow_nodes()
    assert waiting() == {"ef56": 39}


def test_a_budget_for_each_proxy_needs_proxies():
    with pytest.raises(UserError, match="no --proxy is given"):
        BuildConfig(output="dataset", egress="per-proxy")
