"""What all rounds of a campaign share: videos, servers, a bucket behind a faulty proxy, a small disk, a Ray cluster."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal
from urllib.parse import urlsplit

from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks.chaos.judge import Made
from kinetics_pipeline.workflows.benchmarks.faulty_proxy import Faults, RandomFaults, faulty_proxy
from kinetics_pipeline.workflows.benchmarks.local_cluster import Cluster, several_nodes
from kinetics_pipeline.workflows.benchmarks.loopback_youtube import FLAGS, LoopbackYouTube
from kinetics_pipeline.workflows.benchmarks.requests import BUCKET, counted_s3

StoreKind = Literal["disk", "S3"]
SourceKind = Literal["folder", "server", "youtube"]
VIDEOS, SECONDS, WIDTH, HEIGHT = 4, 3, 64, 48
CLIPS = 8
"""Clips that a build is asked for: a second of each video at two places. One more is past its video's end, and one of
a video that no source has (of a server, which has every video, it is a clip like the others)."""
RECIPE = ("--short-side", "32", "--flow", "none", "--clips-per-shard", "2")
NODES = 2
SMALL_DISK = 4 << 20
"""Bytes of the disk that rounds fill up."""


@dataclass(frozen=True)
class Ground:
    """See the module."""

    folder: Path
    videos: Path
    annotations: Path
    clip_ids: tuple[str, ...]
    youtube: LoopbackYouTube
    server: Faults
    """What befalls requests to the mirror."""
    mirror: str
    """The mirror's address, with {video_id}."""
    bucket: RandomFaults
    """What befalls requests to the object store."""
    variables: dict[str, str]
    """The environment of a build, which leads it to the bucket and to the cluster."""
    small_disk: Path | None
    """A folder on a disk of `SMALL_DISK` bytes; None where none may be mounted."""
    cluster: Cluster | None = None
    references: dict[SourceKind, Made] = field(default_factory=dict)
    """What the builds that nothing disturbed have made, by their source."""

    def source_flags(self, source: SourceKind) -> list[str]:
        if source == "folder":
            return ["--source", str(self.videos)]
        if source == "server":
            return ["--source", self.mirror]
        return ["--source", "youtube", "--proxy", self.youtube.url, *FLAGS]


def render_film(film: Path) -> None:
    """A film with a running number in its picture, and an index as YouTube's files have."""
    source = f"testsrc=size={WIDTH}x{HEIGHT}:rate=25:duration={SECONDS}:decimals=2"
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-pix_fmt", "yuv420p")
    flags = ("-movflags", "+dash+global_sidx+frag_keyframe+empty_moov+default_base_moof")
    subprocess.run([executable(), "-v", "error", "-y", "-f", "lavfi", "-i", source, *encoder, *flags, film], check=True)


def ask(folder: Path) -> tuple[Path, Path, tuple[str, ...]]:
    """The folder of videos, the annotation file, and the clip ids."""
    videos = folder / "videos"
    videos.mkdir()
    names = [f"chaos{number:06d}" for number in range(VIDEOS)]
    render_film(film := videos / f"{names[0]}.mp4")
    for name in names[1:]:
        (videos / f"{name}.mp4").write_bytes(film.read_bytes())
    rows = [(name, second) for second in (0, 1) for name in names]
    rows += [(names[0], 50), ("chaosabsent", 0)]
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        table = [("abc"[number % 3], name, second, second + 1, "train") for number, (name, second) in enumerate(rows)]
        csv.writer(out).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *table])
    return videos, annotations, tuple(f"{name}_{second:06d}_{second + 1:06d}" for name, second in rows)


@contextmanager
def ground(folder: Path, seed: int, *, with_cluster: bool) -> Iterator[Ground]:
    """All of it, for one campaign; `folder` must be empty."""
    videos, annotations, clip_ids = ask(folder)
    with ExitStack() as stack:
        s3 = stack.enter_context(counted_s3())
        bucket = RandomFaults(random=Random(seed))  # noqa: S311 (nothing secret)
        endpoint = stack.enter_context(faulty_proxy(urlsplit(s3.endpoint).port or 0, bucket))
        film = videos / "chaos000000.mp4"
        youtube = stack.enter_context(LoopbackYouTube(film, WIDTH, HEIGHT, SECONDS))
        server = Faults()
        mirror = stack.enter_context(faulty_proxy(youtube.server_address[1], server))
        variables = {**os.environ, "AWS_ENDPOINT_URL": endpoint, "RAY_ADDRESS": ""}
        cluster = None
        if with_cluster:
            cluster = stack.enter_context(several_nodes(NODES, variables={"AWS_ENDPOINT_URL": endpoint}))
            variables |= cluster.environment
        small = small_disk(folder)
        if small is not None:
            stack.callback(subprocess.run, ["umount", "--lazy", str(small)], check=False)
        yield Ground(
            folder,
            videos,
            annotations,
            clip_ids,
            youtube,
            server,
            f"{mirror}/{{video_id}}.mp4",
            bucket,
            variables,
            small,
            cluster,
        )


def small_disk(folder: Path) -> Path | None:
    """Mounted, where this process may; goes with its mount namespace (see `in_a_namespace`)."""
    if os.environ.get("KINETICS_CHAOS_NAMESPACE") != "1":
        return None
    place = folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(place)]
    return place if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0 else None


def in_a_namespace() -> None:
    """Begins this program again where it may mount a disk that nobody else sees; returns where that is not allowed, and
    where it already is."""
    enter = ["unshare", "--map-root-user", "--mount"]
    if os.environ.get("KINETICS_CHAOS_NAMESPACE") or sys.platform != "linux":
        return
    try:
        allowed = subprocess.run([*enter, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        return
    if allowed:
        variables = {**os.environ, "KINETICS_CHAOS_NAMESPACE": "1"}
        os.execvpe("unshare", [*enter, sys.executable, *sys.orig_argv[1:]], variables)  # noqa: S606 (no shell)


def place_of(store: StoreKind, folder: Path) -> str:
    """Where a round's dataset goes."""
    return f"s3://{BUCKET}/{folder.name}" if store == "S3" else str(folder / "dataset")
