"""A function for each job: what the command of that name does, with its result returned and not printed.

Progress is shown under the cell in a notebook, and on stderr elsewhere. Each raises UserError for wrong input,
JobFailed for what could not be done, WorkRemains where the same call goes on with the rest, and KeyboardInterrupt when
it is interrupted; never SystemExit.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.workflows.extras import how_to_get
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig
from kinetics_pipeline.workflows.flags.places import Place, PlaceOrName, absolute
from kinetics_pipeline.workflows.flags.training_flags import EvaluateConfig, PredictConfig, TrainConfig
from kinetics_pipeline.workflows.runtime.cluster import prepare
from kinetics_pipeline.workflows.runtime.notebook import quiet_in_notebook
from kinetics_pipeline.workflows.runtime.signals import signals_left_alone

if TYPE_CHECKING:
    from kinetics_pipeline.workflows.building.result import BuildResult
    from kinetics_pipeline.workflows.datasets.status import Status
    from kinetics_pipeline.workflows.scoring.prediction import Prediction
    from kinetics_pipeline.workflows.scoring.result import EvaluateResult
    from kinetics_pipeline.workflows.training.result import TrainResult

PathOrUri = str | os.PathLike[str]


def build(annotations: PathOrUri | Sequence[PathOrUri], config: BuildConfig) -> BuildResult:
    """Builds the dataset at `config.output` from annotation files, a path, URL or name each, or goes on with it.

    Raises UserError for wrong input, JobFailed for what could not be done, WorkRemains where the same call goes on.
    """
    given = [annotations] if isinstance(annotations, str | os.PathLike) else annotations
    files = tuple(_place(file, PlaceOrName) for file in given)
    if not files:
        raise UserError("annotations names no file; allowed: one or more")
    with _as_a_call():
        from kinetics_pipeline.workflows.building.job import build_dataset

        return build_dataset(files, config)


def status(dataset: PathOrUri) -> Status:
    """What a dataset holds, and how a build of it goes. Raises UserError for a place that holds no dataset."""
    with _as_a_call():
        from kinetics_pipeline.dataset.dataset import Dataset
        from kinetics_pipeline.workflows.datasets.status import Status, look

        opened = Dataset.open(_place(dataset, Place))
        return Status(dataset=opened.store.uri, **look(opened))


def train(dataset: PathOrUri, config: TrainConfig) -> TrainResult:
    """Trains a model on one stream of a dataset in the folder `config.run`, or goes on with it.

    Raises UserError for wrong input, JobFailed where the training fails.
    """
    with _as_a_call():
        from kinetics_pipeline.workflows.training.job import train_run

        return train_run(_place(dataset, Place), config)


def evaluate(dataset: PathOrUri, config: EvaluateConfig) -> EvaluateResult:
    """Scores trained streams on whole clips, and both fused; writes the results as the command does.

    Raises UserError also where `config.deepmind_sample` is given, which is for the command.
    """
    if config.deepmind_sample is not None:
        raise UserError(f"deepmind_sample is {config.deepmind_sample}, which the command alone scores; allowed: None")
    with _as_a_call():
        from kinetics_pipeline.workflows.scoring.evaluate import score

        return score(_place(dataset, Place), config)


def predict(video: PathOrUri, config: PredictConfig) -> Prediction:
    """What trained streams see in a video file, at a URL, or in a clip of `config.dataset`.

    Raises UserError for a video, a run or a clip that cannot be used.
    """
    with _as_a_call():
        from kinetics_pipeline.workflows.scoring.predict import prediction_of

        return prediction_of(_place(video, PlaceOrName), config)


def _place(value: PathOrUri, hint: Any) -> str:
    return str(absolute(os.fspath(value), hint))


@contextmanager
def _as_a_call() -> Iterator[None]:
    """Leaves the process as it was; what is not an error of this package, and a user can cause, becomes one."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded; see `workflows.training.ray_workers`
    prepare()
    quiet_in_notebook()
    try:
        with signals_left_alone():
            yield
    except ModuleNotFoundError as error:
        if (advice := how_to_get(error.name)) is None:
            raise
        raise UserError(advice) from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{error.filename}: {error.strerror}") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "the place of what this writes"
            raise JobFailed(f"{where} is full: {error.strerror}") from error
        raise
