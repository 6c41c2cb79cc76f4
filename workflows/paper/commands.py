"""A step of the paper: one of our own commands, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from kinetics_pipeline.errors import JobFailed


def command(words: list[str]) -> None:
    """Runs one of our commands to its end, in a process of its own. Raises JobFailed when it fails."""
    code = subprocess.run([sys.executable, "-m", "kinetics_pipeline.workflows", *words], check=False).returncode
    if code in (130, -2):
        raise KeyboardInterrupt
    if code:
        raise JobFailed(f"{words[0]} ended with {code}; the same command goes on from there")
