"""Metrics of a build: their table, the port that Prometheus reads, the board and the alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import OUTCOMES
from kinetics_pipeline.workflows.building.watch.exporters import SESSION, MetricsPort
from kinetics_pipeline.workflows.building.watch.live import CacheState, LaneState, Live, Stage
from kinetics_pipeline.workflows.building.watch.metrics import TABLE
from kinetics_pipeline.workflows.flags.values import host_and_port

DOCKER = Path(__file__).parents[4] / "docker"
UNITS = ("_seconds", "_bytes", "_ratio")
COMPARISON = re.compile(r"\s*[><]\s*[\d.]+$")
LIVE = Live(1e9, 1e9 - 60, "clips", 5, 9, outcomes={"ok": 4, "gone": 1}, stages=[Stage("fetch", "videos", 3.0, 1, 2)])


def board() -> Any:
    return json.loads((DOCKER / "grafana.json").read_text())


def queries() -> list[str]:
    """Every query of the board, and of the alerts what is compared with their bound."""
    shown = [target["expr"] for panel in board()["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DOCKER / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert all(COMPARISON.search(rule["expr"]) for rule in rules)
    return [*(expr.replace("$session", ".*") for expr in shown), *(COMPARISON.sub("", rule["expr"]) for rule in rules)]


def scraped(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@contextmanager
def served() -> Iterator[MetricsPort]:
    port = MetricsPort("127.0.0.1", 0, "session_1")
    try:
        yield port
    finally:
        port.close()


def test_the_names_follow_prometheus_and_no_label_is_an_id() -> None:
    for metric in TABLE:
        assert re.fullmatch(r"kinetics_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"_(ms|kb|mb|minutes|hours|percent)\b", metric.name)
        assert set(metric.labels) <= {"outcome", "stage", "lane"}
        assert metric.help.endswith(".")


def test_what_is_scraped_is_the_live_state_and_counters_never_fall() -> None:
    with served() as port:
        assert scraped(port.port) == {}
        port.show(LIVE)
        first = scraped(port.port)
        assert first["kinetics_clips_total"] == {
            ((SESSION, "session_1"), ("outcome", outcome)): {"ok": 4.0, "gone": 1.0}.get(outcome, 0.0)
            for outcome in OUTCOMES
        }
        assert first["kinetics_queued"] == {((SESSION, "session_1"), ("stage", "fetch")): 2.0}
        assert "kinetics_left_seconds" not in first
        taken_back = Live(1e9, 1e9, "clips", 3, 9, outcomes={"ok": 3}, lanes=[LaneState('a"b\n', 0, 0, 7, 0, 1e9 + 5)])
        port.show(taken_back)
        second = scraped(port.port)
        assert second["kinetics_clips_total"][((SESSION, "session_1"), ("outcome", "ok"))] == 4.0
        assert second["kinetics_egress_paused_seconds"] == {((SESSION, "session_1"), ("lane", 'a"b\n')): 5.0}


def test_a_port_alone_is_open_to_this_machine_only() -> None:
    assert host_and_port("9400") == ("127.0.0.1", 9400)
    assert host_and_port("0.0.0.0:9400") == ("0.0.0.0", 9400)
    assert host_and_port("[::1]:9400") == ("::1", 9400)
    for wrong in ("", "0", "65536", "-1", "9400x", ":9400", "１２３４", "a:b", "99999999999"):
        with pytest.raises(UserError, match="--metrics-port"):
            host_and_port(wrong)


def test_a_port_that_is_taken_is_one_line() -> None:
    with served() as port, pytest.raises(UserError, match=f"--metrics-port is 127.0.0.1:{port.port}, which cannot"):
        MetricsPort("127.0.0.1", port.port, "")


def _selectors(node: Any) -> Iterator[Any]:
    """All selectors of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from _selectors(inner)
    for inner in getattr(node, "args", None) or ():
        yield from _selectors(inner)


def test_every_query_asks_for_metrics_that_there_are_with_and_without_rays_prefix() -> None:
    named = {metric.name: {*metric.labels, SESSION} for metric in TABLE}
    asked = set()
    for query in queries():
        selectors = list(_selectors(promql_parser.parse(query)))
        assert selectors, query
        for selector in selectors:
            matchers = {one.name: one.value for one in selector.matchers.matchers}
            pattern = re.compile(matchers.pop("__name__"))
            (name,) = [name for name in named if pattern.fullmatch(name)]
            assert pattern.fullmatch(f"ray_{name}")
            assert matchers.keys() <= named[name]
            asked.add(name)
        for labels in re.findall(r"by \(([^)]*)\)", query):
            assert set(labels.split(", ")) <= {"outcome", "stage", "lane", SESSION}
    assert {metric.name for metric in TABLE} - asked <= {"kinetics_places", "kinetics_gpus"}


def test_the_title_of_each_panel_is_its_question() -> None:
    panels = board()["panels"]
    assert all(panel["title"].endswith("?") for panel in panels)
    assert [one["name"] for one in board()["templating"]["list"]] == ["datasource", "session"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")


@needs_promtool
def test_each_alert_fires_for_what_it_is_for_and_for_nothing_else() -> None:
    tests = DOCKER.parent / "tests" / "data" / "alerts_test.yaml"
    expected = [one for test in yaml.safe_load(tests.read_text())["tests"] for one in test["alert_rule_test"]]
    rules = yaml.safe_load((DOCKER / "alerts.yaml").read_text())["groups"][0]["rules"]
    for fires in (True, False):
        assert {one["alertname"] for one in expected if bool(one["exp_alerts"]) is fires} == {
            rule["alert"] for rule in rules
        }
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_has_nothing_against_what_is_scraped() -> None:
    lane = LaneState("direct", 0, 0, 7, 0, 1e9 + 5)
    cache = CacheState(used=5, free=7)
    with served() as port:
        port.show(msgspec.structs.replace(LIVE, lanes=[lane], cache=cache, left=5.0, seconds={"flow": 3.0}))
        assert {name for name in scraped(port.port) if name.startswith("kinetics_")} == {one.name for one in TABLE}
        with urllib.request.urlopen(f"http://127.0.0.1:{port.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    text = text.replace(SESSION, "session")  # Ray's name, which is not in snake case
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
