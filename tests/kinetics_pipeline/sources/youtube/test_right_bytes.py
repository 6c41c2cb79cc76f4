"""The bytes are those of the video that was asked for, all of them, and as its uploader made them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from yt_dlp.utils import DownloadError

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Download, Failure, Media, is_signal
from kinetics_pipeline.sources.http.byte_allowance import NoRoom
from kinetics_pipeline.sources.http.status import MEDIA_REFUSED
from kinetics_pipeline.sources.http.ytdlp import Opener
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.pace.breaker import is_doubtful
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.sources.youtube.texts import CUT, DRM, LATER
from kinetics_pipeline.video.frames import read_clip
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import cut_into_fragments, render_indexed

ID = "okokokokok1"
SECONDS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("media") / "a.mp4", 160, 128, SECONDS)


@pytest.fixture(scope="module")
def fragments(whole: Path) -> list[Path]:
    made = cut_into_fragments(whole, whole.parent / "fragments")
    assert len(made) == SECONDS
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[FakeYouTube]:
    with FakeYouTube() as youtube:
        yield youtube


def clip(start: float, end: float) -> Clip:
    return Clip(clip_id(ID, start, end), ID, start, end, "running", "train")


def fetched(server: FakeYouTube, video: Video, folder: Path, one: Clip, **options: object) -> Download:
    server.reset()
    server.videos = {ID: video}
    ytdlp = {**server.ytdlp_options, "fragment_retries": 1, **options}
    source = YouTube(SourceOptions(short_side=64, proxy=server.url, ytdlp_options=ytdlp, timeout=1.0))
    return source.download(ID, [one], folder)


def frames(media: Media, one: Clip, side: int = 64) -> NDArray[np.uint8]:
    return read_clip(
        media.path,
        one.time_start,
        one.time_end,
        short_side=side,
        lookahead=1,
        offset=media.offset,
        duration=media.duration,
        aspect=media.aspect,
    )


@pytest.mark.parametrize(("start", "end"), [(0, 2), (3.48, 5.2), (6, 8), (6.5, 9)])
def test_sections_fragments_and_the_whole_file_give_the_same_frames(
    server: FakeYouTube, tmp_path: Path, whole: Path, fragments: list[Path], start: float, end: float
) -> None:
    one, length = clip(start, end), float(SECONDS)
    expected = read_clip(whole, start, end, short_side=64, lookahead=1)
    indexed = Rendition(whole, 134, 160, 128)
    videos = {
        "sections": Video([indexed], duration=length),
        "hls": Video(fragments=fragments, hls=True, duration=length),
    }
    for name, video in videos.items():
        answer = fetched(server, video, tmp_path / name, one)
        assert answer.failure is None, name
        np.testing.assert_array_equal(frames(answer.media[one.clip_id], one), expected, err_msg=name)


FRAGMENT_FAULTS = {
    **dict.fromkeys(("403", "404", "500", "html", "page", "empty", "truncate", "reset", "stall"), "network"),
    "429": "throttled",
}


@pytest.mark.parametrize(
    ("fault", "missing"),
    [*((fault, [number]) for fault in FRAGMENT_FAULTS for number in (0, 4)), ("403", [6, 7]), ("404", [7])],
)
def test_a_fragment_that_does_not_come_is_never_left_out(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], fault: str, missing: list[int]
) -> None:
    faults = {number: Faults(fault) for number in missing}
    video = Video(fragments=fragments, hls=True, duration=SECONDS, fragment_faults=faults)
    answer = fetched(server, video, tmp_path, clip(0, 4))
    assert answer.failure is not None
    assert answer.failure.outcome == FRAGMENT_FAULTS[fault], answer.failure
    assert not answer.media
    if fault in ("403", "404", "429"):  # a refusal is not asked again
        assert [r.path.endswith(f"number={missing[0]}") for r in server.log].count(True) == 1


def test_a_refused_fragment_says_what_a_refused_file_says(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path]
) -> None:
    faults = {2: Faults("403"), 3: Faults("429", headers={"Retry-After": "31"})}
    video = Video(fragments=fragments, hls=True, duration=SECONDS, fragment_faults=faults)
    answer = fetched(server, video, tmp_path, clip(0, 4))
    assert answer.failure is not None
    assert (answer.failure.outcome, answer.failure.detail) == ("network", MEDIA_REFUSED)
    del faults[2]
    answer = fetched(server, video, tmp_path, clip(0, 4))
    assert answer.failure is not None
    assert (answer.failure.outcome, answer.failure.wait) == ("throttled", 31.0)
    del faults[3]
    assert fetched(server, video, tmp_path, clip(0, 4)).failure is None


@pytest.mark.parametrize("place", ["manifest", "playlist"])
@pytest.mark.parametrize("fault", ["403", "404", "500", "429", "stall", "html", "empty"])
def test_a_list_of_fragments_that_does_not_come_is_no_end_of_the_video(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], place: str, fault: str
) -> None:
    faulty = {place: Faults(fault)}
    video = Video(fragments=fragments, hls=True, duration=SECONDS, **faulty)  # type: ignore[arg-type]
    failure = fetched(server, video, tmp_path, clip(0, 4)).failure
    assert failure is not None
    assert failure.outcome in (("throttled",) if fault == "429" else ("network", "no_format")), failure
    assert is_signal(failure.outcome) or is_doubtful(failure.outcome, failure.detail)
    assert not any("/fragment" in request.path for request in server.log)


def without(lines: list[str], number: int) -> list[str]:
    """A playlist that does not name one of its fragments."""
    at = next(i for i, line in enumerate(lines) if line.endswith(f"number={number}"))
    return [*lines[: at - 1], *lines[at + 1 :]]


LISTS: dict[str, Callable[[list[str]], list[str]]] = {
    "no end": lambda lines: [line for line in lines if line != "#EXT-X-ENDLIST"],
    "half": lambda lines: [*lines[: len(lines) // 2], "#EXT-X-ENDLIST"],
    "nothing": lambda lines: [*lines[:4], "#EXT-X-ENDLIST"],
    "without the first": lambda lines: without(lines, 0),
    "without one in the middle": lambda lines: without(lines, 4),
    "without the last": lambda lines: without(lines, SECONDS - 1),
    "one twice": lambda lines: [line.replace("number=4", "number=3") for line in lines],
    "a gap": lambda lines: [*lines[:6], "#EXT-X-GAP", *lines[6:]],
    "a later part of a broadcast": lambda lines: [*lines[:2], "#EXT-X-MEDIA-SEQUENCE:20", *lines[2:]],
    "another film between": lambda lines: [*lines[:4], "#EXTINF:30.0,", "https://example.org/other", *lines[4:]],
    "a page": lambda lines: ["<html>", *lines],
}


@pytest.mark.parametrize("change", LISTS)
def test_a_list_that_is_not_whole_is_not_followed(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], change: str
) -> None:
    video = Video(fragments=fragments, hls=True, duration=SECONDS)
    video.listed = LISTS[change](server.playlist(ID, video))
    answer = fetched(server, video, tmp_path, clip(0, 4))
    assert answer.failure is not None
    assert answer.failure.outcome == "network", answer.failure
    assert not any("/fragment" in request.path for request in server.log)


def test_a_list_that_is_encrypted_is_not_handed_to_another_program(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path]
) -> None:
    video = Video(fragments=fragments, hls=True, duration=SECONDS)
    lines = server.playlist(ID, video)
    video.listed = [*lines[:2], '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="https://example.org/key"', *lines[2:]]
    failure = fetched(server, video, tmp_path, clip(0, 4)).failure
    assert failure is not None
    assert (failure.outcome, failure.detail) == ("no_format", DRM)


@pytest.mark.parametrize("number", [0, 4, SECONDS - 1])
@pytest.mark.parametrize("content", ["junk", "one packet"])
def test_something_else_in_place_of_a_fragment_is_no_video(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], number: int, content: str
) -> None:
    other = tmp_path / "other.ts"
    other.write_bytes(bytes(range(256)) * 20 if content == "junk" else fragments[number].read_bytes()[:188])
    changed = [other if n == number else path for n, path in enumerate(fragments)]
    answer = fetched(server, Video(fragments=changed, hls=True, duration=SECONDS), tmp_path, clip(0, 8))
    assert answer.failure == Failure("network", CUT)
    assert not answer.media


@pytest.mark.parametrize(
    ("faulty", "outcome"),
    [
        ({}, None),
        ({"fragment_faults": {0: Faults("403")}}, "network"),
        ({"fragment_faults": {0: Faults("429")}}, "throttled"),
        ({"playlist": Faults("403")}, "network"),
    ],
)
def test_a_canary_in_fragments_asks_for_the_first_of_them(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], faulty: dict[str, Any], outcome: str | None
) -> None:
    server.reset()
    server.videos = {ID: Video(fragments=fragments, hls=True, duration=SECONDS, **faulty)}
    answer = YouTube(SourceOptions(proxy=server.url, ytdlp_options=server.ytdlp_options)).probe(clip(0, 2), tmp_path)
    assert (answer.failure and answer.failure.outcome) == outcome
    assert [request.path for request in server.log if "/fragment" in request.path][1:] == []


def test_a_full_disk_is_no_failure_of_the_video(
    server: FakeYouTube, tmp_path: Path, fragments: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dl(*_: object) -> None:
        raise DownloadError("unable to write data: [Errno 28] No space left on device")

    monkeypatch.setattr(Opener, "dl", dl)
    with pytest.raises(NoRoom):
        fetched(server, Video(fragments=fragments, hls=True, duration=SECONDS), tmp_path, clip(0, 4))


def test_leaving_out_fragments_cannot_be_asked_for() -> None:
    with pytest.raises(UserError, match="skip_unavailable_fragments"):
        SourceOptions(ytdlp_options={"skip_unavailable_fragments": True})


def test_media_behind_an_advertisement_are_waited_for(server: FakeYouTube, tmp_path: Path, whole: Path) -> None:
    began = time.monotonic()
    answer = fetched(server, Video([Rendition(whole, 134, 160, 128)], advertisement=1.0), tmp_path, clip(0, 2))
    assert answer.failure is None
    assert time.monotonic() - began > 1.0
    assert {request.status for request in server.media()} == {206}


def test_media_that_come_much_later_are_asked_for_later(server: FakeYouTube, tmp_path: Path, whole: Path) -> None:
    answer = fetched(server, Video([Rendition(whole, 134, 160, 128)], advertisement=4000.0), tmp_path, clip(0, 2))
    assert answer.failure is not None
    assert (answer.failure.outcome, answer.failure.detail) == ("no_format", LATER)
    assert not server.media()


def test_pictures_that_a_model_made_larger_are_not_taken(server: FakeYouTube, tmp_path: Path, whole: Path) -> None:
    made = Rendition(whole, 399, 320, 256, query={"xtags": "sr=1"})
    real = Rendition(whole, 134, 160, 128)
    options = {"format_sort": ["+res:256"]}
    answer = fetched(server, Video([made, real]), tmp_path / "both", clip(0, 2), **options)
    assert {dict(pair.split("=") for pair in r.path.split("?")[1].split("&"))["itag"] for r in server.media()} == {
        "134"
    }
    assert answer.failure is None
    alone = fetched(server, Video([made]), tmp_path / "alone", clip(0, 2))
    assert alone.failure is not None
    assert alone.failure.outcome == "no_format"


def test_a_declared_aspect_ratio_is_kept_in_whole_files_and_in_sections(
    server: FakeYouTube, tmp_path: Path, whole: Path
) -> None:
    declared = {"keywords": ["a", "yt:stretch=16:9"]}
    for name, one in (("section", clip(2, 3)), ("whole", clip(0, SECONDS))):
        video = Video([Rendition(whole, 134, 160, 128)], duration=SECONDS, details=declared)
        answer = fetched(server, video, tmp_path / name, one)
        assert frames(answer.media[one.clip_id], one).shape[1:3] == (64, 114)
        again = fetched(server, video, tmp_path / name, one)  # from what is at hand
        assert not server.log
        assert frames(again.media[one.clip_id], one).shape[1:3] == (64, 114)
