"""A shard is committed by its marker, after everything else, and its data file is the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.recipe import Layout, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import CorruptRow
from kinetics_pipeline.shards.markers import sealed
from kinetics_pipeline.shards.schema import recipe_of_footer
from kinetics_pipeline.shards.writer import Superseded, write_shard
from kinetics_pipeline.storage import objects
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.storage.object_client import in_memory
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.storage.store import Store
from tests.builders.clips import CLASSES, asked_clips, payload_of, record_of

LAYOUTS: tuple[Layout, ...] = ("parquet", "array", "video")


def written(folder: Path, layout: Layout = "parquet", current: bool = True, **changes: object) -> dict:
    recipe = Recipe(short_side=48, layout=layout)
    clips = [(record_of(clip), payload_of(clip, recipe)) for clip in asked_clips(3)]
    clips[1] = (record_of(asked_clips(3)[1], "gone"), b"")
    arguments = {"clips": clips, "recipe": recipe, "name": "train-00000", "plan": "00000", "classes": CLASSES} | changes
    return write_shard(
        open_store(folder / "out"), scratch=folder / "scratch", still_current=lambda: current, **arguments
    )


@pytest.mark.parametrize(("layout", "suffix"), [("parquet", "parquet"), ("array", "arrow"), ("video", "parquet")])
def test_the_data_file_is_the_same_bytes_in_another_process(tmp_path: Path, layout: Layout, suffix: str) -> None:
    here = written(tmp_path / "here", layout)
    program = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]; "
        f"from tests.kinetics_pipeline.shards.test_writer import written; written(Path(sys.argv[1]), {layout!r})"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program, tmp_path / "there", root], check=True)
    name = f"out/shards/train-00000.{suffix}"
    assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert here["sha256"] == hashlib.sha256((tmp_path / "there" / name).read_bytes()).hexdigest()


def test_the_marker_holds_every_clip_with_its_record(tmp_path: Path) -> None:
    written(tmp_path)
    marker = json.loads((tmp_path / "out/shards/train-00000.json").read_bytes())
    assert [(clip["clip_id"], clip["outcome"]) for clip in marker["clips"]] == [
        ("v000_000000_000010", "ok"),
        ("v001_000001_000011", "gone"),
        ("v002_000002_000012", "ok"),
    ]
    data = tmp_path / "out/shards/train-00000.parquet"
    assert (marker["shard"], marker["plan"]) == ("train-00000", "00000")
    assert (marker["bytes"], marker["sha256"]) == (data.stat().st_size, hashlib.sha256(data.read_bytes()).hexdigest())


def test_every_row_is_a_row_group_of_the_contracts_columns(tmp_path: Path) -> None:
    written(tmp_path)
    file = pq.ParquetFile(tmp_path / "out/shards/train-00000.parquet")
    assert file.num_row_groups == file.metadata.num_rows == 6
    assert {field.name: str(field.type) for field in file.schema_arrow} == {
        "clip_id": "string",
        "video_id": "string",
        "time_start": "double",
        "time_end": "double",
        "split": "string",
        "chunk": "int16",
        "start_frame": "int32",
        "n": "int16",
        "height": "int16",
        "width": "int16",
        "label": "int32",
        "rgb": "list<element: binary not null>",
        "flow": "list<element: binary not null>",
        "crc_rgb": "uint32",
        "crc_flow": "uint32",
    }


def test_pandas_reads_a_shard(tmp_path: Path) -> None:
    written(tmp_path)
    table = pd.read_parquet(tmp_path / "out/shards/train-00000.parquet")
    assert table["rgb"][0][0][:2] == b"\xff\xd8"
    assert table.groupby("clip_id")["n"].sum().tolist() == [40, 40]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_footer_alone_gives_the_recipe_and_the_classes(tmp_path: Path, layout: Layout) -> None:
    written(tmp_path, layout)
    if layout != "array":
        footer = pq.read_schema(tmp_path / "out/shards/train-00000.parquet").metadata
    else:
        footer = pa.ipc.open_file(tmp_path / "out/shards/train-00000.arrow").schema.metadata
    assert recipe_of_footer(footer, "train-00000") == Recipe(short_side=48, layout=layout)
    assert json.loads(footer[b"classes"]) == CLASSES


def test_a_shard_without_survivors_is_a_marker_alone(tmp_path: Path) -> None:
    marker = written(tmp_path, clips=[(record_of(clip, "gone"), b"") for clip in asked_clips(2)])
    assert (marker["bytes"], marker["sha256"]) == (0, None)
    assert open_store(tmp_path / "out").list() == [("shards/train-00000.json", len(sealed(marker)))]


def test_a_stage_that_is_not_current_commits_nothing(tmp_path: Path) -> None:
    with pytest.raises(Superseded, match="another build"):
        written(tmp_path, current=False)
    assert open_store(tmp_path / "out").list() == []


def test_who_is_superseded_during_the_upload_writes_no_marker(tmp_path: Path) -> None:
    answers = iter([True, False])
    recipe = Recipe(short_side=48)
    with pytest.raises(Superseded):
        write_shard(
            open_store(tmp_path / "out"),
            name="train-00000",
            plan="00000",
            clips=[(record_of(clip), payload_of(clip, recipe)) for clip in asked_clips(1)],
            recipe=recipe,
            classes=CLASSES,
            scratch=tmp_path / "scratch",
            still_current=lambda: next(answers),
        )
    assert [name for name, _ in open_store(tmp_path / "out").list()] == ["shards/train-00000.parquet"]


def test_a_committed_shard_is_left_as_it_is(tmp_path: Path) -> None:
    first = written(tmp_path)
    before = (tmp_path / "out/shards/train-00000.json").stat().st_mtime_ns
    assert written(tmp_path) == first
    assert (tmp_path / "out/shards/train-00000.json").stat().st_mtime_ns == before


def test_nothing_is_left_in_scratch(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(CorruptRow):
        written(tmp_path, name="train-00001", clips=[(record_of(asked_clips(1)[0]), b"no rows")])
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("field", "value"), [("frames", 39), ("clip_id", "v009"), ("label", "up")])
def test_rows_that_are_not_those_of_the_record_are_refused(tmp_path: Path, field: str, value: object) -> None:
    clip = asked_clips(1)[0]
    record = record_of(clip).from_json(record_of(clip).to_json() | {field: value})
    with pytest.raises(CorruptRow, match="are not those of"):
        written(tmp_path, clips=[(record, payload_of(clip, Recipe(short_side=48)))])


def test_a_file_that_changed_after_it_was_written_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kinetics_pipeline.shards.writer as writer

    verify = writer.verify_data_file

    def damaged(path: Path, *rest: object) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        verify(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "verify_data_file", damaged)
    with pytest.raises(CorruptRow):
        written(tmp_path)
    assert open_store(tmp_path / "out").list() == []


def test_the_marker_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    create_from, create = LocalStore.create_from, LocalStore.create

    def recorded_create_from(store: LocalStore, local: Path, name: str) -> bool:
        order.append(name)
        return create_from(store, local, name)

    def recorded_create(store: LocalStore, name: str, data: bytes) -> bool:
        order.append(name)
        return create(store, name, data)

    monkeypatch.setattr(LocalStore, "create_from", recorded_create_from)
    monkeypatch.setattr(LocalStore, "create", recorded_create)
    written(tmp_path)
    assert order == ["shards/train-00000.parquet", "shards/train-00000.json"]


def _other_clips() -> list[tuple[Record, bytes]]:
    """What another writer has of the same shard: a clip more is gone."""
    recipe = Recipe(short_side=48)
    first, *rest = asked_clips(3)
    return [(record_of(first), payload_of(first, recipe)), *((record_of(clip, "gone"), b"") for clip in rest)]


@pytest.fixture(params=["local", "object", "object too large for a condition"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "local":
        return open_store(tmp_path / "out")
    if request.param != "object":
        monkeypatch.setattr(objects, "_MOST_IN_ONE_REQUEST", 1000)
    return ObjectStore("s3://bucket", in_memory("s3://bucket"))


def commit(store: Store, scratch: Path, clips: list[tuple[Record, bytes]], current: Callable[[], bool]) -> dict:
    return write_shard(
        store,
        name="train-00000",
        plan="00000",
        clips=clips,
        recipe=Recipe(short_side=48),
        classes=CLASSES,
        scratch=scratch,
        still_current=current,
    )


def require_whole(store: Store, marker: dict) -> None:
    assert json.loads(store.read("shards/train-00000.json")) == marker
    assert hashlib.sha256(store.read("shards/train-00000.parquet")).hexdigest() == marker["sha256"]
    assert [name for name, _ in store.list()] == ["shards/train-00000.json", "shards/train-00000.parquet"]


def test_bytes_that_a_killed_writer_left_are_replaced_by_those_that_are_committed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"left" * 1000)
    store.upload(tmp_path / "left", "shards/train-00000.parquet")
    whole = [(record_of(clip), payload_of(clip, Recipe(short_side=48))) for clip in asked_clips(3)]
    marker = commit(store, tmp_path / "scratch", whole, lambda: True)
    assert [clip["outcome"] for clip in marker["clips"]] == ["ok"] * 3
    require_whole(store, json.loads(store.read("shards/train-00000.json")))


def test_a_writer_who_is_superseded_after_its_upload_leaves_a_file_that_nobody_names(
    store: Store, tmp_path: Path
) -> None:
    answers = iter([True, False])
    with pytest.raises(Superseded):
        commit(store, tmp_path / "scratch", _other_clips(), lambda: next(answers))
    assert [name.partition(".")[0] for name, _ in store.list()] == ["shards/train-00000"]


@pytest.mark.parametrize("frozen_before", ["data", "marker"])
def test_a_frozen_writer_that_wakes_up_overwrites_nothing_and_accepts_what_is_committed(
    store: Store, tmp_path: Path, frozen_before: str
) -> None:
    """It has asked whether it is current, and been told so, before it froze."""
    whole = [(record_of(clip), payload_of(clip, Recipe(short_side=48))) for clip in asked_clips(3)]
    questions = 0
    committed: dict = {}

    def current() -> bool:
        nonlocal questions
        questions += 1
        if questions == (1 if frozen_before == "data" else 2):
            commit(store, tmp_path / "other", whole, lambda: True)
            committed.update(json.loads(store.read("shards/train-00000.json")))
        return True

    accepted = commit(store, tmp_path / "scratch", _other_clips(), current)
    assert [clip["outcome"] for clip in accepted["clips"]] == ["ok"] * 3
    require_whole(store, committed)
