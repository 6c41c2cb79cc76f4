"""Two datasets are told apart by what was asked, what survived, how and what was made; a certificate stands for one."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.certificate import certificate_of, open_certificate, write_certificate
from kinetics_pipeline.dataset.compare import common, compare
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import asked_clips, built

RECIPE = Recipe(short_side=48, flow="none")
CLIPS = [clip.clip_id for clip in asked_clips(6)]


def made(folder: Path, **changes: object) -> Dataset:
    return built(folder, **{"count": 6, "recipe": RECIPE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({}, []),
        ({"clips_per_shard": 2}, []),
        ({"count": 5}, ["annotations", "survivors", "content"]),
        ({"outcomes": {CLIPS[2]: "gone"}}, ["survivors", "content"]),
        ({"recipe": dataclasses.replace(RECIPE, rgb_quality=80)}, ["recipe", "content"]),
        ({"frames": {CLIPS[2]: 39}}, ["content"]),
    ],
)
def test_what_differs_is_told_in_order(tmp_path: Path, changes: dict, different: list[str]) -> None:
    one, other = (certificate_of(d) for d in (made(tmp_path / "a"), made(tmp_path / "b", **changes)))
    aspects = compare(one, other)
    assert [aspect.name for aspect in aspects] == ["annotations", "survivors", "recipe", "content"]
    assert [aspect.name for aspect in aspects if not aspect.same] == different
    assert all(bool(aspect.differences) != aspect.same for aspect in aspects)


def test_it_says_which_clips_and_why(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a"), made(tmp_path / "b", outcomes={CLIPS[2]: "gone"})
    survivors = compare(certificate_of(one), certificate_of(other))[1]
    assert survivors.differences == ["5 clips are in both", f"only in the first: 1 ({CLIPS[2]}); in the other: gone 1"]


def test_a_certificate_is_as_good_as_its_dataset(tmp_path: Path) -> None:
    dataset = made(tmp_path / "a")
    write_certificate(certificate_of(dataset), tmp_path / "a.json")
    read = open_certificate(tmp_path / "a.json")
    assert read.fingerprint == fingerprint(dataset)
    assert all(aspect.same for aspect in compare(read, open_certificate(tmp_path / "a")))


def test_the_common_subset_is_what_a_loader_takes_from_a_certificate(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a", outcomes={CLIPS[0]: "gone"}), made(tmp_path / "b", outcomes={CLIPS[2]: "gone"})
    write_certificate(certificate_of(other), tmp_path / "b.json")
    taken = ClipDataset(one.store.uri, frames=4, crop=32, clips=tmp_path / "b.json").index["clip_id"].to_pylist()
    assert (
        sorted(taken) == common(certificate_of(one), certificate_of(other)) == sorted({*CLIPS} - {CLIPS[0], CLIPS[2]})
    )


@pytest.mark.parametrize("damage", ["{", '{"kind": "other"}', "a number for a text", None])
def test_a_file_that_is_no_certificate_or_was_changed_is_refused(tmp_path: Path, damage: str | None) -> None:
    file = tmp_path / "a.json"
    write_certificate(certificate_of(made(tmp_path / "a")), file)
    document = json.loads(file.read_bytes())
    if damage is None:
        document["clips"].pop()
    elif not damage.startswith("{"):
        document["clips"][0][1] = 7
    file.write_text(damage if damage is not None and damage.startswith("{") else json.dumps(document))
    with pytest.raises(UserError, match=str(file)):
        open_certificate(file)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"video_id,label\n", "it is not JSON"),
        (b"PAR1\xff\0", "it is not JSON"),
        (b"", "it is not JSON"),
        (b'{"x":' * 100_000, "it is not JSON"),
        (b'{"schema_version": 1}', "missing required field `kind`"),
        (b'{"kind": "kinetics-pipeline certificate", "version": 2}', "its version is 2; allowed: 1"),
    ],
)
def test_a_file_of_another_kind_is_told_what_it_is_not(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match=f"a is not a certificate: .*{told}") as refusal:
        open_certificate(tmp_path / "a")
    assert "\n" not in str(refusal.value)


def test_a_certificate_is_written_to_a_pipe_and_does_not_take_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    certificate = certificate_of(made(tmp_path / "a"))
    with ThreadPoolExecutor() as reader:
        read = reader.submit((tmp_path / "pipe").read_bytes)
        write_certificate(certificate, tmp_path / "pipe")
        assert json.loads(read.result())["fingerprint"] == certificate.fingerprint.to_json()
    assert (tmp_path / "pipe").is_fifo()


def test_what_is_neither_a_dataset_nor_a_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither"):
        open_certificate(tmp_path / "none")
