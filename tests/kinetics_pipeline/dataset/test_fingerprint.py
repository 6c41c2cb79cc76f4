"""Each of the four hashes changes with what it stands for, and with nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from kinetics_pipeline.dataset.certificate import certificate_of
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.fingerprint import fingerprint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from tests.builders.clips import CLASSES, asked_clips, built, commit, drawn_frames, planned, record_of


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


def test_the_hashes_are_those_of_sorted_lines_as_they_are_described(tmp_path: Path) -> None:
    labels = ['say "no"', "laufen \\ über", "\U0001f3c3 running", None]
    clips = [
        Clip(clip_id(f"v{k}", k / 4, k / 4 + 10), f"v{k}", k / 4, k / 4 + 10, labels[k % 4], "train") for k in range(8)
    ]
    clips.append(Clip("whole", "whole", None, None, "whole video", "val"))
    known = [label for label in (*labels, "whole video") if label]
    dataset = Dataset.create(tmp_path / "dataset", Recipe(short_side=32, flow="none"), known, {})
    for split in ("train", "val"):
        items = []
        for number, clip in enumerate(clip for clip in clips if clip.split == split):
            ok = number != 3
            frames = drawn_frames(number, 4, 32, 40)
            label = known.index(clip.label) if clip.label else -1
            rows = encode_clip(clip.clip_id, label, frames, None, dataset.recipe) if ok else b""
            items.append((record_of(clip, "ok" if ok else "gone", 4), rows))
        write_shard(
            dataset.store,
            name=f"{split}-00000",
            plan="00000",
            clips=items,
            recipe=dataset.recipe,
            classes=known,
            scratch=tmp_path / "scratch",
            still_current=lambda: True,
        )
    asked = [
        json.dumps(
            [c.clip_id, c.video_id, c.time_start, c.time_end, c.label, c.split],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for c in clips
    ]
    entries = [entry for marker in dataset.markers() for entry in marker.clips if entry["outcome"] == "ok"]
    content = [f"{entry['clip_id']} {entry['content']}" for entry in entries]
    found = fingerprint(dataset)
    for value, lines in ((found.annotations, asked), (found.content, content)):
        text = "".join(f"{line}\n" for line in sorted(lines))
        assert value == hashlib.sha256(text.encode()).hexdigest()
    assert certificate_of(dataset).fingerprint == found
