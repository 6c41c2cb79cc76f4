"""Ways out to YouTube: which of them share a budget."""

from __future__ import annotations

from collections import Counter

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip
from kinetics_pipeline.shards.storage import open_store
from kinetics_pipeline.sources.youtube import YouTube
from workflows.build.fetching import Fetching, Lane, lanes_of
from workflows.configs import BuildConfig

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
    fetching = Started(None, open_store(str(tmp_path)), {"youtube": YouTube()}, None, rate=300)
    for video_id in ("not-an-id", "tooshort", "abcdefghijk", "lmnopqrstuv"):
        fetching.want("youtube", Clip(f"{video_id}_000000_000010", video_id, 0.0, 10.0, "a", "train"))
    fetching.dispatch(9, lambda video_id: 1)
    assert fetching.started == ["not-an-id", "tooshort", "abcdefghijk"]  # the fourth waits its twelve seconds


def test_a_budget_for_each_proxy_needs_proxies():
    with pytest.raises(UserError, match="no --proxy is given"):
        BuildConfig(output="dataset", egress="per-proxy")
