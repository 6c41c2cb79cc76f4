"""What a build costs at the user's own rates: KEY=VALUE words, or a small file of them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics_pipeline.errors import UserError

MOST_BYTES = 1 << 16
"""Bytes of a file of rates."""


@dataclass(frozen=True)
class Rates:
    """Prices, in whatever currency the user thinks in."""

    core_hour: float = 0.0
    gpu_hour: float = 0.0
    gb_month: float = 0.0
    """The price of 10^9 bytes that are kept for a month."""
    gb_out: float = 0.0
    """The price of 10^9 bytes that are written to the dataset."""


NAMES = tuple(name.replace("_", "-") for name in Rates.__dataclass_fields__)


@dataclass(frozen=True)
class Usage:
    """What a build takes of what is paid for."""

    core_hours: float
    gpu_hours: float
    gb_kept: float
    gb_out: float


@dataclass(frozen=True)
class Cost:
    """The parts of a cost; storage is that of each month."""

    cores: float
    gpus: float
    out: float
    a_month: float

    @property
    def once(self) -> float:
        return self.cores + self.gpus + self.out


def cost(used: Usage, rates: Rates) -> Cost:
    return Cost(
        cores=used.core_hours * rates.core_hour,
        gpus=used.gpu_hours * rates.gpu_hour,
        out=used.gb_out * rates.gb_out,
        a_month=used.gb_kept * rates.gb_month,
    )


def parse_rates(words: Sequence[str]) -> Rates:
    """`core-hour=0.05,gpu-hour=2` and FILE, whatever the order; a later one wins. Raises UserError."""
    found: dict[str, float] = {}
    for word in words:
        pairs = _of_file(Path(word)) if "=" not in word else _of_words(word)
        for name, value in pairs:
            found[_name(name)] = _price(name, value)
    return Rates(**found)


def _of_words(word: str) -> Iterator[tuple[str, Any]]:
    for part in filter(None, (part.strip() for part in word.split(","))):
        name, _, value = part.partition("=")
        yield name.strip(), value


def _of_file(path: Path) -> Iterator[tuple[str, Any]]:
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise UserError(f'--rates is "{path}"; allowed: {_example()}, or a .toml or .json file of such')
    try:
        with path.open("rb") as file:
            document = readers[path.suffix](file.read(MOST_BYTES).decode())
    except OSError as error:
        raise UserError(f"--rates is {path}, which cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--rates is {path}, which is not {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"--rates is {path}, which holds no names; allowed: {_example()}")
    yield from document.items()


def _name(name: str) -> str:
    if name.replace("_", "-") not in NAMES:
        raise UserError(f'--rates has "{name}"; allowed: {", ".join(NAMES)}')
    return name.replace("-", "_")


def _price(name: str, value: Any) -> float:
    try:
        price = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        price = float("nan")
    if not 0 <= price < 1e9:
        raise UserError(f'--rates has {name}="{value}"; allowed: a number, 0 or more')
    return price


def _example() -> str:
    return ",".join(f"{name}=NUMBER" for name in NAMES)
