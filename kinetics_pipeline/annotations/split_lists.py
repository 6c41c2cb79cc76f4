"""The split lists of UCF-101 and HMDB-51, read as distributed: three ways to part the same clips into train and test.

UCF-101's `ucfTrainTestlist` has trainlist01.txt (`Archery/v_Archery_g08_c01.avi 3`), testlist01.txt (without the
number) and classInd.txt (`3 Archery`). HMDB-51's `testTrainMulti_7030_splits` has, for each class and split,
`brush_hair_test_split1.txt` with `NAME.avi 1`: 1 is train, 2 is test, 0 is neither.

A clip gets the split `all` and the names of the lists that it is on: `train1 test2 train3`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kinetics_pipeline.annotations.files import SPLIT_LIST, Document, Opened, open_annotations
from kinetics_pipeline.annotations.rows import BadRow, Row, shown
from kinetics_pipeline.errors import UserError

ALL = "all"
_UCF = re.compile(r"(train|test)list0*(\d+)\.txt")
_HMDB = re.compile(r"(.+)_test_split(\d)\.txt")
_CLASSES = "classInd.txt"
_HMDB_LISTS = {"1": "train", "2": "test"}


def open_lists(folder: Path) -> Opened | None:
    """The lists that lie in a folder; None when there are none. Raises UserError for one that cannot be read."""
    try:
        names = sorted(p.name for p in folder.iterdir() if SPLIT_LIST.fullmatch(p.name))
    except OSError as error:
        raise UserError(f"annotation folder {folder} cannot be read: {error.strerror}") from None
    if not any(name != _CLASSES for name in names):
        return None
    opened = [open_annotations(folder / name) for name in names]
    digest = hashlib.sha256("".join(f"{one.name} {one.sha256}\n" for one in opened).encode()).hexdigest()
    return Opened(folder.resolve().name, digest, tuple(document for one in opened for document in one.documents))


def split_lists(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Documents that are split lists, and the others."""
    are = [bool(SPLIT_LIST.fullmatch(_name(document))) and not _is_csv(document) for document in documents]
    return [d for d, yes in zip(documents, are, strict=True) if yes], [
        d for d, yes in zip(documents, are, strict=True) if not yes
    ]


def read_lists(documents: Sequence[Document]) -> tuple[list[Row], list[BadRow]]:
    """A row for each file named, with its lists; in the order in which they are first named."""
    bad: list[BadRow] = []
    numbers = _class_numbers(next((d for d in documents if _name(d) == _CLASSES), None), bad)
    first: dict[str, tuple[int, str]] = {}
    lists: dict[str, list[str]] = {}
    for document in documents:
        if _name(document) == _CLASSES:
            continue
        for line, cells in _lines(document):
            try:
                path, label, name = _ucf(document, cells, numbers) or _hmdb(document, cells)
            except ValueError as error:
                bad.append(BadRow(document.name, line, str(error)))
                continue
            first.setdefault(path, (line, label))
            on = lists.setdefault(path, [])
            same = next((one for one in on if name is not None and one[-1] == name[-1]), None)
            if same is not None:
                bad.append(BadRow(document.name, line, f"{shown(path)} is on {same} already"))
            elif name is not None:
                on.append(name)
    rows = [
        Row(line, None, path, label, None, None, ALL, " ".join(sorted(lists[path], key=lambda one: one[-1])))
        for path, (line, label) in first.items()
        if lists[path]
    ]
    return rows, bad


def _ucf(document: Document, cells: list[str], numbers: dict[str, str]) -> tuple[str, str, str | None] | None:
    """(path, label, list), or None for a document that is not UCF-101's. Raises ValueError for a row that is none."""
    matched = _UCF.fullmatch(_name(document))
    if matched is None:
        return None
    kind, split = matched.groups()
    path = cells[0]
    label, slash, _ = path.partition("/")
    if len(cells) > 2 or not slash or not label:
        raise ValueError(f"{shown(' '.join(cells))}; allowed: CLASS/NAME.avi, and its class's number")
    if len(cells) == 2 and numbers and numbers.get(label) != cells[1]:
        raise ValueError(f"class {shown(label)} has number {shown(cells[1])}, in {_CLASSES} {numbers.get(label)}")
    return path, label, f"{kind}{split}"


def _hmdb(document: Document, cells: list[str]) -> tuple[str, str, str | None]:
    matched = _HMDB.fullmatch(_name(document))
    assert matched is not None
    label, split = matched.groups()
    if len(cells) != 2 or cells[1] not in ("0", "1", "2") or "/" in cells[0]:
        raise ValueError(f"{shown(' '.join(cells))}; allowed: NAME.avi and 0, 1 (train) or 2 (test)")
    kind = _HMDB_LISTS.get(cells[1])
    return f"{label}/{cells[0]}", label, None if kind is None else f"{kind}{split}"


def _class_numbers(document: Document | None, bad: list[BadRow]) -> dict[str, str]:
    numbers: dict[str, str] = {}
    for line, cells in _lines(document) if document is not None else ():
        if len(cells) != 2 or not cells[0].isdecimal():
            bad.append(
                BadRow(document.name if document else "", line, f"{shown(' '.join(cells))}; allowed: NUMBER CLASS")
            )
        else:
            numbers[cells[1]] = cells[0]
    return numbers


def _lines(document: Document) -> list[tuple[int, list[str]]]:
    """Line and words of every line that is not blank. A name may have blanks in it: only the last word stands apart."""
    found = []
    for number, line in enumerate(document.lines(), start=1):
        if line.strip():
            head, _, last = line.strip().rpartition(" ")
            found.append((number, [head.strip(), last] if head else [last]))
    return found


def _is_csv(document: Document) -> bool:
    """Whether it is a list of ours that only happens to be called as these are: a comma before any blank."""
    first = next((line for line in document.lines() if line.strip()), "")
    return "," in first.partition(" ")[0] and not _HMDB.fullmatch(_name(document))


def _name(document: Document) -> str:
    return PurePosixPath(document.name).name.removesuffix(".gz")
