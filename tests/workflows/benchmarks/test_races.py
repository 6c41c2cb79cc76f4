"""Only one of several runs that race for a dataset's lease holds it."""

from pathlib import Path

import pytest

pytest.importorskip("moto.server")

from kinetics_pipeline.workflows.benchmarks.races import lease_races
from kinetics_pipeline.workflows.benchmarks.requests import BUCKET, counted_s3

ROUNDS = 5


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local disk", "S3"])
def test_of_several_that_begin_together_or_find_a_holder_dead_together_one_holds(store: str, tmp_path: Path) -> None:
    with counted_s3():
        place = str(tmp_path) if store == "local disk" else f"s3://{BUCKET}/leases"
        winners = lease_races(place, ROUNDS, processes=3)
    assert winners == {
        "begun together": {1: ROUNDS},
        "found dead together": {1: ROUNDS},
        "renewed by the dead": {0: ROUNDS},
    }
