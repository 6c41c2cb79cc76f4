"""Reaching a Ray cluster: the one that is named, or an embedded one of this machine. The same entry point for both."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.workflows.runtime.signals import let_signals_interrupt

OBJECT_STORE_BYTES = 512 << 20
"""An embedded store holds small records only: clips stay in files (see `workflows.building.cache_folders`)."""

STARTS = 3
"""How often an embedded Ray is started: it gives its processes 30 s, too few on a machine that is busy."""

IDLE_WORKERS_MS = 60_000
"""How long an embedded Ray keeps workers that have nothing to do. With its own second each shard is written by a new
process, whose imports take longer than the writing."""

PATIENCE = 10.0
"""Seconds after which a start that is not done is told."""

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}

ANSWERS_WITHIN = 15.0
"""Seconds that a named cluster has to answer."""


def addressed() -> bool:
    """Whether a cluster is named; `ray job submit` sets RAY_ADDRESS too."""
    return bool(os.environ.get("RAY_ADDRESS"))


def prepare() -> None:
    """Sets Ray's environment. Before Ray is imported, because it reads its settings then; later it does nothing.

    Ray turns tokens on for a new local cluster, and saves one under the home folder for later commands to trip over.
    A token of this process alone keeps other users of the machine out and leaves nothing behind.
    """
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(IDLE_WORKERS_MS))
    if not addressed() and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def require_lasting(flag: str, place: str | Path | None) -> None:
    """Raises UserError for a place in a job's own copy of its working folder, which Ray takes away."""
    if place is None or "://" in str(place):
        return
    path, here = Path(place).expanduser().absolute(), Path.cwd()
    if "working_dir_files" in here.parts and path.is_relative_to(here):
        raise UserError(
            f"{flag} is {path.relative_to(here)}, which would lie in the job's copy of its working folder, and go "
            "with it; allowed in a job: an absolute path or a URI"
        )


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Ray, connected on entry and let go on leaving. Without RAY_ADDRESS, a cluster embedded in this process. Where
    this process, as that of a notebook, is connected already, that Ray is used and left.

    `cpus` bounds the embedded one (default: every core). Raises JobFailed when the cluster does not answer, and
    UserError when `cpus` is given for a cluster that has its own.
    """
    embedded = not addressed()
    if not embedded and cpus is not None:
        raise UserError(f"--cpus is {cpus}, but RAY_ADDRESS names a cluster, which has its own; leave one of them out")
    prepare()
    if not embedded:
        _require_answer(os.environ["RAY_ADDRESS"])
    import ray

    if ray.is_initialized():
        yield
        return

    cores = cpus or os.cpu_count() or 1
    where = (
        f"Ray to start on {counted(cores, 'core')}" if embedded else f"the Ray cluster at {os.environ['RAY_ADDRESS']}"
    )
    try:
        with _told_when_slow(f"waiting for {where}"):
            if embedded:
                _start(cores)
            else:
                ray.init(**_QUIET)
                _warn_of_an_open_cluster(os.environ["RAY_ADDRESS"])
    except Exception as error:
        # Of the plain class where its own processes took too long to start, as on a machine with other work.
        known = isinstance(error, ConnectionError | RuntimeError | ray.exceptions.AuthenticationError)
        if not known and type(error) is not Exception:
            raise
        text = str(error).splitlines()[0]
        if embedded:
            raise JobFailed(f"an embedded Ray did not answer: {text}") from error
        raise JobFailed(
            f"the Ray cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']} did not answer: {text} "
            "(does it have a token? Then it wants RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN)"
        ) from error
    except SystemExit as ended:  # Ray's own handler of SIGTERM, which it puts in place first
        raise KeyboardInterrupt from ended
    let_signals_interrupt()
    try:
        yield
    finally:
        if embedded:
            _end_autoscaler()
        ray.shutdown()


def _warn_of_an_open_cluster(address: str) -> None:
    """Says so where a cluster lets in whoever has no token, also when this process has one."""
    if _is_open(address):
        print(
            f"note: the Ray cluster at {address} asks for no token: whoever reaches it can run commands there. Start "
            "its nodes with RAY_AUTH_MODE=token and a RAY_AUTH_TOKEN",
            file=sys.stderr,
            flush=True,
        )


def _is_open(address: str) -> bool:
    """Whether the head answers a request that has no token. Where that cannot be asked (`auto`, TLS), by the mode of
    this process, which Ray sets itself where it finds a token."""
    import grpc

    if address != "auto":
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=ANSWERS_WITHIN)
                return True
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    return False
    return os.environ.get("RAY_AUTH_MODE") != "token"


@contextmanager
def _told_when_slow(line: str) -> Iterator[None]:
    """Says the line on stderr where the body takes longer than `PATIENCE`."""
    timer = threading.Timer(PATIENCE, lambda: print(line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_late(error: Exception) -> bool:
    """Whether a node of Ray did not start within its 30 s, which Ray says by a plain Exception."""
    return "timed out during startup" in str(error)


def _start(cpus: int) -> None:
    """Embeds a Ray with so many cores. One that is late is ended and started again. Raises as `ray.init` does."""
    import psutil
    import ray

    before = set(psutil.Process().children(recursive=True))
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **_QUIET,
            )
            return
        except Exception as error:
            if not left or not is_late(error):
                raise
            print("Ray's processes were not ready within 30 s; starting them again", file=sys.stderr, flush=True)
            ray.shutdown()
            late = [child for child in psutil.Process().children(recursive=True) if child not in before]
            for child in late:
                with suppress(psutil.Error):
                    child.kill()
            psutil.wait_procs(late, timeout=10)


def _end_autoscaler() -> None:
    """Ends the autoscaler of an embedded cluster, which needs none. Ray would end it last, and wait a second while it
    asks a server that is already gone."""
    import psutil

    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(word.endswith("autoscaler/_private/monitor.py") for word in child.cmdline()):
                child.kill()


def _require_answer(address: str) -> None:
    """Looks whether something listens there: Ray would say so after a minute, and end this process.

    Raises UserError for what is not an address of a head, JobFailed when nothing answers.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdigit() or int(port) > 65535:
        raise UserError(
            f"RAY_ADDRESS is {address}; allowed: HOST:PORT of the cluster's head as `ray start` gives it, or auto "
            "(from outside the cluster: ray job submit)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except OSError as error:
        raise JobFailed(f"the Ray cluster at RAY_ADDRESS={address} did not answer: {error}") from error
