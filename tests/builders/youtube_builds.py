"""Builds whose videos come through a fake YouTube: what is asked, how it is reached, and what its log says."""

from __future__ import annotations

import csv
import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.builders.building import Build, Pile
from tests.fake_youtube import FakeYouTube

SMALL = ("--short-side", "32", "--flow", "none")
FAST = (*SMALL, "--clips-per-shard", "4", "--rate", "100000")


def asked_for(folder: Path, videos: Sequence[str], second: int = 10) -> Pile:
    """One clip of two seconds of each video."""
    folder.mkdir(parents=True, exist_ok=True)
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        rows = [("running", name, second, second + 2, "train") for name in videos]
        csv.writer(out).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    return Pile(folder, annotations, tuple(f"{name}_{second:06d}_{second + 2:06d}" for name in videos))


def through(
    *fakes: FakeYouTube, flags: Sequence[str] = FAST, options: Mapping[str, Any] = FakeYouTube.ytdlp_options
) -> tuple[str, ...]:
    """The flags of a build that reaches `fakes`. `options`: yt-dlp's."""
    proxies = [word for fake in fakes for word in ("--proxy", fake.url)]
    words = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    return (*flags, *proxies, *(word for option in words for word in ("--ytdlp-option", option)))


def ids(count: int, prefix: str = "okokoko") -> list[str]:
    return [f"{prefix}{number:04d}" for number in range(count)]


def ended(begun: Build | subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said, of a build that is run or of a process that was begun."""
    if isinstance(begun, Build):
        code, said = begun.end()
    else:
        said, _ = begun.communicate(timeout=800)
        code = begun.returncode
    assert "Traceback" not in said, said
    return code, said


def outcomes(build: Build) -> dict[str, str]:
    """The outcomes by video; every clip has one record."""
    entries = build.entries()
    assert {len(records) for records in entries.values()} <= {1}
    return {clip[:11]: records[0]["outcome"] for clip, records in entries.items()}


def players(fake: FakeYouTube) -> Counter[str]:
    """How often each video was extracted."""
    return Counter(request.video_id or "" for request in fake.log if request.kind == "player")
