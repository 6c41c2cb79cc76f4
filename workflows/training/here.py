"""A training session in this process: one worker on this machine needs no Ray, which takes longer to start than a small
run takes to train."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from kinetics_pipeline.workflows.runtime.cluster import addressed
from kinetics_pipeline.workflows.training.run_folder import Ending
from kinetics_pipeline.workflows.training.settings import Settings
from kinetics_pipeline.workflows.training.share import Share


def trains_here(config: TrainConfig) -> bool:
    """Whether a run needs no cluster: it has one worker, and no cluster is named."""
    return config.workers == 1 and not addressed()


def train_here(settings: Settings, given: Share, every: float, look: Callable[[], None]) -> Ending:
    """Trains in this thread, and calls `look` in another one every so many seconds and once after.

    Raises UserError and JobFailed as `run_session` does, and JobFailed for what torch or a loading process fails of.
    """
    import torch

    from kinetics_pipeline.workflows.training.group import Group
    from kinetics_pipeline.workflows.training.session import run_session

    device = torch.device("cuda", torch.cuda.current_device()) if given.gpus else torch.device("cpu")
    with _looking(every, look):
        try:
            return run_session(settings, Group(device, threads=given.threads))
        except (RuntimeError, MemoryError) as error:
            last = settings.run.last
            kept = f"; the same command goes on from {last}" if last.exists() else ""
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise JobFailed(f"the training failed{kept}: {text[0]}") from error


@contextmanager
def _looking(every: float, look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` in a thread while the body runs. What it raises is raised after the body."""
    ended = threading.Event()
    raised: list[OSError] = []

    def watch() -> None:
        try:
            while not ended.wait(every):
                look()
        except OSError as error:
            raised.append(error)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        look()
    if raised:
        raise raised[0]
