"""Archives that are read while they arrive are what they are when read whole, however they come."""

from __future__ import annotations

import random
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from kinetics_pipeline.sources.archives import arriving as arriving_module
from kinetics_pipeline.sources.archives.arriving import Abandoned, Arriving
from kinetics_pipeline.sources.local.tars import known_archive
from kinetics_pipeline.workflows.benchmarks.loopback_archives import packed, zipped

MEMBERS = {f"videos/v{n}_000000_000010.mp4": random.Random(n).randbytes(30_000) for n in range(6)}


KINDS = {"gzip": packed(MEMBERS), "tar": packed(MEMBERS, zipped=False), "zip": zipped(MEMBERS)}


def come(arriving: Arriving, contents: list[bytes], *, fail_at: int | None = None) -> None:
    """Writes the parts a little at a time, as a download does."""
    came = 0
    for path, content in zip(arriving.parts, contents, strict=True):
        unfinished = path.with_name(f"{path.name}.part")
        with unfinished.open("wb", buffering=0) as out:
            for at in range(0, len(content), 7919):
                out.write(content[at : at + 7919])
                came += 7919
                if fail_at is not None and came > fail_at:
                    arriving.end(failed=True)
                    return
        unfinished.replace(path)
    arriving.end(failed=False)


@pytest.mark.parametrize("cuts", [[], [70_001], [10, 90_000]])
@pytest.mark.parametrize("kind", KINDS)
def test_reading_along_finds_what_reading_the_whole_does(
    kind: str, cuts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving_module, "POLL", 0.001)
    data = KINDS[kind]
    places = [0, *cuts, len(data)]
    contents = [data[a:b] for a, b in pairwise(places)]
    parts = tuple(tmp_path / f"x.tar.gz.{n:04d}" for n in range(len(contents)))
    arriving = Arriving(parts, [len(content) for content in contents])
    thread = threading.Thread(target=come, args=(arriving, contents))
    thread.start()
    along = known_archive(parts, tmp_path / "along", arriving.open, len(data))
    thread.join()
    whole = known_archive(parts, tmp_path / "whole")
    assert [name for name, _, _ in whole.members] == list(MEMBERS)
    assert (along.members, along.size, along.damage, along.container) == (whole.members, len(data), "", kind)
    assert (along.points is None) == (whole.points is None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_come_whole_is_not_taken_for_the_archive(kind: str, tmp_path: Path) -> None:
    data = KINDS[kind]
    arriving = Arriving([tmp_path / "x.tar.gz"], [len(data)])
    thread = threading.Thread(target=come, args=(arriving, [data]), kwargs={"fail_at": 60_000})
    thread.start()
    with pytest.raises(Abandoned):
        known_archive((tmp_path / "x.tar.gz",), tmp_path / "along", arriving.open, len(data))
    thread.join()
    assert not list(tmp_path.glob("along*"))


def test_bytes_that_belong_to_another_version_count_for_nothing(tmp_path: Path) -> None:
    data = KINDS["gzip"]
    arriving = Arriving([tmp_path / "x.tar.gz"], [len(data)])
    (tmp_path / "x.tar.gz.part").write_bytes(data[:50_000])
    stream = arriving.open()
    assert stream.read(100) == data[:100]
    arriving.restart()
    with pytest.raises(Abandoned):
        stream.read(100_000)
