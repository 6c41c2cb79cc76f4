"""Each of the four hashes changes with what it stands for, and with nothing else."""

from __future__ import annotations

from pathlib import Path

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.recipe import Recipe
from tests.builders.clips import CLASSES, asked_clips, built, commit, planned


def differing(one: Dataset, other: Dataset) -> list[str]:
    a, b = fingerprint(one).to_json(), fingerprint(other).to_json()
    return [name for name in a if a[name] != b[name]]


def test_the_same_clips_in_other_shards_and_plans_have_the_same_fingerprint(tmp_path: Path) -> None:
    at_once = built(tmp_path / "at_once", 8)
    in_parts = Dataset.create(tmp_path / "in_parts", Recipe(short_side=48), CLASSES, {"other.csv": "11"})
    for number, part in enumerate((asked_clips(8)[5:], asked_clips(8)[:5])):
        for shard in planned(in_parts, part, clips_per_shard=2).shards():
            commit(in_parts, shard.name, shard.clips, plan=number)
    assert differing(at_once, in_parts) == []


def test_a_clip_that_did_not_survive_changes_survivors_and_content(tmp_path: Path) -> None:
    all_ok = built(tmp_path / "a", 4)
    one_gone = built(tmp_path / "b", 4, outcomes={asked_clips(1)[0].clip_id: "gone"})
    assert differing(all_ok, one_gone) == ["survivors", "content"]


def test_other_frames_change_the_content_alone(tmp_path: Path) -> None:
    assert differing(built(tmp_path / "a", 4), built(tmp_path / "b", 4, frames={asked_clips(1)[0].clip_id: 39})) == [
        "content"
    ]


def test_another_clip_asked_changes_annotations_even_if_it_failed(tmp_path: Path) -> None:
    fewer = built(tmp_path / "a", 4)
    more = built(tmp_path / "b", 5, outcomes={asked_clips(5)[4].clip_id: "gone"})
    assert differing(fewer, more) == ["annotations"]


def test_clips_asked_for_in_another_split_change_the_annotations_alone(tmp_path: Path) -> None:
    assert differing(built(tmp_path / "a", 4), built(tmp_path / "b", 4, ("val",))) == ["annotations"]


def test_another_recipe_changes_recipe_and_content(tmp_path: Path) -> None:
    changed = built(tmp_path / "b", 4, recipe=Recipe(short_side=48, rgb_quality=70))
    assert differing(built(tmp_path / "a", 4), changed) == ["recipe", "content"]


def test_a_retry_that_succeeds_gives_the_fingerprint_of_success(tmp_path: Path) -> None:
    clip = asked_clips(1)[0]
    retried = built(tmp_path / "a", 4, outcomes={clip.clip_id: "network"})
    for shard in planned(retried, [clip], retry=["network"]).shards():
        commit(retried, shard.name, shard.clips, plan=1)
    assert differing(built(tmp_path / "b", 4), retried) == []
