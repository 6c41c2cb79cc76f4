"""Values of flags: sizes, durations, lists, and how a wrong one is refused."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kinetics_pipeline.errors import UserError


def positive_size(type_: Any, tokens: Sequence[Any]) -> int:
    """`200GB`, `1.5TiB`, `1000000` -> bytes; the units are powers of 1000, or of 1024 with an i."""
    text = tokens[0].value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTP])(I?))?B?\s*", text, re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise ValueError(f'"{text}" is not a size; write it as 200GB, 1.5TiB or a number of bytes')
    power = " KMGTP".index((match[2] or " ").upper())
    unit: int = (1024 if match[3] else 1000) ** power
    return round(float(match[1]) * unit)


def positive_duration(type_: Any, tokens: Sequence[Any]) -> float:
    """`90m`, `1.5h`, `45s`, `2d`, `30` -> seconds."""
    text = tokens[0].value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d)?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f'"{text}" is not a duration; write it as 45s, 90m, 1.5h or 2d')
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[(match[2] or "s").lower()]


MOST_A_CORE = 8
"""Processes. More of them only wait for each other, each with its gigabyte of memory."""
Repeated = Parameter(negative=(), show_default=lambda values: ", ".join(values) or None)
"""A flag that may be given several times; its values are never cut at commas."""
Size = Annotated[int, Parameter(converter=positive_size)]
Duration = Annotated[float, Parameter(converter=positive_duration, show_default=lambda seconds: f"{seconds / 60:g}m")]


def require(flag: str, value: Any, right: bool, allowed: str) -> None:
    """Raises UserError that names flag, value and what is allowed."""
    if not right:
        raise UserError(f'{flag} is "{value}"; allowed: {allowed}')


def most_processes() -> int:
    """The largest number of processes that a flag may ask for on this machine."""
    return MOST_A_CORE * (os.cpu_count() or 1)


def require_loaders(loaders: int | Literal["auto"]) -> None:
    """Raises UserError for fewer loading processes than none, and for more than this machine can feed."""
    if loaders != "auto":
        most = most_processes()
        require("--loaders", loaders, 0 <= loaders <= most, f"auto, or 0 to {most} on this machine")


def require_epsilon(epsilon: float | None) -> None:
    """Raises UserError for a --bn-eps that is not a small positive number."""
    require("--bn-eps", epsilon, epsilon is None or 0 < epsilon < 1, "above 0, as 0.001 or 1e-5")


def comma_separated(values: Sequence[str]) -> tuple[str, ...]:
    """Values of a flag that may be repeated or comma-separated."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def host_and_port(text: str) -> tuple[str, int]:
    """`9400` -> this machine alone; `0.0.0.0:9400`, `[::]:9400` -> whoever may reach that address. Raises UserError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not 1 <= number <= 65535 or (colon and not host):
        raise UserError(f"--metrics-port is {text!r}; allowed: a port from 1 to 65535, or HOST:PORT")
    return host or "127.0.0.1", number


def words_of(command: str) -> list[str]:
    """The words of a command. Raises UserError where there are none."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--notify cannot be read as a command: {error}") from None
    if not words:
        raise UserError("--notify is empty; allowed: a command, as 'notify-send kinetics'")
    return words
