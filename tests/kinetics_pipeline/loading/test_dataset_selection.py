"""Which clips a dataset reads: committed, chosen, undamaged ones; everything else is said in a line."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.loading import ClipDataset, DamagedShard
from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.shards.data_file import data_name, open_data_file
from kinetics_pipeline.shards.layouts.base import binary_strings
from kinetics_pipeline.shards.markers import sealed
from tests.builders.clips import CLASSES, asked_clips, built, commit, planned

LAYOUTS: tuple[Layout, ...] = ("parquet", "array", "video")


def opened(folder: Path, **changes: object) -> ClipDataset:
    return ClipDataset(folder, **({"frames": 4, "crop": 32, "train": False} | changes))  # type: ignore[arg-type]


def ids(dataset: ClipDataset) -> list[str]:
    return dataset.index["clip_id"].to_pylist()


def test_a_split_is_its_clips_alone(tmp_path: Path) -> None:
    built(tmp_path / "data", 9, ("train", "val"))
    assert sorted(ids(opened(tmp_path / "data", split="val"))) == [c.clip_id for c in asked_clips(9)[1::2]]
    assert len(opened(tmp_path / "data")) == 9


def test_shards_without_a_marker_are_not_read(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 8)
    dataset.store.delete("shards/train-00001.json")
    assert len(opened(tmp_path / "data")) == 4


def test_clips_that_are_not_ok_are_left_out_and_the_rows_of_the_others_found(tmp_path: Path) -> None:
    lost = {clip.clip_id: "gone" for clip in asked_clips(8)[::3]}
    built(tmp_path / "data", 8, outcomes=lost)
    dataset = opened(tmp_path / "data")
    assert sorted(ids(dataset)) == [c.clip_id for c in asked_clips(8) if c.clip_id not in lost]
    assert [sample["clip_id"] for sample in dataset] == ids(dataset)  # type: ignore[attr-defined]


def test_the_newest_record_of_a_clip_counts_and_may_take_it_out(tmp_path: Path) -> None:
    clips = asked_clips(2)
    dataset = built(tmp_path / "data", 2, frames={clips[0].clip_id: 20})
    commit(dataset, "train-00007", clips, plan=1, outcomes={clips[1].clip_id: "withdrawn"})
    chosen = opened(tmp_path / "data", frames=None)
    assert ids(chosen) == [clips[0].clip_id]
    assert chosen[0]["video"].shape[1] == 40


def test_the_index_is_kept_and_made_again_when_a_shard_appears(tmp_path: Path) -> None:
    dataset = built(tmp_path / "data", 4)
    assert len(opened(tmp_path / "data")) == 4
    kept = (tmp_path / "data/state/loader-index-2.arrow").read_bytes()
    assert len(opened(tmp_path / "data")) == 4
    assert (tmp_path / "data/state/loader-index-2.arrow").read_bytes() == kept
    for shard in planned(dataset, asked_clips(6)).shards():
        commit(dataset, shard.name, shard.clips, plan=1)
    assert len(opened(tmp_path / "data")) == 6


def test_an_index_that_is_damaged_or_cannot_be_kept_is_done_without(tmp_path: Path) -> None:
    built(tmp_path / "data", 4)
    opened(tmp_path / "data")
    (tmp_path / "data/state/loader-index-2.arrow").write_bytes(b"damaged")
    assert len(opened(tmp_path / "data")) == 4
    (tmp_path / "data/state/loader-index-2.arrow").unlink()
    (tmp_path / "data/state/loader-index-2.arrow").mkdir()  # a folder where the file should be
    assert len(opened(tmp_path / "data")) == 4


def test_a_dataset_that_may_only_be_read_is_read_without_a_cache() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        os.chmod(temporary, 0o755)
        folder = Path(temporary) / "data"
        built(folder, 4)
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            path.chmod(0o555)
        child = os.fork()
        if child == 0:  # as somebody whom permissions bind, which they do not bind root
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                status = 0 if len(opened(folder)) == 4 else 1
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert list(folder.rglob("loader-index*")) == []
        for path in folder.rglob("*"):
            path.chmod(0o755)
        folder.chmod(0o755)


def test_classes_keep_their_numbers_when_some_are_chosen(tmp_path: Path) -> None:
    built(tmp_path / "data", 9)
    dataset = opened(tmp_path / "data", classes=["up"])
    assert dataset.classes == CLASSES
    assert {sample["label"] for sample in dataset} == {2}  # type: ignore[attr-defined]
    assert len(dataset) == 3


def test_the_first_examples_of_each_class(tmp_path: Path) -> None:
    built(tmp_path / "data", 9)
    few, more = (opened(tmp_path / "data", examples_per_class=n) for n in (1, 2))
    assert sorted(few.index["class"].to_pylist()) == [0, 1, 2]
    assert set(ids(few)) < set(ids(more))
    assert len(more) == 6


def test_clips_are_chosen_by_id_or_by_a_file_of_ids(tmp_path: Path) -> None:
    built(tmp_path / "data", 5)
    wanted = [c.clip_id for c in asked_clips(5)[1:3]]
    (tmp_path / "ids.txt").write_text("\n".join([*wanted, "", "not_here_000001_000002"]))
    assert sorted(ids(opened(tmp_path / "data", clips=wanted))) == wanted
    assert sorted(ids(opened(tmp_path / "data", clips=tmp_path / "ids.txt"))) == wanted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "test"}, "split is 'test'; .* holds train"),
        ({"classes": ["down"]}, "class 'down' is not in .*; allowed: "),
        ({"clips": ["nowhere"]}, "no clip .* is left"),
        ({"clips": "missing.txt"}, r"missing\.txt cannot be read"),
        ({"examples_per_class": 0}, "examples_per_class is 0; allowed: 1"),
        ({"stream": "sound"}, "stream is 'sound'; allowed: rgb, flow, both"),
        ({"stream": "flow"}, "built without flow"),
        ({"crop": 224}, "crop is 224, but the frames of .* are 48x64; allowed: at most 48"),
        ({"frames": 0}, "frames is 0; allowed: 1 or more"),
        ({"stride": 0}, "stride is 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path: Path, changes: dict, said: str) -> None:
    built(tmp_path / "data", 3, recipe=Recipe(short_side=48, flow="none"))
    with pytest.raises(UserError, match=said) as refused:
        opened(tmp_path / "data", **changes)
    assert "\n" not in str(refused.value)


def test_a_dataset_without_a_clip_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "data", 2, outcomes={clip.clip_id: "gone" for clip in asked_clips(2)})
    with pytest.raises(UserError, match="holds no clip that is ok"):
        opened(tmp_path / "data")


def damage(folder: Path, layout: Layout, chunk: int) -> str:
    """Flips a bit in an RGB image of a chunk of the second clip; its id."""
    path = folder / data_name("train-00000", layout)
    dataset = ClipDataset(folder, frames=1, crop=32)
    place = dataset.place_of(1)
    with open_data_file(path, layout) as read:
        rows = read(place.first_row, chunk + 1, place.position)
        strings = binary_strings(rows.column("rgb"), chunk)
        image = strings[len(strings) // 2].tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(image) + len(image) // 2] ^= 4
    path.write_bytes(data)
    return place.clip_id


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_row_is_named_with_shard_clip_and_chunk(tmp_path: Path, layout: Layout) -> None:
    built(tmp_path / "data", 2, recipe=Recipe(short_side=48, layout=layout))
    name = damage(tmp_path / "data", layout, 2)
    with pytest.raises(DamagedShard, match=rf"train-00000\.\w+, clip {name}, chunk 2: rgb: CRC"):
        opened(tmp_path / "data", frames=None)[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_chunks_and_streams_needed_are_read(tmp_path: Path, layout: Layout) -> None:
    built(tmp_path / "data", 2, recipe=Recipe(short_side=48, layout=layout))
    damage(tmp_path / "data", layout, 0)
    opened(tmp_path / "data", frames=8)[1]  # frames 16 to 23: the second chunk
    opened(tmp_path / "data", frames=None, stream="flow")[1]
    with pytest.raises(DamagedShard):
        opened(tmp_path / "data", frames=9)[1]


def test_a_marker_that_lies_about_whose_rows_there_are_gives_no_wrong_frame(tmp_path: Path) -> None:
    built(tmp_path / "data", 3)
    path = tmp_path / "data/shards/train-00000.json"
    marker = json.loads(path.read_bytes())
    marker["clips"] = marker["clips"][::-1]
    path.write_bytes(sealed(marker))
    with pytest.raises(DamagedShard, match=r"the row there is of clip v\d+"):
        opened(tmp_path / "data")[0]


@pytest.mark.parametrize(
    ("layout", "change"),
    [
        *((layout, change) for layout in LAYOUTS for change in ({"height": 47}, {"width": 60}, {"frames": 400})),
        ("parquet", {"rows": 2}),  # the array layout finds a clip by its position, not by counting rows
    ],
)
def test_a_marker_that_lies_about_sizes_gives_no_wrong_frame(tmp_path: Path, layout: Layout, change: dict) -> None:
    built(tmp_path / "data", 2, recipe=Recipe(short_side=48, layout=layout))
    path = tmp_path / "data/shards/train-00000.json"
    marker = json.loads(path.read_bytes())
    for clip in marker["clips"]:
        clip |= change
    path.write_bytes(sealed(marker))
    dataset = opened(tmp_path / "data", frames=None)
    with pytest.raises(DamagedShard):
        list(dataset)  # type: ignore[call-overload]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [0, 100, -1000])
def test_a_truncated_data_file_is_named(tmp_path: Path, layout: Layout, length: int) -> None:
    built(tmp_path / "data", 2, recipe=Recipe(short_side=48, layout=layout))
    [path] = [p for p in (tmp_path / "data/shards").iterdir() if p.suffix != ".json"]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedShard, match="train-00000"):
        opened(tmp_path / "data")[0]


@pytest.mark.parametrize(("label", "said"), [("right", "label 0"), ("lefd", "label lefd of clip .* is none of its")])
def test_a_marker_that_lies_about_a_label_gives_no_wrong_one(tmp_path: Path, label: str, said: str) -> None:
    built(tmp_path / "data", 1)
    path = tmp_path / "data/shards/train-00000.json"
    path.write_bytes(sealed(json.loads(path.read_text().replace('"left"', f'"{label}"'))))
    with pytest.raises(JobFailed, match=said):
        opened(tmp_path / "data")[0]


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    built(tmp_path / "data", 2)
    path = tmp_path / "data/shards/train-00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["n"]), path, row_group_size=1)
    with pytest.raises(DamagedShard, match="its columns are not those of a shard"):
        opened(tmp_path / "data")[0]


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    built(tmp_path / "data", 2)
    (tmp_path / "data/shards/train-00000.parquet").unlink()
    with pytest.raises(DamagedShard, match=r"train-00000\.parquet: the data file is missing"):
        opened(tmp_path / "data")[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 2.5},
        {"crop": "32"},
        {"stride": None},
        {"step_between_clips": 1.5},
        {"examples_per_class": 1.5},
        {"seed": None},
        {"classes": "left"},
        {"clips": [1]},
    ],
    ids=str,
)
def test_an_argument_of_the_wrong_kind_is_named(tmp_path: Path, wrong: dict[str, object]) -> None:
    built(tmp_path / "data", 4)
    (name,) = wrong
    with pytest.raises(UserError, match=rf"^{name} (is|holds) .*; allowed: ") as raised:
        opened(tmp_path / "data", **wrong)
    assert "\n" not in str(raised.value)


def test_a_byte_order_mark_does_not_cost_a_clip(tmp_path: Path) -> None:
    built(tmp_path / "data", 4)
    wanted = [clip.clip_id for clip in asked_clips(4)[:2]]
    (tmp_path / "ids.txt").write_text("\n".join(wanted), encoding="utf-8-sig")
    assert sorted(ids(opened(tmp_path / "data", clips=tmp_path / "ids.txt"))) == wanted
