"""README's code blocks, as commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every command of the `sh` blocks, in order."""
    return [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def ours(command: str) -> str | None:
    """What follows the program's name, however it is reached; None for a command that is another program's."""
    found = re.search(r"^(?:\w+=\S+ )*kinetics-pipeline (.+)$|-- python -m workflows (.+)$", command)
    return found and (found[1] or found[2])
