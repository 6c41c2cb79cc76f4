"""The logits of a split's clips, computed here or shared out to several processes, a GPU each where there are GPUs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading.views import Views
from kinetics_pipeline.loading.whole_clips import SameLength
from kinetics_pipeline.models.precision import Precision, choose_precision, device_here
from kinetics_pipeline.models.scoring.evaluation import ALL, Predictions, ViewSums, sum_views
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig
from kinetics_pipeline.workflows.runtime.model_errors import as_user_errors
from kinetics_pipeline.workflows.runtime.progress import Meter
from kinetics_pipeline.workflows.scoring.trained import Trained, open_trained
from kinetics_pipeline.workflows.training.data import loader, on_device, plain_errors
from kinetics_pipeline.workflows.training.feeding import FORWARD, H100_SAMPLES, cores_for, loaders_for
from kinetics_pipeline.workflows.training.long_clips import compute_long
from kinetics_pipeline.workflows.training.share import this_machine

POLL = 0.5
_done: Any = None
"""The views that all processes together have done, in shared memory; None in a process alone."""


@dataclass(frozen=True)
class Task:
    """What a process is told; it opens weights and dataset itself."""

    path: Any
    stream: str
    uri: str
    config: EvaluateConfig
    asked: tuple[str, ...] | None
    precision: Precision


def views_of(trained: Trained, dataset: Dataset, config: EvaluateConfig, asked: Sequence[str] | None) -> Views:
    """What a network is shown of the split's labelled clips."""
    stream: Any = trained.stream
    clips = Views(
        dataset.store.uri,
        config.split,
        stream,
        config.crop or (dataset.recipe.short_side if config.views == "10x3" else trained.crop),
        config.frames,
        views=config.views,
        window=config.window or trained.frames,
        stride=config.stride or trained.stride,
        crops=config.crops,
        mirrored=config.mirrored,
        classes=trained.classes,
        clips=asked,
        labelled_only=True,
    )
    if clips.actions and (config.views != "whole" or config.mirrored or clips.crops != 1):
        raise UserError(
            "--views, --crops and --mirrored are for clips of one label; those of this dataset have several actions"
        )
    return clips


def loaders_of(clips: Views, config: EvaluateConfig, device: torch.device) -> int:
    """The loading processes of each worker."""
    needed = cores_for(clips.recipe.layout, clips.stream, clips.crop, H100_SAMPLES * FORWARD)
    return loaders_for(config.loaders, needed, device.type, [this_machine()])


def require_workers(workers: int) -> None:
    """Raises UserError for more processes than this machine has GPUs, or cores where it has none."""
    gpus = torch.cuda.device_count()
    most, what = (gpus, "GPUs") if gpus else (os.cpu_count() or 1, "cores")
    if workers > most:
        raise UserError(f"--workers is {workers}; allowed on this machine, which has {most} {what}: 1 to {most}")


def predictions_of(
    trained: Trained, clips: Views, config: EvaluateConfig, asked: Sequence[str] | None
) -> dict[str, Predictions]:
    """Logits of each clip, the mean over its views, by the name under which they are scored: of the stream, and where
    the network has a head for each of its streams, of those."""
    model, device = trained.network(), device_here()
    with as_user_errors():
        precision, batches = _precision(trained, model.to(device), clips, config, device)
        what = "clips" if config.views == "whole" else "views"
        with Meter(len(clips), f"{trained.stream} {what}") as meter:
            if config.workers > 1:
                batches.close()
                del model
                task = Task(
                    trained.path, trained.stream, clips.uri, config, None if asked is None else tuple(asked), precision
                )
                found = _shared_out(task, meter)
            else:

                def tick(count: int) -> None:
                    meter.at(meter.done + count)

                found = sum_views(model, _ticking(batches, tick), device, precision, compute_long)
        return {head or trained.stream: found.predictions(head) for head in (ALL, *sorted(set(found.sums) - {ALL}))}


def _precision(
    trained: Trained, model: nn.Module, clips: Views, config: EvaluateConfig, device: torch.device
) -> tuple[Precision, Any]:
    """The precision that pays on a first batch, in which the network is prepared; and all batches."""
    source = _batches(trained, clips, config, device, 0, 1)
    first = next(source)
    precision = choose_precision(model, [first[name] for name in model.inputs], training=False)  # type: ignore[union-attr]
    precision.prepare(model)

    def again() -> Iterator[dict[str, Any]]:
        yield from chain([first], source)

    return precision, again()


def _batches(
    trained: Trained, clips: Views, config: EvaluateConfig, device: torch.device, rank: int, size: int
) -> Iterator[dict[str, Any]]:
    """Every `size`-th batch on the device, its labels numbered as the network numbers its classes."""
    number = torch.full((len(clips.classes),), -1)
    number[[clips.classes.index(name) for name in trained.classes]] = torch.arange(len(trained.classes))
    order = list(SameLength(clips, config.batch_size))[rank::size]
    for raw in plain_errors(loader(clips, order, loaders_of(clips, config, device), device)):
        batch = on_device(raw, device)
        yield batch | {"rgb": batch["video"], "label": number[batch["label"].cpu()]}


def _ticking(batches: Iterator[dict[str, Any]], tick: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield batch
        tick(len(batch["clip_id"]))


def _shared_out(task: Task, meter: Meter) -> ViewSums:
    """Has every process compute its share of the batches. Raises what they raise, JobFailed when one of them dies."""
    context = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    done, found = context.Value("q", 0), ViewSums()
    with ProcessPoolExecutor(task.config.workers, context, _remember, (done,)) as pool:
        futures = [pool.submit(_compute_share, task, rank) for rank in range(task.config.workers)]
        waiting = set(futures)
        while waiting:
            _, waiting = wait(waiting, timeout=POLL)
            meter.at(done.value)
        try:
            for future in futures:
                found.extend(future.result())
        except BrokenProcessPool:
            raise JobFailed(
                f"a process of --workers {task.config.workers} was ended from outside, as when memory is short"
            ) from None
    return found


def _remember(done: Any) -> None:
    global _done
    _done = done


def _compute_share(task: Task, rank: int) -> ViewSums:
    size = task.config.workers
    gpus = torch.cuda.device_count()
    device = torch.device("cuda", rank) if gpus else torch.device("cpu")
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    trained = open_trained(task.path, task.stream, bn_eps=task.config.bn_eps)
    clips = views_of(trained, Dataset.open(task.uri), task.config, task.asked)
    model = trained.network().to(device)
    task.precision.prepare(model)

    def tick(count: int) -> None:
        with _done.get_lock():
            _done.value += count

    with as_user_errors():
        batches = _ticking(_batches(trained, clips, task.config, device, rank, size), tick)
        return sum_views(model, batches, device, task.precision, compute_long)
