"""Checks of arguments that several classes take: a wrong value is named in a line, with what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from kinetics_pipeline.errors import UserError


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """The value as an int; numpy's and torch's whole numbers too.

    Raises UserError for any other value, and for one below `least`.
    """
    try:
        number = operator.index(value)
    except (TypeError, ValueError):  # torch's: of a tensor with several values
        raise UserError(f"{name} is {value!r}; allowed: a whole number") from None
    if least is not None and number < least:
        raise UserError(f"{name} is {number}; allowed: {least} or more")
    return number


def texts(name: str, values: Iterable[Any]) -> list[str]:
    """The texts, sorted. Raises UserError for a single text (a collection of letters), and for one that is not text."""
    if isinstance(values, str):
        raise UserError(f"{name} is {values!r}; allowed: several texts, as in [{values!r}]")
    for value in (known := list(values)):
        if not isinstance(value, str):
            raise UserError(f"{name} holds {value!r}; allowed: texts")
    return sorted(known)
