"""Nodes with downloads that are not processed are kept from an autoscaler, and let go afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, Media
from kinetics_pipeline.workflows.building.executor import Ref
from kinetics_pipeline.workflows.building.fetch import FetchJob
from kinetics_pipeline.workflows.building.process import ClipJob
from tests.builders.driven_builds import NODE, AtOnce, DrivenBuild
from tests.builders.youtube_builds import asked_for


class ShrinkingCluster(AtOnce):
    """Two nodes beside the driver's, which an autoscaler takes once they were let go for `IDLE` seconds; and one place
    for clips, on the driver's node, where a clip takes `CLIP` seconds."""

    IDLE, CLIP = 30.0, 8.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.alive = ["a", "b"]
        self.lies: dict[str, str] = {}
        """Video -> the node with its download, until it is processed."""
        self.fetches: list[str] = []
        self.taken: dict[str, list[str]] = {}
        """Node -> its downloads that were not processed when it was taken."""
        self._held: set[str] = set()
        self._idle_since = dict.fromkeys(self.alive, self.time)
        self._ends: dict[Ref, tuple[float, str]] = {}

    def nodes(self) -> Mapping[str, str]:
        return {node: node for node in (NODE, *self.alive)}

    def keep_nodes(self, nodes: Collection[str]) -> None:
        self._held = set(nodes)

    def places(self) -> int:
        return 1

    def start_fetch(self, job: FetchJob, node: str) -> Ref:
        ref = super().start_fetch(job, node)
        self.results[ref] = replace(self.results[ref], node=node)
        self.lies[job.video_id] = node
        self.fetches.append(job.video_id)
        return ref

    def start_clip(self, job: ClipJob) -> Ref:
        ref = super().start_clip(job)
        begins = max([self.time, *(end for end, _ in self._ends.values())])
        self._ends[ref] = begins + self.CLIP, job.clip.video_id
        return ref

    def processed(self, ref: Ref) -> Any:
        del self.lies[self._ends.pop(ref)[1]]
        return self.take(ref)

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        ready = [ref for ref in refs if ref not in self._ends or self._ends[ref][0] <= self.time]
        self.time += 0.0 if ready else max(seconds, 0.5)
        for node in list(self.alive):
            if node in self._held:
                self._idle_since[node] = self.time
            elif self.time - self._idle_since[node] > self.IDLE:
                self.alive.remove(node)
                self.taken[node] = [video for video, there in self.lies.items() if there == node]
        return ready


class Everything:
    """A source that has every video."""

    on_network, paced, name, uses_credentials = True, False, "server", False

    def accepts(self, video_id: str) -> bool:
        return True

    def for_clips(self, clips: object) -> Everything:
        return self

    def download(self, video_id: str, clips: tuple[Clip, ...], folder: Path, *_: object) -> Download:
        return Download({clip.clip_id: Media(folder / "x.mp4", self.name) for clip in clips}, None, 1, 1000, 1000)


def test_a_node_is_held_while_its_downloads_are_not_processed_and_let_go_before_the_build_ends(tmp_path: Path) -> None:
    build = DrivenBuild(tmp_path, Everything())  # type: ignore[arg-type]
    cluster = build.executor = ShrinkingCluster(tmp_path / "cache")
    videos = [f"okokoko{number:04d}" for number in range(24)]
    began = cluster.time
    assert build.run(load_annotations([str(asked_for(tmp_path, videos).annotations)]).table) == 0
    assert cluster.time - began >= len(videos) * cluster.CLIP > 2 * cluster.IDLE  # idle nodes would have been taken
    assert sorted(cluster.fetches) == videos  # nothing was fetched twice
    assert cluster.taken  # one had no download left before the end
    assert not any(cluster.taken.values())
    assert cluster.lies == {}
