"""`doctor --cluster`: what each node of the cluster has for a build, and what it reaches; a line a node."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted, without_secrets
from kinetics_pipeline.storage.cache import cache_folder
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.doctor.finding import Finding, State
from kinetics_pipeline.workflows.runtime.cluster import addressed, connected
from kinetics_pipeline.workflows.runtime.progress import size

ANSWERS_WITHIN = 90.0
"""Seconds that all nodes together have: a worker starts, imports PyTorch where there are GPUs, opens connections."""
CONNECTS_WITHIN = 5.0
SMALL_DISK = 20 << 30
SAME = ("python", "kinetics-pipeline", "ray")
"""What has to be of one version everywhere; of the rest another version is noted."""
NOTED = ("ffmpeg", "yt-dlp")
KNOWN_HOSTS = {"youtube": ("www.youtube.com", 443), "cvdf": ("s3.amazonaws.com", 443), "hf": ("huggingface.co", 443)}


@dataclass(frozen=True)
class ToReach:
    """What a build on the cluster would have to reach."""

    output: str | None
    sources: tuple[str, ...]
    cache: Path | None
    probe: str = ""
    """The name of a small object that the driver has written to `output`."""


@dataclass(frozen=True)
class NodeLook:
    """What one node has. Plain data: it comes back from a task."""

    versions: dict[str, str]
    free: int
    """Bytes of the cache's disk."""
    gpus: int
    """GPUs that PyTorch can use there."""
    gpu_says: str
    """Why they are fewer than the cluster believes, where PyTorch said so."""
    unreached: tuple[str, ...]
    """What cannot be reached from there, and why, a line each."""


# On the node


def look(asked: ToReach, gpus: float) -> NodeLook:
    """Looks at this node. `gpus`: those that the cluster believes it to have."""
    folder = cache_folder(asked.cache).absolute()
    place = next(one for one in (folder, *folder.parents) if one.exists())
    unreached = [] if os.access(place, os.W_OK) else [f"the cache {folder} cannot be written"]
    if asked.output is not None and (said := _store_says(asked.output, asked.probe)):
        unreached.append(f"{without_secrets(asked.output)}: {said}")
    for source in asked.sources:
        if said := _source_says(source):
            unreached.append(f"{without_secrets(source)}: {said}")
    usable, gpu_says = _cuda() if gpus else (0, "")
    return NodeLook(versions(), shutil.disk_usage(place).free, usable, gpu_says, tuple(unreached))


def versions() -> dict[str, str]:
    """The versions here of what a build depends on; empty text for what is missing."""
    found = {"python": platform.python_version()}
    for name in ("kinetics-pipeline", "ray", "yt-dlp"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    found["ffmpeg"] = ""
    with suppress(ImportError, RuntimeError, OSError, subprocess.SubprocessError, IndexError):
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        found["ffmpeg"] = said.split()[2].partition("-")[0]
    return found


def _cuda() -> tuple[int, str]:
    """GPUs that PyTorch can use, asked in a process of its own: Ray hides them from a task that asked for none."""
    code = "import torch; torch.zeros(1).cuda() if torch.cuda.is_available() else 0; print(torch.cuda.device_count())"
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        if done.returncode == 0:
            return int(done.stdout), ""
        return 0, (done.stderr.strip().splitlines() or ["PyTorch failed"])[-1]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return 0, str(error).splitlines()[0]


def _store_says(output: str, probe: str) -> str:
    """Why the dataset's place does not serve from here; empty where it does."""
    try:
        store = open_store(output)
        if not store.exists(probe):
            return "another folder than the driver's: it has to be on shared storage, or a URI"
        mine = f"{probe}-{secrets.token_hex(4)}"
        store.write(mine, b"")
        store.delete(mine)
    except UserError as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _source_says(source: str) -> str:
    """Why a source cannot be reached from here; empty where it can."""
    scheme = urlsplit(source).scheme if "://" in source else ""
    address = KNOWN_HOSTS.get(source.lower()) or KNOWN_HOSTS.get(scheme)
    if address is None and scheme in ("http", "https"):
        parts = urlsplit(source.partition("{")[0])
        address = (parts.hostname or "", parts.port or (443 if scheme == "https" else 80))
    try:
        if address is not None:
            socket.create_connection(address, timeout=CONNECTS_WITHIN).close()
        elif scheme:
            open_store(source.partition("{")[0]).exists("doctor")
        elif not os.access(source.partition("*")[0] or "/", os.R_OK):
            return "it is not there, or cannot be read"
    except UserError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


# In the driver


def look_at_nodes(asked: ToReach) -> list[Finding]:
    """A finding for each node of the cluster that RAY_ADDRESS names. Raises UserError, also JobFailed, without one."""
    if not addressed():
        raise UserError("--cluster looks at the cluster that RAY_ADDRESS names, and none is named")
    store = open_store(asked.output) if asked.output is not None else None
    with connected():
        if store is None:
            return list(_findings(asked))
        probe = f"state/doctor-{secrets.token_hex(4)}"
        try:
            store.write(probe, b"")
        except OSError as error:
            raise UserError(f"--output is {asked.output}, which cannot be written: {error.strerror}") from error
        try:
            return list(_findings(ToReach(asked.output, asked.sources, asked.cache, probe)))
        finally:
            store.delete(probe)
            _remove_empty(store)


def _findings(asked: ToReach) -> Iterator[Finding]:
    import ray

    from kinetics_pipeline.workflows.building.nodes import on

    nodes = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    refs = [
        task.options(scheduling_strategy=on(node["NodeID"])).remote(asked, node["Resources"].get("GPU", 0))
        for node in nodes
    ]
    done, _ = ray.wait(refs, num_returns=len(refs), timeout=ANSWERS_WITHIN)
    here = versions()
    for name, node, ref in sorted(zip(_names(nodes), nodes, refs, strict=True), key=lambda one: one[0]):
        what = f"node {name}"
        if ref not in done:
            says = f"did not answer within {ANSWERS_WITHIN:.0f} s"
            yield Finding(what, "wrong", says, "is its machine alive and its disk working? `ray status` says more")
            continue
        try:
            found = ray.get(ref)
        except Exception as error:  # noqa: BLE001 - whatever a node's own Python or Ray fails of is the finding
            cause = str(getattr(error, "cause", None) or error).strip().splitlines()
            mend = "install the same kinetics-pipeline[build] there, or start its node from the same image"
            yield Finding(what, "wrong", f"nothing runs there: {cause[-1] if cause else type(error).__name__}", mend)
            continue
        yield judged(what, found, node["Resources"], here)


def _names(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """The nodes' machines, with a part of the node's id where several are on one machine."""
    machines = [str(node["NodeManagerHostname"]) for node in nodes]
    return [
        machine if machines.count(machine) == 1 else f"{machine}/{node['NodeID'][:6]}"
        for machine, node in zip(machines, nodes, strict=True)
    ]


def judged(what: str, found: NodeLook, resources: dict[str, float], here: dict[str, str]) -> Finding:
    """What a node's look comes to. `resources`: what the cluster believes it to have; `here`: the driver's versions."""
    wrong = list(found.unreached)
    notes: list[str] = []
    mends: list[str] = []
    if found.unreached:
        mends.append("mount it or open the network there")
    for name in (*SAME, *NOTED):
        if found.versions[name] != here[name]:
            said = f"{name} {found.versions[name] or 'is missing'}, here {here[name] or 'missing'}"
            (wrong if name in SAME or not found.versions[name] else notes).append(said)
    if any(found.versions[name] != here[name] for name in (*SAME, *NOTED)):
        mends.append("install the same versions there (constraints.txt)")
    if (believed := int(resources.get("GPU", 0))) > found.gpus:
        why = f": {found.gpu_says}" if found.gpu_says else ""
        wrong.append(f"Ray counts {counted(believed, 'GPU')}, PyTorch can use {found.gpus}{why}")
        mends.append("install PyTorch for its driver's CUDA there, or start the node with --num-gpus=0")
    if found.free < SMALL_DISK:
        notes.append(f"only {size(found.free)} free")
        mends.append("make room there, or bound the cache with --max-disk")
    cores = int(resources.get("CPU", 0))
    has = [counted(cores, "core"), counted(found.gpus, "GPU")]
    has.append(f"{size(found.free)} free")
    has += [f"{name} {found.versions[name]}" for name in ("python", "ray", "ffmpeg")]
    state: State = "wrong" if wrong else "note" if notes else "ok"
    return Finding(what, state, "; ".join([*wrong, *notes]) or ", ".join(has), "; ".join(dict.fromkeys(mends)))


def _remove_empty(store: Store) -> None:
    """Takes away the folders of a local place that were made for the probe alone."""
    place = store.local_path("state/x")
    if place is not None:
        with suppress(OSError):
            place.parent.rmdir()
            place.parent.parent.rmdir()
