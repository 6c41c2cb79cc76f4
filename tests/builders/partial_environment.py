"""An environment with some of the installed packages only: a folder of links to them, for `PYTHONPATH`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = "kinetics-pipeline"


def make_environment(folder: Path, *extras: str) -> Path:
    """A folder of packages: what `pip install kinetics-pipeline[extras]` would install, and this checkout."""
    folder.mkdir()
    for package in _needed(PROJECT, frozenset(extras), set()):
        for entry in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link, target = folder / entry, Path(str(package.locate_file(entry)))
            if target.exists() and not link.exists():  # several distributions may share a folder
                link.symlink_to(target)
    for name in ("kinetics_pipeline", "models", "workflows"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_in(environment: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A Python with nothing but an environment's packages and the standard library."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(environment), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[Distribution]:
    """The distributions that one needs, itself left out when it is this project; those that are not here are not."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    if name != PROJECT:
        yield found
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield from _needed(wanted.name, frozenset(wanted.extras), seen)
