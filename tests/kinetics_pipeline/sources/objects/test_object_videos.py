"""Videos in a bucket, by the real S3 protocol: sections by range, resumed and never glued, each answer an outcome."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.errors import JobFailed, UserError, WorkRemains
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.archives.copies import is_copy
from kinetics_pipeline.sources.child_process import KillableChild
from kinetics_pipeline.sources.http.byte_allowance import NoRoom, bounded
from kinetics_pipeline.sources.objects import bucket
from kinetics_pipeline.sources.objects.videos import ObjectVideos
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.video.frames import read_clip
from kinetics_pipeline.workflows.benchmarks.faulty_proxy import Fault
from kinetics_pipeline.workflows.building.lanes import Lanes, Pace
from kinetics_pipeline.workflows.scoring.fetch_video import fetch_video
from tests.builders.driven_builds import AtOnce
from tests.builders.faulty_s3 import Faults, faulty_s3, new_bucket, use_endpoint
from tests.fake_youtube.media import render_indexed

ID = "abcdefghijk"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    with faulty_s3() as found:
        yield found


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("media") / "indexed.mp4", 320, 240, 40)


@pytest.fixture
def faults(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Faults:
    use_endpoint(monkeypatch, server[0])
    monkeypatch.setitem(bucket.RETRY, "max_retries", 1)
    bucket.open_bucket.cache_clear()
    server[1].kind = None
    server[1].seen.clear()
    return server[1]


@pytest.fixture
def place(faults: Faults, server: tuple[str, Faults]) -> str:
    name = new_bucket(server[0])
    return f"s3://{name}"


def put(place: str, key: str, data: bytes) -> None:
    open_store(place).write(key, data)


def clip(start: float | None = 12, end: float | None = 14, video_id: str = ID) -> Clip:
    return Clip(clip_id(video_id, start, end), video_id, start, end, "running", "train")


def source(place: str, rest: str = "videos/{video_id}.mp4") -> ObjectVideos:
    found = parse_source(f"{place}/{rest}", SourceOptions())
    assert isinstance(found, ObjectVideos)
    return found


def test_only_the_section_of_an_indexed_file_is_fetched_and_its_pixels_are_the_same(
    place: str, indexed: Path, tmp_path: Path
) -> None:
    put(place, f"videos/{ID}.mp4", indexed.read_bytes())
    answer = source(place).download(ID, [clip()], tmp_path)
    assert answer.failure is None
    media = answer.media[clip().clip_id]
    assert answer.bytes_whole == indexed.stat().st_size
    assert answer.bytes_fetched < indexed.stat().st_size / 3
    assert answer.requests <= 4
    section = read_clip(media.path, 12, 14, offset=media.offset, duration=media.duration)
    assert (section == read_clip(indexed, 12, 14)).all()
    again = source(place).download(ID, [clip()], tmp_path)
    assert (again.requests, again.media) == (0, answer.media)


def test_a_file_without_an_index_comes_whole_and_goes_on_where_it_stopped(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "WINDOW", 1 << 20)
    data = bytes(range(256)) * (12 << 10)
    put(place, f"videos/{ID}.mp4", data)
    with pytest.raises(NoRoom), bounded((2 << 20) + 10):
        source(place).download(ID, [clip()], tmp_path)
    (part,) = tmp_path.glob("*.part")
    had = part.stat().st_size
    assert had >= 1 << 20
    answer = source(place).download(ID, [clip()], tmp_path)
    assert answer.bytes_fetched == len(data) - had
    assert answer.media[clip().clip_id].path.read_bytes() == data


def test_an_object_that_changed_meanwhile_is_begun_anew(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "WINDOW", 1 << 20)
    put(place, f"videos/{ID}.mp4", b"a" * (3 << 20))
    with pytest.raises(NoRoom), bounded(1 << 20):
        source(place).download(ID, [clip()], tmp_path)
    put(place, f"videos/{ID}.mp4", b"b" * (3 << 20))
    answer = source(place).download(ID, [clip()], tmp_path)
    assert set(answer.media[clip().clip_id].path.read_bytes()) == {ord("b")}


def test_a_prefix_is_listed_once_and_its_files_are_found_in_any_folder_with_any_suffix(
    place: str, faults: Faults, indexed: Path, tmp_path: Path
) -> None:
    put(place, f"k/train/running/{ID}_000012_000014.webm", b"trimmed")
    put(place, "k/other/zzzzzzzzzzz.mkv", b"whole")
    put(place, f"k/other/._{ID}_000012_000014.mp4", b"junk")
    put(place, "k/readme.txt", b"no video")
    assert not is_copy(f"{place}/k")
    found = source(place, "k")
    assert found.paths == ("other/zzzzzzzzzzz.mkv", f"train/running/{ID}_000012_000014.webm")
    assert faults.seen["LIST"] == 1
    mine = pickle.loads(pickle.dumps(found.for_clips([clip()])))
    assert mine.paths == (f"train/running/{ID}_000012_000014.webm",)
    answer = mine.download(ID, [clip(), clip(20, 22)], tmp_path)
    media = answer.media[clip().clip_id]
    assert (media.path.read_bytes(), media.offset) == (b"trimmed", 12)
    assert answer.failure is not None
    assert answer.failure.outcome == "not_found"
    assert set(answer.media) == {clip().clip_id}


@pytest.mark.parametrize(("kind", "outcome", "unreachable"), [("500", "network", False), ("reset", "network", True)])
def test_a_store_in_trouble_is_the_network_and_nobody_there_is_told_from_an_error(
    place: str, faults: Faults, tmp_path: Path, kind: Fault, outcome: str, unreachable: bool
) -> None:
    found = source(place)
    faults.plan(kind, 99)
    failure = found.download(ID, [clip()], tmp_path).failure
    assert failure is not None
    assert (failure.outcome, failure.unreachable) == (outcome, unreachable)
    assert "\n" not in failure.detail


def test_an_object_that_is_not_there_is_not_found(place: str, tmp_path: Path) -> None:
    failure = source(place).download(ID, [clip()], tmp_path).failure
    assert failure is not None
    assert failure.outcome == "not_found"


def test_expired_credentials_charge_no_clip_and_end_the_run_with_work_left(
    place: str, faults: Faults, tmp_path: Path
) -> None:
    found = source(place)
    faults.plan("expired", 99)
    answer = found.download(ID, [clip()], tmp_path)
    assert answer.failure is not None
    assert answer.failure.outcome == "credentials"
    executor = AtOnce(tmp_path)
    lanes = Lanes(executor, open_store(str(tmp_path)), {"it": found}, Pace(rate=1))
    ((_, lane),) = list(lanes)
    with pytest.raises(WorkRemains, match="expired"):
        lanes.answered(lane, clip(), answer, executor.now())


def test_the_keys_reach_the_child_of_an_object_store_and_no_other(place: str, tmp_path: Path) -> None:
    put(place, f"videos/{ID}.mp4", b"some bytes")
    with KillableChild(credentials=True) as child:
        answer = child.download(source(place), ID, [clip()], tmp_path, 60)
    assert answer.failure is None
    assert answer.media[clip().clip_id].path.read_bytes() == b"some bytes"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3://no-such-bucket-here/{video_id}.mp4", "no such bucket"),
        ("s3://no-such-bucket-here/videos", "no such bucket"),
        ("s3://{video_id}/x.mp4", "not a place"),
        ("s3://key:secret@bucket/{video_id}.mp4", "not a place"),
        ("s3://", "not a place"),
        ("s3://bucket/{name}.mp4", "unknown"),
        ("s3://bucket/{video_id", "not a template"),
        ("s3://bucket/{time_start}.mp4", "names neither"),
    ],
)
def test_a_place_that_is_none_is_one_line(faults: Faults, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        parse_source(text, SourceOptions())
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_prefix_without_videos_is_said(place: str) -> None:
    put(place, "k/readme.txt", b"no video")
    with pytest.raises(UserError, match="holds no videos"):
        source(place, "k")


def test_a_single_object_is_fetched_by_its_uri_as_predict_does(place: str, indexed: Path, tmp_path: Path) -> None:
    put(place, "a/b (1).mp4", indexed.read_bytes())
    media = fetch_video(f"{place}/a/b (1).mp4", 12.0, 14.0, 64, tmp_path)
    assert (read_clip(media.path, 12, 14, offset=media.offset) == read_clip(indexed, 12, 14)).all()
    with pytest.raises(JobFailed, match="not_found"):
        fetch_video(f"{place}/a/none.mp4", 0.0, 2.0, 64, tmp_path)
    with pytest.raises(UserError, match="not an object"):
        fetch_video("s3://bucket", 0.0, 2.0, 64, tmp_path)
