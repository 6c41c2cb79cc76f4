"""One process's half of the work: networks loaded once, then one video after the other to an outcome."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from kinetics_pipeline.errors import UserError, WorkRemains
from kinetics_pipeline.models.precision import Precision, device_here
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Outcome
from kinetics_pipeline.video.container import BrokenVideo
from kinetics_pipeline.workflows.scoring.extraction.arrays import Arrays, ParquetPart
from kinetics_pipeline.workflows.scoring.extraction.extractor import Extractor, NoRows, extract_whole
from kinetics_pipeline.workflows.scoring.extraction.motion import Clocks
from kinetics_pipeline.workflows.scoring.extraction.network import Network, Weights, What
from kinetics_pipeline.workflows.scoring.extraction.outcomes import VideoOutcome
from kinetics_pipeline.workflows.scoring.extraction.presets import Layout
from kinetics_pipeline.workflows.scoring.extraction.videos import Footage, Item

Format = Literal["npy", "parquet"]
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Task:
    """How every video of a run is worked on."""

    folder: Path
    layout: Layout
    what: What
    dtype: str
    format: Format
    recipe: Recipe
    flow_backend: str | None
    """None where no network sees flow."""
    precisions: tuple[Precision, ...]
    """One for each network."""


@dataclass(frozen=True)
class Progress:
    """How far a worker is in its present video."""

    stem: str
    share: float
    """The share of its frames that were seen, 0 to 1."""
    seconds: dict[str, float]


class Worker:
    """Works on one video at a time. `progress` and `stop` may be called from another thread."""

    def __init__(self, task: Task, weights: Sequence[Weights], threads: int | None = None) -> None:
        """`threads`: cores to compute on; None for all."""
        if threads is not None:
            torch.set_num_threads(threads)
        self.task, self._stop, self._clocks = task, threading.Event(), Clocks()
        device = device_here()
        networks = [
            Network(one, precision, device, task.what) for one, precision in zip(weights, task.precisions, strict=True)
        ]
        self._extractor = Extractor(networks, task.layout, task.recipe, task.flow_backend, self._stop)
        self._item: Item | None = None
        self._expected = 0

    def work(self, item: Item) -> VideoOutcome:
        """The outcome of a video, which is written after its features. Raises WorkRemains for a full disk, and Stopped
        once a stop was asked."""
        self._item, self._expected, self._clocks = item, 0, Clocks()
        try:
            outcome = self._extracted(item)
            outcome.write(self.task.folder)
            return outcome
        except OSError as error:
            if error.errno in FULL:
                raise WorkRemains(
                    f"{self.task.folder} is full: {error.strerror}; make room, and the same command goes on"
                ) from error
            raise
        finally:
            self._item = None

    def progress(self) -> Progress | None:
        """None between two videos."""
        item = self._item
        if item is None:
            return None
        share = self._extractor.frames_done / self._expected if self._expected else 0.0
        return Progress(item.stem, min(1.0, share), dict(self._clocks.seconds))

    def stop(self) -> None:
        """Ends the present video's work, whose files are not kept."""
        self._stop.set()

    def _extracted(self, item: Item) -> VideoOutcome:
        seconds = self._clocks.seconds
        outcome: Outcome
        try:
            fps = None if self.task.layout.fps == "native" else float(self.task.layout.fps)
            footage = Footage(item, fps, self.task.recipe, self.task.flow_backend is not None)
            self._expected = footage.expected
            found, files = extract_whole(self._extractor, footage, lambda: self._writer(item), self._clocks)
            rounded = {stage: round(value, 3) for stage, value in seconds.items()}
            return VideoOutcome.of(
                item, "ok", frames=found.frames, rows=found.rows, fps=found.fps, files=files, seconds=rounded
            )
        except BrokenVideo as error:
            outcome, reason = "decode", str(error)
        except NoRows as error:
            outcome, reason = "too_short", str(error)
        except TimeoutError as error:
            outcome, reason = "internal", str(error)
        except FileNotFoundError:
            outcome, reason = "not_found", "there is no such file"
        except (WorkRemains, MemoryError, torch.cuda.OutOfMemoryError) as error:
            if isinstance(error, WorkRemains):
                raise
            outcome, reason = "internal", "not enough memory"
        except UserError as error:  # a shard that is damaged, a clip that is no longer there
            outcome, reason = "decode", str(error)
        except OSError as error:
            if error.errno in FULL:
                raise
            outcome, reason = "internal", error.strerror or str(error)
        return VideoOutcome.of(item, outcome, reason)

    def _writer(self, item: Item) -> Any:
        kind = Arrays if self.task.format == "npy" else ParquetPart
        return kind(self.task.folder, item.stem, self.task.layout, self.task.dtype)
