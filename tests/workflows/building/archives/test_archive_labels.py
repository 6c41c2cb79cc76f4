"""Classes that annotations leave out are those of the folders inside archives; annotations win."""

from __future__ import annotations

from pathlib import Path

from kinetics_pipeline.workflows.benchmarks.loopback_archives import packed, served
from tests.builders.archive_builds import ArchiveBuild


def test_a_clip_without_a_label_gets_the_class_that_its_folder_is_named_after(tmp_path: Path) -> None:
    rows = [
        "run fast,v0,0,10,train",
        "petting animal (not cat),v1,0,10,train",
        *(f",v{n},0,10,train" for n in (2, 3, 4)),
    ]
    (tmp_path / "asked.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]))
    folders = {"v0": "petting_animal_not_cat", "v1": "videos", "v2": "train/petting_animal_not_cat", "v3": "Run_Fast"}
    names = [f"{folder}/{video}_000000_000010.mp4" for video, folder in (folders | {"v4": "other"}).items()]
    with served() as copy:
        copy.files = {"/k/x.tar": packed(dict.fromkeys(names, b"whole"), zipped=False)}
        build = ArchiveBuild(tmp_path / "build", tmp_path / "asked.csv", f"{copy.base}/k/x.tar")
        build.run()
    labels = {record.video_id: (record.outcome, record.label) for record in build.dataset.records().values()}
    assert labels == {
        "v0": ("ok", "run fast"),
        "v1": ("ok", "petting animal (not cat)"),
        "v2": ("ok", "petting animal (not cat)"),
        "v3": ("ok", "run fast"),
        "v4": ("ok", None),
    }
