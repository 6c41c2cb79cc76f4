"""The cache has a limit: it is checked before anything starts, kept while running, and said in one line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.builders.building import FLAGS, Build, Pile, refusal
from tests.fake_youtube import FileServer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_cluster")]


def held(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(place) / name).stat().st_size
    return total


def watched(build: Build) -> tuple[int, str, int]:
    """The exit code, what was said, and the most that the cache held."""
    process: subprocess.Popen[str] = build.start()
    most = 0
    while process.poll() is None:
        most = max(most, held(build.cache))
        time.sleep(0.02)
    said, _ = process.communicate()
    assert "Traceback" not in said
    return process.returncode, said, most


def test_a_limit_below_one_shard_is_refused_before_anything_is_fetched(
    pile: Pile, server: FileServer, tmp_path: Path
) -> None:
    code, said, _ = watched(Build(pile, tmp_path, [server.template], (*FLAGS, "--max-disk", "50kB")))
    assert code == 2
    assert "--max-disk is 50.0 kB" in refusal(said)
    assert "at least" in refusal(said)
    assert not server.log


def test_the_cache_never_holds_more_than_its_limit(
    pile: Pile, server: FileServer, undisturbed: Build, tmp_path: Path
) -> None:
    limit = 600_000
    build = Build(pile, tmp_path, [server.template], (*FLAGS, "--max-disk", str(limit)))
    code, said, most = watched(build)
    assert code == 0, said
    assert 0 < most <= limit
    build.require_finished(undisturbed)


def test_a_video_that_does_not_fit_ends_the_run_in_a_line_and_goes_on_from_its_bytes_with_more_room(
    pile: Pile, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    padding = 3_000_000
    whole = (pile.folder / "clip_000000.mp4").read_bytes() + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8)
    (videos / "clip_000000.mp4").write_bytes(whole)  # a `free` box: decoders pass over it (ISO/IEC 14496-12, 8.1.2)
    annotations = tmp_path / "asked.csv"
    annotations.write_text("label,youtube_id,time_start,time_end,split\nleft,clip_000000,0,1,train\n")
    mine = Pile(videos, annotations, ("clip_000000_000000_000001",))
    with FileServer(videos) as server:
        build = Build(mine, tmp_path, [server.template], (*FLAGS, "--max-disk", "1MB"))
        code, said, most = watched(build)
        assert code == 1, said
        (line,) = [line for line in said.splitlines() if line.startswith("kinetics-pipeline: ")]
        assert "--max-disk" in line
        assert "would let it go on" in line
        assert most <= 1_000_000
        had = sum(path.stat().st_size for path in build.cache.rglob("*.part"))
        assert had > 100_000
        server.reset()
        Build(mine, tmp_path, build.source, (*FLAGS, "--max-disk", "10MB")).run()
        assert {record["outcome"] for records in build.entries().values() for record in records} == {"ok"}
        assert server.media()[0].range == f"bytes={had}-"
