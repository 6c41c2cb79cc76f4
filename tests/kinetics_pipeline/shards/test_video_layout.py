"""The video layout: its H.264 by another decoder, its bytes, and what becomes of a chunk that somebody made up."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from kinetics_pipeline.dataset.convert import Choice, begin, convert
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading import ClipDataset, DamagedShard
from kinetics_pipeline.recipe import CRF, Recipe
from kinetics_pipeline.shards import schema
from kinetics_pipeline.shards.clip_rows import CorruptRow, decode_payload, encode_clip, recode, rows_of
from kinetics_pipeline.shards.codec import crc_of_images
from kinetics_pipeline.shards.data_file import open_data_file
from kinetics_pipeline.shards.layouts import h264
from kinetics_pipeline.shards.layouts.h264_headers import coded_size, split_units, units_of_chunk
from kinetics_pipeline.video.ffmpeg import executable
from tests.builders.clips import built, drawn_flow, drawn_frames

VIDEO = Recipe(short_side=48, layout="video")


def chunk(height: int = 48, width: int = 64, count: int = 16) -> bytes:
    return h264.encode(drawn_frames(1, count, height, width), 16, 25)


def decoded(data: bytes, count: int, height: int, width: int) -> NDArray[np.uint8]:
    whole = (slice(0, height), slice(0, width))
    values = np.frombuffer(data, np.uint8)
    return np.stack([f.copy() for f in h264.decode(values, (count, height, width), range(count), *whole)])


@pytest.mark.parametrize(("height", "width", "count"), [(48, 64, 16), (33, 47, 5), (17, 33, 1)])
def test_its_frames_are_those_that_were_encoded_at_any_size(height: int, width: int, count: int) -> None:
    frames = drawn_frames(2, count, height, width)
    found = decoded(h264.encode(frames, 10, 25), count, height, width)
    assert found.shape == frames.shape
    assert np.abs(found.astype(int) - frames).mean() < 3


def test_another_decoder_reads_the_same_frames(tmp_path: Path) -> None:
    (tmp_path / "chunk.264").write_bytes(chunk())
    command = [executable(), "-v", "error", "-i", "chunk.264", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    planes = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    luma = np.frombuffer(planes, np.uint8).reshape(16, 72, 64)[:, :48].astype(float)
    ours = decoded(chunk(), 16, 48, 64) @ np.array([0.299, 0.587, 0.114])  # full range: luma is that of the RGB values
    assert np.abs(ours - luma).mean() < 1


def test_a_chunk_is_a_key_frame_and_frames_that_look_back_alone() -> None:
    with av.open(_Bytes(chunk()), format="h264") as video:
        packets = [packet for packet in video.demux() if packet.size]
        assert [packet.is_keyframe for packet in packets] == [True] + [False] * 15
        assert video.streams.video[0].codec_context.has_b_frames == 0
    with av.open(_Bytes(chunk()), format="h264") as video:
        kinds = {PictureType(frame.pict_type).name for frame in video.decode(video=0)}
    assert kinds == {"I", "P"}


class _Bytes:
    """A file of bytes, as PyAV reads one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += len(found)
        return found


def test_a_crop_is_that_of_the_whole_frame_and_needs_no_other_frames() -> None:
    data, whole = np.frombuffer(chunk(), np.uint8), decoded(chunk(), 16, 48, 64)
    for top, left, high, wide in ((0, 0, 48, 64), (1, 3, 32, 32), (5, 7, 33, 41), (47, 63, 1, 1)):
        rows, columns = slice(top, top + high), slice(left, left + wide)
        for numbers in ([0], [3, 4, 11], [15]):
            crops = [c.copy() for c in h264.decode(data, (16, 48, 64), numbers, rows, columns)]
            assert np.array_equal(np.stack(crops), whole[numbers][:, rows, columns])


def test_it_takes_less_than_a_third_of_the_bytes_of_jpegs() -> None:
    frames = drawn_frames(1, 32, 96, 128)
    sizes = [
        sum(len(string) for row in rows_of(encode_clip("v", 0, frames, None, recipe))["rgb"].to_pylist() for string in
            (row if isinstance(row, list) else [row]))
        for recipe in (Recipe(flow="none"), Recipe(flow="none", layout="video"))
    ]  # fmt: skip
    assert sizes[1] < 0.3 * sizes[0]


def test_the_recipe_names_the_encoder_and_another_one_encodes_nothing() -> None:
    assert VIDEO.to_json()["encoder"].startswith(f"PyAV {av.__version__}, x264 core ")
    assert Recipe.from_json(VIDEO.to_json()) == VIDEO
    assert not {"crf", "encoder"} & Recipe().to_json().keys()
    other = replace(VIDEO, encoder="PyAV 1.0")
    with pytest.raises(JobFailed, match=r"this machine encodes with PyAV .*, but the dataset is made with PyAV 1\.0"):
        encode_clip("v", 0, drawn_frames(1), drawn_flow(1), other)
    with pytest.raises(UserError, match="a dataset has one recipe: install that one"):
        other.require_same(VIDEO)
    with pytest.raises(UserError, match=f"crf is 20; allowed: {CRF} unless the layout is video"):
        Recipe(crf=20)


def test_a_program_that_does_not_know_the_layout_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path / "data", 1, recipe=VIDEO)
    built(tmp_path / "old", 1)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
    assert Dataset.open(tmp_path / "old").schema_version == 2
    with pytest.raises(UserError, match=r"schema version 3 is newer than this program reads \(1 to 2\): upgrade"):
        Dataset.open(tmp_path / "data")


def test_flow_is_copied_as_it_is_between_layouts_that_store_it_alike() -> None:
    jpegs = Recipe(short_side=48)
    rows = rows_of(encode_clip("v", 0, drawn_frames(1), drawn_flow(1), jpegs))
    video = rows_of(recode(rows, jpegs, VIDEO))
    assert video["flow"].equals(rows["flow"])
    assert video["crc_flow"].equals(rows["crc_flow"])
    assert np.array_equal(
        decode_payload(recode(video, VIDEO, replace(jpegs, layout="array")), "rgb", "array"),
        decode_payload(recode(video, VIDEO, VIDEO), "rgb", "video"),
    )


def test_a_dataset_is_converted_to_it_and_back(tmp_path: Path) -> None:
    source = built(tmp_path / "jpegs", 2, recipe=Recipe(short_side=48))
    for name, layout in (("video", "video"), ("back", "parquet"), ("raw", "array")):
        target = begin(source, str(tmp_path / name), layout, Choice(), 64)  # type: ignore[arg-type]
        convert(source, target, tmp_path / "scratch", lambda: True)
        assert verify(target).faults == []
        assert target.recipe == source.recipe.stored_as(layout)  # type: ignore[arg-type]
        source = target


# What somebody made up


def with_chunk(folder: Path, data: bytes, n: int = 16) -> Path:
    """A dataset whose first row has this string, with CRCs that are right."""
    dataset = built(folder, 1, recipe=replace(VIDEO, flow="none"))
    [path] = folder.glob("shards/*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0] |= {"rgb": data, "crc_rgb": crc_of_images([data]), "n": n}
    with pq.ParquetWriter(path, table.schema, use_dictionary=False, compression="none") as file:
        for row in rows:
            file.write_table(table.from_pylist([row], schema=table.schema))
    assert dataset.counts().ok == 1
    return folder


def joined(units: Iterable[bytes]) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def with_parameters_of(data: bytes, other: bytes) -> bytes:
    return joined([*split_units(other)[:2], *split_units(data)[2:]])


def cropped_parameters(data: bytes) -> bytes:
    """The chunk with parameters of 16,384 x 16,384 that are cropped to its own size."""
    bits = "".join(f"{value:08b}" for value in (100, 0, 50))
    bits += (
        "".join(golomb(value) for value in (0, 1, 0, 0)) + "00" + "".join(golomb(value) for value in (0, 2, 1)) + "0"
    )
    bits += (
        golomb(1023) + golomb(1023) + "111" + "".join(golomb(v) for v in (0, (16384 - 64) // 2, 0, (16384 - 48) // 2))
    )
    bits += "01"
    bits += "0" * (-len(bits) % 8)
    sps = bytes([0x67, *(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))])
    return joined([sps, *split_units(data)[1:]])


def golomb(value: int) -> str:
    return "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"


HOSTILE: dict[str, Callable[[], bytes]] = {
    "not H.264": lambda: b"\xff" * 500,
    "empty": lambda: b"",
    "15 frames": lambda: chunk(count=15),
    "17 frames": lambda: chunk(count=17),
    "another size": lambda: chunk(64, 64),
    "parameters of a large picture": lambda: with_parameters_of(chunk(), chunk(1024, 1024, 1)),
    "parameters of a huge picture that is cropped": lambda: cropped_parameters(chunk()),
    "two key frames": lambda: chunk(count=8) + chunk(count=8),
    "slices cut short": lambda: joined(unit[:40] for unit in split_units(chunk())),
    "no parameters": lambda: joined(split_units(chunk())[2:]),
    "another profile": lambda: chunk().replace(b"\0\0\0\1\x67\x64", b"\0\0\0\1\x67\x7a"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_chunk_that_is_made_up_is_one_line_and_takes_no_memory(name: str, tmp_path: Path) -> None:
    folder = with_chunk(tmp_path / "data", HOSTILE[name]())
    clips = ClipDataset(folder, frames=None, crop=None, train=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedShard, match=r"train-00000\.parquet, clip v000_000000_000010, chunk 0: .") as raised:
        clips[0]
    assert "\n" not in str(raised.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # kB; 16,384 x 16,384 are 400 MB
    source = Dataset.open(folder)
    with open_data_file(folder / "shards/train-00000.parquet", "video") as read, pytest.raises(CorruptRow):
        recode(read(0, 3, 0), source.recipe, Recipe(short_side=48, flow="none"))


def test_the_size_is_read_as_the_encoder_wrote_it() -> None:
    for height, width in ((16, 16), (256, 340), (256, 342), (454, 256), (1080, 1920)):
        data = h264.encode(np.zeros((1, height, width, 3), np.uint8), 30, 29.97)
        assert coded_size(split_units(data)[0]) == (height, width)
        assert len(units_of_chunk(data, 1, height, width)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_no_changed_byte_does_more_than_give_other_frames_or_an_error(seed: int) -> None:
    random, data = np.random.default_rng(seed), chunk()
    for _ in range(40):
        changed = bytearray(data)
        for place in random.integers(0, len(data), random.integers(1, 6)):
            changed[place] = random.integers(256)
        with suppress(ValueError):
            assert decoded(bytes(changed), 16, 48, 64).shape == (16, 48, 64, 3)
