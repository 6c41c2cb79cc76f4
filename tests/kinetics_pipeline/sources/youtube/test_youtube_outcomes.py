"""Everything YouTube and its media servers can answer, through yt-dlp's real extractor, has one outcome or signal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Download, Failure
from kinetics_pipeline.sources.http import ytdlp as opener
from kinetics_pipeline.sources.http.status import MEDIA_REFUSED
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.source import YouTube
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed

ID = "HTTP4290429"  # an id that reads like a status must not be taken for one


@pytest.fixture(scope="module")
def rendition(tmp_path_factory: pytest.TempPathFactory) -> Rendition:
    path = render_indexed(tmp_path_factory.mktemp("media") / "a.mp4", 320, 256, 4, indexed=False)
    return Rendition(path, 134, 320, 256)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeYouTube]:
    with FakeYouTube() as youtube:
        yield youtube


def source(fake: FakeYouTube, **changes: object) -> YouTube:
    options = SourceOptions(proxy=fake.url, ytdlp_options=fake.ytdlp_options, timeout=0.4)
    return YouTube(replace(options, **changes))  # type: ignore[arg-type]


def clip(start: float = 1, end: float = 3, video_id: str = ID) -> Clip:
    return Clip(clip_id(video_id, start, end), video_id, start, end, "running", "train")


def ask(fake: FakeYouTube, video: Video, folder: Path, **changes: object) -> Download:
    fake.videos[ID] = video
    fake.reset()
    return source(fake, **changes).download(ID, [clip()], folder)


@pytest.mark.parametrize(
    ("playability", "outcome"),
    [
        ("private", "private"),
        ("removed", "gone"),
        ("unavailable", "no_format"),
        ("not_any_more", "gone"),
        ("terminated", "gone"),
        ("closed", "gone"),
        ("copyright", "gone"),
        ("guidelines", "gone"),
        ("age", "age_restricted"),
        ("geo", "geo_blocked"),
        ("geo_copyright", "geo_blocked"),
        ("members", "members_only"),
        ("payment", "members_only"),
        ("bot", "bot_check"),
        ("session_limit", "throttled"),
        ("captcha", "throttled"),
        ("premiere", "no_format"),
        ("live_to_come", "no_format"),
        ("live_ended", "no_format"),
        ("processing", "no_format"),
        ("unheard_of", "internal"),
    ],
)
def test_each_reason_not_to_play_is_read_as_what_it_is(
    fake: FakeYouTube, tmp_path: Path, playability: str, outcome: str
) -> None:
    answer = ask(fake, Video(playability=playability), tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == outcome
    assert 1 <= len(fake.log) == answer.requests <= 2  # age: the extractor asks as another client


def test_a_live_stream_is_not_a_video_yet(fake: FakeYouTube, tmp_path: Path, rendition: Rendition) -> None:
    answer = ask(fake, Video([rendition], details={"isLive": True}), tmp_path)
    assert answer.failure == Failure("no_format", "a live stream that has not ended")
    assert not fake.media()


def test_a_video_without_formats_says_so(fake: FakeYouTube, tmp_path: Path) -> None:
    answer = ask(fake, Video([]), tmp_path)
    assert answer.failure == Failure("no_format", "no video format")


@pytest.mark.parametrize(
    ("api", "outcome"),
    [
        ("429", "throttled"),
        ("wrong_video", "throttled"),
        *((kind, "network") for kind in ("403", "404", "500", "503", "stall", "garbage")),
    ],
)
def test_a_failing_player_api_never_says_that_a_video_is_gone(
    fake: FakeYouTube, tmp_path: Path, rendition: Rendition, api: str, outcome: str
) -> None:
    answer = ask(fake, Video([rendition], api=Faults(api)), tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == outcome, answer.failure
    assert not answer.media


def test_an_answer_without_end_fills_no_memory(
    fake: FakeYouTube, tmp_path: Path, rendition: Rendition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opener, "MOST_READ", 4 << 20)
    answer = ask(fake, Video([rendition], api=Faults("endless")), tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == "network", answer.failure
    assert max(request.sent for request in fake.log) < 16 << 20


@pytest.mark.parametrize(
    ("media", "outcome"),
    [
        ("429", "throttled"),
        *(
            (kind, "network")
            for kind in ("403", "404", "500", "stall", "stall_mid", "reset", "truncate", "empty", "html", "page")
        ),
    ],
)
def test_no_trouble_with_the_media_leaves_a_file_that_counts_as_done(
    fake: FakeYouTube, tmp_path: Path, rendition: Rendition, media: str, outcome: str
) -> None:
    answer = ask(fake, Video([rendition], media=Faults(media)), tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == outcome, answer.failure
    assert not answer.media
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("media", ["html", "page", "empty", "truncate", "500"])
def test_what_a_failed_download_left_is_no_video_for_the_next_one(
    fake: FakeYouTube, tmp_path: Path, rendition: Rendition, media: str
) -> None:
    assert ask(fake, Video([rendition], media=Faults(media)), tmp_path).failure is not None
    answer = ask(fake, Video([rendition]), tmp_path)
    assert answer.failure is None
    assert answer.media[clip().clip_id].path.read_bytes() == rendition.path.read_bytes()


def test_a_refused_media_url_is_never_asked_again(fake: FakeYouTube, tmp_path: Path, rendition: Rendition) -> None:
    video = Video([rendition], media=Faults("403", times=1))
    first = ask(fake, video, tmp_path, ytdlp_options={**fake.ytdlp_options, "retries": 3})
    assert first.failure == Failure("network", MEDIA_REFUSED)
    again = source(fake).download(ID, [clip()], tmp_path)
    assert again.failure is None
    urls = [request.path for request in fake.media()]
    assert urls[0] not in urls[1:]


def test_a_throttled_media_server_says_for_how_long(fake: FakeYouTube, tmp_path: Path, rendition: Rendition) -> None:
    answer = ask(fake, Video([rendition], media=Faults("429", headers={"Retry-After": "77"})), tmp_path)
    assert answer.failure is not None
    assert (answer.failure.outcome, answer.failure.wait) == ("throttled", 77.0)


@pytest.mark.parametrize("playability", ["unheard_of", "copyright", "geo_copyright"])
def test_details_hold_no_names_and_no_addresses(fake: FakeYouTube, tmp_path: Path, playability: str) -> None:
    answer = ask(fake, Video(playability=playability), tmp_path)
    assert answer.failure is not None
    for secret in ("Jane", "jane", "SME", "example.org", "sig=", "127.0.0.1"):
        assert secret not in answer.failure.detail


def test_an_id_that_cannot_be_youtubes_is_not_asked_for(fake: FakeYouTube, tmp_path: Path) -> None:
    fake.reset()
    answer = source(fake).download("v_ApplyEyeMakeup_g01_c01", [clip(video_id="v_ApplyEyeMakeup_g01_c01")], tmp_path)
    assert answer.failure == Failure("not_found", "not a YouTube id")
    assert not fake.log


COOKIES = "# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t4000000000\tPREF\thl=en\n"


def test_what_only_cookies_open_stays_closed_unless_allowed_by_name(
    fake: FakeYouTube, tmp_path: Path, rendition: Rendition
) -> None:
    video = Video([rendition], microformat={"isFamilySafe": False})
    refused = ask(fake, video, tmp_path, cookies=COOKIES)
    assert refused.failure is not None
    assert refused.failure.outcome == "age_restricted"
    assert not fake.media()
    allowed = ask(fake, video, tmp_path, cookies=COOKIES, allow_access=frozenset({"age_restricted"}))
    assert allowed.failure is None


def test_an_extraction_that_yt_dlp_tries_again_without_an_answer_is_the_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    nobody = SourceOptions(proxy="http://127.0.0.1:9", timeout=0.4)  # with our own retries, which the fake turns off
    with opener.Opener(nobody) as opened:
        found = YouTube(nobody).extract(opened, ID)
    assert isinstance(found, Failure)
    assert (found.outcome, found.unreachable) == ("network", True)
    assert 2 in pauses
