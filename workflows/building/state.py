"""The small JSON documents in a dataset's `state/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import msgspec

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.storage.store import Store
from kinetics_pipeline.workflows.runtime.progress import size

RUN = "state/run.json"
"""The last command that worked on the dataset (`command`), and what was asked of it (`config`)."""
LANES = "state/egress.json"
"""The ways out: what each was answered and when it may ask again (`Egress`), and its `Traffic` over all runs."""

ATTEMPTS = "state/attempts.json"
"""What was tried for clips that no shard holds yet."""
SAVE_EVERY = 2.0
"""Seconds between two writes of the attempts."""


_Time = Annotated[float, msgspec.Meta(ge=0, le=2**33)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Run(msgspec.Struct):
    """What `RUN` holds. It may come from a stranger: nothing of it is run, opened or removed."""

    command: str
    config: dict[str, Any]


class _Lane(msgspec.Struct):
    """What must be so in a lane of `LANES`; `Egress` and `Traffic` have the rest."""

    next_allowed_at: _Time = 0.0
    paused_until: _Time = 0.0
    reason: str = ""
    refusals: _Count = 0
    requests: _Count = 0
    bytes_fetched: _Count = 0
    bytes_whole: _Count = 0


T = TypeVar("T")


def read_state(store: Store, name: str, kind: type[T]) -> T | None:
    """None when there is none. Raises JobFailed, one line, when it is damaged or holds something else."""
    try:
        return msgspec.json.decode(store.read(name), type=kind)
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        raise JobFailed(
            f"{store.uri}/{name} is damaged; it holds no clips: remove it, and it is written again"
        ) from None


def last_run(store: Store) -> Run | None:
    """What `RUN` says; None where nothing was built. Raises JobFailed when it is damaged."""
    return read_state(store, RUN, Run)


def look_at_lanes(store: Store) -> dict[str, dict[str, Any]]:
    """What `LANES` says, by the lanes' names. Raises JobFailed when it is damaged."""
    read_state(store, LANES, dict[str, _Lane])
    return read_state(store, LANES, dict[str, dict[str, Any]]) or {}


def traffic(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What went over the network between two states of the lanes, in a line; empty when nothing did."""
    requests, fetched, whole = (
        sum(lane.get(name, 0) for lane in now.values()) - sum(lane.get(name, 0) for lane in before.values())
        for name in ("requests", "bytes_fetched", "bytes_whole")
    )
    if not requests:
        return ""
    share = f" of {size(whole)} in whole files ({fetched / whole:.0%})" if whole else ""
    return f"fetched {size(fetched)}{share} in {counted(requests, 'request')}"


class Attempts:
    """What was tried for each clip, kept in the dataset: a killed driver forgets no attempt. Only clips that no shard
    holds yet are kept, so the file stays small."""

    def __init__(
        self,
        store: Store,
        monotonic: Callable[[], float],
        earlier: Callable[[str], Sequence[Event]] | None = None,
    ) -> None:
        """`earlier`: what is known of a clip from before its plan, by clip_id; not kept."""
        self._store, self._monotonic = store, monotonic
        self._has_earlier = earlier is not None
        self._earlier = earlier or (lambda clip_id: ())
        self._changed = False
        self._saved = 0.0
        self._events = read_state(store, ATTEMPTS, dict[str, list[Event]]) or {}
        self._of_earlier_runs = set(self._events)

    def __bool__(self) -> bool:
        """Whether anything is known of any clip from before this run."""
        return bool(self._events) or self._has_earlier

    def of(self, clip_id: str) -> list[Event]:
        return [*self._earlier(clip_id), *self._events.get(clip_id, [])]

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

    def ask_again(self, clip_id: str) -> None:
        """Takes back the latest failure of an earlier run where it is doubtful: that run ended before it knew whether
        it was an outage's. So the clip is asked once more, and this run finds out."""
        events = self._events.get(clip_id, [])
        if clip_id in self._of_earlier_runs and events and is_doubtful(events[-1].outcome, events[-1].detail):
            self._of_earlier_runs.discard(clip_id)
            events.pop()
            self._changed = True

    def was_doubted(self, clip_id: str) -> bool:
        """Whether the clip's video was part of a burst."""
        return any(event.outcome == "burst" for event in self.of(clip_id))

    def forget(self, clip_ids: Iterable[str]) -> None:
        """Removes what was tried for clips: their shard is committed, or they are planned again."""
        for clip_id in clip_ids:
            self._changed |= self._events.pop(clip_id, None) is not None

    def save(self, *, at_once: bool = False) -> None:
        """Writes what changed, at most every `SAVE_EVERY` seconds."""
        if self._changed and (at_once or self._monotonic() - self._saved >= SAVE_EVERY):
            document = {clip: [asdict(event) for event in events] for clip, events in self._events.items()}
            self._store.write(ATTEMPTS, json.dumps(document).encode())
            self._changed, self._saved = False, self._monotonic()
