"""A download in a process of its own, which can be killed: by a limit on its time, memory or disk, or with whoever
asked for it.

No library call is trusted to return. The child is started with `subprocess` and never forked, so it inherits neither
Ray's state nor the asking program's `__main__`; it leads a process group, so that what it starts (a JavaScript runtime)
ends with it. It learns that its parent is gone by the end of its input, in a thread of its own: unlike
PR_SET_PDEATHSIG, which fires when the *thread* that started the child ends, and which leaves the child's own children.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

import kinetics_pipeline
from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, Failure, NetworkSource
from kinetics_pipeline.sources.http.byte_allowance import NoRoom, bounded

log = logging.getLogger(__name__)

WATCH_EVERY = 1.0
"""Seconds between two looks at what a child uses."""
MOST_MEMORY = 3 << 30
"""Resident bytes that a child may have, with what it started: an extraction takes some 150 MB, and deno some 200. (A
limit on its address space would not do: deno reserves far more than it uses.)"""
MOST_ASIDE = 64 << 20
"""Bytes that a child may write beyond its allowance: notes, and fragments that are being put together."""
KEPT_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONHOME", "LD_LIBRARY_PATH"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "DENO_CERT", "DENO_TLS_CA_STORE"),
    }
)
"""The environment that a child gets, `PYTHONPATH` besides: what it needs to run and to reach a server, and no key or
token that the user's environment may hold."""

STORE_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")
"""How the variables begin that a child gets besides where its source is an object store; it is then used for no other
kind of source."""

Call = tuple[NetworkSource, str, Sequence[Clip], Path, int | None]


class KillableChild:
    """Runs `source.download` calls in one child process, which is started when needed and lives from call to call.

    For one thread at a time. `close`, or the end of this process however it comes, ends the child.
    """

    def __init__(self, *, credentials: bool = False) -> None:
        """`credentials`: whether it gets the keys of object stores (`STORE_VARIABLES`)."""
        self._credentials = credentials
        self._process: subprocess.Popen[bytes] | None = None
        self._calls: Connection | None = None
        self._answers: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, which is its process group's too; None while there is no child."""
        return None if self._process is None else self._process.pid

    def download(
        self,
        source: NetworkSource,
        video_id: str,
        clips: Sequence[Clip],
        folder: Path,
        limit: float,
        allowance: int | None = None,
    ) -> Download:
        """`source.download(...)`, ended after `limit` seconds. Never raises for what happens over there: a child that
        overruns is killed (`network`), one that dies, raises, or takes too much memory or disk is `internal`; the next
        call starts another. `allowance`: bytes that may be written.
        """
        call: Call = (source, video_id, tuple(clips), folder, allowance)
        deadline = time.monotonic() + limit
        most = None if allowance is None else _size(folder) + allowance + MOST_ASIDE
        try:
            answers = self._send(call)
            while not answers.poll(max(0.0, min(WATCH_EVERY, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    self.close()
                    return Download(failure=Failure("network", f"took more than {limit:g} s"))
                excess = self._excess(folder, most)
                if excess:
                    self.close()
                    return Download(failure=Failure("internal", excess))
            answer = answers.recv()
        except (EOFError, ConnectionError):
            code = self._end()
            return Download(failure=Failure("internal", f"the download's process ended ({_ending(code)})"))
        assert isinstance(answer, Download)
        return answer

    def _excess(self, folder: Path, most: int | None) -> str:
        """What the child takes too much of; empty when nothing. `most`: bytes that `folder` may hold."""
        assert self._process is not None
        memory = 0
        with contextlib.suppress(psutil.Error):
            child = psutil.Process(self._process.pid)
            for one in (child, *child.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    memory += one.memory_info().rss
        if memory > MOST_MEMORY:
            return f"the download took more than {MOST_MEMORY >> 30} GiB of memory"
        if most is not None and _size(folder) > most:
            return "the download wrote more than it may"
        return ""

    def close(self) -> None:
        """Ends the child and whatever it started, at once."""
        self._end()

    def __enter__(self) -> KillableChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call) -> Connection:
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died between two calls
        if self._process is None:
            self._start()
        assert self._calls is not None
        assert self._answers is not None
        self._calls.send(call)
        return self._answers

    def _start(self) -> None:
        calls_out, calls_in = os.pipe()
        answers_out, answers_in = os.pipe()
        root = str(Path(kinetics_pipeline.__file__).parents[1])
        # -P: not the current folder, where a user's file may bear the name of a library.
        command = [sys.executable, "-P", "-m", __name__, str(calls_out), str(answers_in)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(calls_out, answers_in),
                start_new_session=True,
                env=environment(root, credentials=self._credentials),
            )
        finally:
            os.close(calls_out)
            os.close(answers_in)
        self._calls = Connection(calls_in, readable=False)
        self._answers = Connection(answers_out, writable=False)

    def _end(self) -> int | None:
        """The exit code of the child, which is gone after this; None when there was none."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for connection in (self._calls, self._answers):
            assert connection is not None
            connection.close()
        self._calls = self._answers = None
        return process.wait()


def environment(root: str, *, credentials: bool = False) -> dict[str, str]:
    """The environment of a child that imports this package from `root`."""
    more = STORE_VARIABLES if credentials else ()
    kept = {name: value for name, value in os.environ.items() if name in KEPT_VARIABLES or name.startswith(more)}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it went meanwhile
            size += path.stat().st_size
    return size


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"


def serve(calls: Connection, answers: Connection) -> None:
    """The child: answers one call after the other, until there is no one to answer."""
    waiting: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                waiting.put(calls.recv())
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # the parent is gone: this process and all it started go too

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answers.send(_answer(waiting.get()))


def _answer(call: Call) -> Download:
    source, video_id, clips, folder, allowance = call
    try:
        with bounded(allowance):
            return source.download(video_id, clips, folder)
    except NoRoom:
        return Download(no_room=True)
    except Exception as error:  # noqa: BLE001  a defect of ours or of the extractor is one video's failure, not the run's
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Download(no_room=True)
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        log.warning("%s", place)
        return Download(failure=Failure("internal", place))


def main() -> None:
    calls, answers = (int(descriptor) for descriptor in sys.argv[1:3])
    for descriptor in (calls, answers):
        os.set_inheritable(descriptor, False)  # else a grandchild would keep the parent waiting
    serve(Connection(calls, writable=False), Connection(answers, readable=False))


if __name__ == "__main__":
    main()
