"""What was tried for the clips of open shards, kept in the dataset: a killed driver forgets no attempt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict

from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.building.state import read_state

NAME = "state/attempts.json"
SAVE_EVERY = 2.0


class Attempts:
    """Events by clip. Only clips that no shard holds yet are kept, so the file stays small."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = False
        self._saved = 0.0
        document = read_state(store, NAME) or {}
        self._events = {clip: [Event(**event) for event in events] for clip, events in document.items()}

    def of(self, clip_id: str) -> list[Event]:
        return self._events.get(clip_id, [])

    def add(self, clip_id: str, event: Event) -> None:
        self._events.setdefault(clip_id, []).append(event)
        self._changed = True

    def uncharge(self, clip_id: str) -> bool:
        """Takes back the latest events as far as they are doubtful (`breaker`): they were no fault of the clip's, and
        are kept as a `burst`, which charges nothing. Whether there were any."""
        events = self._events.get(clip_id, [])
        first = len(events)
        while first and is_doubtful(events[first - 1].outcome, events[first - 1].detail):
            first -= 1
        taken_back, events[first:] = events[first:], [Event(event.source, "burst") for event in events[first:]]
        self._changed |= bool(taken_back)
        return bool(taken_back)

    def was_doubted(self, clip_id: str) -> bool:
        """Whether the clip's video was part of a burst."""
        return any(event.outcome == "burst" for event in self.of(clip_id))

    def forget(self, clip_ids: Iterable[str]) -> None:
        """After their shard was committed, or when they are planned anew."""
        for clip_id in clip_ids:
            self._changed |= self._events.pop(clip_id, None) is not None

    def save(self, *, at_once: bool = False) -> None:
        """Writes what changed, at most every `SAVE_EVERY` seconds."""
        if self._changed and (at_once or time.monotonic() - self._saved >= SAVE_EVERY):
            document = {clip: [asdict(event) for event in events] for clip, events in self._events.items()}
            self._store.write(NAME, json.dumps(document).encode())
            self._changed, self._saved = False, time.monotonic()
