"""Asking a run to end: Ctrl-C, or the SIGTERM that `ray job stop` and schedulers send. A second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption(KeyboardInterrupt):
    """An interruption that Python does not take for its own: where the plain one passes a text that is evaluated, as
    imports do, Python 3.11 ends with that signal whatever exit code is asked for later."""


def let_signals_interrupt() -> None:
    """Lets SIGTERM raise KeyboardInterrupt, as Ctrl-C does. Nothing changes outside the main thread, where Ctrl-C is
    ignored (nohup), and in forked children, which end as they would have."""
    owner = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Interruption
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether a stop was asked; in another thread than the main one, which gets no signals,
    it never was. Forked children leave Ctrl-C to their parent, and end by SIGTERM as they would have."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    owner = os.getpid()
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if os.getpid() != owner:
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if asked:
            raise Interruption
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Puts back the handlers of the process that were there before the body: what a call does to end well by a signal
    is gone with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # of C, which Python cannot put back
                signal.signal(number, handler)
