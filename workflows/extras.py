"""The optional parts of an installation (pyproject.toml's extras), and what to do where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {
    "torch": ("torch", "matplotlib", "safetensors", "tensorboard"),
    "build": ("ray", "yt_dlp", "cv2", "numba", "ffmpeg", "imageio_ffmpeg", "indexed_gzip"),
}
"""Extra -> the modules that it installs and that are imported here."""


def installed(module: str) -> bool:
    """Whether a module could be imported, without importing it."""
    return find_spec(module) is not None


def is_absent(extra: str) -> bool:
    """Whether none of an extra's modules is installed. When only some are missing, the extra is there and broken."""
    return not any(map(installed, EXTRAS[extra]))


def command_to_install(extra: str) -> str:
    """What installs an extra."""
    return f"pip install 'kinetics-pipeline[{extra}]'"


def how_to_get(module: str | None) -> str | None:
    """One line that says how to install a module that was not found; None when it belongs to no extra."""
    top = (module or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if top in modules:
            return (
                f"this command needs {top}, which is not installed: {command_to_install(extra)} "
                "([all] instead installs what all commands need)"
            )
    return None
