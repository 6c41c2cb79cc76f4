"""What keeps a command waiting in one call is told, and what merely takes many calls is not."""

from __future__ import annotations

import time
import weakref
from pathlib import Path

from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.workflows.runtime.slow_calls import slow_calls_told


class SlowFile(type(Path())):  # type: ignore[misc]
    """A path whose file system takes its time."""

    seconds = 0.0

    def open(self, *arguments: object, **named: object) -> object:
        time.sleep(self.seconds)
        return super().open(*arguments, **named)


class SlowStore(LocalStore):
    def _path(self, name: str) -> Path:
        return SlowFile(super()._path(name))


def test_a_store_that_does_not_answer_is_named_with_what_it_was_asked(tmp_path: Path) -> None:
    told: list[str] = []
    store = SlowStore(str(tmp_path))
    store.write("state/live.json", b"{}")
    with slow_calls_told([told.append], long=0.2):
        SlowFile.seconds = 0.05
        for _ in range(12):
            store.read("state/live.json")
        assert told == []
        SlowFile.seconds = 0.6
        store.read("state/live.json")
    assert told == [f"waiting for {tmp_path} (read state/live.json), for 0 s so far"]


def test_another_address_is_shown_without_its_secrets(tmp_path: Path) -> None:
    told: list[str] = []
    store = SlowStore(str(tmp_path))
    store.write("a", b"")
    store.uri, SlowFile.seconds = "https://me:pw@host/x?token=abc", 0.6
    with slow_calls_told([told.append], long=0.2):
        store._path = lambda name: SlowFile(tmp_path / name)  # type: ignore[method-assign]
        store.read("a")
    assert told == ["waiting for https://WITHHELD@host/x?token=WITHHELD (read a), for 0 s so far"]


def test_what_a_call_and_its_callers_held_goes_with_them(tmp_path: Path) -> None:
    """References of Ray's that another thread lets go while Ray shuts down end the process."""
    store = SlowStore(str(tmp_path))
    store.write("a", b"")

    def held() -> weakref.ref[SlowStore]:
        mine = SlowStore(str(tmp_path))
        SlowFile.seconds = 0.6
        store.read("a")
        return weakref.ref(mine)

    told: list[str] = []
    with slow_calls_told([told.append], long=0.2):
        gone = held()
        assert gone() is None
    assert told, "nobody looked while it was held"
