"""A real Prometheus beside a build on Ray: the board and the alerts have something to show, by each way to it."""

from __future__ import annotations

import glob
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.builders.building import FLAGS, Build
from tests.builders.clusters import Cluster, free_ports
from tests.builders.prometheus import answer, needs_prometheus, prometheus, rules_of
from tests.builders.youtube_builds import asked_for, ids, through
from tests.fake_youtube import FakeYouTube, Rendition, Video
from tests.fake_youtube.media import render_indexed
from tests.workflows.building.watch.test_metrics import DOCKER, queries

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_cluster"), needs_prometheus]


def _exporter_of(cluster: Cluster) -> int:
    """The port of its only node at which Ray shows metrics."""
    (file,) = glob.glob(f"{cluster.environment['RAY_TMPDIR']}/ray/session_2*/metrics_export_port_*")
    return int(Path(file).read_text())


def test_every_panel_and_every_alert_is_answered_by_rays_exporter_and_by_our_port(node: Cluster, tmp_path: Path):
    film = render_indexed(tmp_path / "film.mp4", 64, 48, 12.0)
    good, gone = ids(10), ids(2, "badbadb")
    (port,) = free_ports(1)
    waited_for = [query.replace("(ray_)?", prefix) for query in queries() for prefix in ("ray_", "")]
    with (
        FakeYouTube({name: Video([Rendition(film, 134, 64, 48)], duration=12.0) for name in good}) as fake,
        prometheus(tmp_path, DOCKER / "alerts.yaml", [port, _exporter_of(node)]) as address,
        ThreadPoolExecutor(1) as thread,
    ):
        fake.videos |= {name: Video(playability="removed") for name in gone}
        flags = (*FLAGS, "--metrics-port", str(port), "--rate", "2400")
        build = Build(asked_for(tmp_path, [*gone, *good], second=5), tmp_path, ["youtube"], through(fake, flags=flags))
        running = thread.submit(build.run)
        while not running.done():
            waited_for = [query for query in waited_for if not answer(address, query)]
            time.sleep(1.0)
        running.result()
        assert waited_for == []
        assert {rule["health"] for rule in rules_of(address)} == {"ok"}
        assert len(rules_of(address)) == 5
