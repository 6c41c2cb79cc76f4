"""What a dataset's failures say of more than one video, and what to do: lines for `build`, `status` and `report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.records import RETRYABLE
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.youtube.texts import EARLIER_GONE, FINDINGS
from kinetics_pipeline.workflows.building.recorded_command import UNKNOWN, checked_command, without_flag
from kinetics_pipeline.workflows.building.state import last_run

Reasons = Mapping[tuple[str, str], int]
"""Clips by outcome and detail."""


def advice(reasons: Reasons, command: str) -> list[str]:
    """A line for each thing to be known. `command`: the build, without `--retry`."""
    return [*findings(reasons, command), *_doubtful(reasons, command), *_earlier_gone(reasons, command)]


def command_of(dataset: Dataset) -> str:
    """The latest build's command, without `--retry`."""
    run = last_run(dataset.store)
    command = UNKNOWN if run is None else checked_command(run.command, dataset.store.uri)
    return without_flag(command, "--retry")


def findings(reasons: Reasons, command: str) -> Iterator[str]:
    """What the failures say of the user's network."""
    for detail, (meaning, outcome) in FINDINGS.items():
        if number := sum(n for (_, details), n in reasons.items() if detail in _parts(details)):
            yield f"{counted(number, 'clip')}: {meaning}; then: {command} --retry {outcome}"


def is_in_doubt(outcome: str, detail: str) -> bool:
    """Whether a failure that was recorded may have been the address's or the extractor's."""
    parts = _parts(detail) or [""]
    return outcome in RETRYABLE and any(is_doubtful(outcome, part) for part in parts)  # type: ignore[arg-type]


def is_earlier_gone(outcome: str, detail: str) -> bool:
    """Whether an earlier version wrote `gone` on words that are no longer final."""
    return outcome == "gone" and not EARLIER_GONE.isdisjoint(_parts(detail))


def _doubtful(reasons: Reasons, command: str) -> Iterator[str]:
    doubtful = {key: number for key, number in reasons.items() if is_in_doubt(*key)}
    if number := sum(doubtful.values()):
        again = ",".join(sorted({outcome for outcome, _ in doubtful}))
        yield (
            f"{counted(number, 'clip')} in doubt: a blocked address, a network in trouble or an old yt-dlp gives the "
            f"same answers. Another day, with yt-dlp up to date: {command} --retry {again}"
        )


def _earlier_gone(reasons: Reasons, command: str) -> Iterator[str]:
    if number := sum(n for key, n in reasons.items() if is_earlier_gone(*key)):
        yield (
            f"{counted(number, 'clip')} recorded as gone by an earlier version on words that blocked addresses are "
            f"told too (`report` names them); to try them again: {command} --retry gone"
        )


def _parts(detail: str) -> list[str]:
    return [part for part in detail.split("; ") if part]
