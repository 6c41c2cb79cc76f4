"""Archives in an object store and on a Hugging Face hub, through the real command on Ray, killed and run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.sources.objects import bucket
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, packed, zipped
from tests.builders.building import CLIPS, FLAGS, Build, Pile, wait_for
from tests.builders.far_places import FAR_PLACES, bucket_of, hub_of

pytest.importorskip("moto.server")


@pytest.fixture
def places(pile: Pile, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LoopbackArchives, list[str]]]:
    """The hub, and the places where the good clips lie: half of them in a bucket, one cut off; half on the hub."""
    for name, value in FAR_PLACES.items():
        monkeypatch.setenv(name, value)
    bucket.open_bucket.cache_clear()
    clips = [(f"{path.stem}_000000_000001.mp4", path.read_bytes()) for path in sorted(pile.folder.glob("*.mp4"))]
    whole = packed(dict(clips[4:8]))
    objects = {"k/part_0.tar.gz": packed(dict(clips[:4])), "k/part_1.tar.gz": whole[: len(whole) * 6 // 10]}
    cut = packed(dict(clips[11:CLIPS]))
    files = {
        "videos/again.zip": zipped(dict(clips[4:11])),
        "videos/rest.tar.gz.part-001": cut[:9000],
        "videos/rest.tar.gz.part-002": cut[9000:],
    }
    with bucket_of(objects) as there, hub_of("me", "kinetics", files) as hub:
        yield hub, [f"{there}/k", "hf://datasets/me/kinetics/videos"]


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_a_build_from_a_bucket_and_a_hub_that_is_killed_ends_with_every_outcome(
    pile: Pile, places: tuple[LoopbackArchives, list[str]], tmp_path: Path
) -> None:
    hub, sources = places
    build = Build(pile, tmp_path, sources, (*FLAGS, "--archives-per-plan", "1"), environment=FAR_PLACES)
    hub.rate = 20_000.0
    process = build.start()
    wait_for(lambda: bool(build.markers()), process)
    process.kill()
    process.wait()
    assert len(build.entries()) < CLIPS
    hub.rate = None
    said = build.run()
    assert "part_1.tar.gz is damaged" in said
    newest = {clip: records[-1] for clip, records in build.entries().items()}
    by_source = {clip: entry["source"] for clip, entry in newest.items() if entry["outcome"] == "ok"}
    assert [by_source[clip] for clip in pile.clip_ids[:4]] == [sources[0]] * 4
    assert [by_source[clip] for clip in pile.clip_ids[8:CLIPS]] == [sources[1]] * (CLIPS - 8)
    assert [newest[clip]["outcome"] for clip in pile.clip_ids[CLIPS:]] == ["not_found", "not_found"]
    assert not list(build.cache.rglob("archives"))
    for path in hub.archives():
        if "/resolve/" in path:
            offsets = hub.asked(path)
            assert offsets == sorted(set(offsets)), f"{path} from {offsets}"
    assert FAR_PLACES["HF_TOKEN"] not in "".join(path.read_text() for path in build.markers())
