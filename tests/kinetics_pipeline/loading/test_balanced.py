"""A few clips of every class, the same ones whenever they are chosen."""

from collections import Counter

import pyarrow as pa
import pytest

from kinetics_pipeline.loading.balanced import balanced

CLASSES = {0: 40, 1: 2, 2: 9}
IDS = [(f"video{of}-{number}", of) for of, count in CLASSES.items() for number in range(count)]


def index_of(rows):
    return pa.table({"clip_id": [clip for clip, _ in rows], "class": [of for _, of in rows]})


@pytest.mark.parametrize(
    ("most", "expected"),
    [(2, {(1, 1)}), (6, {(2, 2, 2)}), (7, {(2, 2, 3)}), (11, {(2, 4, 5)}), (99, {(2, 9, 40)})],
)
def test_classes_have_as_many_clips_and_those_that_have_fewer_give_all(most, expected):
    chosen = balanced(index_of(IDS), most)
    counts = Counter(dict(IDS)[clip] for clip in chosen)
    assert tuple(sorted(counts.values())) in expected
    assert len(set(chosen)) == len(chosen)


def test_the_choice_depends_on_ids_and_seed_alone():
    chosen = balanced(index_of(IDS), 9, seed=1)
    assert balanced(index_of(IDS[::-1]), 9, seed=1) == chosen
    assert balanced(index_of(IDS), 9, seed=2) != chosen
    assert set(chosen) < set(balanced(index_of(IDS), 15, seed=1))
