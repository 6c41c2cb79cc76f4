"""Where the metrics of a run are shown besides the JSON lines: TensorBoard, and Weights & Biases where asked."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.models.weights.torch_files import write_whole
from kinetics_pipeline.workflows.extras import command_to_install, installed
from kinetics_pipeline.workflows.flags.training_flags import Logger

PROJECT = "kinetics-pipeline"
"""The project on Weights & Biases where WANDB_PROJECT names none."""
PASSED_ON = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL")
"""Variables of the driver that its workers get too. The key is none of them: Ray would show it in its logs."""


class Tracker(Protocol):
    """Shows numbers and pictures of a run; made at the step that the run goes on from."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, as `train/loss`. Steps never fall between two calls."""

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """uint8 RGB [H, W, 3]."""

    def close(self) -> None: ...


class TensorBoard:
    """Events in a folder. After a restart at `step` nothing later than that is shown of what was there."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._events = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=20)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        self._events.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        self._events.close()


class WeightsAndBiases:
    """A run of Weights & Biases, with its files in RUN/wandb. Its id is kept in RUN/wandb.json, so that a run that goes
    on is the same one there; steps that it has already, and that are done again with the same numbers, are left out.

    The environment variables of the package decide the rest: WANDB_MODE (online, offline), WANDB_PROJECT, WANDB_ENTITY.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Raises JobFailed where the run cannot be begun, as without a network."""
        import wandb

        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                dir=str(folder),
                id=_run_id(folder / "wandb.json"),
                name=os.environ.get("WANDB_NAME") or folder.name,
                config=dict(config),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
            )
        except wandb.Error as error:
            raise JobFailed(f"--logger is wandb, and its run cannot be begun: {_first_line(error)}") from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, dict(values))

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        self._log(step, {name: self._wandb.Image(picture)})

    def _log(self, step: int, values: dict[str, Any]) -> None:
        if step >= self._run.step:
            self._run.log(values, step=step)

    def close(self) -> None:
        with suppress(self._wandb.Error):  # its files are in the folder, for `wandb sync`
            self._run.finish()


def require_logger(logger: Logger) -> None:
    """Raises UserError where the package that `--logger` needs is not installed, or has no key and nobody to ask."""
    if logger != "wandb":
        return
    if not installed("wandb"):
        raise UserError(f"--logger is wandb, which is not installed: {command_to_install('wandb')}")
    import wandb

    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        return
    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error:
        known = False
    if not known:
        keep = "`wandb login` keeps one, and WANDB_MODE=offline needs none"
        raise UserError(f"--logger is wandb, which has no key here; {keep}")


def trackers(folder: Path, logger: Logger, step: int, config: Mapping[str, Any]) -> list[Tracker]:
    """What `--logger` asks for, in the run folder `folder`. Raises JobFailed where one cannot be begun."""
    made: list[Tracker] = [TensorBoard(folder / "tensorboard", step)]
    if logger == "wandb":
        made.append(WeightsAndBiases(folder, config))
    return made


def variables_passed_on() -> dict[str, str]:
    """What workers on other machines need of this process's environment."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _run_id(path: Path) -> str:
    """The id of the run on Weights & Biases: the one in the file, else a new one that is then in it."""
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return str(json.loads(path.read_bytes())["id"])
    made = secrets.token_hex(8)
    write_whole(path, lambda file: file.write(json.dumps({"id": made}).encode()))
    return made


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
