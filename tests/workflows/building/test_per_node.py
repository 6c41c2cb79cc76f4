"""Nodes with addresses of their own: each is a way out with a rest of its own, which the next cluster remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders.building import Build, Pile
from tests.builders.staying_driver import StayingDriver
from tests.fake_youtube import FakeYouTube

pytestmark = pytest.mark.slow


def test_a_node_that_was_refused_rests_in_the_next_cluster_too(tmp_path: Path, driver: StayingDriver) -> None:
    """The second build embeds a cluster of its own, whose node has another id."""
    asked = tmp_path / "asked.csv"
    asked.write_text("label,youtube_id,time_start,time_end,split\nrunning,pernode0000,1,3,train\n")
    with FakeYouTube() as youtube:
        youtube.refusing = "bot"
        options = [w for n, v in youtube.ytdlp_options.items() for w in ("--ytdlp-option", f"{n}={json.dumps(v)}")]
        flags = ["--proxy", youtube.url, "--flow", "none", "--egress", "per-node", "--max-wait", "1s", *options]
        build = Build(Pile(tmp_path, asked, ("pernode0000_000001_000003",)), tmp_path, ["youtube"], flags)
        for where in (driver, None):
            code, said = build.end(where)
            assert code == 3, said
            assert [request.kind for request in youtube.log].count("player") == 1
    ((name, lane),) = json.loads((build.output / "state" / "egress.json").read_text()).items()
    assert name.startswith("youtube proxy 1 node ")
    assert lane["reason"] == "bot_check"
