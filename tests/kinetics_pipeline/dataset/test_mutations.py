"""Whatever is changed in a dataset is named or changes nothing: no crash, no hang, no wrong frame.

`KINETICS_MUTATIONS=2000 pytest tests/kinetics_pipeline/test_mutations.py` tries as many; by default a fixed few.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.verify import verify
from kinetics_pipeline.dataset.withdraw import finish_withdrawals, withdraw
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.markers import sealed
from tests.builders.clips import asked_clips, built

MUTATIONS = int(os.environ.get("KINETICS_MUTATIONS", "80"))
LAYOUTS = ("parquet", "array")
CLIPS = 7
FRAMES = 20
STREAMS = ("video", "flow")
Mutation = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random, first: int = 0) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data[chance.randrange(first, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def flip_footer(path: Path, chance: random.Random) -> None:
    flip(path, chance, max(path.stat().st_size - 6000, 0))


def cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.choice((0, 4, len(data) - 1, chance.randrange(len(data))))])


def lengthen(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice((1, 8, 5000))))


def overwrite(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    begin, length = chance.randrange(len(data)), chance.choice((4, 64, 4096))
    data[begin : begin + length] = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
    path.write_bytes(data)


def move_a_block(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    length = min(chance.choice((8, 512, 2048)), len(data) // 2)
    one, other = (chance.randrange(len(data) - length) for _ in range(2))
    data[one : one + length], data[other : other + length] = data[other : other + length], data[one : one + length]
    path.write_bytes(data)


def remove(path: Path, chance: random.Random) -> None:
    path.unlink()


def another_file(path: Path, chance: random.Random) -> None:
    shutil.copy(chance.choice([p for p in sorted(path.parent.parent.rglob("*")) if p.is_file() and p != path]), path)


def rewritten(change: Callable[[pa.Table, random.Random], pa.Table]) -> Mutation:
    """The rows as others than the project's writer would write them."""

    def mutate(path: Path, chance: random.Random) -> None:
        if path.suffix == ".arrow":
            with pa.ipc.open_file(pa.py_buffer(path.read_bytes())) as file:
                table = file.read_all()
        else:
            table = pq.read_table(path)
        table = change(table, chance)
        if path.suffix == ".arrow":
            with pa.ipc.new_file(path, table.schema) as out:
                out.write_table(table.combine_chunks(), max_chunksize=chance.choice((1, 2, 100)))
        else:
            if any(table[field.name].null_count for field in table.schema if not field.nullable):
                table = pa.table(table.columns, names=table.column_names)  # Parquet has no nulls but where they may be
            pq.write_table(table, path, row_group_size=chance.choice((1, 1, 3)))

    return mutate


def permuted(table: pa.Table, chance: random.Random) -> pa.Table:
    return table.take(chance.sample(range(len(table)), len(table)))


def other_columns(table: pa.Table, chance: random.Random) -> pa.Table:
    name = chance.choice(table.column_names)
    place = table.column_names.index(name)
    kind = chance.randrange(4)
    if kind == 0:
        return table.drop_columns([name])
    if kind == 1:
        return table.rename_columns([f"{c}_" if c == name else c for c in table.column_names])
    if kind == 2:
        return table.set_column(place, table.schema.field(name), pa.nulls(len(table), table.schema.field(name).type))
    return table.append_column(f"{name}_again", table[name])


def other_values(table: pa.Table, chance: random.Random) -> pa.Table:
    """One column's values change places, or one number is another: the rows disagree with themselves or the marker."""
    name = chance.choice(table.column_names)
    place, field = table.column_names.index(name), table.schema.field(name)
    values = table[name].to_pylist()
    row = chance.randrange(len(values))
    if pa.types.is_integer(field.type) and chance.random() < 0.5:
        values[row] = chance.choice((0, -1, 1, 32767, (values[row] or 0) ^ 1)) % (2**15)
    else:
        other = chance.randrange(len(values))
        values[row], values[other] = values[other], values[row]
    return table.set_column(place, field, pa.array(values, field.type))


ODD: list[Any] = [None, -1, 0, 1, 10**9, 10**30, 1.5, "", "x", "../../x", "00001", [], {}, True, float("1e308")]


def lie(path: Path, chance: random.Random) -> None:
    """The document says something else somewhere, and is sealed as if it had been written so."""
    document = json.loads(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3))):
        place: Any = document
        while True:
            key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.85:
                place = place[key]
                continue
            kind = chance.randrange(4)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, list):
                place.append(place[key])
            elif kind == 2 and isinstance(place[key], int) and not isinstance(place[key], bool):
                place[key] += chance.choice((-1, 1, 16))
            else:
                place[key] = chance.choice([*ODD, "gone", "ok", "up", "left"])
            break
    path.write_bytes(sealed(document))


def unsealed_lie(path: Path, chance: random.Random) -> None:
    lie(path, chance)
    document = json.loads(path.read_bytes())
    document.pop("digest", None)
    path.write_text(json.dumps(document))


def other_plan(table: pa.Table, chance: random.Random) -> pa.Table:
    if chance.random() < 0.5:
        return permuted(table, chance).slice(chance.randrange(2))
    return other_columns(table, chance) if chance.random() < 0.5 else other_values(table, chance)


BYTES: tuple[Mutation, ...] = (flip, flip, cut, lengthen, overwrite, move_a_block, remove, another_file)
KINDS: dict[str, tuple[Mutation, ...]] = {
    "shards/*.{suffix}": (*BYTES, flip_footer, flip_footer, *map(rewritten, (permuted, other_columns, other_values))),
    "shards/*.json": (*BYTES, lie, lie, lie, lie),
    "plans/*": (*BYTES, rewritten(other_plan)),
    "dataset.json": (flip, cut, overwrite, remove, unsealed_lie),
    "state/withdrawn/*": (*BYTES, lie),
    "state/plans/*": BYTES,
    "state/loader-index*": BYTES,
}
WEIGHTS = (8, 5, 2, 1, 1, 1, 1)


def make(folder: Path, layout: str) -> None:
    """Three shards, one clip that is gone and one withdrawn; opened once, so that its index is cached."""
    clips = asked_clips(CLIPS, ("train", "train", "val"))
    dataset = built(
        folder,
        CLIPS,
        ("train", "train", "val"),
        Recipe(short_side=48, layout=layout),  # type: ignore[arg-type]
        clips_per_shard=3,
        outcomes={clips[2].clip_id: "gone"},
        frames=dict.fromkeys((clip.clip_id for clip in clips), FRAMES),
    )
    withdraw(dataset, [clips[3].clip_id], "asked for")
    finish_withdrawals(dataset, folder.with_name("scratch"), lambda: True)
    seen(folder)


def seen(folder: Path) -> dict[str, Any]:
    """Every clip as the loader gives it, and every outcome. What it refuses to read is not a part of it."""
    found: dict[str, Any] = {}
    try:
        clips = ClipDataset(folder, stream="both", frames=None, crop=None, train=False, raw=True)
    except UserError as error:
        return {"refused": str(error)}
    for number, split in enumerate(clips.index["split"].to_pylist()):
        try:
            sample = clips[number]
        except UserError as error:
            found["refused"] = str(error)
            continue
        key = sample["clip_id"], split
        assert key not in found, f"{key} twice"
        frames = [sample[stream][:, t].numpy().tobytes() for t in range(sample["video"].shape[1]) for stream in STREAMS]
        found[key] = (sample["label"], *frames)
    return found


def look(folder: Path) -> list[str]:
    """What is named: by opening, verifying or counting."""
    named = []
    try:
        dataset = Dataset.open(folder)
        findings = verify(dataset)
        named += [*map(str, findings.faults), *findings.pending]
        counts = dataset.counts()
        named += [f"{counts}"] if (counts.ok, counts.failed) != (CLIPS - 2, {"gone": 1, "withdrawn": 1}) else []
        dataset.settled(())
    except UserError as error:
        named.append(str(error))
    assert not any("\n" in line for line in named)
    return named


def attempt(whole: Path, seed: int, reference: dict[str, Any]) -> tuple[str, str]:
    """(what was done to which file, `named` or `harmless`). Raises AssertionError for what must not be."""
    chance = random.Random(seed)
    folder = whole.with_name(f"try-{seed}")
    shutil.copytree(whole, folder)
    try:
        pattern = chance.choices(list(KINDS), WEIGHTS)[0]
        suffix = {"parquet": "parquet", "array": "arrow"}[whole.name]
        path = chance.choice(sorted(folder.glob(pattern.format(suffix=suffix))))
        mutation = chance.choice(KINDS[pattern])
        what = f"{mutation.__qualname__} {path.relative_to(folder)}"
        stat = path.stat()
        mutation(path, chance)
        if path.exists():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a disk's fault would leave it
        named, now = look(folder), seen(folder)
        refused = now.pop("refused", None)
        if not named:
            assert refused is None, f"{what}: refused but not named: {refused}"
            assert now == reference, f"{what}: not named, and other clips are seen"
        for (clip_id, split), seen_now in now.items():  # a marker may have been made to say another split, or less
            was = next((values for (clip, _), values in reference.items() if clip == clip_id), ())
            assert seen_now == was[: len(seen_now)], f"{what}: wrong frames of {clip_id} in {split}"
        return what, "named" if named else "harmless"
    finally:
        shutil.rmtree(folder)


def reference_of(whole: Path) -> dict[str, Any]:
    make(whole, whole.name)
    assert look(whole) == []
    return seen(whole)


_references: dict[Path, dict[str, Any]] = {}


def tried(whole: Path, seed: int) -> tuple[str, str]:
    if whole not in _references:
        _references[whole] = seen(whole)
    return attempt(whole, seed, _references[whole])


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("mutations")
    for layout in LAYOUTS:
        reference = reference_of(folder / layout)
        assert len(reference) == CLIPS - 2
        assert len({values[1] for values in reference.values()}) == len(reference)
    return [folder / layout for layout in LAYOUTS]


@pytest.mark.timeout(600 + 2 * MUTATIONS)
def test_every_change_is_named_or_harmless(datasets: list[Path]) -> None:
    done: Counter[tuple[str, str]] = Counter()
    wrong = []
    # In a process of its own: what ends it, or never ends, is a failure with a name.
    spawned = multiprocessing.get_context("spawn")
    child = ProcessPoolExecutor(1, mp_context=spawned)
    for seed in range(MUTATIONS):
        whole = datasets[seed % 2]
        try:
            what, became = child.submit(tried, whole, seed).result(timeout=60)
            done[what.partition(" ")[0], became] += 1
        except Exception as error:  # noqa: BLE001  every seed is tried, whatever another one comes to
            print(f"seed {seed}: {type(error).__name__} {error}", flush=True)
            wrong.append(f"seed {seed}: {type(error).__name__} {error}")
            if not isinstance(error, AssertionError | UserError) and len(wrong) < 20:
                child.shutdown(wait=False, cancel_futures=True)
                child = ProcessPoolExecutor(1, mp_context=spawned)
    child.shutdown()
    print("\n".join(f"{number:5d} {what} {became}" for (what, became), number in sorted(done.items())))
    assert not wrong, "\n".join(wrong)
    assert sum(number for (_, became), number in done.items() if became == "named") > MUTATIONS / 2
