"""`doctor`: what this machine has for the job, what is amiss, and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from workflows.progress import size

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `wrong` keeps the job from running; `note` costs speed or a feature."""

    what: str
    state: State
    says: str
    mend: str = ""


def doctor(as_json: bool) -> int:
    """Prints what was found; 1 when something is wrong, else 0."""
    findings = [finding for check in CHECKS for finding in check()]
    wrong = sum(finding.state == "wrong" for finding in findings)
    if as_json:
        print(json.dumps({"ok": wrong == 0, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return 1 if wrong else 0
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<6} {finding.what:<{width}}  {finding.says}")
        if finding.mend:
            print(f"{'':<6} {'':<{width}}  -> {finding.mend}")
    print("all is well" if not wrong else f"{wrong} wrong: the job will not run before that is mended")
    return 1 if wrong else 0


def _python() -> Iterator[Finding]:
    right = (3, 11) <= sys.version_info < (3, 14)
    says = f"Python {platform.python_version()} on {platform.machine()} {platform.system()}"
    yield Finding("python", "ok" if right else "wrong", says, "" if right else "use Python 3.11 to 3.13")


def _ffmpeg() -> Iterator[Finding]:
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        first = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        yield Finding("ffmpeg", "wrong", str(error).splitlines()[0], "pip install imageio-ffmpeg")
        return
    yield Finding("ffmpeg", "ok", " ".join(first.stdout.split()[:3]))


def _opencv() -> Iterator[Finding]:
    names = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    found = [name for name in names if _version(name)]
    if len(found) > 1:
        mend = f"pip uninstall {' '.join(found)}; then pip install opencv-contrib-python-headless"
        yield Finding("opencv", "wrong", f"{len(found)} of them share one cv2: {', '.join(found)}", mend)
        return
    try:
        import cv2
    except ImportError as error:
        yield Finding("opencv", "wrong", str(error), "pip install opencv-contrib-python-headless")
        return
    if not hasattr(cv2, "optflow"):
        mend = "pip uninstall the other, then pip install opencv-contrib-python-headless"
        yield Finding("opencv", "note", f"{cv2.__version__} without contrib: the opencv flow backend is missing", mend)
        return
    yield Finding("opencv", "ok", f"{found[0] if found else 'cv2'} {cv2.__version__}")


def _packages() -> Iterator[Finding]:
    for module, name in (("ray", "ray"), ("pyarrow", "pyarrow"), ("simplejpeg", "simplejpeg"), ("numba", "numba")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            yield Finding(name, "wrong", str(error).splitlines()[0], f"pip install {name}")
        else:
            yield Finding(name, "ok", _version(name) or "")


def _ytdlp() -> Iterator[Finding]:
    found = _version("yt-dlp")
    if found is None:
        yield Finding("yt-dlp", "wrong", "not installed", "pip install --upgrade yt-dlp")
        return
    old = tuple(int(part) for part in found.split(".")[:3]) < (2026, 10, 26)
    mend = "pip install --upgrade yt-dlp: YouTube changes monthly"
    yield Finding("yt-dlp", "note" if old else "ok", found, mend if old else "")
    runtime = shutil.which("deno") or shutil.which("deno", path=str(Path(sys.executable).parent))
    mend = "" if runtime else "pip install deno yt-dlp-ejs: YouTube asks for a JavaScript runtime"
    yield Finding("deno", "ok" if runtime else "note", "found" if runtime else "not found", mend)


def _gpu() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "wrong", str(error).splitlines()[0], "pip install torch")
        return
    yield Finding("torch", "ok", torch.__version__)
    if not torch.cuda.is_available():
        yield Finding("gpu", "note", "none: flow and training run on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(f"gpu {index}", "ok", f"{properties.name}, {size(properties.total_memory)}")
    if _version("triton") is None:
        yield Finding("triton", "wrong", "not installed: the cuda flow backend needs it", "pip install triton")


def _room() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("memory", "ok", f"{size(memory.total)}, {size(memory.available)} free; {os.cpu_count()} cores")
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    if shared.is_dir():
        room = shutil.disk_usage(shared).total
        small = room < 1 << 30
        mend = "give the container --shm-size=2g: Ray falls back to slow disk" if small else ""
        yield Finding("shm", "note" if small else "ok", size(room), mend)
    free = shutil.disk_usage(Path.home()).free
    small = free < 20 << 30
    yield Finding("disk", "note" if small else "ok", f"{size(free)} free under {Path.home()}")


def _ray_address() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS")
    yield Finding("cluster", "ok", f"RAY_ADDRESS={address}" if address else "none named: Ray is embedded")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _ffmpeg,
    _opencv,
    _packages,
    _ytdlp,
    _gpu,
    _room,
    _ray_address,
)
