"""What the benchmark of layouts says of a form follows from what is stored in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.benchmarks.layouts import (
    EXACT,
    FORMS,
    PARQUET,
    VIDEO,
    Form,
    bars,
    compare_features,
    fitted_network,
    store,
    table_of,
)
from tests.builders.clips import drawn_frames

POOR = "parquet q5"


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Form]:
    folder: Path = tmp_path_factory.mktemp("forms")
    asked = {EXACT: FORMS[EXACT], PARQUET: FORMS[PARQUET], VIDEO: FORMS[VIDEO]}
    asked[POOR] = Recipe(flow="none", rgb_quality=5)
    found = store(folder, (drawn_frames(number, 16) for number in (1, 2)), asked)
    network = fitted_network(folder, frames=16, crop=32)
    assert compare_features(folder, found, network, frames=16, crop=32) > 0
    return found


def test_uncompressed_frames_are_what_the_others_are_held_against(forms: dict[str, Form]) -> None:
    assert forms[EXACT].psnr() == "exact"
    assert forms[EXACT].cosines == pytest.approx([1, 1], abs=1e-6)
    assert forms[EXACT].change == 0


def test_the_poorer_picture_is_seen_as_another_and_takes_fewer_bytes(forms: dict[str, Form]) -> None:
    assert float(forms[PARQUET].psnr()) > float(forms[POOR].psnr())
    assert min(forms[PARQUET].cosines) > max(forms[POOR].cosines)
    assert forms[PARQUET].change < forms[POOR].change
    assert sum(forms[EXACT].sizes) > sum(forms[PARQUET].sizes) > sum(forms[VIDEO].sizes)
    assert table_of(forms, 1.0).row_count == 4


def test_the_bars_are_a_share_of_the_bytes_and_of_the_time() -> None:
    jpegs, video = Form(FORMS[PARQUET], sizes=[100, 300]), Form(FORMS[VIDEO], sizes=[40, 79])
    jpegs.loading, video.loading = [1.0, 2.0, 4.0], [2.0, 4.4, 9.0]
    assert [(number, reached) for _, number, reached in bars({PARQUET: jpegs, VIDEO: video})] == [
        (pytest.approx(0.2975), True),
        (pytest.approx(2.2), True),
    ]
    video.sizes[0], video.loading[1] = 60, 4.5
    assert [reached for *_, reached in bars({PARQUET: jpegs, VIDEO: video})] == [False, False]
