"""A certificate: what a dataset is, in one file without its clips, to be kept with results and compared with others.

It names every clip asked, what became of it and a digest of its content, so that two sites can say which clips they
have in common, and not only how many. Its hashes are checked when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.dataset.fingerprint import Fingerprint, asked_line, fingerprint_of
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Outcome
from kinetics_pipeline.storage.local import new_file
from kinetics_pipeline.storage.open_store import open_store

KIND = "kinetics-pipeline certificate"
VERSION = 1


@dataclass(frozen=True)
class Asked:
    """A clip that has a record."""

    asked: str
    """What was asked, as the fingerprint of the annotations has it."""
    outcome: Outcome
    content: str | None
    """The digest of its rows (`payload.content_digest`) when it is ok."""


class _Head(msgspec.Struct):
    kind: str
    version: int


class _Document(msgspec.Struct):
    fingerprint: Fingerprint
    recipe: dict[str, Any]
    clips: list[tuple[str, str, Outcome, str | None]]


@dataclass(frozen=True)
class Certificate:
    name: str
    """What it is called when it is compared: a place or a file."""
    fingerprint: Fingerprint
    recipe: dict[str, Any]
    clips: dict[str, Asked]

    def survivors(self) -> set[str]:
        return {clip_id for clip_id, clip in self.clips.items() if clip.outcome == "ok"}


def certificate_of(dataset: Dataset) -> Certificate:
    """The certificate of what is committed now."""
    clips = dataset.newest(
        lambda marker, entry: Asked(asked_line(marker, entry), entry["outcome"], entry.get("content"))
    )
    return _made(dataset.store.uri, dataset.recipe.to_json(), clips)


def _made(name: str, recipe: dict[str, Any], clips: Mapping[str, Asked]) -> Certificate:
    survivors = {clip_id: clip.content or "" for clip_id, clip in clips.items() if clip.outcome == "ok"}
    return Certificate(name, fingerprint_of([c.asked for c in clips.values()], recipe, survivors), recipe, dict(clips))


def write_certificate(certificate: Certificate, path: Path) -> None:
    """Raises UserError where it cannot be written."""
    head = {
        "kind": KIND,
        "version": VERSION,
        "fingerprint": certificate.fingerprint.to_json(),
        "recipe": certificate.recipe,
    }
    lines = (
        json.dumps([clip_id, clip.asked, clip.outcome, clip.content], ensure_ascii=False)
        for clip_id, clip in sorted(certificate.clips.items())
    )
    text = json.dumps(head, indent=1)[:-2] + ',\n "clips": [\n' + ",\n".join(lines) + "\n]}\n"
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, which must not become a file
            path.write_text(text, encoding="utf-8")
            return
        with new_file(path) as out:
            out.write(text.encode())
    except OSError as error:
        raise UserError(f"a certificate cannot be written to {path}: {error.strerror}") from None


def read_certificate(path: Path) -> Certificate:
    """Raises UserError when the file is not a certificate, a newer one, or was changed since."""
    try:
        data = path.read_bytes()
        head = msgspec.json.decode(data, type=_Head)
        if head.kind != KIND:
            raise ValueError("it says it is something else")
        if head.version != VERSION:
            raise ValueError(f"its version is {head.version}; allowed: {VERSION}")
        document = msgspec.json.decode(data, type=_Document)
        clips = {clip_id: Asked(asked, outcome, content) for clip_id, asked, outcome, content in document.clips}
        if len(clips) < len(document.clips):
            raise ValueError("it names a clip twice")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is not a certificate: {error}") from None
    except (RecursionError, UnicodeDecodeError, msgspec.DecodeError):
        raise UserError(f"{path} is not a certificate: it is not JSON; `report --certificate` writes one") from None
    except ValueError as error:
        raise UserError(f"{path} is not a certificate: {error}") from None
    certificate = _made(str(path), document.recipe, clips)
    if certificate.fingerprint != document.fingerprint:
        raise UserError(f"{path} was changed after it was written: its fingerprint is not that of its clips")
    return certificate


def open_certificate(place: str | os.PathLike[str]) -> Certificate:
    """The certificate of a dataset (a path or a URI), or the one in a file. Raises UserError when it is neither."""
    text = os.fspath(place)
    if "://" not in text and Path(text).is_file():
        return read_certificate(Path(text))
    if "://" not in text and not open_store(text).exists(DATASET):
        raise UserError(f"{text} is neither a dataset nor a certificate")
    return certificate_of(Dataset.open(text))
