"""A copy of Kinetics-400 as public ones are: archives of every published layout, every damage that is known, and a
YouTube that has what the copy lacks."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.archives.ground import BenchCopy, free_box
from kinetics_pipeline.workflows.benchmarks.chaos.ground import HEIGHT, SECONDS, WIDTH, render_film
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed, zipped
from kinetics_pipeline.workflows.benchmarks.loopback_youtube import FLAGS, LoopbackYouTube

BASE = "https://s3.amazonaws.com/kinetics/400"
SORTED = ("abseiling", "air drumming", "petting animal (not cat)")
"""Classes with archives of their own; the last is not asked for."""
PADDING = 200_000
VIDEOS = 26
Outcome = tuple[str, str]
"""What became of a clip, and the source of its bytes where it has some."""


@contextmanager
def published_copy(server: LoopbackArchives, folder: Path) -> Iterator[tuple[BenchCopy, dict[str, Outcome]]]:
    """Fills the server; the copy, and the right outcome of each clip."""
    names = [f"video_{number:05d}" for number in range(VIDEOS)]
    videos = {name: _video(folder / f"{name}.mp4", number) for number, name in enumerate(names)}
    labels = {
        name: SORTED[0] if number in (18, 19) else SORTED[1] if number in (20, 21) else "run"
        for number, name in enumerate(names)
    }
    files, damaged = _archives(names, videos)
    listed = [path for path in files if path.startswith("/k/400/train/")] + ["/k/400/train/part_2.tar.gz"]
    rows = [f"{labels[name]},{name},0,1,train" for name in names] + [f"{SORTED[2]},other000000,0,1,train"]
    header = "label,youtube_id,time_start,time_end,split"
    server.files |= files
    server.files["/k/400/annotations/train.csv"] = "\n".join([header, *rows]).encode()
    for split in ("val", "test"):
        server.files[f"/k/400/annotations/{split}.csv"] = f"{header}\nrun,{split}_video0,0,1,{split}\n".encode()
    server.files["/k/400/train/k400_train_path.txt"] = "".join(
        f"{BASE}{path.removeprefix('/k/400')}\n" for path in listed
    ).encode()
    render_film(film := folder / "film.mp4")
    with LoopbackYouTube(film, WIDTH, HEIGHT, SECONDS) as youtube:
        youtube.missing = {names[25]}
        words = ("kinetics-400", "--mirror", f"{server.base}/k", "--source", "cvdf", "--source", "youtube")
        asked = ("--split", "train", "--classes", f"run,{SORTED[0]},{SORTED[1]}")
        yield BenchCopy(server, (*words, *asked, "--proxy", youtube.url, *FLAGS), damaged), _expected(names)


def _archives(names: list[str], videos: dict[str, bytes]) -> tuple[dict[str, bytes | int], frozenset[str]]:
    """The archives by path, and the paths of damaged ones."""

    def members(*numbers: int, folder: str = "", suffix: str = "mp4") -> dict[str, bytes]:
        return {f"{folder}{names[number]}_000000_000001.{suffix}": videos[names[number]] for number in numbers}

    broken = {name: data[:2000] for name, data in members(0).items()}
    cut, truncated = packed(members(12, 13)), packed(members(2, 3, 4))
    train = "/k/400/train/"
    files: dict[str, bytes | int] = {
        f"{train}part_0.tar.gz": packed({**broken, **members(1)}, zipped=False),  # a plain tar that is called .tar.gz
        f"{train}part_1.tar.gz": truncated[: len(truncated) * 6 // 10],
        f"{train}part_3.tar.gz": packed({"train/._junk.mp4": b"junk", **members(7, 8, folder="train/")}),
        f"{train}part_4.zip": zipped(members(9, 10, 11)),
        f"{train}part_5.tar.gz.0000": cut[:100_000],
        f"{train}part_5.tar.gz.0001": cut[100_000:],
        f"{train}part_6.tar": packed(members(14, folder="a/b/", suffix="mkv"), zipped=False),
        f"{train}part_7.tgz": packed(members(15, suffix="webm")),
        f"{train}part_8.tar.gz": packed(members(16, 17)),
        f"{train}{SORTED[0]}.tar.gz": packed(members(18, 19)),
        f"{train}{SORTED[1]}.tar.gz": packed(members(20, 21)),
        f"{train}{SORTED[2]}.tar.gz": packed({"other000000_000000_000001.mp4": videos[names[0]]}),
        "/k/400/replacement_for_corrupted_k400.tgz": packed(members(0)),
    }
    return files, frozenset({f"{train}part_1.tar.gz"})


def _expected(names: list[str]) -> dict[str, Outcome]:
    """YouTube has what was lost with the end of part_1 (3, 4), what part_2 had (5, 6), and what no archive has (22 to
    24); the last is gone there, too."""
    clips = [f"{name}_000000_000001" for name in names]
    right: dict[str, Outcome] = dict.fromkeys(clips, ("ok", "cvdf"))
    right |= {clips[number]: ("ok", "youtube") for number in (3, 4, 5, 6, 22, 23, 24)}
    return right | {clips[25]: ("gone", "")}


def _video(path: Path, number: int) -> bytes:
    """A second of moving picture in a colour of its own."""
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration=1.2,hue=h={number * 13}"
    command = [executable(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "veryfast"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-y", str(path)], check=True)
    return path.read_bytes() + free_box(random.Random(number).randbytes(PADDING))  # noqa: S311


def outcomes(folder: Path) -> dict[str, Outcome]:
    """What the newest record of each clip says in the dataset below `folder`."""
    found: dict[str, Outcome] = {}
    for path in sorted((folder / "dataset/shards").glob("*.json")):  # later plans come later
        for entry in json.loads(path.read_text())["clips"]:
            found[entry["clip_id"]] = (entry["outcome"], entry["source"])
    return found
