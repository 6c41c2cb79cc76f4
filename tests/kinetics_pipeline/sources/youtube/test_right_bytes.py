"""The bytes are those of the video that was asked for, all of them, and as its uploader made them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Download, Media
from kinetics_pipeline.sources.http.status import MEDIA_REFUSED
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.sources.youtube.texts import LATER
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
