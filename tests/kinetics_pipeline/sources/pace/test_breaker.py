"""Doubtful failures of different videos are nobody's until a video that came well lately was asked again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.http.status import MEDIA_REFUSED
from kinetics_pipeline.sources.pace.breaker import (
    SUSPECTS,
    VIDEOS,
    WINDOW,
    Doubt,
    Verdict,
    canary_answered,
    heard,
    is_doubtful,
    nothing_left,
    taken_back,
    unsettled,
)
from kinetics_pipeline.sources.youtube.texts import EXPLAINED, LATER, LIMITED, NETWORK_RULES, SOFT_BLOCK, UNAVAILABLE
from kinetics_pipeline.sources.youtube.youtube_texts import YOUTUBE_CLEAR, YOUTUBE_UNCLEAR

Said = tuple[str, str, str]
DOUBTFUL = [("no_format", UNAVAILABLE), ("internal", "?"), ("network", MEDIA_REFUSED), ("network", "HTTP 502")]


def clip(name: str) -> Clip:
    return Clip(f"{name}_000000_000010", name, 0.0, 10.0, "running", "train")


def after(answers: Iterable[Said], doubt: Doubt | None = None) -> tuple[Doubt, Verdict]:
    doubt, verdict = doubt or Doubt(), "stands"
    for name, outcome, detail in answers:
        assert verdict != "burst"
        doubt, verdict = heard(doubt, clip(name), outcome, detail)  # type: ignore[arg-type]
    return doubt, verdict  # type: ignore[return-value]


def failures(count: int, outcome: str = "no_format", detail: str = UNAVAILABLE) -> list[Said]:
    return [(f"video{number}", outcome, detail) for number in range(count)]


WELL = [("well", "ok", "")]


@pytest.mark.parametrize(("outcome", "detail"), DOUBTFUL)
def test_many_videos_failing_in_a_row_are_a_burst_where_nothing_came_well_yet(outcome: str, detail: str) -> None:
    assert after(failures(VIDEOS, outcome, detail))[1] == "burst"
    assert after(failures(VIDEOS - 1, outcome, detail))[1] == "stands"


def test_failures_of_different_kinds_count_together() -> None:
    mixed = [(f"video{number}", *DOUBTFUL[number % len(DOUBTFUL)]) for number in range(VIDEOS)]
    assert after(mixed)[1] == "burst"
    assert after([*WELL, *mixed[:SUSPECTS]])[0].canary_due == clip("well")


@pytest.mark.parametrize("detail", sorted(EXPLAINED))
def test_what_youtube_gives_a_reason_for_is_no_burst(detail: str) -> None:
    assert detail in {rule.detail for rule in (*YOUTUBE_CLEAR, *YOUTUBE_UNCLEAR)} | {LATER}
    assert after(failures(3 * VIDEOS, "no_format", detail))[1] == "stands"
    assert after([*WELL, *failures(3 * VIDEOS, "no_format", detail)])[0].canary_due is None


def test_one_video_that_fails_often_is_one_video() -> None:
    assert after([("video", "no_format", "")] * 100)[1] == "stands"


@pytest.mark.parametrize("sign", ["gone", "private"])
def test_a_definite_reason_ends_a_row(sign: str) -> None:
    doubtful = failures(2 * VIDEOS - 2)
    middle = [*doubtful[: VIDEOS - 1], ("other", sign, ""), *doubtful[VIDEOS - 1 :]]
    assert after(doubtful[:VIDEOS])[1] == "burst"
    assert after(middle)[1] == "stands"


def test_the_canary_is_asked_before_anything_is_charged_and_settles_it() -> None:
    doubt, _ = after([*WELL, *failures(SUSPECTS - 1)])
    assert doubt.canary_due is None
    doubt, _ = after([("another", "no_format", "")], doubt)
    assert doubt.canary_due == clip("well")
    well, verdict = canary_answered(doubt, "ok", "")
    assert (verdict, well.suspects, well.canary_due) == ("stands", frozenset(), None)
    assert after(failures(SUSPECTS), well)[0].canary_due is None  # they are known to fail: that is not news
    for outcome, detail in [*DOUBTFUL, ("throttled", SOFT_BLOCK), ("bot_check", "")]:
        ill, verdict = canary_answered(doubt, outcome, detail)  # type: ignore[arg-type]
        assert verdict == "burst"
        assert len(ill.suspects) == SUSPECTS
        assert taken_back(ill).suspects == frozenset()
        assert taken_back(ill).canary_due == clip("well")  # the first that is asked after the pause


def test_a_canary_that_is_gone_is_none_any_more() -> None:
    doubt, _ = after([*WELL, *failures(SUSPECTS)])
    doubt, verdict = canary_answered(doubt, "gone", "removed by the uploader")
    assert (verdict, doubt.sound) == ("stands", None)


def test_every_other_video_that_fails_has_the_canary_asked_too() -> None:
    mixture = [one for number in range(SUSPECTS) for one in [(f"w{number}", "ok", ""), failures(SUSPECTS)[number]]]
    assert after(mixture)[0].canary_due == clip(f"w{SUSPECTS - 1}")


def test_a_connection_that_fails_is_a_suspect_again_though_the_video_s_earlier_failures_stand() -> None:
    """Two failures of its own and one outage would otherwise make three."""
    doubt, _ = after([*WELL, ("video", "network", "HTTP 500")])
    doubt, verdict = canary_answered(doubt, "ok", "")
    assert (verdict, doubt.suspects) == ("stands", frozenset())
    assert not after([("video", "network", "the connection failed")], doubt)[0].suspects
    doubt, _ = after([("video", "network", "the connection failed")], unsettled(doubt, "video"))
    assert doubt.suspects == {"video"}
    assert nothing_left(doubt).canary_due == clip("well")
    without = Doubt(settled=frozenset({"video"}))
    assert unsettled(without, "video") == without


def test_a_single_suspect_is_settled_after_some_answers_or_when_nothing_else_is_left() -> None:
    doubt, _ = after([*WELL, *failures(1), *((f"w{number}", "ok", "") for number in range(WINDOW - 2))])
    assert doubt.canary_due is None
    assert nothing_left(doubt).canary_due is not None
    doubt, _ = after([("last", "ok", "")], doubt)
    assert doubt.canary_due == clip("last")
    assert nothing_left(after(WELL)[0]).canary_due is None


@pytest.mark.parametrize("words", [LIMITED, SOFT_BLOCK])
def test_one_video_that_says_try_again_later_delays_itself_alone(words: str) -> None:
    doubt, verdict = after([*WELL, ("odd", "throttled", words)])
    assert (verdict, doubt.suspects, doubt.canary_due) == ("charge", {"odd"}, clip("well"))
    doubt, verdict = canary_answered(doubt, "ok", "")
    assert (verdict, doubt.suspects) == ("stands", frozenset())
    blocked, verdict = canary_answered(after([*WELL, ("odd", "throttled", words)])[0], "throttled", words)
    assert (verdict, blocked.suspects) == ("burst", {"odd"})


@pytest.mark.parametrize("words", [LIMITED, SOFT_BLOCK, "HTTP 429 Too Many Requests: asked to slow down"])
def test_a_refusal_where_nothing_came_well_yet_is_the_address_s(words: str) -> None:
    assert after([("first", "throttled", words)])[1] == "pause"


def test_a_bot_check_pauses_at_once_and_the_same_video_s_next_is_its_own() -> None:
    doubt, verdict = after([*WELL, ("odd", "bot_check", "")])
    assert (verdict, doubt.canary_due) == ("pause", clip("well"))  # the canary is the first after the pause
    doubt, _ = canary_answered(doubt, "ok", "")
    doubt, verdict = after([("odd", "bot_check", "")], doubt)
    assert verdict == "charge"
    assert after([("other", "bot_check", "")], doubt)[1] == "pause"


def test_what_a_burst_took_back_without_a_canary_does_not_pause_for_ever() -> None:
    doubt, _ = after(failures(VIDEOS))
    doubt = taken_back(doubt)
    assert after(failures(VIDEOS), doubt)[1] == "stands"
    fresh = [(f"fresh{number}", "no_format", "") for number in range(VIDEOS)]
    assert after(fresh, doubt)[1] == "burst"


def test_a_network_s_own_rules_are_a_finding_and_no_doubt() -> None:
    assert not is_doubtful("no_format", NETWORK_RULES)


answers = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["ok", "no_format", "network", "gone", "throttled"])),
    max_size=60,
)


@given(answers)
def test_nothing_doubtful_is_forgotten_before_it_is_settled(script: list[tuple[str, str]]) -> None:
    doubt, expected = Doubt(sound=clip("canary")), set[str]()
    for name, outcome in script:
        doubt, verdict = heard(doubt, clip(name), outcome, LIMITED if outcome == "throttled" else "")  # type: ignore[arg-type]
        if verdict == "charge" or (verdict == "stands" and is_doubtful(outcome, "")):  # type: ignore[arg-type]
            expected.add(name)
        assert expected <= doubt.suspects
        assert doubt.canary_due is not None or len(doubt.recent) <= WINDOW
