"""A training session in each of several Ray Train workers: their share of the cluster, and their failures."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.workflows.flags.values import MOST_A_CORE
from kinetics_pipeline.workflows.training.run_folder import Ending
from kinetics_pipeline.workflows.training.settings import Settings

MAX_FAILURES = 2
"""Restarts from the last checkpoint before a run is given up, when workers or their machines die."""
PASSIVE_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other by spinning take the cores from the loaders and from whoever else is on the machine:
with ten other processes on two cores a step of 12 s became one of 2 s."""


@dataclass(frozen=True)
class Share:
    """What one worker is given."""

    cpus: float
    gpus: int

    @property
    def threads(self) -> int:
        """How many threads torch uses: OMP_NUM_THREADS where the user sets it, else one a core."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdigit() and int(asked) else max(1, int(self.cpus))

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


def share(workers: int, loaders: int, device: str, nodes: list[dict[str, float]]) -> Share:
    """The share of each of `workers` on `nodes` (each node's resources): a GPU where there are GPUs.

    On GPUs a worker takes a core, and one for each of its loading processes; on CPUs as many as there are for all of
    them, for that is what it computes on. Raises UserError when a GPU was asked for and there are not enough, and for
    more processes than the cores can feed.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    use_gpus = device == "gpu" or (device == "auto" and gpus > 0)
    if use_gpus and gpus < workers:
        raise UserError(f"--workers is {workers}, one GPU each; there are {gpus} (--device cpu trains without)")
    cores = [node["CPU"] for node in nodes if node.get("CPU", 0) > 0]
    if (processes := workers * (1 + loaders)) > (most := int(MOST_A_CORE * sum(cores))):
        raise UserError(
            f"--workers is {workers} with --loaders {loaders} each, {processes} processes; "
            f"allowed on {sum(cores):g} CPUs: {most} or fewer"
        )
    wanted = [float(1 + loaders)] if use_gpus else []
    for cpus in sorted({*wanted, *(core / k for core in cores for k in range(1, workers + 1))}, reverse=True):
        if wanted and cpus > wanted[0]:
            continue
        fits = sum(
            min(int(node.get("CPU", 0) / cpus + 1e-6), int(node.get("GPU", 0)) if use_gpus else workers)
            for node in nodes
        )
        if fits >= workers:
            return Share(float(int(cpus)) if cpus >= 1 else cpus, int(use_gpus))
    raise UserError(f"--workers is {workers}; the cluster has {sum(cores):g} CPUs and {gpus} GPUs for them")


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
                    worker_runtime_env={"env_vars": PASSIVE_WAITING},
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
