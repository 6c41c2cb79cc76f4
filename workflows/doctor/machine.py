"""What this machine has for the job, what is wrong, and what to do about it. Only --canary asks YouTube."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.workflows.doctor.finding import Finding
from kinetics_pipeline.workflows.doctor.nodes import ToReach, look_at_nodes
from kinetics_pipeline.workflows.extras import command_to_install, is_absent
from kinetics_pipeline.workflows.runtime.progress import duration, size
from kinetics_pipeline.workflows.training.feeding import cores_for, cores_shown

TOO_OLD_WEEKS = 8
"""Weeks after which yt-dlp is likely to have been left behind by YouTube."""
OLDEST_YTDLP = (2026, 10, 26)
"""The oldest version of yt-dlp that pyproject.toml allows."""
CANARY = "jNQXAC9IVRw"
"""YouTube's first video."""
UPGRADE = "pip install --upgrade yt-dlp yt-dlp-ejs deno: YouTube changes monthly"


LEFT_OUT = {
    "build": "plan, build, train, predict and demo",
    "torch": "train, evaluate, predict, paper, demo and most tools",
}
"""Extra -> the commands that need it."""


GUEST_RATE = 300.0
"""Videos that YouTube gives a guest session in an hour (yt-dlp's wiki, "Extractors")."""


def doctor(
    as_json: bool,
    canary: str | None = None,
    annotations: Sequence[str] = (),
    rate: float = GUEST_RATE,
    cluster: ToReach | None = None,
) -> int:
    """Prints what was found; 1 when something is wrong, else 0. `canary`: a video that YouTube is asked for.
    `annotations`: what a build would ask for, at `rate` videos an hour. `cluster`: look at every node, too, and whether
    it reaches this. Raises UserError for what cannot be read."""
    if not 0 < rate < 1e9:
        raise UserError(f'--rate is "{rate:g}"; allowed: more than 0')
    videos = _videos_of(annotations) if annotations else None
    checks = [check for extra, checks in CHECKS for check in checks if not (extra and is_absent(extra))]
    findings = [finding for check in checks for finding in check()]
    if canary is not None:
        findings += po_token()
        findings.append(ask_for(canary, SourceOptions(timeout=10.0, ytdlp_options={"extractor_retries": 0})))
    if canary is not None or videos is not None:
        findings.append(how_long(videos, rate))
    if cluster is not None:
        findings += look_at_nodes(cluster)
    wrong = sum(finding.state == "wrong" for finding in findings)
    if as_json:
        print(json.dumps({"ok": wrong == 0, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return 1 if wrong else 0
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<6} {finding.what:<{width}}  {finding.says}")
        if finding.mend:
            print(f"{'':<6} {'':<{width}}  -> {finding.mend}")
    print("all is well" if not wrong else f"{wrong} wrong: the job will not run before that is put right")
    return 1 if wrong else 0


def _python() -> Iterator[Finding]:
    right = (3, 11) <= sys.version_info < (3, 14)
    says = f"Python {platform.python_version()} on {platform.machine()} {platform.system()}"
    yield Finding("python", "ok" if right else "wrong", says, "" if right else "use Python 3.11 to 3.13")


def _extras() -> Iterator[Finding]:
    """One note for each extra that was left out: its packages are then not looked for."""
    for extra, commands in LEFT_OUT.items():
        if is_absent(extra):
            yield Finding(extra, "note", f"not installed: {commands} do not run", command_to_install(extra))


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
    yield from _imported("pyarrow", "simplejpeg")


def _build_packages() -> Iterator[Finding]:
    yield from _imported("ray", "numba")


def _imported(*names: str) -> Iterator[Finding]:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield Finding(name, "wrong", str(error).splitlines()[0], f"pip install {name}")
        else:
            yield Finding(name, "ok", _version(name) or "")


def _ytdlp() -> Iterator[Finding]:
    found = _version("yt-dlp")
    if found is None:
        yield Finding("yt-dlp", "wrong", "not installed", UPGRADE)
        return
    yield how_old(found, datetime.datetime.now(datetime.UTC).date())
    runtime = shutil.which("deno") or shutil.which("deno", path=str(Path(sys.executable).parent))
    scripts = _version("yt-dlp-ejs")
    if runtime is None or scripts is None:
        lacks = "deno" if runtime is None else "yt-dlp-ejs"
        mend = "pip install deno yt-dlp-ejs: YouTube asks for a JavaScript runtime"
        yield Finding("deno", "note", f"{lacks} is not installed", mend)
        return
    try:
        first = subprocess.run([runtime, "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        mend = "pip install --force-reinstall deno: YouTube asks for a JavaScript runtime"
        yield Finding("deno", "note", f"does not run: {str(error).splitlines()[0]}", mend)
        return
    yield scripts_fit(scripts, " ".join(first.stdout.split()[:2]))


def scripts_fit(scripts: str, runtime: str) -> Finding:
    """Whether yt-dlp takes the installed version of its scripts: one of the same minor version."""
    try:
        from yt_dlp.extractor.youtube.jsc._builtin.vendor import VERSION as wanted
    except ImportError:  # it lies elsewhere in another version of yt-dlp
        return Finding("deno", "ok", f"{runtime}, yt-dlp-ejs {scripts}")
    if scripts.split(".")[:2] != wanted.split(".")[:2]:
        says = f"yt-dlp-ejs {scripts}, and this yt-dlp takes {wanted}: YouTube's player is not solved"
        return Finding("deno", "note", says, f"pip install yt-dlp-ejs=={wanted}")
    return Finding("deno", "ok", f"{runtime}, yt-dlp-ejs {scripts}")


def po_token() -> Iterator[Finding]:
    """Whether a plugin of yt-dlp gives proof-of-origin tokens, and whether it works here."""
    if is_absent("build"):
        return
    try:
        from yt_dlp import YoutubeDL
        from yt_dlp.extractor.youtube.pot._registry import _pot_providers

        with YoutubeDL({"quiet": True, "logger": logging.getLogger("kinetics_pipeline.unheard")}):
            names = sorted(str(provider.PROVIDER_NAME) for provider in _pot_providers.value.values())
    except (ImportError, AttributeError):
        yield Finding("po token", "note", "not known: this yt-dlp keeps its providers elsewhere", UPGRADE)
        return
    if names:
        yield Finding("po token", "ok", f"provided by {', '.join(names)}")
        return
    says = "no provider: only clients of YouTube that ask for no proof of origin can be used"
    mend = "only if videos are refused: https://github.com/yt-dlp/yt-dlp/wiki/PO-Token-Guide names providers"
    yield Finding("po token", "note", says, mend)


def _videos_of(annotations: Sequence[str]) -> int:
    from kinetics_pipeline.annotations.table import load_annotations

    return int(load_annotations(annotations, on_bad_row="skip").table["video_id"].nunique())


def how_long(videos: int | None, rate: float) -> Finding:
    """The session's rate, and how long YouTube takes for so many videos at `rate` an hour."""
    says = f"YouTube gives a guest session about {GUEST_RATE:g} videos an hour"
    if videos is not None:
        says += f"; {counted(videos, 'video')} at {rate:g} an hour take {duration(videos / rate * 3600)}"
    if rate > GUEST_RATE:
        return Finding("rate", "note", says, f"--rate {GUEST_RATE:g} or less; more only with several addresses")
    return Finding("rate", "ok", says)


def how_old(version: str, today: datetime.date) -> Finding:
    """Whether a version of yt-dlp is too old; the version is the day of its release."""
    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?:\.|$)", version)
    try:
        released = datetime.date(*(int(part) for part in match.groups())) if match else None
    except ValueError:
        released = None
    if released is None:
        return Finding("yt-dlp", "note", f"{version}, which is not a date", UPGRADE)
    weeks = (today - released).days // 7
    if (released.year, released.month, released.day) < OLDEST_YTDLP:
        return Finding(
            "yt-dlp",
            "note",
            f"{version}: YouTube no longer answers versions older than {'.'.join(map(str, OLDEST_YTDLP))}",
            UPGRADE,
        )
    if weeks > TOO_OLD_WEEKS:
        return Finding("yt-dlp", "note", f"{version}, {counted(weeks, 'week')} old", UPGRADE)
    return Finding("yt-dlp", "ok", f"{version}, {counted(max(0, weeks), 'week')} old")


ADDRESS = "the address is refused: wait an hour, and use a lower --rate, another way out (--proxy) or --cookies"
REMEDIES = {
    "throttled": ADDRESS,
    "bot_check": ADDRESS,
    "network": "is this machine on the internet? Behind a proxy set HTTPS_PROXY, and give it to build as --proxy",
    "no_format": UPGRADE,
    "internal": UPGRADE,
}
"""Outcome of --canary -> what to do. With any other outcome YouTube answered, and only this video is the trouble."""


def ask_for(video_id: str, options: SourceOptions) -> Finding:
    """Asks YouTube for one video, as a build would, without fetching it. Raises UserError for what is not an id."""
    from kinetics_pipeline.sources.http.ytdlp import Opener
    from kinetics_pipeline.sources.youtube.source import YouTube

    youtube = YouTube(options)
    if not youtube.accepts(video_id):
        raise UserError(f'--canary is "{video_id}"; allowed: a YouTube id, 11 of A-Z a-z 0-9 _ -')
    began = time.monotonic()
    with Opener(options) as opener:
        found = youtube.extract(opener, video_id)
    if not isinstance(found, Failure):
        side = min(found.get("width") or 0, found.get("height") or 0)
        took = f"answered in {time.monotonic() - began:.1f} s"
        return Finding("canary", "ok", f"YouTube gives {video_id} in {found['ext']}, short side {side}; {took}")
    says = f"{video_id}: {found.outcome} ({found.detail})"
    if found.outcome in REMEDIES:
        return Finding("canary", "wrong", says, REMEDIES[found.outcome])
    return Finding("canary", "note", says, "YouTube answers, but not with this video: try another with --canary ID")


def _gpu() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "wrong", str(error).splitlines()[0], "pip install torch")
        return
    yield Finding("torch", "ok", torch.__version__)
    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            yield Finding("gpu", "note", "none: flow and training run on the CPU")
        else:
            built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
            mend = "install torch as pytorch.org says for this driver's CUDA (`nvidia-smi` names it)"
            yield Finding("gpu", "note", f"there is a driver, but torch ({built}) sees no GPU", mend)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield Finding(f"gpu {index}", "ok", f"{properties.name}, {size(properties.total_memory)}")
    yield feeding(os.cpu_count() or 1, torch.cuda.device_count())
    yield _triton()


def feeding(cores: int, gpus: int) -> Finding:
    """Whether there are cores enough to load what the GPUs train on, were they H100s."""
    says = f"{cores} cores for {gpus} GPU{'s' if gpus > 1 else ''}; an H100 takes {cores_shown('parquet')}"
    if cores < gpus * (1 + cores_for("parquet", "rgb")):
        more = f"--layout array takes {cores_for('array', 'rgb')}, for fifteen times the bytes"
        return Finding("loading", "note", says, more)
    return Finding("loading", "ok", says)


def _triton() -> Finding:
    """Whether a kernel can be compiled and run, which needs a C compiler too."""
    if _version("triton") is None:
        return Finding("triton", "wrong", "not installed: the cuda flow backend needs it", "pip install triton")
    from kinetics_pipeline.flow import tvl1

    try:
        tvl1(np.zeros((2, 32, 32), np.uint8), backend="cuda")
    except Exception as error:  # noqa: BLE001  whatever Triton, the compiler or the driver raises is the finding
        says = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        mend = "is there a C compiler (apt install gcc)? else pip install --force-reinstall torch triton"
        return Finding("triton", "wrong", f"the flow does not run on the GPU ({says})", mend)
    return Finding("triton", "ok", f"{_version('triton')}, its flow runs")


def _room() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding(
        "memory", "ok", f"{size(memory.total)}, {size(memory.available)} free; {counted(os.cpu_count() or 1, 'core')}"
    )
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    if shared.is_dir():
        room = shutil.disk_usage(shared).total
        small = room < 1 << 30
        mend = "give the container --shm-size=2g: Ray falls back to slow disk" if small else ""
        yield Finding("shm", "note" if small else "ok", size(room), mend)
    cache = cache_folder().absolute()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding("disk", "wrong", f"the cache {cache} cannot be written", "name another with --cache")
        return
    small = free < 20 << 30
    mend = "make room, bound the cache with --max-disk, or name another disk with --cache" if small else ""
    yield Finding("disk", "note" if small else "ok", f"{size(free)} free for the cache {cache}", mend)


def _cluster() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS", "")
    match = re.fullmatch(r"(?:ray://)?([\w.-]+):(\d+)", address)
    if match is not None:
        try:
            socket.create_connection((match[1], int(match[2])), timeout=5).close()
        except OSError as error:
            mend = "start the cluster, correct RAY_ADDRESS, or unset it to embed Ray"
            says = f"RAY_ADDRESS={address}: {error.strerror or 'no answer'}"
            yield Finding("cluster", "wrong", says, mend)
            return
    yield Finding("cluster", "ok", f"RAY_ADDRESS={address}" if address else "none named: Ray is embedded")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


Check = Callable[[], Iterator[Finding]]
CHECKS: tuple[tuple[str | None, tuple[Check, ...]], ...] = (
    (None, (_python, _extras, _packages)),
    ("build", (_ffmpeg, _opencv, _build_packages, _ytdlp)),
    ("torch", (_gpu,)),
    (None, (_room, _cluster)),
)
"""The extra that checks belong to, and the checks; in the order in which they are printed."""
