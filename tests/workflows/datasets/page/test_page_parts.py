"""Parts of the page: runs, the log of builds, pictures of clips, and classes beside published counts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from kinetics_pipeline.annotations.published_classes import PublishedClasses, published_classes
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.building.cache_folders import CacheFolders
from kinetics_pipeline.workflows.building.watch.event_log import EventLog, Line, log_folder
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.datasets.page.facts import facts_of
from kinetics_pipeline.workflows.datasets.page.media import _small
from kinetics_pipeline.workflows.datasets.page.runs import MOST_POINTS, find_runs, run_facts
from kinetics_pipeline.workflows.datasets.page.write import page
from tests.builders.clips import built
from tests.builders.runs import CONFUSION, written_run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("parts") / "data" / "set", 6)


def test_runs_are_found_beside_the_dataset_that_they_were_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    beside = Path(dataset.store.uri).parent
    mine = [written_run(beside / "rgb", dataset), written_run(beside / "runs" / "flow", dataset, "flow")]
    other = written_run(beside / "other", dataset)
    config = json.loads((other / "config.json").read_text())
    config["dataset"]["uri"] = str(tmp_path / "elsewhere")
    (other / "config.json").write_text(json.dumps(config))
    (beside / "odd").mkdir()
    (beside / "odd" / "config.json").write_text("[]")
    assert sorted(find_runs(dataset)) == sorted(mine)
    told = run_facts(mine[0], facts_of(dataset)["fingerprint"])
    assert told["trained_on"] == "the dataset as it is now"
    assert (told["steps"], len(told["training"]), told["validation"]) == (3, 3, [[3, 2.5, 0.6]])
    (score,) = told["results"][0]["scores"]
    assert sorted(map(tuple, score["cells"])) == [
        (true, said, clips) for true, row in enumerate(CONFUSION) for said, clips in enumerate(row) if clips
    ]


def test_results_beside_the_dataset_belong_to_the_run_that_they_name(dataset: Dataset, tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name, dataset) for name in ("one", "two")]
    results = json.loads((runs[0] / "evaluation-val.json").read_text())
    results["checkpoints"] = {"rgb": {"path": str(runs[0] / "checkpoints" / "best.pt")}}
    (tmp_path / "all.json").write_text(json.dumps(results))
    beside = [tmp_path / "all.json"]
    told = [run_facts(run, None, beside)["results"] for run in reversed(runs)]
    assert beside == []
    assert [[one["name"] for one in results] for results in told] == [["evaluation-val"], ["evaluation-val", "all"]]


def test_curves_are_bounded_and_keep_their_last_step(dataset: Dataset, tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", dataset)
    lines = [{"kind": "step", "step": step, "loss": None if step == 7 else 1.5, "top1": 0.5} for step in range(1, 3001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    points = run_facts(run)["training"]
    assert len(points) <= MOST_POINTS
    assert points[-1] == [3000, 1.5, 0.5]
    assert {point[1] for point in points} == {1.5}


@pytest.mark.parametrize("text", ["{}", "no json", '{"dataset": {"fingerprint": 3}, "config": {}}'])
def test_a_folder_that_is_not_a_run_is_named(
    text: str, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(text)
    flags = ["--html", str(tmp_path / "report.html"), "--run", str(tmp_path)]
    assert cli(["report", dataset.store.uri, *flags]) == 2
    assert capsys.readouterr().err.startswith(f"kinetics-pipeline: {tmp_path}/config.json cannot be read: ")


def test_results_whose_confusion_is_of_other_classes_are_left_out(dataset: Dataset, tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", dataset)
    file = run / "evaluation-val.json"
    file.write_text(file.read_text().replace("[1, 0, 3]", "[1, 0]"))
    assert run_facts(run)["results"] == []


def test_pauses_and_ends_come_from_the_log_of_the_builds(dataset: Dataset, tmp_path: Path) -> None:
    assert facts_of(dataset, cache=tmp_path)["timeline"]["events"] is None
    log = EventLog(log_folder(tmp_path, CacheFolders.of_dataset(tmp_path, dataset).root.name), file_bytes=200)
    pause = Line("2026-11-28T10:00:00.000Z", "paused", lane="youtube", detail="rate", until="2026-11-28T11:30:00.000Z")
    for line in (pause, Line("2026-11-28T10:00:01Z", "finished", clip="paused"), Line("soon", "ended")):
        log.write([line])
    log.write([Line("2026-11-28T12:00:00Z", "ended", detail="finished")])
    begins = 1_795_860_000
    assert facts_of(dataset, cache=tmp_path)["timeline"]["events"] == [
        {"event": "paused", "begins": begins, "ends": begins + 5400, "what": "youtube, rate"},
        {"event": "ended", "begins": begins + 7200, "ends": begins + 7200, "what": "finished"},
    ]


def test_a_page_shows_flow_and_frames_only_if_asked_to(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert cli(["report", dataset.store.uri, "--html", str(file)]) == 0
    without = file.read_text()
    assert cli(["report", dataset.store.uri, "--html", str(file), "--with-media"]) == 0
    with_media = file.read_text()
    assert without.count('alt="Flow of ') == with_media.count('alt="Flow of ') == 6
    assert without.count('alt="Frames of ') == 0
    assert with_media.count('alt="Frames of ') == 6
    first = re.search(r'alt="Frames of', with_media)
    assert first is not None
    address = with_media[: first.start()].rpartition("base64,")[2].rstrip('" ')
    picture = simplejpeg.decode_jpeg(base64.b64decode(address))
    assert picture.shape == (48, 64, 3)  # as in the shards: only wider pictures become smaller
    assert np.ptp(picture) > 100


def test_the_page_stays_small_whatever_is_told(dataset: Dataset) -> None:
    facts = facts_of(dataset)
    odd = "\U0001f3c3" * 5000
    classes = [{**facts["classes"][0], "label": f"{number}{odd}"} for number in range(30_000)]
    shards = [{**facts["shard_list"][0], "shard": f"train-{number:05d}"} for number in range(30_000)]
    shards[-1]["fault"] = "its file is missing"
    text = page({**facts, "classes": classes, "shard_list": shards})
    assert len(text.encode()) < 15_000_000
    shown = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    assert shown["shard_list"][0]["shard"] == "train-29999"
    assert shown["classes"][0]["label"].startswith("0\U0001f3c3")
    left = 30_000 - len(shown["classes"])
    assert f"{left:,} more are not shown here" in text


def test_a_withdrawn_clip_has_no_picture(tmp_path: Path) -> None:
    made = built(tmp_path / "dataset", 4)
    (tmp_path / "ids.txt").write_text("v002\n")
    assert cli(["tools", "forget", made.store.uri, "--ids", str(tmp_path / "ids.txt"), "--reason", "asked"]) == 0
    file = tmp_path / "report.html"
    assert cli(["report", made.store.uri, "--html", str(file), "--with-media"]) == 0
    assert file.read_text().count('alt="Flow of ') == 3
    assert "v002" not in file.read_text()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--with-media", "--json"], "--with-media is given without --html"),
        (["--run", "x"], "--run is given without --html, --json or --serve"),
        (["--serve", "--with-media"], "--with-media is given without --html"),
    ],
)
def test_a_flag_that_nothing_would_come_of_is_refused(
    flags: list[str], told: str, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", dataset.store.uri, *flags]) == 2
    assert capsys.readouterr().err.startswith(f"kinetics-pipeline: {told}")


def test_classes_of_a_published_list_are_held_against_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts_of(dataset)["published"] is None
    digest = hashlib.sha256(b"left\nright\nup").hexdigest()
    known = PublishedClasses("Kinetics-3", digest, (2, 9), "https://arxiv.org/abs/0")
    monkeypatch.setattr("kinetics_pipeline.annotations.published_classes.PUBLISHED_CLASSES", (known,))
    assert published_classes(["Up", "left", "_right"]) == known
    facts = facts_of(dataset)
    assert facts["published"]["clips"] == {"train": (2, 9), "val": (50, 50), "test": (100, 100)}
    assert [one["splits"] for one in facts["classes"]] == [{"train": 2, "val": 0, "test": 0}] * 3
    assert "Kinetics-3, which was published with 2 to 9 clips of each class for train, 50 clips" in page(facts)


def test_wide_pictures_become_means_of_squares_of_their_pixels() -> None:
    ramp = np.broadcast_to(np.arange(340, dtype=np.uint8)[None, :, None], (256, 340, 3))
    small = _small(ramp)
    assert small.shape == (128, 170, 3)
    assert small[0, 1, 0] in (2, 3)  # the mean of 2 and 3
