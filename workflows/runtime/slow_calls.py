"""Says what a command waits for, when one call of a store or of Ray has kept it for long.

Such a call stops the whole command, which then cannot say anything itself: a thread looks at where it is. A store is
asked again for two minutes before it is given up, and an NFS server that went keeps a call for ever.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.workflows.runtime.progress import duration

LONG = 20.0
"""Seconds of one call after which it is told."""
LOOK_EVERY = 2.0
STORAGE = "kinetics_pipeline.storage."


@contextmanager
def slow_calls_told(to: Sequence[Callable[[str], None]], *, of_ray: bool = False, long: float = LONG) -> Iterator[None]:
    """Tells all in `to`, in a thread, of each call of the thread that enters this which takes longer than `long`
    seconds. `of_ray`: also of calls of Ray, in a command that makes no long ones."""
    owner, ended = threading.get_ident(), threading.Event()

    def look() -> None:
        seconds = 0.0
        while not ended.wait(min(LOOK_EVERY, long / 2)):
            frame = sys._current_frames().get(owner)
            call = frame and _outermost_call(frame, of_ray=of_ray)
            before, seconds = seconds, seconds + min(LOOK_EVERY, long / 2) if call and _marked(call) else 0.0
            line = f"{_what(call)}, for {duration(seconds)} so far" if call and before < long <= seconds else ""
            del frame, call
            if line:
                for say in to:
                    say(line)

    thread = threading.Thread(target=look, name="slow calls", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _marked(call: FrameType) -> bool:
    """Whether this very call was looked at before; it is marked by its trace function, which nothing calls.

    A frame that is held instead, so that no later one passes for it, keeps what its callers held. When this thread let
    go of a reference of Ray's while Ray shut down, Ray ended the process.
    """
    if call.f_trace is _mark:
        return True
    if call.f_trace is None:  # otherwise a debugger is at work
        call.f_trace = _mark
    return False


def _mark(*_: object) -> None:
    """Traces nothing."""


def _outermost_call(frame: FrameType, *, of_ray: bool) -> FrameType | None:
    """The call of a store, or of Ray, that a thread is in; None where it is in none."""
    found, inner = None, frame
    while inner is not None:
        module = str(inner.f_globals.get("__name__", ""))
        if (module.startswith(STORAGE) and hasattr(inner.f_locals.get("self"), "uri")) or (
            of_ray and module.startswith("ray.")
        ):
            found = inner
        inner = inner.f_back  # type: ignore[assignment]
    return found


def _what(call: FrameType) -> str:
    """What the call waits for, in words."""
    place = getattr(call.f_locals.get("self"), "uri", None)
    if place is None:
        return "waiting for the Ray cluster to answer"
    name = call.f_locals.get("name") or call.f_locals.get("prefix") or ""
    return f"waiting for {without_secrets(str(place))} ({' '.join(filter(None, (call.f_code.co_name, str(name))))})"
