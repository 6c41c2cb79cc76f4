"""What follows from what happened: the policy of clips, the pace of an egress, the breaker. All pure."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.records import NEEDS_ACCESS, OUTCOMES, RETRYABLE, most_hopeful
from kinetics_pipeline.sources.pace.egress import (
    COOL_DOWN,
    JITTER,
    LONGEST_COOL_DOWN,
    Egress,
    answered,
    cool_downs,
    granted,
    paused,
)
from kinetics_pipeline.sources.pace.retries import POLICY, Done, Event, Try, decide

FAILURES = sorted(OUTCOMES - {"ok", "withdrawn"})
SIGNALS = ["throttled", "bot_check"]
some_sources = st.lists(st.sampled_from(["youtube", "mirror", "folder", "tars"]), min_size=1, max_size=4, unique=True)
answers = st.lists(st.sampled_from(FAILURES + SIGNALS), min_size=200, max_size=200)


def play(script: list[str], sources: list[str]) -> tuple[list[Event], Done | None]:
    """Asks whom the policy says and answers by the script, until the policy ends it or the script does."""
    events: list[Event] = []
    for outcome in script:
        step = decide(events, sources)
        if isinstance(step, Done):
            return events, step
        events.append(Event(step.source, outcome, f"{step.source} said {outcome}"))  # type: ignore[arg-type]
    step = decide(events, sources)
    return events, step if isinstance(step, Done) else None


@given(st.lists(st.sampled_from(FAILURES), min_size=30, max_size=30), some_sources)
def test_every_clip_ends_after_a_bounded_number_of_tries(script: list[str], sources: list[str]) -> None:
    events, done = play(script, sources)
    assert done is not None
    most = max(again.attempts for again in POLICY.values())
    assert all(sum(event.source == source for event in events) <= most for source in sources)


@given(answers, some_sources)
def test_refusals_of_the_address_change_nothing_for_the_clip(script: list[str], sources: list[str]) -> None:
    events, _ = play(script, sources)
    charged = [event for event in events if event.outcome not in SIGNALS]
    assert decide(events, sources) == decide(charged, sources)


@given(answers, some_sources)
def test_sources_are_asked_in_order_and_none_again_once_it_was_passed(script: list[str], sources: list[str]) -> None:
    events, _ = play(script, sources)
    asked = [event.source for event in events]
    assert asked == sorted(asked, key=sources.index)


@given(st.lists(st.sampled_from(FAILURES), min_size=30, max_size=30), some_sources)
def test_the_most_hopeful_failure_is_recorded_and_all_are_told(script: list[str], sources: list[str]) -> None:
    events, done = play(script, sources)
    assert done is not None
    said = {source: [event.outcome for event in events if event.source == source] for source in sources}
    final = {source: [outcome for outcome in all_ if outcome not in RETRYABLE] for source, all_ in said.items()}
    assert done.outcome == most_hopeful([one for source in sources for one in final[source] or said[source]])
    assert all(event.detail in done.detail for event in events)


def test_what_a_source_says_for_good_counts_and_not_that_it_could_not_be_reached_before() -> None:
    events = [Event("mirror", "network", "timed out"), Event("mirror", "private", "HTTP 403")]
    assert decide(events, ["mirror"]) == Done("private", "timed out; HTTP 403")


@given(answers, some_sources, st.integers(0, 200))
def test_a_driver_killed_anywhere_goes_on_as_if_it_had_not_been(
    script: list[str], sources: list[str], kill: int
) -> None:
    events, done = play(script, sources)
    kept = [Event(event.source, event.outcome, event.detail) for event in events[:kill]]  # read again from disk
    for event in events[len(kept) :]:
        step = decide(kept, sources)
        assert isinstance(step, Try)
        assert step.source == event.source
        kept.append(event)
    assert done is None or decide(kept, sources) == done


@pytest.mark.parametrize("outcome", sorted(OUTCOMES - RETRYABLE - {"ok", "withdrawn"}))
def test_what_another_try_cannot_change_goes_to_the_next_source_at_once(outcome: str) -> None:
    assert decide([Event("mirror", outcome)], ["mirror", "youtube"]) == Try("youtube", 0.0)  # type: ignore[arg-type]
    if outcome in NEEDS_ACCESS:
        assert isinstance(decide([Event("mirror", outcome)], ["mirror"]), Done)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", sorted(RETRYABLE))
def test_each_further_try_waits_longer(outcome: str) -> None:
    waits = []
    for tries in range(1, POLICY[outcome].attempts):
        step = decide([Event("mirror", outcome)] * tries, ["mirror"])  # type: ignore[arg-type]
        assert isinstance(step, Try)
        waits.append(step.after_seconds)
    assert waits == sorted(set(waits))
    assert all(0 < wait <= POLICY[outcome].longest_wait for wait in waits)


@pytest.mark.parametrize("outcome", sorted(RETRYABLE))
def test_a_source_that_stays_in_doubt_ends_the_clip_for_this_run(outcome: str) -> None:
    events = [Event("mirror", outcome)] * POLICY[outcome].attempts  # type: ignore[arg-type]
    assert decide(events, ["mirror", "youtube"]) == Done(outcome, "")  # type: ignore[arg-type]


chances = st.floats(0, 1, exclude_max=True)


@given(st.lists(chances, min_size=50, max_size=50))
def test_an_egress_is_asked_at_its_rate_and_never_faster(luck: list[float]) -> None:
    egress, now, times = Egress(), 1000.0, []
    for chance in luck:
        while (following := granted(egress, now, 12.0, chance)) is None:
            now = egress.next_allowed_at
        egress = following
        times.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 12.0 - 1e-6 <= min(gaps) <= max(gaps) <= 12.0 * (1 + JITTER) + 1e-6


@given(st.lists(st.sampled_from(["ask", "throttled", "bot_check", "restart"]), max_size=40), chances)
def test_a_paused_egress_grants_nothing_also_after_a_restart(steps: list[str], chance: float) -> None:
    egress, now = Egress(), 1_000_000.0
    for step in steps:
        now += 60.0
        if step == "restart":
            egress = Egress.from_json(egress.to_json())
        elif step == "ask":
            following = granted(egress, now, 12.0, chance)
            assert following is None or now >= egress.paused_until
            egress = following or egress
        else:
            before = egress.paused_until
            egress = paused(egress, now, step)  # type: ignore[arg-type]
            assert egress.paused_until >= before
            assert egress.paused_until > now


def test_refusals_of_requests_that_were_under_way_count_once() -> None:
    once = paused(Egress(), 0.0, "bot_check")
    assert paused(paused(once, 1.0, "bot_check"), 2.0, "throttled") == once
    assert once.paused_until == COOL_DOWN["bot_check"]


def test_no_row_of_refusals_is_too_long() -> None:
    egress, now = Egress(), 0.0
    for _ in range(1100):  # as a server makes of one Retry-After a second
        egress = paused(egress, now, "throttled", 1.0)
        now = egress.paused_until
    assert paused(egress, now, "throttled").paused_until == now + LONGEST_COOL_DOWN


def test_an_answer_ends_a_row_of_refusals() -> None:
    twice = paused(paused(Egress(), 0.0, "throttled"), 4000.0, "throttled")
    assert twice.paused_until - 4000.0 == 2 * COOL_DOWN["throttled"]
    assert answered(twice).refusals == 0


def test_a_user_may_say_how_long_a_refused_address_rests() -> None:
    chosen = cool_downs(10.0)
    assert paused(Egress(), 0.0, "bot_check", cool_down=chosen).paused_until == 10.0
    assert paused(Egress(), 0.0, "burst", cool_down=chosen).paused_until == 5.0
    assert paused(Egress(refusals=2), 0.0, "throttled", cool_down=chosen).paused_until == 40.0
    assert paused(Egress(), 0.0, "throttled", 77.0, chosen).paused_until == 77.0


@given(answers, some_sources)
def test_what_sources_of_an_earlier_run_said_counts_for_nothing(script: list[str], sources: list[str]) -> None:
    events, _ = play(script, sources)
    assert decide(events, ["another"]) == Try("another", 0.0)
