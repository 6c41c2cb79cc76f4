"""Where the metrics go: to Ray, whose nodes Prometheus reads, or to a port of this process (`--metrics-port`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.building.watch.live import Live
from kinetics_pipeline.workflows.building.watch.metrics import TABLE, samples

SESSION = "SessionName"
"""The label by which Ray tells clusters apart; a board has it as a variable."""
LEAST = math.ulp(0.0)
"""Begins a counter: Ray refuses to count 0. It is gone in the first addition of anything."""


class Exporter(Protocol):
    """Shows a live state."""

    def show(self, live: Live) -> None: ...

    def close(self) -> None: ...


class _Counters:
    """Counters never fall: a clip that is taken back was counted once, and is counted when it ends again."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, tuple[str, ...]], float] = {}

    def risen(self, name: str, labels: tuple[str, ...], value: float) -> tuple[float, float]:
        """The highest value so far, and by how much it rose."""
        before = self._highest.get((name, labels), 0.0)
        highest = self._highest[name, labels] = max(before, value)
        return highest, highest - before


class RayMetrics:
    """Ray's own metrics, reported by the driver's process."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge

        kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge}
        self._metrics = {
            one.name: kinds[one.kind](one.name, description=one.help, tag_keys=one.labels) for one in TABLE
        }
        self._counters = _Counters()
        self._begun: set[tuple[str, tuple[str, ...]]] = set()

    def show(self, live: Live) -> None:
        for metric, labels, value in samples(live):
            tags = dict(zip(metric.labels, labels, strict=True))
            if metric.kind == "gauge":
                self._metrics[metric.name].set(value, tags=tags)
                continue
            _, more = self._counters.risen(metric.name, labels, value)
            if (metric.name, labels) not in self._begun:
                self._begun.add((metric.name, labels))
                self._metrics[metric.name].inc(LEAST, tags=tags)
            if more > 0:
                self._metrics[metric.name].inc(more, tags=tags)

    def close(self) -> None:
        """Nothing: they end with the process."""


class MetricsPort:
    """A server of the metrics as Prometheus reads them. What is asked is the latest live state, so that nothing is
    counted twice and asking costs the driver nothing."""

    def __init__(self, host: str, port: int, session: str) -> None:
        """`session`: the value of the label `SESSION`. Raises UserError where the port cannot be had."""
        self._live: Live | None = None
        self._session = session
        self._counters = _Counters()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            self._server, _ = start_http_server(port, addr=host, registry=registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"--metrics-port is {host}:{port}, which cannot be opened: {reason}") from error
        self.port = int(self._server.server_port)

    def show(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is answered; called by the server's own thread."""
        live = self._live
        if live is None:
            return
        for metric in TABLE:
            labels = [*metric.labels, SESSION]
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name.removesuffix("_total"), metric.help, labels=labels)
            for values, value in metric.values(live):
                shown = self._counters.risen(metric.name, values, value)[0] if metric.kind == "counter" else value
                family.add_metric([*values, self._session], shown)
            yield family

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
