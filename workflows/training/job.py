"""`train`: hold the run against what is there, train it here or through Ray Train, show how it goes."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from kinetics_pipeline.annotations.class_names import chosen_classes
from kinetics_pipeline.annotations.table import read_labels
from kinetics_pipeline.dataset.dataset import Dataset, require_among_classes
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.shards.writer import versions
from kinetics_pipeline.workflows.flags.record import as_record
from kinetics_pipeline.workflows.flags.training_flags import TrainConfig
from kinetics_pipeline.workflows.runtime.cluster import addressed, connected, require_lasting
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.runtime.signals import stop_requested
from kinetics_pipeline.workflows.training.feeding import cores_for, loaders_for
from kinetics_pipeline.workflows.training.here import train_here, trains_here
from kinetics_pipeline.workflows.training.metrics import SCORES, MetricsFollower, main_score, seconds_of_work
from kinetics_pipeline.workflows.training.result import TrainResult
from kinetics_pipeline.workflows.training.run_folder import Ending, RunFolder, write_json
from kinetics_pipeline.workflows.training.settings import Settings
from kinetics_pipeline.workflows.training.share import Share, share, this_machine
from kinetics_pipeline.workflows.training.trackers import require_logger

POLL = 0.5
PATIENCE = 30.0
"""Seconds after which a driver that hears nothing says what it waits for."""


def train(output: str, config: TrainConfig) -> None:
    """Trains, and prints what came of it. Raises as `train_run`."""
    result = train_run(output, config)
    print(f"{result.run} is finished: {result}" if result.was_finished else result)
    if not result.was_finished:
        print(f"checkpoints, metrics.jsonl and tensorboard lie in {result.run}")


def train_run(output: str, config: TrainConfig) -> TrainResult:
    """See the module. Raises UserError, JobFailed, or KeyboardInterrupt when stopped; the same command goes on."""
    require_lasting("--run", config.run)
    dataset = Dataset.open(output)
    run = RunFolder(config.run.absolute())
    settings = _settings(dataset, config, run)
    steps = settings.training_recipe().steps
    with run.taken(), run.report_full_disk():
        run.begin(_record(settings, dataset))
        done = _steps_done(run)
        if done >= steps and run.results.exists():
            return TrainResult.read(run, was_finished=True)
        _check(settings, begins=done == 0)
        with nullcontext() if trains_here(config) else connected(), stop_requested() as should_stop:
            ending = _train(settings, steps, done, should_stop)
        if ending.reason == "stopped":
            raise KeyboardInterrupt
        _write_results(settings, dataset)
    return TrainResult.read(run)


def _settings(dataset: Dataset, config: TrainConfig, run: RunFolder) -> Settings:
    if config.stream == "flow" and dataset.recipe.flow == "none":
        raise UserError(f"--stream is flow, but {dataset.store.uri} was built without flow; allowed: rgb")
    asked = chosen_classes(config.classes, dataset.classes)
    if config.class_list is not None:
        asked = (*asked, *read_labels(config.class_list))
    require_among_classes(dataset, asked)
    classes = tuple(name for name in dataset.classes if not asked or name in asked)
    if len(classes) < 2:
        raise UserError(
            f"the choice of classes leaves {len(classes)} of {len(dataset.classes)} classes; allowed: 2 or more"
        )
    return Settings(
        config=config,
        uri=dataset.store.uri,
        classes=classes,
        recipe=dataset.recipe.to_json(),
        fingerprint=fingerprint(dataset).to_json(),
        run=run,
        token=secrets.token_hex(8),
    )


def _record(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    return {
        "command": "train",
        "config": as_record(settings.config) | {"classes": list(settings.classes)},
        "dataset": {"uri": dataset.store.uri, "recipe": settings.recipe, "fingerprint": settings.fingerprint},
        "classes": list(settings.classes),
        "versions": versions(),
    }


def _check(settings: Settings, *, begins: bool) -> None:
    """What can be wrong with splits, crops and flags is said before Ray is started."""
    from kinetics_pipeline.models import MODELS, build_model
    from kinetics_pipeline.models.i3d import LEAST_FRAMES
    from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
    from kinetics_pipeline.workflows.training.data import training_clips
    from kinetics_pipeline.workflows.training.validation import validation_clips
    from kinetics_pipeline.workflows.training.weights import initial_weights

    config = settings.config
    require_logger(config.logger)
    if config.model not in MODELS:
        raise UserError(f"--model is {config.model}; allowed: {', '.join(MODELS)}")
    if config.frames < LEAST_FRAMES:
        raise UserError(f"--frames is {config.frames}; allowed: {LEAST_FRAMES} or more")
    with _naming("--train-split", config.train_split):
        clips = training_clips(settings)
    if clips.actions:
        if len(settings.classes) != len(clips.classes):
            raise UserError("--classes chooses clips by their one label; those of this dataset have several actions")
        if config.model != "i3d":
            raise UserError(f"--model is {config.model}; clips with several actions are learned by i3d")
    if settings.evaluate_every:
        with _naming("--val-split", config.val_split, "; --evaluate-every 0 trains without"):
            validation_clips(settings)
    if begins and config.init is not None:  # before the workers, whose news come late, and for each of them again
        with as_user_errors():
            initial_weights(build_model(config.model, **settings.model_options(1)), config.init, settings)


@contextmanager
def _naming(flag: str, split: str, way_out: str = "") -> Iterator[None]:
    """Two flags name splits."""
    from kinetics_pipeline.loading.selection import NoSuchSplit

    try:
        yield
    except NoSuchSplit as error:
        raise UserError(f"{flag} is {split!r}; {error.args[1]}{way_out}") from error


def _steps_done(run: RunFolder) -> int:
    if not run.last.exists():
        return 0
    from kinetics_pipeline.models import read_checkpoint
    from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors

    with as_user_errors():
        return int(read_checkpoint(run.last).metadata["step"])


def _train(settings: Settings, steps: int, done: int, should_stop: Callable[[], bool]) -> Ending:
    config, run = settings.config, settings.run
    run.forget_ending()
    run.control(settings.token)
    with Meter(steps, "steps", done=done) as meter:
        show = _Show(meter, MetricsFollower(run.metrics), settings)

        def look() -> None:
            show.new_lines()
            if should_stop() and not show.stopping:
                show.stopping = True
                run.control(settings.token, stop=True)
                meter.say("stopping after this step")

        if trains_here(config):
            settings, given = _shared_out(settings, [this_machine()])
            show.waits_for = f"the first step, on {_shown(given)} of this machine"
            return train_here(settings, given, POLL, look)
        from kinetics_pipeline.workflows.training.ray_workers import Training, alive_nodes, wait

        settings, given = _shared_out(settings, alive_nodes())
        where = f"the cluster at {os.environ['RAY_ADDRESS']}" if addressed() else "Ray"
        workers = counted(config.workers, "worker")
        show.waits_for = f"{where} to start {workers} on {_shown(given)}{' each' if config.workers > 1 else ''}"
        training = Training(settings, given)
        wait(training, POLL, look)
        return training.ending()


def _shared_out(settings: Settings, nodes: list[dict[str, float]]) -> tuple[Settings, Share]:
    """The settings with the number of loading processes, and what each worker is given. Raises as `share`."""
    config, layout = settings.config, settings.recipe["layout"]
    needed = cores_for(layout, settings.stream, config.crop)
    decided = replace(settings, auto_loaders=loaders_for(config.loaders, needed, config.device, nodes))
    return decided, share(config.workers, decided.loaders, config.device, nodes)


def _shown(given: Share) -> str:
    cores = counted(given.cpus, "core")
    return f"{cores} and a GPU" if given.gpus else cores


class _Show:
    """What the terminal sees of the lines that the workers write."""

    def __init__(self, meter: Meter, follower: MetricsFollower, settings: Settings) -> None:
        self.meter, self.follower, self.settings = meter, follower, settings
        self.waits_for = "Ray"
        """What has to happen before the first line."""
        self.stopping = False
        self._heard: float | None = None
        self._began = time.monotonic()

    def new_lines(self) -> None:
        lines = self.follower.new()
        for line in lines:
            if line["kind"] == "note":
                self.meter.say(line["text"])
            elif line["kind"] == "evaluation":
                named_scores = {name: line.get(key) for key, name in SCORES.items()}
                scores = ", ".join(f"{name} {value:.1%}" for name, value in named_scores.items() if value is not None)
                loss = f"loss {line['loss']:.3f}"
                self.meter.say(f"step {line['step']}: {self.settings.evaluated} {scores}, {loss}")
        done = [line for line in lines if line["kind"] == "step"]
        if done:
            self._step(done[-1])
        if self._heard is None and not lines and time.monotonic() - self._began > PATIENCE:
            self._began = time.monotonic()
            self.meter.say(f"waiting for {self.waits_for}")

    def _step(self, line: dict[str, Any]) -> None:
        if self._heard is None:  # what came before the first step is not the pace
            self.meter.began_with, self.meter.began = line["step"], time.monotonic()
        self._heard = time.monotonic()
        rates = f"loader {line['loader_samples_per_second']:.0f}/s, compute {line['compute_samples_per_second']:.0f}/s"
        speed = f"{line['samples_per_second']:.1f} clips/s, {line['bound']}-bound ({rates})"
        self.meter.at(line["step"], f"loss {line['loss']:.3f} · {speed}")


def _write_results(settings: Settings, dataset: Dataset) -> None:
    run = settings.run
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    if not steps:
        raise JobFailed(f"{run.metrics} has no step in it")
    known = [line for line in evaluations if line[main_score(line)] is not None]
    best = max(known, key=lambda line: line[main_score(line)], default=None)
    rates = sorted(line["samples_per_second"] for line in steps)
    results = {
        "steps": steps[-1]["step"],
        "loss": steps[-1]["loss"],
        "samples_per_second": rates[len(rates) // 2],
        "bound": steps[-1]["bound"],
        "seconds": round(seconds_of_work(lines), 1),
        "best": None if best is None else {k: best[k] for k in ("step", "loss", *SCORES) if k in best},
        "last": evaluations[-1] if evaluations else None,
        "dataset": {"uri": dataset.store.uri, "fingerprint": settings.fingerprint},
        "classes": len(settings.classes),
    }
    write_json(run.results, results)
