"""The list of marked clips: a file with a clip id a line, which `evaluate`, `export` and `forget` take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import CLIP_ID
from kinetics_pipeline.storage.local import new_file


def read_marks(file: Path) -> list[str]:
    """The ids in the file; none where there is no file yet. Raises UserError for a file of something else."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if not file.parent.is_dir():
            raise UserError(f"--marks is {file}, which cannot be written: there is no folder {file.parent}") from None
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--marks is {file}, which cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    ids = [line.strip() for line in lines if line.strip()]
    for one in ids:
        if not CLIP_ID.fullmatch(one):
            raise UserError(f"--marks is {file}, which holds {one[:60]!r}; allowed: a list of clip ids, or a new file")
    return list(dict.fromkeys(ids))


def write_marks(file: Path, ids: Sequence[str]) -> None:
    """Writes the list in the place of the one that was there. Raises UserError where it cannot be written."""
    try:
        with new_file(file) as out:
            out.write("".join(f"{one}\n" for one in ids).encode())
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from None
