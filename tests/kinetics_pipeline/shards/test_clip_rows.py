"""A clip's rows: the contract's columns, the same bytes again, and values an independent decoder agrees with."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from kinetics_pipeline.flow.quantised import quantise_flow
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards import codec
from kinetics_pipeline.shards.clip_rows import CorruptRow, check_rows, decode_payload, encode_clip, rows_of, shape_of
from tests.builders.clips import drawn_flow, drawn_frames

LAYOUTS: tuple[Layout, ...] = ("parquet", "array", "video")


def encoded(layout: Layout = "parquet", count: int = 40) -> bytes:
    return encode_clip("v001", 2, drawn_frames(1, count), drawn_flow(1, count), Recipe(layout=layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_clip_gives_the_same_bytes(layout: Layout) -> None:
    assert encoded(layout) == encoded(layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_chunks_of_sixteen_frames_and_a_shorter_last_one(layout: Layout) -> None:
    rows = rows_of(encoded(layout)).select(["chunk", "start_frame", "n", "label"]).to_pylist()
    assert rows == [
        {"chunk": 0, "start_frame": 0, "n": 16, "label": 2},
        {"chunk": 1, "start_frame": 16, "n": 16, "label": 2},
        {"chunk": 2, "start_frame": 32, "n": 8, "label": 2},
    ]


def test_opencv_decodes_the_stored_frames_close_to_the_drawn_ones() -> None:
    stored = [image for row in rows_of(encoded())["rgb"].to_pylist() for image in row]
    decoded = np.stack([cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB) for image in stored])
    error = np.mean((decoded.astype(float) - drawn_frames(1)) ** 2)
    assert 10 * np.log10(255**2 / error) > 35


def test_opencv_decodes_the_stored_flow_as_u_over_v_within_a_tenth_of_a_pixel() -> None:
    stored = [image for row in rows_of(encoded())["flow"].to_pylist() for image in row]
    decoded = np.stack([cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE) for image in stored])
    flow = (decoded.astype(float).reshape(40, 2, 48, 64) - 128) * 20 / 127
    assert np.abs(flow - drawn_flow(1)).mean() < 0.1


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_our_decoder_agrees_with_opencv_to_a_grey_level(stream: str) -> None:
    payload = encoded()
    flag = cv2.IMREAD_COLOR_RGB if stream == "rgb" else cv2.IMREAD_GRAYSCALE
    stored = [image for row in rows_of(payload)[stream].to_pylist() for image in row]
    theirs = np.stack([cv2.imdecode(np.frombuffer(image, np.uint8), flag) for image in stored])
    ours = decode_payload(payload, stream, "parquet")
    assert np.abs(ours.astype(int) - theirs.reshape(ours.shape)).max() <= 1


def decoded(stream: str, image: bytes, size: tuple[int, int], rows: int | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of RGB, [2, H, W] of flow; zero where nothing was decoded."""
    height, width = size
    out = np.zeros((height, width, 3) if stream == "rgb" else (2, height, width), np.uint8)
    (codec.decode_rgb if stream == "rgb" else codec.decode_flow)(image, out, rows)
    return out


def noise(stream: str, size: tuple[int, int]) -> bytes:
    """A stored image that no two rows of are alike."""
    values = np.random.default_rng(0).integers(1, 256, (3, *size), np.uint8)
    if stream == "rgb":
        return codec.encode_rgb(np.ascontiguousarray(np.moveaxis(values, 0, -1)), 90)
    return codec.encode_flow(values[:2], 90)


@pytest.mark.parametrize("size", [(64, 80), (37, 41), (17, 18)])
@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_the_first_rows_of_an_image_are_those_of_the_whole(stream: str, size: tuple[int, int]) -> None:
    image = noise(stream, size)
    kept = (lambda values, rows: values[:rows]) if stream == "rgb" else (lambda values, rows: values[:, :rows])
    whole = decoded(stream, image, size)
    for rows in range(1, size[0] + 1):
        assert np.array_equal(kept(decoded(stream, image, size, rows), rows), kept(whole, rows))


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_rows_that_are_not_asked_for_are_not_decoded(stream: str) -> None:
    values = decoded(stream, noise(stream, (64, 80)), (64, 80), 20)
    assert not (values if stream == "rgb" else values[1])[32:].any()


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_an_image_of_another_height_is_refused_also_when_few_rows_are_asked_for(stream: str) -> None:
    with pytest.raises(ValueError, match="x80 where the row says"):
        decoded(stream, noise(stream, (48, 80)), (64, 80), 8)


def test_the_array_layout_keeps_frames_and_quantised_flow_exactly() -> None:
    payload = encoded("array")
    assert np.array_equal(decode_payload(payload, "rgb", "array"), drawn_frames(1))
    expected = 128 + np.rint(np.clip(drawn_flow(1), -20, 20) * (127 / 20))
    assert np.array_equal(decode_payload(payload, "flow", "array"), expected)


def test_flow_is_rounded_clamped_and_zero_at_128() -> None:
    pixels = np.array([0, 20, -20, 99, -99, 0.0788, -0.0788, 0.07], np.float32)
    assert quantise_flow(pixels).tolist() == [128, 255, 1, 255, 1, 129, 127, 128]


def test_flow_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        quantise_flow(np.array([np.nan], np.float32))


def test_the_crc_is_over_each_images_length_and_bytes() -> None:
    row = rows_of(encoded()).slice(0, 1).to_pylist()[0]
    text = b"".join(struct.pack("<I", len(image)) + image for image in row["rgb"])
    assert row["crc_rgb"] == zlib.crc32(text)


def test_without_flow_the_columns_are_null() -> None:
    rows = rows_of(encode_clip("v001", 0, drawn_frames(1), None, Recipe(flow="none")))
    assert rows["flow"].null_count == rows["crc_flow"].null_count == rows.num_rows
    check_rows(rows, "parquet")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_image_is_named_with_clip_chunk_and_stream(layout: Layout) -> None:
    payload = bytearray(encoded(layout))
    second = rows_of(bytes(payload))["rgb"][1].as_py()
    image = second[3] if layout == "parquet" else second[:64] if layout == "array" else second[-64:]
    place = bytes(payload).index(image) + len(image) // 2
    payload[place] ^= 1
    with pytest.raises(CorruptRow, match=r"clip v001, chunk 1, rgb: CRC"):
        check_rows(rows_of(bytes(payload)), layout)


def test_truncated_bytes_are_no_payload() -> None:
    with pytest.raises(CorruptRow, match="payload"):
        rows_of(encoded()[:1000])


def test_rows_of_two_clips_are_not_one_clip() -> None:
    rows = rows_of(encoded())
    with pytest.raises(CorruptRow, match="does not follow"):
        shape_of(rows.take([0, 2]))


def test_the_content_digest_changes_with_one_pixel() -> None:
    frames = drawn_frames(1)
    changed = frames.copy()
    changed[30, 5, 5, 0] ^= 128
    recipe = Recipe(layout="array")
    one, other = (shape_of(rows_of(encode_clip("v001", 0, f, drawn_flow(1), recipe))) for f in (frames, changed))
    assert one.content != other.content


@pytest.mark.parametrize("frames", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32)])
def test_other_frames_than_uint8_with_a_length_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="allowed: uint8"):
        encode_clip("v001", 0, frames, None, Recipe(flow="none"))


def test_flow_of_another_length_than_the_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="the frames ask for"):
        encode_clip("v001", 0, drawn_frames(1), drawn_flow(1, 39), Recipe())


def test_odd_sizes_and_a_single_frame_are_kept() -> None:
    payload = encode_clip("v001", 0, drawn_frames(1, 1, 33, 17), drawn_flow(1, 1, 33, 17), Recipe())
    assert decode_payload(payload, "rgb", "parquet").shape == (1, 33, 17, 3)
    assert decode_payload(payload, "flow", "parquet").shape == (1, 2, 33, 17)
