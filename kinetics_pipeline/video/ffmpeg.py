"""Running ffmpeg on a file that nobody vouches for: what may be opened, for how long, and what it said.

ffmpeg is the static binary of imageio-ffmpeg, so that every machine decodes with the same one.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import ffmpeg
import psutil

CONTAINERS = (
    "amv,asf,av1,avi,dhav,dv,f4v,flv,gif,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nsv,"
    "nut,obu,ogg,rm,roq,swf,vc1,vvc,webm,wtv,yuv4mpegpipe"
)
"""ffmpeg's names of the formats that hold video. Not among them: playlists and scripts (hls, dash, concat, imf), which
would open other files or addresses, and pictures and text (image2, tty), which would pass for a video."""

PROTOCOLS = "file,pipe"
MAX_PIXELS = 1 << 26
"""Pixels of a picture before it is scaled, twice 8K: a header can claim a gigapixel, and ffmpeg would allocate that."""
MAX_LOG = 64 * 1024
"""Bytes of ffmpeg's messages that are kept; a damaged file can cause megabytes of them."""

MOST_MEMORY = 6 << 30
"""Resident bytes that ffmpeg may have: 8K with many reference pictures takes half of it."""
_WATCH_EVERY = 0.5
"""Seconds between two looks at them."""
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TMP", "TEMP", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
"""The variables that ffmpeg gets: it opens local files, and needs no key or token that the user's may hold."""

_BUFFER = 1 << 16
"""Bytes of the reader's buffer, what a pipe holds: pictures, which are larger, are read past it, without a copy."""

_PAUSE = 0.1
"""Seconds between two looks at what ffmpeg reports; a pipe holds 64 kB, thousands of lines."""

_LINE = re.compile(r"^(?:\[(?P<context>[^\]@]+) @ [^\]]*\] )*\[(?P<level>[a-z]+)\] (?P<text>.*)$")


@dataclass(frozen=True)
class Message:
    """One line of ffmpeg's log."""

    context: str
    """The decoder, demuxer or filter that spoke: `h264`, `mov,mp4,...`; empty for ffmpeg itself."""
    level: str
    text: str

    def __str__(self) -> str:
        return f"{self.context}: {self.text}" if self.context else self.text


@dataclass
class Run:
    """A running ffmpeg. What it says and how it ended are known once the `with` of `running` is left."""

    stdout: IO[bytes]
    returncode: int = 0
    """Negative for the signal that ended it. Zero says nothing of the file: ffmpeg ends 0 after damage too."""
    stopped: bool = False
    """The reader had enough before ffmpeg had given everything. Set by it, when it knows before the end: with several
    outputs ffmpeg may wait for ever once one of them is complete."""
    log: list[Message] = field(default_factory=list)

    def crashed(self) -> str | None:
        """The signal by which ffmpeg fell over the file by itself, if it did."""
        name = signal.Signals(-self.returncode).name if self.returncode < 0 else None
        return name if name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT") else None


def executable() -> str:
    """The path of the ffmpeg that is used. Raises RuntimeError where imageio-ffmpeg brings none."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def untrusted_input(path: Path, **options: Any) -> Any:
    """ffmpeg-python's input node for `path`, which may open that one file and nothing else, and only as a video.

    The path is given as a `file:` URL, so that no name is read as an option, a protocol or a pattern.
    """
    limits = {"protocol_whitelist": PROTOCOLS, "format_whitelist": CONTAINERS, "max_pixels": MAX_PIXELS}
    return ffmpeg.input(f"file:{os.path.abspath(path)}", **limits, **options)


def command(graph: Any, level: str) -> list[str]:
    """The command line of a graph; messages from `level` on, each line with its level."""
    first, *rest = ffmpeg.compile(graph, cmd=executable())
    return [first, "-hide_banner", "-nostdin", "-nostats", "-v", f"level+{level}", *rest]


@contextmanager
def running(
    arguments: Sequence[str], timeout: float, reports: Mapping[str, Callable[[bytes], object]] | None = None
) -> Iterator[Run]:
    """Runs ffmpeg while the block reads its `stdout`; ends it when the block is left early.

    `reports`: for each argument `pipe:NAME`, what takes the lines that ffmpeg writes there. It is called in a thread of
    its own; all lines are with it once the block is left.

    Raises TimeoutError (on leaving) when it ran for more than `timeout` seconds, or took more than `MOST_MEMORY`, and
    OSError when it was killed from
    outside, which says nothing of the file. A child left behind by a killed parent ends at its next write, or once it
    has used `timeout` CPU seconds a processor.
    """
    limit = math.ceil(timeout) * (os.cpu_count() or 1) + 1
    pipes = {f"pipe:{name}": os.pipe() for name in reports or {}}
    named = {name: f"pipe:{write}" for name, (_, write) in pipes.items()}
    arguments = [arguments[0], "-timelimit", str(limit), *(named.get(a, a) for a in arguments[1:])]
    ended = threading.Event()
    readers = [
        threading.Thread(target=_take_lines, args=(read, take, ended), daemon=True)
        for (read, _), take in zip(pipes.values(), (reports or {}).values(), strict=True)
    ]
    with _started(arguments, [write for _, write in pipes.values()]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        done, excess = threading.Event(), list[str]()
        watcher = threading.Thread(target=_watch, args=(process, timeout, done, excess), daemon=True)
        log_bytes = bytearray()
        listener = threading.Thread(target=_listen, args=(process.stderr, log_bytes), daemon=True)
        run = Run(process.stdout)
        for thread in (watcher, listener, *readers):
            thread.start()
        read_to_the_end = False
        try:
            yield run
            run.stopped = run.stopped or bool(process.stdout.read(1))
            read_to_the_end = not run.stopped
        finally:
            if not read_to_the_end:
                process.kill()
            run.returncode = process.wait()
            done.set()
            watcher.join()
            ended.set()
            for thread in (listener, *readers):
                thread.join()
            if excess:  # what the reader tripped over is only the end of a stream cut off
                raise TimeoutError(excess[0]) from None
    if run.returncode == -signal.SIGXCPU:
        raise TimeoutError(_too_long(timeout))
    run.log = parse_log(log_bytes.decode("utf-8", "replace"))
    if run.returncode in (-signal.SIGKILL, -signal.SIGTERM) and not run.stopped:
        raise OSError("ffmpeg was killed")


def _started(arguments: Sequence[str], writable: Sequence[int]) -> subprocess.Popen[bytes]:
    """The process, which alone holds the pipes that it may write to."""
    try:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=_BUFFER,
            pass_fds=writable,
            env=environment(),
        )
    finally:
        for pipe in writable:
            os.close(pipe)


def _take_lines(pipe: int, take: Callable[[bytes], object], ended: threading.Event) -> None:
    """Reads the lines in large pieces: a reader that wakes for each line would cost as much as decoding a few frames.
    Until `ended` is set the pipe is left to fill."""
    rest = b""
    with os.fdopen(pipe, "rb", buffering=0) as source:
        while True:
            ended.wait(_PAUSE)
            block = source.read(_BUFFER)
            if not block:
                return
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                take(line)


def environment() -> dict[str, str]:
    """See `ENVIRONMENT`."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def _watch(process: subprocess.Popen[bytes], timeout: float, done: threading.Event, excess: list[str]) -> None:
    """Kills a process that takes too long or too much memory before `done`, and says in `excess` which it was."""
    ends = time.monotonic() + timeout
    while not done.wait(max(0.0, min(_WATCH_EVERY, ends - time.monotonic()))):
        if time.monotonic() >= ends:
            excess.append(_too_long(timeout))
        elif _resident(process.pid) > MOST_MEMORY:
            excess.append(f"ffmpeg took more than {MOST_MEMORY >> 30} GB of memory")
        if excess:
            process.kill()
            return


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def _too_long(timeout: float) -> str:
    return f"ffmpeg took more than {timeout:g} s"


def _listen(stream: IO[bytes], log_bytes: bytearray) -> None:
    while block := stream.read1(1 << 16):  # type: ignore[attr-defined]
        log_bytes += block[: max(0, MAX_LOG - len(log_bytes))]


def parse_log(text: str) -> list[Message]:
    """The messages in what ffmpeg wrote; lines without a level (continuations, other libraries') are left out."""
    found = (_LINE.match(line) for line in text.splitlines())
    return [Message((m["context"] or "").strip(), m["level"], m["text"]) for m in found if m]
