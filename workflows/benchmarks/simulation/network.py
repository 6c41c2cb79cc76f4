"""The servers that have the videos: what each would answer is fixed by the seed; outages and refusals come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, Failure, Media
from kinetics_pipeline.workflows.benchmarks.simulation.world import World

Truth = Literal["ok", "gone", "private", "decode", "flaky", "broken"]
"""What is true of a video. `flaky`: it comes at the second try. `broken`: the server fails at it every time."""
COMMON: tuple[Truth, ...] = ("ok",) * 12 + ("gone", "private", "decode", "flaky", "flaky", "broken")


@dataclass(frozen=True)
class Server:
    """A `NetworkSource` of the simulation. Nothing is downloaded from it: the cluster asks `Network`."""

    name: str
    on_network: ClassVar[bool] = True
    paced: ClassVar[bool] = False
    uses_credentials: ClassVar[bool] = False

    def accepts(self, video_id: str) -> bool:
        return True

    def through(self, proxy: str) -> Server:
        return self

    def for_clips(self, clips: Sequence[Clip]) -> Server:
        return self

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        raise NotImplementedError

    def probe(self, clip: Clip, folder: Path) -> Download:
        raise NotImplementedError


class PacedServer(Server):
    """One that is asked at the user's rate, as YouTube is."""

    paced: ClassVar[bool] = True


@dataclass
class Network:
    """Every server."""

    world: World
    truths: dict[str, Truth]
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Times (from, to) in which nobody answers."""
    refusals: list[tuple[float, float]] = field(default_factory=list)
    """Times (from, to) in which a paced server takes everybody for a bot."""
    own_failures: Counter[str] = field(default_factory=Counter)
    """How often each video failed for a reason of its own."""

    def answer(self, server: Server, video_id: str, clips: Sequence[Clip], path: Path) -> Download:
        """What a request gets that is answered now."""
        now, truth = self.world.now, self.truths[video_id]
        if any(begin <= now < end for begin, end in self.outages):
            return Download(failure=Failure("network", "the request failed (simulated)", unreachable=True), requests=1)
        if server.paced and any(begin <= now < end for begin, end in self.refusals):
            return Download(failure=Failure("bot_check", "simulated"), requests=1)
        if truth == "gone" or truth == "private":
            return Download(failure=Failure(truth, "simulated"), requests=1)
        if truth == "broken" or (truth == "flaky" and not self.own_failures[video_id]):
            self.own_failures[video_id] += 1
            return Download(failure=Failure("network", f"HTTP 500 for {video_id}"), requests=1)
        return Download({clip.clip_id: Media(path, server.name) for clip in clips}, requests=2)
