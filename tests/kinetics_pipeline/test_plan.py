"""What a plan promises, whatever is asked in whatever order."""

import hashlib
import io
import math
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics_pipeline import plan
from kinetics_pipeline.annotations import fixed_order
from kinetics_pipeline.annotations.columns import as_columns, as_frame, clips_of, outcome_table
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.estimate import estimate
from kinetics_pipeline.plan import SCHEMA, Plan, PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import OUTCOMES, among, clip_id, clip_ids, count_different

LABELS = ["run", "walk", None]
SPLITS = ["train", "val"]
COLUMNS = ["clip_id", "video_id", "time_start", "time_end", "label", "split", "path"]


@st.composite
def tables(draw, max_size: int = 30) -> pd.DataFrame:
    """Few videos with many clips each, in both splits, some of them whole, some named by a file."""
    row = st.tuples(
        st.integers(0, 5),
        st.none() | st.integers(0, 8),
        st.sampled_from(LABELS),
        st.sampled_from(SPLITS),
        st.booleans(),
    )
    rows = {}
    for video, start, label, split, is_file in draw(st.lists(row, max_size=max_size)):
        name, end = f"video{video}", None if start is None else start + 10
        path = f"folder/{name}.mp4" if is_file else None
        rows[clip_id(name, start, end)] = (name, start, end, label, split, path)
    columns = list(zip(*((key, *row) for key, row in rows.items()), strict=True)) or [()] * len(COLUMNS)
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype="float64" if name.startswith("time") else object)
            for name, values in zip(COLUMNS, columns, strict=True)
        }
    )


@st.composite
def asked(draw) -> tuple[pd.DataFrame, dict[str, str], set[str]]:
    """A table, outcomes of some of its clips, and the clips that lie in local sources."""
    table = draw(tables())
    ids = list(table["clip_id"])
    outcomes = draw(st.dictionaries(st.sampled_from(ids), st.sampled_from(sorted(OUTCOMES)))) if ids else {}
    local = draw(st.sets(st.sampled_from(ids))) if ids else set()
    return table, outcomes, local


def planned(table, outcomes=None, local=frozenset(), next_shard=None, **chosen) -> Plan:
    return make_plan(
        table,
        outcomes=outcomes or {},
        settings=PlanSettings(**chosen),
        held_locally=lambda clips: {clip.clip_id for clip in clips if clip.clip_id in local},
        next_shard=next_shard or {},
    )


def rows(*clips: tuple[str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(clip_id(v, s, s + 10), v, float(s), s + 10.0, "run", split) for v, s, split in clips], columns=COLUMNS[:-1]
    )


shard_sizes = st.integers(1, 7)
unhurried = settings(deadline=None, max_examples=60)


@given(asked(), shard_sizes)
@unhurried
def test_every_clip_without_an_outcome_is_in_exactly_one_shard(case, size):
    table, outcomes, local = case
    plan = planned(table, outcomes, local, clips_per_shard=size)
    clips = [clip for shard in plan.shards() for clip in shard.clips]
    assert Counter(clip.clip_id for clip in clips) == Counter(set(table["clip_id"]) - outcomes.keys())
    assert len(set(plan.shard_names())) == len(list(plan.shards()))


@given(asked(), shard_sizes)
@unhurried
def test_a_shard_has_one_split_one_kind_of_source_and_at_most_its_size(case, size):
    table, outcomes, local = case
    for shard in planned(table, outcomes, local, clips_per_shard=size).shards():
        assert 1 <= len(shard.clips) <= size
        assert {clip.split for clip in shard.clips} == {shard.name.rsplit("-", 1)[0]}
        assert {clip.clip_id in local for clip in shard.clips} == {shard.local}


def test_a_shard_is_filled_before_the_next_is_begun():
    rows = [(f"video{n}", f"video{n}", 0.0, 10.0, "run", "train", None) for n in range(12)]
    shards = planned(pd.DataFrame(rows, columns=COLUMNS), clips_per_shard=4).shards()
    assert [len(shard.clips) for shard in shards] == [4, 4, 4]


@given(asked(), shard_sizes)
@unhurried
def test_a_video_is_in_one_shard_of_its_split_and_kind_unless_it_has_more_clips_than_that(case, size):
    table, outcomes, local = case
    shards = list(planned(table, outcomes, local, clips_per_shard=size).shards())
    clips_of_video = Counter((c.video_id, c.split, s.local) for s in shards for c in s.clips)
    shards_of_video = Counter(key for s in shards for key in {(c.video_id, c.split, s.local) for c in s.clips})
    for key, clips in clips_of_video.items():
        assert shards_of_video[key] == -(-clips // size)
    for shard in shards:
        videos = [clip.video_id for clip in shard.clips]
        assert len(set(videos)) == 1 + sum(a != b for a, b in pairwise(videos))


@given(asked(), shard_sizes, st.randoms(use_true_random=False))
@unhurried
def test_the_same_input_in_any_order_of_rows_gives_the_same_bytes(case, size, random):
    table, outcomes, local = case
    order = list(range(len(table)))
    random.shuffle(order)
    again = planned(table.iloc[order], dict(reversed(outcomes.items())), local, clips_per_shard=size)
    first = planned(table, outcomes, local, clips_per_shard=size)
    assert first.to_parquet_bytes() == again.to_parquet_bytes()


@given(asked(), shard_sizes)
@unhurried
def test_a_plan_survives_being_written_and_gives_back_the_clips_that_were_asked(case, size):
    table, outcomes, local = case
    plan = planned(table, outcomes, local, clips_per_shard=size)
    again = Plan.from_parquet_bytes(plan.to_parquet_bytes())
    assert again.table.equals(plan.table)
    assert again.table.schema.equals(SCHEMA)
    left = table[~table["clip_id"].isin(outcomes)].set_index("clip_id").sort_index()
    given_back = again.frame()[COLUMNS].set_index("clip_id").sort_index()
    pd.testing.assert_frame_equal(left, given_back, check_index_type=False)


@given(asked(), st.integers(1, 20), st.integers(1, 20))
@unhurried
def test_a_larger_limit_adds_to_a_smaller_one(case, one, other):
    table, _, local = case
    small, large = sorted((one, other))
    few = set(planned(table, local=local, limit=small).clip_ids())
    many = set(planned(table, local=local, limit=large).clip_ids())
    assert few <= many
    assert len(few) == min(small, len(table))


@given(asked(), st.integers(1, 20) | st.none())
@unhurried
def test_the_same_command_after_it_is_done_plans_nothing(case, limit):
    table, outcomes, local = case
    done = outcomes | dict.fromkeys(planned(table, outcomes, local, limit=limit).clip_ids(), "gone")
    assert len(planned(table, done, local, limit=limit)) == 0
    assert planned(table, done, local, limit=limit).shard_names() == []


@given(asked(), st.data())
@unhurried
def test_runs_with_any_selection_and_sources_leave_every_clip_in_exactly_one_plan(case, data):
    table, _, _ = case
    outcomes: dict[str, str] = {}
    next_shard: dict[str, int] = {}
    seen: list[str] = []
    names: list[str] = []
    for last in (False, False, False, True):
        local = data.draw(st.sets(st.sampled_from(list(table["clip_id"])))) if len(table) else set()
        limit = None if last else data.draw(st.none() | st.integers(1, 10))
        size = data.draw(shard_sizes)
        present = sorted(set(table["split"]))
        splits = None if last or not present else data.draw(st.none() | st.sets(st.sampled_from(present), min_size=1))
        plan = planned(table, outcomes, local, next_shard, limit=limit, clips_per_shard=size, splits=splits)
        seen += plan.clip_ids()
        names += plan.shard_names()
        outcomes |= dict.fromkeys(plan.clip_ids(), "ok")
        for name in plan.shard_names():
            split, number = name.rsplit("-", 1)
            assert int(number) == next_shard.get(split, 0)
            next_shard[split] = int(number) + 1
    assert Counter(seen) == Counter(table["clip_id"])
    assert len(names) == len(set(names))


@given(asked(), st.sets(st.sampled_from(sorted(OUTCOMES - {"ok", "withdrawn"}))))
@unhurried
def test_only_the_outcomes_named_are_tried_again(case, retry):
    table, outcomes, local = case
    plan = planned(table, outcomes, local, retry=retry)
    assert set(plan.clip_ids()) == {c for c in table["clip_id"] if outcomes.get(c) in {None, *retry}}


@given(asked())
@unhurried
def test_all_retries_everything_but_ok_and_withdrawn(case):
    table, outcomes, local = case
    plan = planned(table, outcomes, local, retry={"all"})
    assert set(plan.clip_ids()) == {c for c in table["clip_id"] if outcomes.get(c) not in ("ok", "withdrawn")}


@given(tables())
@unhurried
def test_local_sources_are_asked_only_of_clips_that_are_to_be_done(table):
    done = dict.fromkeys(table["clip_id"][::2], "ok")
    asked_of: list[str] = []

    def held_locally(clips):
        asked_of.extend(clip.clip_id for clip in clips)
        return set()

    plan = make_plan(table, outcomes=done, settings=PlanSettings(), held_locally=held_locally, next_shard={})
    assert sorted(asked_of) == sorted(plan.clip_ids())


def test_classes_and_splits_select_and_validate_means_val():
    table = rows(("a", 0, "train"), ("b", 0, "val"), ("c", 0, "val"))
    table.loc[2, "label"] = "walk"
    assert planned(table, splits=["validate"], classes=["walk"]).clip_ids() == [clip_id("c", 0, 10)]


def test_the_order_of_videos_is_not_that_of_the_file_and_never_changes():
    plan = planned(rows(*((name, 0, "train") for name in "abcdef")))
    assert [name[0] for name in plan.clip_ids()] == ORDER_OF_A_TO_F


ORDER_OF_A_TO_F = list("dbeafc")
"""The order as first released. A dataset grows in this order over many runs, so it is part of the contract."""


def test_a_video_with_more_clips_than_a_shard_fills_shards_of_its_own_in_order_of_time():
    shards = list(planned(rows(*(("a", 10 * i, "train") for i in range(7))), clips_per_shard=3).shards())
    assert [[clip.time_start for clip in shard.clips] for shard in shards] == [[0, 10, 20], [30, 40, 50], [60]]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"limit": 0}, "limit is 0; allowed: 1 or more"),
        ({"clips_per_shard": 0}, "clips_per_shard is 0"),
        ({"retry": ["nework"]}, "retry names 'nework'; allowed: all, age_restricted"),
        ({"retry": ["ok"]}, "retry names 'ok'"),
        ({"retry": ["withdrawn"]}, "retry names 'withdrawn'"),
        ({"splits": ["dev"]}, "split 'dev' is not in the annotations; allowed: train, val"),
        ({"classes": ["runn"]}, "class 'runn' is not in the annotations; allowed: run"),
        ({"classes": []}, "no class is named"),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_one_line(chosen, message):
    with pytest.raises(UserError, match=message) as error:
        planned(rows(("a", 0, "train"), ("b", 0, "val")), **chosen)
    assert "\n" not in str(error.value)


def test_a_mistyped_class_among_many_is_answered_with_its_neighbours():
    table = rows(*((f"v{i}", 0, "train") for i in range(40)))
    table["label"] = [f"juggling {i}" if i else "archery" for i in range(40)]
    with pytest.raises(UserError, match=r"class 'archerry' is not in the annotations; did you mean 'archery'\?"):
        planned(table, classes=["archerry"])


def packed_plan(rows: int, text: str) -> bytes:
    columns = {
        field.name: pa.repeat(pa.scalar(text if field.type == pa.string() else 0, field.type), rows) for field in SCHEMA
    }
    stream = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), stream, compression="zstd")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("rows", "text", "says"),
    [
        (20_000, "a" * 50, r"it has 20000 rows; allowed: up to 10000"),
        (9_000, "a" * 5_000, r"it has \d+ bytes unpacked; allowed: up to 1000000"),
        (1, "a" * 2_000_000, r"it has \d+ bytes unpacked; allowed: up to 1000000"),
    ],
)
def test_a_strangers_plan_that_unpacks_to_too_much_is_a_line(monkeypatch, rows, text, says):
    data = packed_plan(rows, text)
    assert len(data) < 20_000
    assert len(plan.read_columns(data)) == rows
    monkeypatch.setattr(plan, "MOST_ROWS", 10_000)
    monkeypatch.setattr(plan, "MOST_BYTES", 1_000_000)
    with pytest.raises(ValueError, match=says) as error:
        plan.Plan.from_parquet_bytes(data)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_plan_are_a_value_error():
    with pytest.raises(ValueError, match="no plan"):
        Plan.from_parquet_bytes(b"PAR1 no")
    whole = planned(rows(("a", 0, "train"))).to_parquet_bytes()
    with pytest.raises(ValueError, match="no plan"):
        Plan.from_parquet_bytes(whole[:-9])


def test_the_estimate_is_that_of_the_measured_clip():
    """A clip of 10 s measured 4.13 MB of RGB and 1.5 MB of flow; raw it is 250 x 256 x 341.3 x (3 + 2) bytes."""
    table = rows(("a", 0, "train"), ("a", 10, "train"), ("b", 0, "train"), ("c", 0, "train"))
    plan = planned(table, local={clip_id("c", 0, 10)})
    told = estimate(plan, 0.5, Recipe())
    assert (told.clips, told.videos, told.network_videos, told.shards) == (4, 3, 2, 2)
    assert told.clips_by_source == {"local": 1, "network": 3}
    assert told.bytes == pytest.approx(4 * 5.63e6)
    assert told.days == pytest.approx(4 / 24)
    assert told.fetched == 3 * (10 + 7) * 75_000 + 2 * 65536  # of each video the head, in which its index is
    assert estimate(plan, 1, Recipe(flow="none", fps=12.5, short_side=128)).bytes == pytest.approx(4 * 4.13e6 / 8)
    assert estimate(plan, 1, Recipe(layout="array")).bytes == pytest.approx(4 * 250 * 256 * 341.33 * 5, rel=1e-4)
    assert estimate(planned(table, dict.fromkeys(table["clip_id"], "ok")), 300, Recipe()).bytes == 0


def reference(table: pd.DataFrame, local: set[str], clips_per_shard: int) -> list[list[str]]:
    """The clips of each shard: one video after the other into the open shard of its split and kind of source."""
    shards: list[list[str]] = []
    opened: dict[tuple[str, bool], list[str]] = {}

    def order(row) -> tuple[bytes, float, float]:
        video = hashlib.blake2b(row.video_id.encode(), digest_size=16, key=fixed_order.SEED).digest()
        return video, *(-1 if math.isnan(one) else one for one in (row.time_start, row.time_end))

    for _, video in groupby(sorted(table.itertuples(), key=order), key=lambda row: row.video_id):
        kinds: dict[tuple[str, bool], list[str]] = {}
        for row in video:
            kinds.setdefault((row.split, row.clip_id in local), []).append(row.clip_id)
        for kind, clips in kinds.items():
            shard = opened.get(kind)
            if shard is not None and len(shard) + len(clips) <= clips_per_shard:
                shard += clips
            else:
                shards += [clips[k : k + clips_per_shard] for k in range(0, len(clips), clips_per_shard)]
                opened[kind] = shards[-1]
    return shards


@given(asked(), shard_sizes)
@unhurried
def test_shards_are_those_of_one_video_after_the_other(case, clips_per_shard: int):
    table, _, local = case
    made = planned(table, local=local, clips_per_shard=clips_per_shard)
    found = [[clip.clip_id for clip in shard.clips] for shard in made.shards()]
    assert found == reference(table, local, clips_per_shard)


@given(asked())
@unhurried
def test_a_plan_is_the_same_of_a_dataframe_and_of_arrow_columns(case):
    table, outcomes, local = case
    columns, known = as_columns(table), outcome_table(outcomes)
    assert planned(columns, known, local).to_parquet_bytes() == planned(table, outcomes, local).to_parquet_bytes()
    pd.testing.assert_frame_equal(as_frame(columns), table)
    assert list(clips_of(columns)) == list(clips_of(table))


@given(st.lists(st.none() | st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefghij")))
def test_ids_are_found_among_known_ones_as_arrow_finds_them(ids: list[str | None], known: set[str]):
    columns = [pa.chunked_array([pa.array(list(some), pa.string())]) for some in (ids, known)]
    assert among(*columns).to_pylist() == pc.is_in(columns[0], columns[1]).to_pylist()


@given(st.lists(st.sampled_from("abcdefgh")))
def test_different_videos_are_counted_as_a_set_counts_them(ids: list[str]):
    assert count_different(pa.chunked_array([pa.array(ids, pa.string())])) == len(set(ids))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b_c", "-"]),
            st.none() | st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)),
        )
    )
)
def test_ids_of_many_clips_are_those_of_each(clips: list[tuple[str, tuple[int, int] | None]]):
    times = [(np.nan, np.nan) if times is None else tuple(time / 1000 for time in times) for _, times in clips]
    starts, ends = np.array(times, float).reshape(-1, 2).T
    videos = [video for video, _ in clips]
    alone = [clip_id(v) if times is None else clip_id(v, *(t / 1000 for t in times)) for v, times in clips]
    assert clip_ids(pa.array(videos, pa.string()), starts, ends).to_pylist() == alone
