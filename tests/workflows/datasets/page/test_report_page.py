"""`report --html`, `--json` and `--by class`: counts against the records, and the page in a real browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, Record, clip_id
from kinetics_pipeline.shards.clip_rows import encode_clip
from kinetics_pipeline.shards.writer import write_shard
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.datasets.page.facts import MOST_FAILURES, facts_of
from kinetics_pipeline.workflows.datasets.page.write import page
from tests.builders.clips import built, drawn_frames
from tests.builders.runs import written_run

HOSTILE = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
CLASSES = ["juggling", "surfing", HOSTILE]


def made(folder: Path, count: int = 30) -> Dataset:
    """Clips of three classes: of the second class two in three are gone; videos of 25 and 12.5 fps."""
    dataset = Dataset.create(folder, Recipe(short_side=32, flow="none"), CLASSES, {"a.csv": "00"})
    items = []
    for number in range(count):
        label, name = CLASSES[number % 3], f"v{number:03d}"
        clip = Clip(clip_id(name, 0, 2), name, 0, 2, label, "train")
        if label == "surfing" and number % 9 != 1:
            record, rows = Record(*dataclasses.astuple(clip)[:5], "gone", f"removed: {HOSTILE}"), b""
        else:
            rows = encode_clip(clip.clip_id, number % 3, drawn_frames(number, 4, 32, 40), None, dataset.recipe)
            facts = {"source_fps": 12.5 if number % 2 else 25.0, "source_width": 640, "source_height": 360}
            repeated = 2 if number % 2 else 0
            record = Record(*dataclasses.astuple(clip)[:5], "ok", source="folder", frames=4, repeated=repeated, **facts)
        items.append((record.at(1_790_000_000 + 60 * number), rows))
    write_shard(
        dataset.store,
        name="train-00000",
        plan="00000",
        clips=items,
        recipe=dataset.recipe,
        classes=CLASSES,
        scratch=folder.parent / "scratch",
        still_current=lambda: True,
    )
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with a run beside it, and the log of its build."""
    folder = tmp_path_factory.mktemp("page")
    dataset = made(folder / "dataset")
    written_run(folder / "runs" / f"run {HOSTILE.replace('/', ' ')}", dataset, HOSTILE)
    return dataset


def test_the_facts_count_what_the_records_say(dataset: Dataset) -> None:
    facts, records = facts_of(dataset), list(dataset.records().values())
    by_class = {one["label"]: one for one in facts["classes"]}
    for label in CLASSES:
        outcomes = Counter(record.outcome for record in records if record.label == label)
        asked = {"label": label, "asked": outcomes.total(), "ok": outcomes.pop("ok"), "failed": dict(outcomes)}
        assert by_class[label] == asked
    assert facts["classes"][0]["label"] == "surfing"
    rates = Counter(f"{record.source_fps:g}" for record in records if record.source_fps)
    assert {one["value"]: one["clips"] for one in facts["source_rates"]["most"]} == rates
    assert facts["repeated"]["frames"] == sum(record.repeated or 0 for record in records)
    assert sum(facts["timeline"]["ok"]) == sum(record.outcome == "ok" for record in records)
    assert sum(facts["timeline"]["failed"]) == len(facts["failures"]) == sum(r.outcome != "ok" for r in records)
    assert [shard["fault"] for shard in facts["shard_list"]] == [""]


def test_a_dataset_from_before_says_that_rate_size_and_time_are_not_recorded(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[3] / "data" / "schema_1_parquet", tmp_path / "old")
    facts = facts_of(Dataset.open(folder))
    assert facts["source_rates"] == {"most": [], "others": 0, "not_recorded": facts["ok"]}
    assert facts["timeline"]["not_recorded"] == facts["clips"]
    assert "Repeated frames are not recorded" in page(facts)


def test_withdrawn_clips_are_counted_and_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = built(tmp_path / "dataset", 6)
    (tmp_path / "ids.txt").write_text("v002\n")
    assert cli(["tools", "forget", dataset.store.uri, "--ids", str(tmp_path / "ids.txt"), "--reason", "asked"]) == 0
    facts = facts_of(dataset)
    assert {one["outcome"]: one["clips"] for one in facts["outcomes"]}["withdrawn"] == 1
    assert "v002" not in json.dumps(facts)


def test_where_no_clip_failed_the_page_says_so_in_a_line(tmp_path: Path) -> None:
    text = page(facts_of(built(tmp_path / "dataset", 3, recipe=Recipe(short_side=48, flow="none"))))
    assert "<p>No clip failed.</p>" in text
    assert 'data-table="failures"' not in text


def test_the_page_reads_the_markers_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from kinetics_pipeline.dataset import dataset as module

    read: list[str] = []
    parse = module.parse_marker
    monkeypatch.setattr(module, "parse_marker", lambda name, data: read.append(name) or parse(name, data))
    facts_of(dataset)
    assert len(read) == len(dataset.marker_names())


def test_a_shard_whose_file_is_cut_short_is_named(tmp_path: Path) -> None:
    dataset = built(tmp_path / "dataset", 8)
    file = tmp_path / "dataset" / "shards" / "train-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    faults = {one["shard"]: one["fault"] for one in facts_of(dataset)["shard_list"]}
    assert faults["train-00000"] == ""
    assert "bytes" in faults["train-00001"]


def test_json_and_by_class_print_the_same_facts(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["report", dataset.store.uri, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    facts = facts_of(dataset)
    assert {**document, "written": ""} == {**json.loads(json.dumps(facts)), "written": ""}
    assert cli(["report", dataset.store.uri, "--by", "class"]) == 0
    rows = [re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["surfing", "10", "4", "40.0%", "gone 6"]


@pytest.mark.parametrize("name", ["report.pdf", "report", "missing/report.html"])
def test_a_page_that_cannot_be_written_is_refused_at_once(
    name: str, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", dataset.store.uri, "--html", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith(f"kinetics-pipeline: --html is {tmp_path / name}")


def test_failures_are_bounded_and_every_outcome_has_some(dataset: Dataset) -> None:
    import pandas as pd

    from kinetics_pipeline.workflows.datasets.page.facts import _failures

    ids = pa.chunked_array([[f"c{k}" for k in range(9000)]])
    rows = {"label": [f"l{k % 7}" for k in range(9000)], "split": "train"}
    outcomes = ["gone"] * 8990 + ["private"] * 10
    told = _failures(pd.DataFrame(rows | {"outcome": outcomes, "detail": "x" * 5000}), ids)
    assert {f"c{8990 + k}" for k in range(10)} <= {one["clip_id"] for one in told}
    assert len(told) == MOST_FAILURES
    assert Counter(one["outcome"] for one in told)["private"] == 10
    assert max(len(one["detail"]) for one in told) == 500


# In a browser


@pytest.fixture
def opened(browser: Any, dataset: Dataset, tmp_path: Path) -> Iterator[Any]:
    """The page in a browser without a network; whatever it complains of is an error of the test."""
    assert cli(["report", dataset.store.uri, "--html", str(tmp_path / "report.html")]) == 0
    context = browser.new_context(offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: complaints.append(request.url) if "report.html" not in request.url else None)
    tab.goto((tmp_path / "report.html").as_uri())
    yield tab
    context.close()
    assert complaints == []


def first_cells(tab: Any, name: str) -> list[str]:
    return list(tab.locator(f"[data-table={name}] tbody th").all_inner_texts())


def test_classes_are_sorted_worst_first_by_each_column_and_searched(opened: Any) -> None:
    assert first_cells(opened, "classes")[0] == "surfing"
    opened.locator("[data-table=classes]").get_by_role("button", name="Class").click()
    assert first_cells(opened, "classes") == [HOSTILE, "juggling", "surfing"]
    opened.locator("[data-table=classes]").get_by_role("button", name="Class").press("Enter")
    assert first_cells(opened, "classes") == ["surfing", "juggling", HOSTILE]
    opened.locator("[data-table=classes] input").fill("JUGG")
    assert first_cells(opened, "classes") == ["juggling"]
    assert opened.locator("[data-table=classes] [role=status]").inner_text() == "1 of 1 classes"


def test_labels_and_reasons_from_outside_are_text(opened: Any) -> None:
    assert opened.evaluate("window.hurt") is None
    assert opened.locator("img[onerror]").count() == 0
    assert HOSTILE in opened.locator("#runs").inner_text()
    assert HOSTILE in opened.locator("[data-table=failures]").inner_text()
    assert opened.evaluate("document.querySelectorAll('script').length") == 6


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window_and_the_chart_is_drawn(opened: Any, width: int, scheme: str) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    opened.emulate_media(color_scheme=scheme)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value)"
    assert opened.locator("[data-timeline] canvas").evaluate(drawn)
    assert opened.locator(".curve canvas").count() == 2
    assert opened.locator(".bar").count() >= 4


def test_a_run_beside_the_dataset_has_its_curves_and_its_confusions(opened: Any) -> None:
    words = opened.locator(".curve [role=img]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert words[0] == "training: 3.000 at step 1, 1.000 at step 3; validation: 2.500 at step 3, 2.500 at step 3"
    assert "validation: 60.0 % at step 3" in words[1]
    opened.locator("[data-confusion] summary").click()
    rows = opened.locator("[data-confusion] tbody tr").all_inner_texts()
    assert [re.split(r"\t", row) for row in rows] == [
        ["juggling", HOSTILE, "3", "75.0 %"],
        ["surfing", "juggling", "1", "20.0 %"],
    ]
    opened.locator(".matrix").hover(position={"x": 5, "y": 5})
    opened.get_by_text("juggling, taken for itself: 1 clips").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    opened.emulate_media(color_scheme=scheme)
    opened.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    found = axe.run(opened).response
    assert len(found["passes"]) > 10
    assert [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")] == []
