"""Ways out to YouTube: which of them share a budget."""

from __future__ import annotations

from collections import Counter

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.youtube import YouTube
from workflows.build.fetching import lanes_of
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


def test_a_budget_for_each_proxy_needs_proxies():
    with pytest.raises(UserError, match="no --proxy is given"):
        BuildConfig(output="dataset", egress="per-proxy")
