"""`compare` where one side is a run or a checkpoint: whether it was trained on that dataset, and what differs.

A run or a checkpoint keeps the fingerprint, recipe and classes of its dataset, but no clips. Which clips differ is told
where the dataset itself is still where the run had it, and unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kinetics_pipeline.dataset.certificate import Certificate, certificate_of, open_certificate
from kinetics_pipeline.dataset.compare import Aspect, compare
from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.dataset.fingerprint import Fingerprint
from kinetics_pipeline.errors import JobFailed, UserError

CONFIG = "config.json"
CHECKPOINTS = (".pt", ".pth", ".safetensors")
_SHOWN = 5


class _TrainedOn(msgspec.Struct):
    fingerprint: Fingerprint
    recipe: dict[str, Any]
    uri: str | None = None


class _Run(msgspec.Struct):
    """What is read of a run's `config.json`."""

    dataset: _TrainedOn
    classes: list[str]


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    fingerprint: Fingerprint
    recipe: dict[str, Any]
    classes: list[str] | None
    """None: not known, as of a certificate."""
    certificate: Certificate | None
    """The clips, where they are known."""


def is_run(place: str) -> bool:
    """Whether a place is the folder of a training run, by its files; nothing of them is read."""
    path = Path(place)
    return "://" not in place and (path / CONFIG).is_file() and not (path / DATASET).is_file()


def is_trained(place: str) -> bool:
    """Whether a place is a run's folder or a checkpoint, by its name and files; nothing of it is read."""
    path = Path(place)
    if "://" in place or path.is_dir():
        return is_run(place)
    return path.suffix.lower() in CHECKPOINTS and path.is_file()


def compare_sides(first: str, second: str) -> list[Aspect]:
    """The aspects of the fingerprint, and the classes. Raises UserError for a place that is neither a dataset, a
    certificate, a run nor a checkpoint of ours."""
    one, other = _side(first), _side(second)
    if one.certificate is not None and other.certificate is not None:
        aspects = compare(one.certificate, other.certificate)
    else:
        mine, theirs = one.fingerprint.to_json(), other.fingerprint.to_json()
        aspects = [Aspect(name, mine[name] == theirs[name], _why(name, mine, theirs, one, other)) for name in mine]
    if one.classes is not None and other.classes is not None:
        aspects.append(Aspect("classes", one.classes == other.classes, _classes(one.classes, other.classes)))
    return aspects


def _side(place: str) -> Side:
    if is_trained(place):
        run = _run(Path(place))
        return Side(run.dataset.fingerprint, run.dataset.recipe, run.classes, _unchanged(run.dataset))
    certificate = open_certificate(place)
    file = "://" not in place and Path(place).is_file()
    return Side(certificate.fingerprint, certificate.recipe, None if file else Dataset.open(place).classes, certificate)


def _run(path: Path) -> _Run:
    try:
        if path.is_dir():
            return msgspec.json.decode((path / CONFIG).read_bytes(), type=_Run)
        from kinetics_pipeline.models import read_checkpoint

        known = read_checkpoint(path).metadata
        trained_on = {
            "fingerprint": known.get("fingerprint"),
            "recipe": known.get("recipe"),
            "uri": known.get("dataset"),
        }
        return msgspec.convert({"dataset": trained_on, "classes": known.get("classes")}, _Run)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not say what it was trained on ({reason})") from None


def _unchanged(trained_on: _TrainedOn) -> Certificate | None:
    """The certificate of the dataset that a run was trained on, if it is where it was and what it was."""
    if trained_on.uri is None or "://" in trained_on.uri:  # nothing is asked of a network that only the run names
        return None
    try:
        certificate = certificate_of(Dataset.open(trained_on.uri))
    except (UserError, JobFailed, OSError):
        return None
    return certificate if certificate.fingerprint == trained_on.fingerprint else None


def _why(name: str, mine: dict[str, str], theirs: dict[str, str], one: Side, other: Side) -> list[str]:
    if mine[name] == theirs[name]:
        return []
    if name == "recipe":
        names = dict.fromkeys((*one.recipe, *other.recipe))
        pairs = [(field, one.recipe.get(field), other.recipe.get(field)) for field in names]
        return [f"{field}: {a} and {b}" for field, a, b in pairs if a != b]
    return [f"{mine[name][:12]} and {theirs[name][:12]}; which clips differ is not known: a run names none of its own"]


def _classes(mine: Sequence[str], theirs: Sequence[str]) -> list[str]:
    lines = []
    for which, only in (("first", set(mine) - set(theirs)), ("second", set(theirs) - set(mine))):
        if only:
            named = ", ".join(sorted(only)[:_SHOWN]) + (", ..." if len(only) > _SHOWN else "")
            lines.append(f"only in the {which}: {len(only)} ({named})")
    if not lines and list(mine) != list(theirs):
        place = next(k for k, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
        lines.append(f"another order: class {place} is {mine[place]} and {theirs[place]}")
    return lines
