"""A run's folder: what is trained on what, how far it is, and what came of it.

    RUN/config.json            flags, dataset (place, recipe, fingerprint), classes, versions; written once
    RUN/metrics.jsonl          a line a step, evaluation, note, or beginning of an attempt (`kind`), in order, no gaps
    RUN/checkpoints/last.pt    all that is needed to go on; best.pt: the weights that were best on the validation split
    RUN/tensorboard/           the same as events; with --logger wandb also wandb/, and wandb.json with its id there
    RUN/evaluation-during-training.json    scores and confusion of the last evaluation
    RUN/results.json           when it is finished

Everything but the metrics is written whole or not at all. Two small files pass words between the driver and its
workers, which share nothing else: `control.json` (who trains here, and whether to stop) and `ending.json` (how the
last attempt ended).
"""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.models.weights.torch_files import write_whole

GROWS = frozenset(
    {"steps", "workers", "accumulate", "loaders", "checkpoint_every", "evaluate_every", "device", "run", "logger"}
)
"""Flags that may differ when a run goes on; workers x accumulate may not, for it makes the batch of a step."""
Reason = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Ending:
    """The end of an attempt. `message` and `exit_code` are those of the error, when it failed."""

    reason: Reason
    message: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class RunFolder:
    """The names of the files of a run. The path is absolute: workers have another working directory."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        return self.path / "checkpoints" / "best.pt"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation-during-training.json"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The folder, made if it is not there, for this process alone. Raises UserError when another trains in it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a")
        except OSError as error:
            raise UserError(f"--run is {self.path}, which cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"--run is {self.path}, where another training is running; wait for it") from error
            yield

    @contextmanager
    def report_full_disk(self) -> Iterator[None]:
        """Raises JobFailed with what to do, where a file of the run cannot be written for want of room."""
        try:
            yield
        except OSError as error:
            elsewhere = error.filename is not None and not Path(error.filename).is_relative_to(self.path)
            if elsewhere or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise JobFailed(
                f"--run is {self.path}, whose disk is full ({error.strerror}); make room, or move the run to another "
                "disk and name that; the same command goes on"
            ) from error

    def begin(self, record: dict[str, Any]) -> None:
        """Writes `record` as the run's config, or holds it against the one that is there, once that has a checkpoint:
        before, there is nothing to go on from.

        Raises UserError that names the first field in which they differ, and for a folder of other things.
        """
        if not self.config.exists():
            if strange := sorted(p.name for p in self.path.iterdir() if p.name not in ("lock", "control.json")):
                raise UserError(f"--run is {self.path}, which holds {strange[0]} and no run; give another folder")
            write_json(self.config, record)
            return
        try:
            before = json.loads(self.config.read_bytes())
            if before["command"] == record["command"] and not self.last.exists():
                write_json(self.config, record)
            else:
                require_same_run(before, record, self.path)
        except (ValueError, KeyError, TypeError) as error:
            raise JobFailed(f"{self.config} is damaged; give another --run") from error

    def control(self, token: str, *, stop: bool = False) -> None:
        """Says to the workers who trains here, and whether they shall stop after the step they are at."""
        write_json(self.path / "control.json", {"token": token, "stop": stop})

    def read_control(self) -> dict[str, Any] | None:
        """None where the file is not there: the folder is not on shared storage."""
        return _read(self.path / "control.json")

    def end(self, ending: Ending) -> None:
        write_json(self.path / "ending.json", vars(ending))

    def ending(self) -> Ending | None:
        found = _read(self.path / "ending.json")
        return None if found is None else Ending(**found)

    def forget_ending(self) -> None:
        (self.path / "ending.json").unlink(missing_ok=True)


def require_same_run(before: dict[str, Any], record: dict[str, Any], path: Path) -> None:
    """Raises UserError that names what of a run that goes on is not as it was."""
    was, asked = before["config"], record["config"]
    for name in asked:
        if name not in GROWS and name in was and not _same_value(was[name], asked[name]):
            raise _other_run(path, f"--{name.replace('_', '-')} is {_shown(asked[name])}", _shown(was[name]))
    batches, now = (c["workers"] * c["accumulate"] for c in (was, asked))
    if batches != now:
        raise _other_run(path, f"--workers x --accumulate is {now}", str(batches))
    for name, hash_ in before["dataset"]["fingerprint"].items():
        if record["dataset"]["fingerprint"][name] != hash_:
            raise UserError(
                f"--run is {path}, begun when the dataset's {name} were others (fingerprint {hash_[:12]}); "
                f"begin another --run, from these weights with --init {path}"
            )


def _same_value(was: Any, asked: Any) -> bool:
    """Runs begun by earlier versions recorded paths as they were typed, relative to a folder that is not known."""
    both = isinstance(was, str) and isinstance(asked, str)
    return was == asked or (both and asked.startswith("/") and asked.endswith("/" + was.removeprefix("./")))


def _other_run(path: Path, asked: str, was: str) -> UserError:
    return UserError(f"{asked}, but the run in {path} was begun with {was}; give the same, or another --run")


def _shown(value: Any) -> str:
    return "none" if value is None or value == [] else str(value)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def write_json(path: Path, document: Any) -> None:
    """Writes whole or not at all: who reads meanwhile sees the old file."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    write_whole(path, lambda file: file.write(text.encode()))
