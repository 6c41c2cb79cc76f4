"""A training session in each of several Ray Train workers: their share of the cluster, and their failures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.workflows.training.run_folder import Ending
from kinetics_pipeline.workflows.training.settings import Settings
from kinetics_pipeline.workflows.training.share import PASSIVE_WAITING, Share
from kinetics_pipeline.workflows.training.trackers import variables_passed_on

MAX_FAILURES = 2
"""Restarts from the last checkpoint before a run is given up, when workers or their machines die."""


def alive_nodes() -> list[dict[str, float]]:
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


class Training:
    """Ray Train in a thread of its own: the main one looks after signals and the terminal."""

    def __init__(self, settings: Settings, given: Share) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # after which Ray Train sees that all is done
        self._error: BaseException | None = None
        self._settings = settings
        self._thread = threading.Thread(target=self._fit, args=(given,), daemon=True)
        self._thread.start()

    def running(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return self._thread.is_alive()

    def ending(self) -> Ending:
        """Says how it ended. Raises what the workers raised for the user, and JobFailed when they died."""
        ending = self._settings.run.ending()
        if ending is not None and ending.reason == "failed":
            raise {2: UserError, 1: JobFailed}[ending.exit_code](ending.message)
        if self._error is None and ending is not None:
            return ending
        from ray.train.v2.api.exceptions import TrainingFailedError

        if self._error is None or isinstance(self._error, TrainingFailedError):
            last = self._settings.run.last
            kept = f"; the same command goes on from {last}" if last.exists() else ""
            raise JobFailed(f"the training workers failed {MAX_FAILURES + 1} times{kept}: {_cause(self._error)}")
        raise self._error

    def _fit(self, given: Share) -> None:
        try:
            from ray.train import FailureConfig, RunConfig, ScalingConfig
            from ray.train.torch import TorchTrainer

            TorchTrainer(
                _work,
                train_loop_config={"settings": self._settings, "threads": given.threads},
                scaling_config=ScalingConfig(
                    num_workers=self._settings.config.workers,
                    use_gpu=bool(given.gpus),
                    resources_per_worker=given.resources,
                ),
                run_config=RunConfig(
                    name="state",
                    storage_path=str(self._settings.run.path / "ray"),
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                    worker_runtime_env={"env_vars": PASSIVE_WAITING | variables_passed_on()},
                ),
            ).fit()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self._error = error


def _work(arguments: dict[str, Any]) -> None:
    """What a worker does. Errors for the user go into the folder: Ray would wrap them, and try again."""
    settings: Settings = arguments["settings"]
    run = settings.run
    if run.read_control() is None:
        raise UserError(
            f"--run is {run.path}, which {os.uname().nodename} does not see; give a folder on shared storage"
        )
    if (before := run.ending()) is not None and before.reason == "failed":
        raise JobFailed(before.message)  # of this attempt: no restart can help

    from ray import train
    from ray.train.torch import get_device

    from kinetics_pipeline.workflows.training.group import Group
    from kinetics_pipeline.workflows.training.session import run_session

    context = train.get_context()
    group = Group(get_device(), context.get_world_rank(), context.get_world_size(), arguments["threads"])
    try:
        run_session(settings, group)
    except UserError as error:
        with suppress(OSError):  # the error may be that nothing can be written; Ray tells what is raised
            run.end(Ending("failed", str(error), error.exit_code))
        raise


def _cause(error: BaseException | None) -> str:
    """The last line of what happened in a worker, which is its exception."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    texts = [str(one) for one in failures.values()] or [str(error)]
    lines = [line.strip() for line in texts[0].splitlines() if line.strip()]
    return lines[-1] if lines else "they ended without a word"


def wait(training: Training, every: float, look: Callable[[], None]) -> None:
    """Calls `look` every so many seconds until the training has ended, and once after."""
    while training.running(every):
        look()
    look()
