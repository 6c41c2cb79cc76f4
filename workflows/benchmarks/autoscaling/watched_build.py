"""A build that writes down on which node each download lies, and when its clips are done with.

    python -m kinetics_pipeline.workflows.benchmarks.autoscaling.watched_build FILE build ...

FILE gets JSON lines: {"time", "event": "fetched" | "processed", "node", "clips"}. Its actors without work leave a node
after seconds instead of minutes, so that a round is short.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from kinetics_pipeline.workflows.building.executor import Lost, Ref
from kinetics_pipeline.workflows.building.fetch import Fetched
from kinetics_pipeline.workflows.building.placement import holds
from kinetics_pipeline.workflows.building.process import ClipJob, Processed
from kinetics_pipeline.workflows.building.ray_executor import RayExecutor
from kinetics_pipeline.workflows.cli.app import run

LINGER = 5.0


def main(file: Path, words: list[str]) -> int:
    """The build's exit code."""
    holds.LINGER = LINGER
    clip_of: dict[Ref, str] = {}
    fetched, start_clip, processed = RayExecutor.fetched, RayExecutor.start_clip, RayExecutor.processed

    def note(event: str, node: str, clips: Iterable[str]) -> None:
        with file.open("a") as out:
            out.write(json.dumps({"time": time.time(), "event": event, "node": node, "clips": sorted(clips)}) + "\n")

    def noted_fetched(self: RayExecutor, ref: Ref) -> Fetched | Lost:
        answer = fetched(self, ref)
        if isinstance(answer, Fetched) and answer.download.media:
            note("fetched", answer.node, answer.download.media)
        return answer

    def noted_start(self: RayExecutor, job: ClipJob) -> Ref:
        ref = start_clip(self, job)
        clip_of[ref] = job.clip.clip_id
        return ref

    def noted_processed(self: RayExecutor, ref: Ref) -> Processed | Lost:
        result, clip = processed(self, ref), clip_of.pop(ref)
        if isinstance(result, Processed):
            note("processed", result.node, [clip])
        return result

    RayExecutor.fetched = noted_fetched  # type: ignore[method-assign]
    RayExecutor.start_clip = noted_start  # type: ignore[method-assign]
    RayExecutor.processed = noted_processed  # type: ignore[method-assign]
    return run(words) or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
