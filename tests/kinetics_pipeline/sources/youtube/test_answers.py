"""What YouTube and yt-dlp were seen to say, each by its row of a table: read from statuses first, then from words."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.records import FINAL
from kinetics_pipeline.sources.base import Failure, is_signal
from kinetics_pipeline.sources.http.ytdlp import Opener
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.youtube.answers import PlayerAnswer, of_document
from kinetics_pipeline.sources.youtube.refusals import from_answers, from_extraction, from_texts
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.sources.youtube.youtube_texts import YOUTUBE_CLEAR, YOUTUBE_UNCLEAR
from kinetics_pipeline.sources.youtube.ytdlp_texts import YTDLP
from tests.fake_youtube import WATCH_PAGE, FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed
from tests.fake_youtube.reasons import ROWS, Said

ID = "okokokokok1"
UNKNOWN = Failure("internal", "nobody knows")
CLIENTS = ("TVHTML5", "VISIONOS")
"""The clients that yt-dlp asks by default, besides the watch page."""

with Path(__file__).parents[3].joinpath("data", "ytdlp_messages.tsv").open(newline="", encoding="utf-8") as table:
    MESSAGES = list(csv.DictReader(table, delimiter="\t"))


def answer_of(said: Said, client: str = "VISIONOS") -> PlayerAnswer:
    return of_document({"playabilityStatus": said.playability}, client, 200)


@pytest.mark.parametrize("said", ROWS, ids=lambda said: f"{said.kind}: {said.reason}"[:60])
def test_each_answer_has_its_outcome(said: Said) -> None:
    failure = from_answers([answer_of(said)], ID, UNKNOWN)
    assert failure.outcome == said.outcome, failure


def test_a_pasted_message_is_read_as_the_answer_was() -> None:
    """Where words decide: a message does not hold the status."""
    for said in ROWS:
        by_words = from_answers([replace(answer_of(said), status="ERROR")], ID, UNKNOWN).outcome
        text = ". ".join(filter(None, (said.reason, said.subreason)))
        assert from_texts([f"ERROR: [youtube] {ID}: {text}"]).outcome == by_words, said


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row["message"][:60])
def test_each_message_of_yt_dlp_has_its_outcome(row: dict[str, str]) -> None:
    failure = from_texts([row["message"]], [row["warning"]] if row["warning"] else [])
    assert failure.outcome == row["outcome"], failure
    assert failure.outcome not in FINAL


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeYouTube]:
    with FakeYouTube() as youtube:
        yield youtube


@pytest.fixture(scope="module")
def rendition(tmp_path_factory: pytest.TempPathFactory) -> Rendition:
    path = render_indexed(tmp_path_factory.mktemp("media") / "a.mp4", 320, 256, 2, indexed=False)
    return Rendition(path, 134, 320, 256)


@pytest.fixture(scope="module")
def by_default(fake: FakeYouTube) -> Iterator[tuple[YouTube, Opener]]:
    options = SourceOptions(proxy=fake.url, ytdlp_options=fake.default_options, timeout=1.0)
    with Opener(options) as opener:
        yield YouTube(options), opener


def asked(fake: FakeYouTube, by_default: tuple[YouTube, Opener], video: Video) -> Failure:
    source, opener = by_default
    fake.videos[ID] = video
    fake.reset()
    opener.begin()
    found = source.extract(opener, ID)
    assert isinstance(found, Failure), found.get("format_id")
    return found


@pytest.mark.parametrize("clients", ["default", "short"])
def test_the_whole_table_through_the_real_extractor(fake: FakeYouTube, clients: str) -> None:
    chosen = fake.default_options if clients == "default" else fake.ytdlp_options
    options = SourceOptions(proxy=fake.url, ytdlp_options=chosen, timeout=5.0)
    wrong = []
    with Opener(options) as opener:
        for said in ROWS:
            failure = asked(fake, (YouTube(options), opener), Video(playability=said.playability))
            if failure.outcome != said.outcome:
                wrong.append((said, failure))
    assert not wrong
    assert len(ROWS) > 120


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("429", "throttled"),
        ("wrong_video", "throttled"),
        *(
            (kind, "network")
            for kind in ("401", "403", "404", "410", "500", "503", "stall", "garbage", "html", "empty")
        ),
    ],
)
def test_a_sound_watch_page_does_not_hide_that_the_api_fails(
    fake: FakeYouTube, by_default: tuple[YouTube, Opener], rendition: Rendition, fault: str, outcome: str
) -> None:
    failure = asked(fake, by_default, Video([rendition], api=Faults(fault)))
    assert failure.outcome == outcome, failure
    assert is_signal(failure.outcome) or is_doubtful(failure.outcome, failure.detail)
    assert failure.statuses.startswith("watch page 200 OK; TVHTML5 ")


def test_a_limited_api_says_for_how_long(
    fake: FakeYouTube, by_default: tuple[YouTube, Opener], rendition: Rendition
) -> None:
    failure = asked(fake, by_default, Video([rendition], api=Faults("429", headers={"Retry-After": "55"})))
    assert (failure.outcome, failure.wait) == ("throttled", 55.0)


@pytest.mark.parametrize("broken", ["429", "403", "stall"])
def test_one_client_that_fails_is_nothing_where_another_gives_formats(
    fake: FakeYouTube, by_default: tuple[YouTube, Opener], rendition: Rendition, broken: str
) -> None:
    source, opener = by_default
    good = Video([rendition])
    fake.videos[ID] = replace(good, by_client={"TVHTML5": replace(good, api=Faults(broken))})
    opener.begin()
    assert isinstance(source.extract(opener, ID), dict)
    fake.videos[ID] = replace(good, watch=Faults("429"))
    opener.begin()
    assert isinstance(source.extract(opener, ID), dict)


@pytest.mark.parametrize(
    ("watch_page", "tv", "visionos", "outcome"),
    [
        ("unavailable", "unavailable", "removed", "gone"),
        ("removed", "unavailable", "session_limit", "gone"),
        (None, "removed", "removed", "no_format"),  # a page that plays speaks against it
        ("bot", "age", "unavailable", "age_restricted"),
        ("bot", "unavailable", "unavailable", "bot_check"),
        ("captcha", "removed", "unavailable", "throttled"),
        ("geo", "removed", "unavailable", "geo_blocked"),
        ("unavailable", "unavailable", "processing", "no_format"),
        ("unavailable", "unavailable", "unheard_of", "no_format"),
        (None, None, None, "no_format"),
    ],
)
def test_several_clients_that_differ_are_read_together(
    fake: FakeYouTube,
    by_default: tuple[YouTube, Opener],
    watch_page: str | None,
    tv: str | None,
    visionos: str | None,
    outcome: str,
) -> None:
    seen = dict(zip((WATCH_PAGE, *CLIENTS), (watch_page, tv, visionos), strict=True))
    clients = {client: Video(playability=playability) for client, playability in seen.items()}
    failure = asked(fake, by_default, Video(by_client=clients))
    assert failure.outcome == outcome, failure


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [("unavailable", "throttled"), ("bot", "throttled"), ("removed", "gone"), ("age", "age_restricted")],
)
def test_a_limited_watch_page_speaks_of_the_address_where_the_api_gives_no_reason(
    fake: FakeYouTube, by_default: tuple[YouTube, Opener], shown: str, outcome: str
) -> None:
    limited = Faults("429", headers={"Retry-After": "55"})
    failure = asked(fake, by_default, Video(playability=shown, watch=limited))
    assert failure.outcome == outcome, failure
    assert failure.wait == (55.0 if outcome == "throttled" else None)


def test_a_trailer_is_not_the_film(fake: FakeYouTube, by_default: tuple[YouTube, Opener], rendition: Rendition) -> None:
    fake.videos["trailertrai"] = Video([rendition])
    screen = {"playerLegacyDesktopYpcTrailerRenderer": {"trailerVideoId": "trailertrai"}}
    paid = {"status": "UNPLAYABLE", "reason": "Nobody foresaw these words", "errorScreen": screen}
    assert asked(fake, by_default, Video(playability=paid)) == Failure("members_only", "requires payment")
    assert "trailertrai" not in {request.video_id for request in fake.log}


def test_the_title_and_the_channel_are_no_reason(fake: FakeYouTube, by_default: tuple[YouTube, Opener]) -> None:
    named = {"title": "Sign in to confirm your age", "author": "This video has been removed"}
    said = {"status": "ERROR", "reason": "This video has been removed: Sign in to confirm your age cannot be shown"}
    failure = asked(fake, by_default, Video(playability=said, details=named))
    assert failure.outcome == "internal"


def test_no_text_that_is_on_no_list_is_final(fake: FakeYouTube, by_default: tuple[YouTube, Opener]) -> None:
    for reason in ("Dieses Video wurde entfernt", "La vidéo a été supprimée", "该视频已被移除", "Gone, gone, gone"):
        failure = asked(fake, by_default, Video(playability={"status": "ERROR", "reason": reason}))
        assert failure.outcome == "internal"
        assert is_doubtful(failure.outcome, failure.detail)


def test_details_name_no_text_of_anybodys(fake: FakeYouTube, by_default: tuple[YouTube, Opener]) -> None:
    said = "The moon of jane@example.org is in the wrong house, see https://example.org/?sig=1"
    failure = asked(fake, by_default, Video(playability={"status": "ERROR", "reason": said}))
    assert failure.detail == "YouTube said (ERROR): The moon of ... is in the wrong house, see ..."


SAYINGS_OF_GONE = [said for said in ROWS if said.outcome == "gone"]


@pytest.mark.parametrize("said", SAYINGS_OF_GONE, ids=lambda said: (said.subreason or said.reason)[:60])
def test_only_a_whole_sentence_is_final(said: Said) -> None:
    """With words before or after it the same text says something else, perhaps the opposite."""
    sentence = re.split(r"[.] |[.]$", said.subreason or said.reason)[0]
    texts = [f"We do not know whether {sentence}"]
    if not re.search(r"claim|complaint|notice|notification", sentence):  # else what follows may be a part of a name
        texts += [f"{sentence} on your account", f"{sentence} until you sign in", f"{sentence}. Please try again later"]
    for text in texts:
        failure = from_answers([answer_of(said._replace(reason="Video unavailable", subreason=text))], ID, UNKNOWN)
        assert failure.outcome != "gone", text


def test_every_rule_carries_its_report_and_every_row_too() -> None:
    assert all(rule.report and rule.detail for rule in (*YOUTUBE_CLEAR, *YOUTUBE_UNCLEAR, *YTDLP))
    assert all(said.report for said in ROWS)
    assert all(row["report"] for row in MESSAGES)


def test_every_clear_rule_has_a_row_that_reaches_it() -> None:
    reached = {from_answers([answer_of(said)], ID, UNKNOWN).detail for said in ROWS}
    assert {rule.detail for rule in (*YOUTUBE_CLEAR, *YOUTUBE_UNCLEAR)} <= reached | {"protected by DRM"}


def test_an_exception_without_answers_is_read_by_its_texts() -> None:
    error = Exception("[youtube] okokokokok1: Video unavailable. This video has been removed by the uploader")
    assert from_extraction(error, []) == Failure("gone", "removed by the uploader")
