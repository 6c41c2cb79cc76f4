"""One process of a training run, from its last checkpoint on. Plain: the same in a test and under Ray Train.

A step depends on the seed, its number, and the state before it, and on nothing else: the order of clips and their
crops come from (seed, epoch, clip), dropout from (seed, step, rank). So a run that was interrupted, wherever, ends with
the numbers of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.loading import ClipSampler
from kinetics_pipeline.models import Checkpoint, Diverged, build_model, read_checkpoint, save_checkpoint
from kinetics_pipeline.models.layers.batch_norm import (
    EPSILON,
    convert_sync_batch_norm,
    epsilon_of,
    freeze_batch_norm,
    precise_batch_norm,
)
from kinetics_pipeline.models.precision import Precision, choose_precision
from kinetics_pipeline.models.scoring.metrics import confusion, cross_entropy, top_k
from kinetics_pipeline.models.training.freezing import freeze_features
from kinetics_pipeline.models.training.loop import model_inputs, train_steps
from kinetics_pipeline.models.training.recipes import TrainingRecipe, explain_batch
from kinetics_pipeline.models.training.state import TrainingState, restore_state, start_training, state_to_save
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.flags.record import as_record
from kinetics_pipeline.workflows.pictures.colours import flow_colours
from kinetics_pipeline.workflows.pictures.sheets import contact_sheet
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.training.data import (
    LOADING,
    EndlessBatches,
    Position,
    loader,
    on_device,
    plain_errors,
    training_clips,
)
from kinetics_pipeline.workflows.training.group import Group
from kinetics_pipeline.workflows.training.metrics import MetricsLog, SpeedMeter, main_score
from kinetics_pipeline.workflows.training.run_folder import Ending, Reason, write_json
from kinetics_pipeline.workflows.training.settings import Settings
from kinetics_pipeline.workflows.training.trackers import trackers
from kinetics_pipeline.workflows.training.validation import Stopped, Validation, cost_of, validation_clips
from kinetics_pipeline.workflows.training.weights import initial_weights

CONTROL_EVERY = 1.0
"""Seconds between two readings of what the driver asks."""
_GO_ON, _STOP, _SUPERSEDED = 0, 1, 2


def run_session(settings: Settings, group: Group) -> Ending:
    """Trains until the last step, or until asked to stop; leaves checkpoints, metrics and an ending in the folder.

    Raises UserError, also JobFailed, for what ends a run for good; a checkpoint and its name in the message are then
    what is left.
    """
    if group.threads is not None:
        torch.set_num_threads(group.threads)
    with settings.run.report_full_disk():
        ending = Ending(_trained(settings, group))
        if group.first:
            settings.run.end(ending)
    return ending


def _trained(settings: Settings, group: Group) -> Reason:
    session = _Session(settings, group)
    try:
        with as_user_errors():
            return session.train()
    except torch.cuda.OutOfMemoryError as error:
        flags = f"--batch-size {settings.config.batch_size} --frames {settings.config.frames}"
        raise JobFailed(
            f"{flags} does not fit in the memory of {group.device}; a smaller batch with --accumulate, or "
            "--checkpoint-activations, does"
        ) from error
    finally:
        session.close()


class _Session:
    def __init__(self, settings: Settings, group: Group) -> None:
        self.settings, self.config, self.group = settings, settings.config, group
        config, run = settings.config, settings.run
        self.clips = training_clips(settings)
        self.class_numbers = torch.full((len(self.clips.classes),), -1)
        self.class_numbers[[self.clips.classes.index(name) for name in settings.classes]] = torch.arange(
            len(settings.classes)
        )
        self.evaluate_every = settings.evaluate_every
        self.val = validation_clips(settings) if self.evaluate_every else None
        saved = read_checkpoint(run.last) if run.last.exists() else None
        self.position, self.evaluated, self.best = Position(), 0, -1.0
        self.state = self._state(saved)
        self.log = self._log() if group.first else None
        if saved is None:
            self.note(f"{counted(len(self.clips), 'clip')} of {counted(len(settings.classes), 'class')} to train on")
            if self.clips.unlabelled:
                self.note(f"clips of {config.train_split} without a label, which are left out: {self.clips.unlabelled}")
        self._note_settings()
        self._control_read = 0.0
        self.waited = self.loading = 0.0
        """Seconds since the last step: of waiting for batches, and of the loaders' own work on them."""

    def _log(self) -> MetricsLog:
        run, step = self.settings.run, self.state.step
        shown = trackers(run.path, self.config.logger, step, as_record(self.config) | self.settings.metadata())
        return MetricsLog(run.metrics, step, shown)

    def _state(self, saved: Checkpoint | None) -> TrainingState:
        config, group = self.config, self.group
        recipe = self.settings.training_recipe()
        self.options = self.settings.model_options(recipe.steps)
        if saved is not None:  # the momentum of a run that grows stays
            self.options["bn_momentum"] = saved.config["bn_momentum"]
            if "bn_eps" in saved.config:  # of the weights that it began with
                self.options["bn_eps"] = saved.config["bn_eps"]
        torch.manual_seed(config.seed)
        with as_user_errors():
            model = build_model(config.model, **self.options)
            self.weights_from = [] if saved is not None else initial_weights(model, config.init, self.settings)
        if (epsilon := epsilon_of(model)) != EPSILON:
            self.options["bn_eps"] = epsilon
        if config.freeze_batch_norm:
            freeze_batch_norm(model)
        if config.freeze_features:
            freeze_features(model)
        if config.sync_batch_norm and group.size > 1 and group.device.type == "cuda":
            convert_sync_batch_norm(model)
        if saved is not None:
            model.load_state_dict(saved.state_dict)
        model.to(group.device)
        precision = self._precision(model, saved)
        precision.prepare(model)
        network: nn.Module = torch.compile(model) if config.compile else model  # type: ignore[assignment]
        if group.size > 1:
            network = DistributedDataParallel(
                network, device_ids=[group.device.index] if group.device.type == "cuda" else None
            )
        state = start_training(model, recipe, precision, network)
        if saved is not None:
            assert saved.training is not None
            restore_state(state, saved.training)
            self.position = Position(**saved.training["position"])
            self.evaluated, self.best = saved.training["evaluated"], saved.training["best"]
            state.last_checkpoint = str(self.settings.run.last)
        return state

    def _precision(self, model: nn.Module, saved: Checkpoint | None) -> Precision:
        if saved is not None and saved.training is not None:
            return Precision(**saved.training["precision"])  # another would give other numbers
        found = None
        if self.group.first:
            config = self.config
            numbers = torch.Generator().manual_seed(0)
            like = [
                torch.rand(config.batch_size, channels, config.frames, config.crop, config.crop, generator=numbers) * 2
                - 1
                for channels in self.settings.channels
            ]
            inputs = [clips.to(self.group.device) for clips in like]
            found = choose_precision(model, inputs, training=True, choice=config.precision)
        chosen = self.group.same(found)
        assert chosen is not None
        return chosen

    def _note_settings(self) -> None:
        config, recipe = self.config, self.state.recipe
        if self.state.step:
            self.note(f"goes on from step {self.state.step}")
            return
        self.note(explain_batch(recipe, config.batch_size, config.accumulate, config.workers))
        if self.val is not None:
            self.note(cost_of(self.val, self.settings))
        if recipe.plateau:
            self.note(_plateau(recipe, self.evaluate_every))
        where = f"{self.group.size} x {self.group.device.type}"
        self.note(f"{where}, {self.state.precision.reason}")
        if config.batch_norm_momentum is None:
            self.note(f"batch norm's momentum is {self.options['bn_momentum']:.3g} for {counted(recipe.steps, 'step')}")
        if config.sync_batch_norm and self.group.device.type != "cuda":
            self.note("batch norm is not synchronised: torch does that on GPUs alone")
        for line in self.weights_from:
            self.note(line)

    def train(self) -> Reason:
        """Steps, checkpoints and evaluations until the end. Raises Diverged."""
        state, config = self.state, self.config
        batches = self._batches()
        speed = SpeedMeter(self.group.size, self.settings.loaders)
        steps = train_steps(state, batches, accumulation=config.accumulate, clip_norm=config.clip_gradients)
        try:
            if self.evaluated < state.step and self._evaluation_due():
                self._evaluate_and_save()  # the last attempt ended before it could
            while not state.finished:
                # A seed for each step, so that a run that goes on needs no process's own stream of numbers.
                torch.manual_seed((config.seed * 1_000_003 + state.step) * 65_537 + self.group.rank)
                done = next(steps)
                self._advance()
                times = (self.waited, done.waiting_seconds + done.computing_seconds - self.waited, self.loading)
                self.waited = self.loading = 0.0
                if self.log:
                    self.log.step(done, speed.step(done.clips, *times))
                asked = self._stop_after_this_step()
                if self._evaluation_due() and not asked:
                    self._evaluate_and_save()
                elif asked or state.finished or state.step % config.checkpoint_every == 0:
                    if state.finished and config.precise_batch_norm and not self.evaluate_every:
                        self._precise_batch_norm()
                    self._save(self.settings.run.last)
                if asked:
                    return "finished" if state.finished and not self._evaluation_due() else "stopped"
        except Stopped:
            self._save(self.settings.run.last)
            return "stopped"
        except Diverged as error:
            hint = "begin another --run with a lower --learning-rate"
            raise JobFailed(f"{error}; {hint}") from error
        return "finished"

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Batches for the model, endlessly."""
        config, group = self.config, self.group
        sampler = ClipSampler(self.clips, rank=group.rank, world_size=group.size, seed=config.seed)
        order = EndlessBatches(sampler, config.batch_size, self.position, len(self.clips))
        torch.backends.cudnn.benchmark = True  # of one size
        source = plain_errors(loader(self.clips, order, self.settings.loaders, group.device))
        while True:
            begun = time.perf_counter()
            raw = next(source)
            self.waited += time.perf_counter() - begun
            self.loading += float(raw[LOADING].sum())
            batch = self._placed(raw)
            if self.log and self.state.step == 0:
                self.log.picture("train/first batch", _picture(batch["video"]), 0)
            yield batch

    def _placed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        batch = on_device(raw, self.group.device)
        batch["rgb"] = batch["video"]  # as networks of two streams call it
        return batch | {"label": self.class_numbers.to(self.group.device)[batch["label"]]}

    def _advance(self) -> None:
        for _ in range(self.config.accumulate):
            self.position = self.position.after(self.config.batch_size, len(self.clips), self.group.size)

    def _evaluation_due(self) -> bool:
        step, every = self.state.step, self.evaluate_every
        return bool(every) and self.evaluated < step and (step % every == 0 or self.state.finished)

    def _evaluate_and_save(self) -> None:
        """Scores the validation split, tells the schedule, keeps the weights if they are the best so far."""
        self._save(self.settings.run.last)  # an evaluation takes long, and may be what a run dies of
        self.group.same_buffers(self.state.model)
        if self.config.precise_batch_norm:
            self._precise_batch_norm()
        assert self.val is not None
        torch.backends.cudnn.benchmark = False  # clips of many lengths
        validation = Validation(self.state, self.val, self.group, self._placed, self.settings.loaders, self._stop_asked)
        table = None
        if self.val.actions:
            scores = validation.action_scores()
        else:
            found = validation.predictions()
            scores = {"loss": cross_entropy(found), "top1": top_k(found, 1), "top5": top_k(found, 5)}
            table = confusion(found)
            if self.group.first:
                self._keep_evaluation(len(found.labels), scores, table)
        torch.backends.cudnn.benchmark = True
        self.state.schedule.observe(scores["loss"])
        self.evaluated = self.state.step
        if self.log:
            self.log.evaluation(self.state.step, scores, table)
        if (score := scores[main_score(scores)]) > self.best:
            self.best = score
            self._save(self.settings.run.best, scores)
        self._save(self.settings.run.last)

    def _keep_evaluation(self, clips: int, scores: dict[str, float], table: NDArray[np.int64]) -> None:
        """Writes what `report RUN` shows, in the form of the results of `evaluate`."""
        of_stream = {"clips": clips, **scores, "confusion": table.tolist()}
        document = {
            "command": "train",
            "config": {"split": self.settings.evaluated},
            "step": self.state.step,
            "dataset": {"uri": self.settings.uri, "fingerprint": self.settings.fingerprint},
            "classes": list(self.settings.classes),
            "scores": {self.settings.stream: of_stream},
        }
        write_json(self.settings.run.evaluation, document)

    def _precise_batch_norm(self) -> None:
        group = self.group
        sampler = ClipSampler(self.clips, rank=group.rank, world_size=group.size, seed=self.config.seed + 1)
        order = EndlessBatches(sampler, self.config.batch_size, Position(self.state.step), len(self.clips))
        source = plain_errors(loader(self.clips, order, self.settings.loaders, group.device))
        model, precision = self.state.model, self.state.precision

        def inputs() -> Iterator[tuple[torch.Tensor, ...]]:
            for raw in islice(source, self.config.precise_batch_norm):
                yield tuple(precision.place(x) for x in model_inputs(model, self._placed(raw)))

        with precision.autocast(group.device):
            precise_batch_norm(model, inputs())

    def _read_control(self) -> int:
        """Reads what the driver asks, at most once in `CONTROL_EVERY` seconds."""
        if time.monotonic() - self._control_read < CONTROL_EVERY:
            return _GO_ON
        self._control_read = time.monotonic()
        asked = self.settings.run.read_control()
        if asked is None or asked["token"] != self.settings.token:
            return _SUPERSEDED
        return _STOP if asked["stop"] else _GO_ON

    def _stop_asked(self) -> bool:
        return self._read_control() != _GO_ON

    def _stop_after_this_step(self) -> bool:
        """Whether to stop after this step, the same in all ranks. Raises JobFailed when another run has taken over."""
        asked = self.group.flag(self._read_control() if self.group.first else _GO_ON)
        if asked == _SUPERSEDED:
            raise JobFailed(f"another training has taken over {self.settings.run.path}")
        return asked == _STOP

    def _save(self, path: Path, scores: dict[str, float] | None = None) -> None:
        """The run's state to `last.pt`, or weights alone and their scores to `best.pt`."""
        state = self.state
        if path == self.settings.run.last:
            state.last_checkpoint = str(path)
        if not self.group.first:
            return
        training = None
        if scores is None:
            training = state_to_save(state) | {
                "position": vars(self.position),
                "evaluated": self.evaluated,
                "best": self.best,
            }
        metadata = self.settings.metadata() | {"step": state.step} | ({"val": scores} if scores else {})
        save_checkpoint(Checkpoint(self.config.model, self.options, state.model.state_dict(), training, metadata), path)

    def note(self, text: str) -> None:
        if self.log:
            self.log.note(self.state.step, text)

    def close(self) -> None:
        if self.log:
            self.log.close()


def _plateau(recipe: TrainingRecipe, every: int) -> str:
    if not every:
        return "without evaluations the learning rate stays as it is: a plateau cannot be seen"
    return (
        f"{counted(-(-recipe.steps // every), 'evaluation')}, {counted(every, 'step')} apart; after {recipe.patience} "
        "without progress the learning rate falls to a tenth"
    )


def _picture(video: torch.Tensor) -> Any:
    """The first clips of a batch [N, C, T, H, W] in [-1, 1], a row each, as a picture."""
    rows = video[:4].float().cpu().permute(0, 2, 3, 4, 1).numpy()
    if video.shape[1] == 2:
        return contact_sheet([flow_colours(row.transpose(0, 3, 1, 2) * 20) for row in rows])
    return contact_sheet([((row + 1) * 127.5).round().astype("uint8") for row in rows])
