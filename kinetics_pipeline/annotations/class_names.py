"""Names of classes: which are one name written in several ways, and which a user means."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from kinetics_pipeline.annotations.files import read_text
from kinetics_pipeline.file_names import normalised


def spelling(name: str) -> str:
    """One key for all spellings of a name: case, blanks, underscores, apostrophes, parentheses and accents' forms do
    not count; `petting_animal_not_cat` and `petting animal (not cat)` are one."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold())
    # Two numbers stay apart: `1 2` is not `12`. A name of signs alone is its own key.
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(words)) or name


def alike(labels: Iterable[str]) -> list[str]:
    """Labels of one name in several spellings, which may be meant as one class: a line for each name."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        spellings[spelling(label)].append(label)
    return [
        f"{len(same)} classes have names that differ in spelling alone: {', '.join(map(repr, same))}"
        for same in spellings.values()
        if len(same) > 1
    ]


def matched(name: str, labels: Sequence[str]) -> str | None:
    """The label that a name means: itself, else the only one that differs from it in spelling alone; None for none."""
    if (name := normalised(name)) in labels:
        return name
    same = [label for label in labels if spelling(label) == spelling(name)]
    return same[0] if len(same) == 1 else None


def chosen_classes(values: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The classes that values of `--classes` name: each is a class, several with commas between them, or a file with
    one a line. A name may hold commas: the longest that is a label counts. What is not a label stays as it is written.

    Raises UserError for a file that cannot be read.
    """
    chosen: list[str] = []
    for value in values:
        if matched(value.strip(), labels) is None and Path(value).is_file():
            lines = map(str.strip, read_text(Path(value), "classes file").splitlines())
            chosen += [matched(line, labels) or line for line in lines if line]
        else:
            chosen += _between_commas(value, labels)
    return tuple(dict.fromkeys(chosen))


def _between_commas(value: str, labels: Sequence[str]) -> list[str]:
    parts = value.split(",")
    found: list[str] = []
    begin = 0
    while begin < len(parts):
        for end in range(len(parts), begin, -1):
            name = ",".join(parts[begin:end]).strip()
            if (label := matched(name, labels)) is not None or end == begin + 1:
                found += [label or name] if name else []
                begin = end
                break
    return found
