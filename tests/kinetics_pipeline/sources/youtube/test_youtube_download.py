"""Only those bytes of a YouTube video are read that its clips need, once, from the smallest sufficient format."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Download
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.video.frames import read_clip
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed

ID = "okokokokok1"
DURATION = 60.0


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("media") / "indexed.mp4", 320, 256, DURATION)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("media") / "plain.mp4", 320, 256, 20, indexed=False)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeYouTube]:
    with FakeYouTube() as youtube:
        yield youtube


@pytest.fixture
def fake(server: FakeYouTube, indexed: Path) -> FakeYouTube:
    server.reset()
    server.videos = {ID: Video([Rendition(indexed, 134, 320, 256)], duration=DURATION)}
    return server


def source(fake: FakeYouTube, retries: int = 0) -> YouTube:
    extra = {**fake.ytdlp_options, "retries": retries}
    return YouTube(SourceOptions(proxy=fake.url, ytdlp_options=extra, timeout=0.5))


def clip(start: float, end: float) -> Clip:
    return Clip(clip_id(ID, start, end), ID, start, end, "running", "train")


def asked(fake: FakeYouTube) -> list[tuple[int, int]]:
    """The byte ranges of the media requests, inclusive."""
    return [(int(a), int(b)) for a, b in (r.range[6:].split("-") for r in fake.media() if r.range)]


def test_the_clips_of_a_video_cost_one_extraction_and_their_bytes(fake: FakeYouTube, tmp_path: Path) -> None:
    clips = [clip(5, 9), clip(7, 10), clip(40, 44)]
    answer = source(fake).download(ID, clips, tmp_path)
    assert answer.failure is None
    assert set(answer.media) == {one.clip_id for one in clips}
    assert [request.kind for request in fake.log].count("player") == 1
    assert len(fake.media()) == 3  # the index and two sections: the first two clips overlap
    assert answer.bytes_whole == fake.videos[ID].renditions[0].path.stat().st_size
    assert answer.bytes_fetched < 0.5 * answer.bytes_whole
    assert answer.requests == len(fake.log)


@pytest.mark.parametrize(("start", "end"), [(0, 3), (7.48, 11.2), (31, 34), (56, 60), (57, 63)])
def test_a_section_gives_the_same_pictures_as_the_whole_file(
    fake: FakeYouTube, tmp_path: Path, indexed: Path, start: float, end: float
) -> None:
    answer = source(fake).download(ID, [clip(start, end)], tmp_path)
    media = answer.media[clip(start, end).clip_id]
    assert media.path.stat().st_size < indexed.stat().st_size / 2
    section = read_clip(
        media.path, start, end, short_side=64, lookahead=1, offset=media.offset, duration=media.duration
    )
    whole = read_clip(indexed, start, end, short_side=64, lookahead=1)
    np.testing.assert_array_equal(section, whole)


def test_what_is_there_is_not_asked_for_again(fake: FakeYouTube, tmp_path: Path) -> None:
    first = source(fake).download(ID, [clip(5, 9)], tmp_path)
    fake.reset()
    again = source(fake).download(ID, [clip(5, 9), clip(6, 8)], tmp_path)
    assert again.media[clip(5, 9).clip_id] == first.media[clip(5, 9).clip_id]
    assert (again.failure, again.requests, fake.log) == (None, 0, [])


def test_another_clip_of_the_video_does_not_ask_for_the_index_again(fake: FakeYouTube, tmp_path: Path) -> None:
    source(fake).download(ID, [clip(5, 9)], tmp_path)
    fake.reset()
    assert source(fake).download(ID, [clip(5, 9), clip(40, 44)], tmp_path).failure is None
    ((first, _),) = asked(fake)
    assert first > 65535


def kill_half_way(fake: FakeYouTube, clips: list[Clip], folder: Path) -> None:
    """A download that is SIGKILLed while the media come slowly, once more than the head of the file is there."""
    faults = fake.videos[ID].media
    fake.videos[ID].media = Faults("slow", rate=300_000)
    with KillableChild() as child, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(child.download, source(fake), ID, clips, folder, 120.0)
        deadline = time.monotonic() + 100
        while max([0, *(part.stat().st_size for part in folder.glob("*.part"))]) <= 70_000:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        assert answer.result().failure is not None
    fake.videos[ID].media = faults


@pytest.mark.parametrize("whole", [False, True])
def test_a_killed_download_asks_for_no_byte_again(
    fake: FakeYouTube, tmp_path: Path, plain: Path, indexed: Path, whole: bool
) -> None:
    if whole:
        fake.videos[ID] = Video([Rendition(plain, 134, 320, 256)], duration=20)
    clips = [clip(1, 16)]
    kill_half_way(fake, clips, tmp_path)
    sizes = {part.name: part.stat().st_size for part in tmp_path.glob("*.part")}
    fake.reset()
    answer = source(fake).download(ID, clips, tmp_path)
    assert answer.failure is None
    media = answer.media[clips[0].clip_id]
    had = sizes[media.path.name + ".part"]
    assert had > 70_000
    assert answer.bytes_fetched == media.path.stat().st_size - had
    truth = plain if whole else indexed
    if whole:
        assert media.path.read_bytes() == truth.read_bytes()
        assert asked(fake)[0][0] == had
    else:
        tail = media.path.read_bytes()[1000:]
        head = truth.read_bytes().find(tail)
        assert head > 0  # the section is one unbroken run of the file, after its head


def test_a_file_that_changed_meanwhile_is_fetched_again(fake: FakeYouTube, tmp_path: Path, plain: Path) -> None:
    kill_half_way(fake, [clip(1, 16)], tmp_path)
    fake.videos[ID] = Video([Rendition(plain, 134, 320, 256)], duration=20)
    answer = source(fake).download(ID, [clip(1, 16)], tmp_path)
    assert answer.failure is None
    assert answer.media[clip(1, 16).clip_id].path.read_bytes() == plain.read_bytes()


def test_a_section_of_another_version_than_the_head_at_hand_is_fetched_again(
    fake: FakeYouTube, tmp_path: Path, indexed: Path
) -> None:
    cache, wanted = tmp_path / "cache", clip(1, 16)
    kill_half_way(fake, [wanted], cache)
    other = tmp_path / "other.mp4"
    other.write_bytes(indexed.read_bytes()[:60_000] + indexed.read_bytes()[:59_999:-1])
    fake.videos[ID] = Video([Rendition(other, 134, 320, 256)], duration=DURATION, media=Faults("truncate"))
    assert source(fake).download(ID, [clip(1, 58)], cache).failure is not None  # half of the file, and no section
    fake.videos[ID].media = Faults()
    media = source(fake).download(ID, [wanted], cache).media[wanted.clip_id]
    assert ".00000-" in media.path.name
    assert media.path.read_bytes()[1000:] in other.read_bytes()


@pytest.mark.parametrize("whole", [False, True])
def test_bytes_beyond_the_range_that_a_server_announces_are_not_kept(
    fake: FakeYouTube, tmp_path: Path, indexed: Path, whole: bool
) -> None:
    wanted = clip(1, 58) if whole else clip(5, 9)
    if not whole:
        source(fake).download(ID, [clip(40, 44)], tmp_path)  # the head is there, and a section is asked for next
    fake.videos[ID].media = Faults("longer", times=1)
    fake.reset()
    answer = source(fake, retries=1).download(ID, [wanted], tmp_path)
    assert answer.failure is None
    assert len(fake.media()) == 2
    assert answer.media[wanted.clip_id].path.read_bytes()[1000:] in indexed.read_bytes()


@pytest.mark.parametrize("kind", ["reset", "truncate", "stall_mid", "500"])
def test_a_hitch_goes_on_from_where_it_was_in_the_same_call(fake: FakeYouTube, tmp_path: Path, kind: str) -> None:
    fake.videos[ID].media = Faults(kind, times=2)
    answer = source(fake, retries=3).download(ID, [clip(5, 20)], tmp_path)
    assert answer.failure is None
    assert [request.kind for request in fake.log].count("player") == 1
    media = answer.media[clip(5, 20).clip_id]
    assert read_clip(media.path, 5, 20, short_side=32, duration=media.duration).shape[0] == 375


def test_a_server_that_ignores_ranges_gives_the_whole_file(fake: FakeYouTube, tmp_path: Path, indexed: Path) -> None:
    fake.videos[ID].media = Faults("norange")
    answer = source(fake).download(ID, [clip(5, 9)], tmp_path)
    assert answer.failure is None
    assert answer.media[clip(5, 9).clip_id].path.read_bytes() == indexed.read_bytes()
    assert len(fake.media()) == 1


def test_clips_that_need_nearly_all_of_a_file_are_given_the_file(
    fake: FakeYouTube, tmp_path: Path, indexed: Path
) -> None:
    answer = source(fake).download(ID, [clip(1, 58)], tmp_path)
    assert answer.media[clip(1, 58).clip_id].path.read_bytes() == indexed.read_bytes()


def test_the_index_of_the_first_fragment_is_not_taken_for_that_of_the_file(fake: FakeYouTube, tmp_path: Path) -> None:
    path = render_indexed(tmp_path / "fragments.mp4", 320, 256, 20, of_all=False)
    fake.videos[ID] = Video([Rendition(path, 134, 320, 256)], duration=20)
    answer = source(fake).download(ID, [clip(5, 9)], tmp_path / "cache")
    assert answer.media[clip(5, 9).clip_id].path.read_bytes() == path.read_bytes()


def test_a_clip_beyond_the_end_is_too_short_and_the_others_come(fake: FakeYouTube, tmp_path: Path) -> None:
    answer = source(fake).download(ID, [clip(5, 9), clip(100, 110)], tmp_path)
    assert set(answer.media) == {clip(5, 9).clip_id}
    assert answer.failure is not None
    assert answer.failure.outcome == "too_short"


def test_fragments_are_left_to_ytdlp(fake: FakeYouTube, tmp_path: Path, plain: Path) -> None:
    fake.videos[ID] = Video([Rendition(plain, 134, 320, 256)], duration=20, hls=True)
    answer = source(fake).download(ID, [clip(5, 9)], tmp_path)
    assert answer.failure is None, answer.failure
    assert read_clip(answer.media[clip(5, 9).clip_id].path, 5, 9, short_side=32).shape[0] == 100
    fake.reset()
    assert source(fake).download(ID, [clip(5, 9)], tmp_path).requests == 0


def test_fragments_keep_to_the_bytes_they_may_write_and_go_on_with_more(
    fake: FakeYouTube, tmp_path: Path, plain: Path
) -> None:
    fake.videos[ID] = Video([Rendition(plain, 134, 320, 256)], duration=20, hls=True)
    clips = [clip(5, 9)]
    most = plain.stat().st_size // 2
    with KillableChild() as child:
        small = child.download(source(fake), ID, clips, tmp_path, 30.0, most)
        assert small.no_room
        held = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert most - 70_000 < held < most + 2000  # beside notes of a few hundred bytes
        fake.reset()
        answer = child.download(source(fake), ID, clips, tmp_path, 30.0, 2 * most + 1000)
    assert set(answer.media) == {clips[0].clip_id}
    assert sum(request.sent for request in fake.media()) < plain.stat().st_size - most + 70_000
    assert answer.bytes_fetched == sum(request.sent for request in fake.media())
    small_files = YouTube(replace(source(fake).options, max_filesize=most))
    refused = small_files.download(ID, [clip(5, 9)], tmp_path / "other")
    assert refused.failure is not None
    assert refused.failure.outcome == "no_format"


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([(256, 144), (426, 240), (640, 360), (1280, 720)], 2),
        ([(256, 144), (426, 240)], 1),
        ([(144, 256), (240, 426), (360, 640), (1080, 1920)], 2),
        ([(240, 240), (360, 360), (480, 480)], 1),
        ([(640, 256), (1280, 512)], 0),
    ],
)
def test_the_smallest_format_whose_short_side_is_large_enough_is_taken(
    fake: FakeYouTube, tmp_path: Path, plain: Path, sizes: list[tuple[int, int]], chosen: int
) -> None:
    renditions = [Rendition(plain, 100 + i, width, height) for i, (width, height) in enumerate(sizes)]
    fake.videos[ID] = Video(renditions, duration=20)
    answer = source(fake).download(ID, [clip(1, 3)], tmp_path)
    assert f"itag={100 + chosen}&" in fake.media()[0].path
    assert f".{100 + chosen}." in answer.media[clip(1, 3).clip_id].path.name


def test_the_two_files_of_two_formats_are_never_mixed(fake: FakeYouTube, tmp_path: Path, plain: Path) -> None:
    kill_half_way(fake, [clip(1, 16)], tmp_path)
    fake.videos[ID] = Video([Rendition(plain, 135, 320, 256)], duration=20)
    answer: Download = source(fake).download(ID, [clip(1, 16)], tmp_path)
    assert answer.media[clip(1, 16).clip_id].path.read_bytes() == plain.read_bytes()


def test_media_come_through_the_proxy_that_extracted(fake: FakeYouTube, tmp_path: Path, indexed: Path) -> None:
    with FakeYouTube(fake.videos) as other:
        through = source(fake)
        through = replace(through, options=replace(through.options, proxy=other.url))
        assert through.download(ID, [clip(5, 9)], tmp_path).failure is None
        assert {request.kind for request in other.log} == {"player", "media"}
    assert not fake.log


def test_ytdlps_own_choice_of_clients_works_too(fake: FakeYouTube, tmp_path: Path) -> None:
    options = {name: value for name, value in fake.ytdlp_options.items() if name != "extractor_args"}
    unpinned = YouTube(SourceOptions(proxy=fake.url, ytdlp_options=options, timeout=5))
    assert unpinned.download(ID, [clip(5, 9)], tmp_path).failure is None
