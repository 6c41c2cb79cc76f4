"""Paths and URIs given on the command line: absolute before anything leaves the folder where the command was typed.

Ray's workers, the processes that `paper` starts, and whoever copies a printed command all have other working folders.
A flag is a place when its type is `Path`, `Place` or `PlaceOrName`. `Config`, the base of every config, makes places
absolute when it is created; `places_absolute` does the same for the plain parameters of a command.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.workflows.flags.typed import typed

_URI = re.compile("([a-z][a-z0-9+.-]+):/+(.*)", re.IGNORECASE | re.DOTALL)


class PlaceKind(Enum):
    """What a text that may be a path can be besides."""

    URI = "a path or a URI"
    NAME = "a path, a URI or a name that is known"
    FILE = "a file that is there, or any other text"


Place = Annotated[str, PlaceKind.URI]
"""A path or a URI, as of a dataset."""
PlaceOrName = Annotated[str, PlaceKind.NAME]
"""A path, a URI, or a name: `youtube`, `kinetics-400`, a clip_id. It is a path if something lies there, or if it has a
folder or a pattern in it."""
FileOrText = Annotated[str, PlaceKind.FILE]
"""A file, if there is one of that name; else a text, as names of classes, which may have a slash in them."""
KNOWN_NAMES = frozenset({"youtube", "cvdf", "-"})
"""Sources, and standard input; a folder of that name is given as ./youtube."""


def absolute(value: Any, hint: Any) -> Any:
    """`value` of the type `hint` with every path in it absolute and `~` expanded; URIs and names stay as they are.

    Raises UserError for a URI where only a path is allowed: as a path, it would be a folder called `s3:`.
    """
    kind = place_kind(hint)
    if kind is None or value is None:
        return value
    if isinstance(value, tuple | list):
        return type(value)(absolute(one, hint) for one in value)
    if isinstance(value, Path):
        if uri := _URI.match(str(value)):
            raise UserError(f"{uri[1]}://{uri[2]} is given; allowed there: a path on this machine")
        return value.expanduser().absolute()
    if not isinstance(value, str) or not value or "://" in value:
        return value
    if (kind is PlaceKind.NAME and _is_name(value)) or (kind is PlaceKind.FILE and not _is_file(value)):
        return value
    return str(Path(value).expanduser().absolute())


def place_kind(hint: Any) -> type[Path] | PlaceKind | None:
    """What makes a type that of a place, also inside of `X | None`, `tuple[X, ...]` and `Annotated`; else None."""
    if hint is Path or isinstance(hint, PlaceKind):
        return hint
    found = (place_kind(part) for part in (*get_args(hint), *getattr(hint, "__metadata__", ())))
    return next((kind for kind in found if kind is not None), None)


def _is_name(text: str) -> bool:
    if text.lower() in KNOWN_NAMES:
        return True
    looks_like_path = any(character in text for character in "/~*?[")
    return not looks_like_path and not Path(text).exists()


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a name, or ~ of a user that is not there
        return False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of every config: values of the types that the fields have, places absolute. Raises UserError for a value
    of another type. A subclass with checks of its own calls `super().__post_init__()` first."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            object.__setattr__(self, name, absolute(typed(name, getattr(self, name), hint), hint))


def places_absolute(command: Callable[..., Any], given: inspect.BoundArguments) -> None:
    """Makes the places among the arguments of a command of ours absolute, in `given` itself."""
    if command.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return  # the parser's own: --help, --version
    hints = get_type_hints(command, include_extras=True)
    for name, value in given.arguments.items():
        given.arguments[name] = absolute(value, hints.get(name))


def words_absolute(words: Sequence[str], config: type[Config]) -> list[str]:
    """The words of a command line, with what follows a flag of `config` that is a place made absolute."""
    hints = get_type_hints(config, include_extras=True)
    kinds = {"--" + name.replace("_", "-"): hint for name, hint in hints.items() if place_kind(hint) is not None}
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in kinds and equals:
            found.append(f"{flag}={_word_absolute(value, kinds[flag])}")
        else:
            before = found[-1] if found else ""
            found.append(_word_absolute(word, kinds[before]) if before in kinds else word)
    return found


def _word_absolute(word: str, hint: Any) -> str:
    return str(absolute(Path(word) if place_kind(hint) is Path else word, hint))
