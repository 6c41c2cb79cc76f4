"""Where segments are kept, the sound comes too: its bytes once, in time with the pictures, and never in the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Media
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.sound import best
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.video.segment import cut_segment
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed, render_tone

ID = "soundsound1"
DURATION = 60.0
TONE = 31.5
"""Second of the video at which its tone begins."""
PICTURES, SOUND = 134, 140


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("media")
    return {
        "pictures": render_indexed(folder / "pictures.mp4", 320, 256, DURATION),
        "indexed": render_tone(folder / "indexed.m4a", DURATION, TONE),
        "plain": render_tone(folder / "plain.m4a", DURATION, TONE, indexed=False),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[FakeYouTube]:
    with FakeYouTube() as youtube:
        yield youtube


@pytest.fixture
def fake(server: FakeYouTube, files: dict[str, Path]) -> FakeYouTube:
    server.reset()
    server.videos = {ID: video(files)}
    return server


def video(files: dict[str, Path], sound: str | None = "indexed", faults: Faults | None = None) -> Video:
    renditions = [Rendition(files["pictures"], PICTURES, 320, 256)]
    if sound is not None:
        track = {"bitrate": 128_000, "vcodec": None, "acodec": "mp4a.40.2", "media": faults}
        renditions.append(Rendition(files[sound], SOUND, 0, 0, **track))  # type: ignore[arg-type]
    return Video(renditions, duration=DURATION)


def source(fake: FakeYouTube, *, sound: bool = True) -> YouTube:
    return YouTube(SourceOptions(proxy=fake.url, ytdlp_options=fake.ytdlp_options, timeout=0.5, sound=sound))


def clip(start: float, end: float) -> Clip:
    return Clip(clip_id(ID, start, end), ID, start, end, "running", "train")


CLIP = clip(30, 34)


def fetched(fake: FakeYouTube, itag: int) -> int:
    return sum(request.sent for request in fake.media() if f"itag={itag}&" in request.path)


def kept(media: Media, one: Clip, to: Path) -> Path:
    cut_segment(media.path, one.time_start, one.time_end, to, offset=media.offset, sound=media.sound)
    return to


def tone_begins(path: Path) -> float:
    """Seconds from the first picture to the first sample that is heard."""
    with av.open(str(path)) as file:
        first = next(file.decode(video=0))
        assert first.time is not None
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.abs(frame.to_ndarray()).max(axis=0) > 0.1
            if loud.any():
                assert frame.time is not None
                return float(frame.time - first.time + np.argmax(loud) / frame.sample_rate)
    raise AssertionError("there is nothing to be heard")


@pytest.mark.parametrize("kind", ["indexed", "plain"])
def test_a_kept_segment_has_its_sound_in_time(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    fake.videos[ID] = video(files, kind)
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.failure is None
    assert [request.kind for request in fake.log].count("player") == 1
    segment = kept(answer.media[CLIP.clip_id], CLIP, tmp_path / "kept.mp4")
    assert tone_begins(segment) == pytest.approx(TONE - 30, abs=0.03)
    with av.open(str(segment)) as file:
        stream = file.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(4.0, abs=0.05)  # type: ignore[operator]


def test_of_the_sound_too_only_what_the_clips_need_is_fetched(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path
) -> None:
    answer = source(fake).download(ID, [CLIP, clip(50, 52)], tmp_path)
    whole = files["indexed"].stat().st_size
    assert 0 < fetched(fake, SOUND) < 0.7 * whole  # 64 kB of it to find the index
    assert answer.bytes_whole == whole + files["pictures"].stat().st_size
    assert answer.bytes_fetched == fetched(fake, SOUND) + fetched(fake, PICTURES)
    assert answer.media[CLIP.clip_id].sound != answer.media[clip(50, 52).clip_id].sound


def test_no_byte_of_sound_is_asked_for_where_no_segment_is_kept(fake: FakeYouTube, tmp_path: Path) -> None:
    answer = source(fake, sound=False).download(ID, [CLIP], tmp_path)
    assert answer.media[CLIP.clip_id].sound is None
    assert fetched(fake, PICTURES) > 0
    assert fetched(fake, SOUND) == 0


def test_what_is_there_of_both_is_not_asked_for_again(fake: FakeYouTube, tmp_path: Path) -> None:
    first = source(fake).download(ID, [CLIP], tmp_path)
    fake.reset()
    again = source(fake).download(ID, [CLIP], tmp_path)
    assert again.media == first.media
    assert not fake.log


def test_pictures_that_came_before_the_sound_was_wanted_are_not_asked_for_again(
    fake: FakeYouTube, tmp_path: Path
) -> None:
    source(fake, sound=False).download(ID, [CLIP], tmp_path)
    fake.reset()
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.media[CLIP.clip_id].sound is not None
    assert fetched(fake, PICTURES) == 0


def test_pictures_whose_sound_was_wanted_too_late_are_kept_without(fake: FakeYouTube, tmp_path: Path) -> None:
    source(fake, sound=False).download(ID, [CLIP], tmp_path)
    fake.videos[ID] = Video(playability="bot")
    assert source(fake).download(ID, [CLIP], tmp_path).media == {}  # the address is refused, not the video
    fake.videos[ID] = Video(playability="removed")
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.media[CLIP.clip_id].silent == "removed by the uploader"


def test_a_killed_download_of_sound_asks_for_no_byte_again(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path
) -> None:
    fake.videos[ID] = video(files, "plain", Faults("slow", rate=400_000))
    with KillableChild() as child, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(child.download, source(fake), ID, [CLIP], tmp_path, 30.0)
        deadline = time.monotonic() + 20
        while max([0, *(part.stat().st_size for part in tmp_path.glob("*.part"))]) <= 100_000:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert answer.result().failure is not None
    (part,) = tmp_path.glob("*.part")
    had = part.stat().st_size
    fake.reset()
    fake.videos[ID] = video(files, "plain")
    again = source(fake).download(ID, [CLIP], tmp_path)
    sound = again.media[CLIP.clip_id].sound
    assert sound is not None
    assert sound.read_bytes() == files["plain"].read_bytes()
    assert fetched(fake, SOUND) == files["plain"].stat().st_size - had


@pytest.mark.parametrize("kind", ["403", "404", "500", "stall", "html", "page", "empty", "truncate"])
def test_sound_that_cannot_be_had_leaves_the_clip_silent_and_says_why(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    fake.videos[ID] = video(files, faults=Faults(kind))
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.failure is None
    media = answer.media[CLIP.clip_id]
    assert media.sound is None
    assert media.silent
    with av.open(str(kept(media, CLIP, tmp_path / "kept.mp4"))) as file:
        assert not file.streams.audio
    fake.reset()
    assert source(fake).download(ID, [CLIP], tmp_path).media == {CLIP.clip_id: media}
    assert not fake.log


def test_a_throttled_sound_means_the_address_and_leaves_the_clip_to_be_fetched(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path
) -> None:
    fake.videos[ID] = video(files, faults=Faults("429", times=1))
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == "throttled"
    assert not answer.media
    assert fetched(fake, PICTURES) == 0
    assert source(fake).download(ID, [CLIP], tmp_path).media[CLIP.clip_id].sound is not None


def test_a_video_without_sound_is_kept_without(fake: FakeYouTube, files: dict[str, Path], tmp_path: Path) -> None:
    fake.videos[ID] = video(files, None)
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert answer.failure is None
    assert answer.media[CLIP.clip_id].silent == "the video has none"


def test_sound_that_comes_with_the_pictures_is_fetched_with_them(
    fake: FakeYouTube, files: dict[str, Path], tmp_path: Path
) -> None:
    combined = replace(video(files).renditions[0], acodec="mp4a.40.2")
    fake.videos[ID] = Video([combined], duration=DURATION)
    answer = source(fake).download(ID, [CLIP], tmp_path)
    assert (answer.media[CLIP.clip_id].sound, answer.media[CLIP.clip_id].silent) == (None, "")


def track(name: str, rate: float, **more: object) -> dict[str, object]:
    found = {"format_id": name, "abr": rate, "ext": "m4a", "vcodec": "none", "acodec": "mp4a.40.2", "protocol": "https"}
    return {**found, "language_preference": -1, **more}


@pytest.mark.parametrize(
    ("tracks", "chosen"),
    [
        ([track("139", 48), track("140", 128), track("141", 256)], "140"),
        ([track("139", 48), track("599", 31)], "139"),
        ([track("140", 128), track("251", 130, ext="webm", acodec="opus")], "140"),
        ([track("249", 50, ext="webm", acodec="opus"), track("251", 130, ext="webm", acodec="opus")], "251"),
        ([track("140-drc", 127), track("140", 128)], "140"),
        ([track("140-0", 128, language_preference=-1), track("139-1", 48, language_preference=10)], "139-1"),
        ([track("233", 128, protocol="m3u8_native"), track("134", 500, vcodec="avc1")], None),
        ([], None),
    ],
)
def test_the_smallest_good_sound_in_the_videos_language_is_taken(
    tracks: list[dict[str, object]], chosen: str | None
) -> None:
    for order in (tracks, tracks[::-1]):
        found = best(order)
        assert (found["format_id"] if found else None) == chosen
