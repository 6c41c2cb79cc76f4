"""Progress in a notebook: one place under the cell, written anew a few times a second."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from html import escape
from typing import Any

from kinetics_pipeline.redaction import visible

SHOW_EVERY = 0.5
"""Seconds between two pictures of the bar."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, where a cell's output can be replaced."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def quiet_in_notebook() -> None:
    """Keeps Ray and tqdm from asking for ipywidgets, which nothing here needs."""
    if in_notebook():
        warnings.filterwarnings("ignore", message="IProgress not found")
        logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)


class NotebookBar:
    """A bar with a text, and above it the lines that stay. May be called from any thread."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._state = (0, 1, "")
        self._shown = float("-inf")
        self._handle: Any = None
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        self._lines.append(line)
        self.show(*self._state, ended=True)

    def show(self, done: int, total: int, text: str, *, ended: bool = False) -> None:
        """Shows how far it is, at most every `SHOW_EVERY` seconds but for the end."""
        self._state = (done, total, text)
        with self._lock:
            if not ended and time.monotonic() - self._shown < SHOW_EVERY:
                return
            self._shown = time.monotonic()
            self._display()

    def _display(self) -> None:
        from IPython.display import HTML, display

        done, total, text = self._state
        said = "".join(f"<div>{escape(visible(line))}</div>" for line in self._lines)
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress> {escape(visible(text))}'
        page = HTML(f"{said}<div>{bar}</div>")
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)
