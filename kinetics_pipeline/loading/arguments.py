"""What arguments may be, said in a line where they are wrong."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from kinetics_pipeline.errors import UserError


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Also numpy's and torch's. Raises UserError for any other value, and for one below `least`."""
    try:
        number = operator.index(value)
    except (TypeError, ValueError):  # torch's: of a tensor with several values
        raise UserError(f"{name} is {value!r}; allowed: a whole number") from None
    if least is not None and number < least:
        raise UserError(f"{name} is {number}; allowed: {least} or more")
    return number


def texts(name: str, values: Iterable[Any]) -> list[str]:
    """Sorted. Raises UserError for a single text, which is one of letters, and for what is none in it."""
    if isinstance(values, str):
        raise UserError(f"{name} is {values!r}; allowed: several texts, as in [{values!r}]")
    for value in (known := list(values)):
        if not isinstance(value, str):
            raise UserError(f"{name} holds {value!r}; allowed: texts")
    return sorted(known)
