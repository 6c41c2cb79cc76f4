"""A public copy on a loopback server: twelve archives of five videos, and a build of what they hold."""

from __future__ import annotations

import random
from pathlib import Path

from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed
from tests.builders.archive_builds import ArchiveBuild

CLIPS, ARCHIVES = 60, 12


def member(number: int) -> str:
    return f"videos/v{number:03d}_000000_000010.mp4"


def clip(number: int) -> str:
    return f"v{number:03d}_000000_000010"


def filled(copy: LoopbackArchives, folder: Path, **others: bytes | int) -> ArchiveBuild:
    """Five videos an archive; the last ten clips are in none. `others`: files of the copy that are another way."""
    chance = random.Random(0)
    rows = [f"{'abc'[n % 3]},v{n:03d},0,10,train" for n in range(CLIPS + 10)]
    (folder / "asked.csv").write_text("label,youtube_id,time_start,time_end,split\n" + "\n".join(rows))
    for number in range(ARCHIVES):
        videos = {member(n): chance.randbytes(2000) for n in range(5 * number, 5 * number + 5)}
        copy.files[f"/k/part_{number}.tar.gz"] = packed(videos)
    copy.files |= {f"/k/{name}.tar.gz": value for name, value in others.items()}
    names = sorted(name for name in copy.files if name.endswith("gz"))
    copy.files["/k/list.txt"] = "".join(f"{copy.base}{name}\n" for name in names).encode()
    return ArchiveBuild(folder / "build", folder / "asked.csv", f"{copy.base}/k/list.txt", per_plan=3)


def asked(copy: LoopbackArchives) -> list[str]:
    return [path.removeprefix("/k/") for path, _ in copy.gets if path.endswith(".tar.gz")]
