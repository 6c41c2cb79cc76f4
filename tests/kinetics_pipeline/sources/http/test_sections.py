"""The index of a fragmented MP4, read from bytes that nobody vouches for."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kinetics_pipeline.sources.http.mp4_index import Index, Segment, Span, read_index, spans
from tests.fake_youtube.media import render_indexed


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return render_indexed(tmp_path_factory.mktemp("media") / "a.mp4", 160, 128, 8).read_bytes()


def test_segments_begin_at_the_fragments_of_the_file(content: bytes) -> None:
    index = read_index(content[:65536])
    assert isinstance(index, Index)
    assert index.duration == pytest.approx(8, abs=0.1)
    for segment in index.segments:
        assert content[segment.first + 4 : segment.first + 8] in (b"moof", b"styp", b"prft")
    assert all(before.stop == after.first and before.ends == after.begins for before, after in pairwise(index.segments))
    assert content[:8][4:] == b"ftyp"
    assert b"moov" in content[: index.head]


def test_too_few_bytes_are_asked_for_until_they_suffice(content: bytes) -> None:
    known = 16
    for _ in range(10):
        found = read_index(content[:known])
        if not isinstance(found, int):
            break
        assert found > known
        known = found
    assert found == read_index(content)


def test_a_plain_file_has_no_index(tmp_path: Path) -> None:
    content = render_indexed(tmp_path / "a.mp4", 160, 128, 2, indexed=False).read_bytes()
    assert not isinstance(read_index(content), Index)


@given(st.binary(max_size=400))
@example(struct.pack(">I4s", 8, b"moov") + struct.pack(">I4s", 12, b"sidx") + bytes(4) + bytes(20))
@example(struct.pack(">I4sQ", 1, b"moov", 1 << 60))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    found = read_index(data)
    assert not isinstance(found, int) or found > len(data)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_a_damaged_index_is_read_without_an_exception(at: int, noise: bytes) -> None:
    box = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 3) + struct.pack(">III", 500, 1000, 1 << 31) * 3
    data = struct.pack(">I4s", 8, b"moov") + struct.pack(">I4s", 8 + len(box), b"sidx") + box
    at = min(at, len(data))
    read_index(data[:at] + noise + data[at + len(noise) :])


def index_of(entries: list[bool]) -> Index:
    return Index(100, tuple(Segment(i, i + 1.0, 1000 + 10 * i, 1010 + 10 * i, e) for i, e in enumerate(entries)))


@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 10)), min_size=1, max_size=5),
)
def test_spans_hold_their_intervals_and_begin_with_a_picture_that_decodes(
    entries: list[bool], wanted: list[tuple[float, float]]
) -> None:
    index = index_of(entries)
    intervals = [(begin, begin + length) for begin, length in wanted]
    found = spans(index, intervals)
    for begins, ends in intervals:
        if begins < index.duration:
            last = min(ends, index.duration)
            assert any(index.segments[s.first].begins <= begins and index.segments[s.last].ends >= last for s in found)
    assert all(s.first == 0 or entries[s.first] for s in found)
    assert all(before.last + 1 < after.first for before, after in pairwise(found))


def test_a_span_reaches_back_to_the_last_picture_that_decodes() -> None:
    assert spans(index_of([True, False, True, False, False, True]), [(4.2, 4.8)]) == [Span(2, 4)]
    assert spans(index_of([False] * 6), [(4.2, 4.8)]) == [Span(0, 4)]
