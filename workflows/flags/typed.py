"""Values of a config that were given from Python, as the types of its fields; what the command line gives has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from cyclopts import Parameter, Token

from kinetics_pipeline.errors import UserError


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as `hint` says: a list becomes a tuple, a single value a tuple of one, a text a path, `90m` seconds.

    Raises UserError that names the field and what is allowed.
    """
    try:
        prepared = _prepared(value, hint)
    except ValueError as error:  # of the command line's own readers, whose message says what is allowed
        raise UserError(f"{name}: {error}") from None
    try:
        return msgspec.convert(prepared, hint, dec_hook=_path)
    except (msgspec.ValidationError, TypeError):
        allowed = " or ".join(dict.fromkeys(_allowed(hint)))
        raise UserError(f"{name} is {value!r}; allowed: {allowed}") from None


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", Path: "a path"}


def _allowed(hint: Any) -> Iterator[str]:
    """What a field may be, in words."""
    if get_origin(hint) is Literal:
        yield ", ".join(map(repr, get_args(hint)))
    elif get_origin(hint) is tuple:
        yield f"a list, each of it {' or '.join(_allowed(get_args(hint)[0]))}"
    elif hint is None or hint is type(None):
        yield "None"
    elif hint in _WORDS:
        yield _WORDS[hint]
    else:
        for part in get_args(hint)[: 1 if hasattr(hint, "__metadata__") else None]:
            yield from _allowed(part)


def _prepared(value: Any, hint: Any) -> Any:
    if isinstance(value, str) and (read := _converter(hint)) is not None:
        return read(hint, [Token(value=value)])
    if _is_tuple(hint):
        values = [value] if isinstance(value, str | os.PathLike) else value
        return tuple(map(_text, values)) if isinstance(values, tuple | list) else values
    return _text(value) if isinstance(value, os.PathLike) and not _has(hint, Path) else value


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | os.PathLike):
        return Path(value)
    raise TypeError(kind.__name__)


def _converter(hint: Any) -> Any:
    """The function by which the command line reads such a value, if it has one of its own."""
    own = (part.converter for part in getattr(hint, "__metadata__", ()) if isinstance(part, Parameter))
    found = next((converter for converter in own if converter is not None), None)
    return found or next((read for part in get_args(hint) if (read := _converter(part)) is not None), None)


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(get_origin(part) is tuple for part in get_args(hint))


def _has(hint: Any, kind: type) -> bool:
    return hint is kind or any(_has(part, kind) for part in get_args(hint))
