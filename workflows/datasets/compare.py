"""`compare`: whether two datasets, or certificates of them, are the same, and what differs."""

from __future__ import annotations

from pathlib import Path

from kinetics_pipeline.dataset.certificate import open_certificate
from kinetics_pipeline.dataset.compare import common, compare
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import visible

DIFFERENT = 1
"""The exit code, as diff's."""


def compare_datasets(first: str, second: str, to: Path | None) -> int:
    """Prints a line for each of annotations, survivors, recipe and content, and what differs below it.

    Writes the ids of the clips that both have to `to`. Returns 0 when all four are the same, else 1.
    """
    one, other = open_certificate(first), open_certificate(second)
    aspects = compare(one, other)
    for aspect in aspects:
        print(f"{aspect.name}: {'the same' if aspect.same else 'different'}")
        for line in aspect.differences:
            print(visible(f"  {line}"))
    both = common(one, other)
    if to is not None:
        try:
            to.write_text("".join(f"{clip_id}\n" for clip_id in both), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--common is {to}, which cannot be written: {error.strerror}") from None
        print(f"the {len(both)} clips that both have are named in {to}: evaluate --clips {to}")
    return 0 if all(aspect.same for aspect in aspects) else DIFFERENT
