"""`compare`: whether two datasets, certificates, runs or checkpoints are of the same dataset, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinetics_pipeline.dataset.certificate import open_certificate
from kinetics_pipeline.dataset.compare import Aspect, common, compare
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted, visible
from kinetics_pipeline.workflows.datasets.compare_trained import compare_sides, is_trained

DIFFERENT = 1
"""The exit code, as diff's."""


def compare_datasets(first: str, second: str, to: Path | None) -> int:
    """Prints a line for each of annotations, survivors, recipe and content, and what differs below it.

    Writes the ids of the clips that both have to `to`. Returns 0 when all four are the same, else 1.
    """
    if is_trained(first) or is_trained(second):
        if to is not None:
            raise UserError(f"--common is {to}, but a run or a checkpoint names no clips; give its dataset instead")
        return _told(compare_sides(first, second))
    one, other = open_certificate(first), open_certificate(second)
    code = _told(compare(one, other))
    both = common(one, other)
    if to is not None:
        try:
            to.write_text("".join(f"{clip_id}\n" for clip_id in both), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--common is {to}, which cannot be written: {error.strerror}") from None
        print(f"what both have is named in {to} ({counted(len(both), 'clip')}): evaluate --clips {to}")
    return code


def _told(aspects: Sequence[Aspect]) -> int:
    """Prints the aspects; the exit code."""
    for aspect in aspects:
        print(f"{aspect.name}: {'the same' if aspect.same else 'different'}")
        for line in aspect.differences:
            print(visible(f"  {line}"))
    return 0 if all(aspect.same for aspect in aspects) else DIFFERENT
