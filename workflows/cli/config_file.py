"""`--config FILE`: flags from a file of one's own, or from the record that a run, a dataset or a result keeps."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclopts.config import Dict

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import WITHHELD, visible

GIVEN = "(given)"
"""Stands in a record for what is not kept there; see `flags.record`."""


def config_source(path: Path) -> Dict:
    """The flags in a file: `short_side = 128` in TOML, the same in JSON, or the `config` of a record (a run's
    `config.json`, a dataset's `state/run.json`, the results of `evaluate`).

    Raises UserError for a file that is none of them.
    """
    if path.suffix not in (".toml", ".json"):
        raise UserError(f"--config is {path}; allowed: a .toml or .json file")
    if not path.is_file():
        raise UserError(f"--config is {path}, which is not a file")
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config is {path}, which cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise UserError(f"--config is {path}, which is not a list of flags; allowed: flags, as short_side = 128")
    if isinstance(document.get("command"), str) and isinstance(document.get("config"), dict):
        document = _recorded(document["config"], path)
    if tables := [name for name, value in document.items() if isinstance(value, dict)]:
        raise UserError(f"--config is {path}, where {tables[0]} is a table; allowed: flags alone, as short_side = 128")
    return Dict(document, use_commands_as_keys=False, source=str(path))


def _recorded(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The flags of a record that were given; says on stderr which of them it does not hold."""
    given = {name: value for name, value in config.items() if value is not None and value != []}
    withheld = sorted(name for name, value in given.items() if _is_withheld(name, value))
    if withheld:
        flags = ", ".join("--" + name.replace("_", "-") for name in withheld)
        print(visible(f"note: {path} does not keep {flags}; give them again"), file=sys.stderr)
    return {name: value for name, value in given.items() if name not in withheld}


def _is_withheld(name: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return name == "ytdlp_option" or any(one == GIVEN or (isinstance(one, str) and WITHHELD in one) for one in values)
