"""`report --serve`: what the server gives and refuses, and the viewer in a real browser."""

from __future__ import annotations

import itertools
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.loading.selection import ids_of
from kinetics_pipeline.models.scoring.evaluation import Predictions
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import clip_id
from kinetics_pipeline.workflows.cli.app import run as cli
from kinetics_pipeline.workflows.datasets.viewer.server import ViewerServer
from kinetics_pipeline.workflows.datasets.viewer.view import PAGE, DatasetView
from tests.builders.clips import asked_clips, built, commit, planned
from tests.builders.faulty_s3 import faulty_s3, new_bucket, use_endpoint
from tests.builders.viewers import COUNT, FAILED, FRAMES, answer, asked, below, serving, stored


def frames_of(server: ViewerServer, clip: str, chunk: int) -> dict[str, list[bytes]]:
    status, _, body = answer(server, below(server, "api/frames", id=clip, chunk=chunk))
    assert status == 200, body
    (length,) = struct.unpack_from("<I", body)
    document, at, found = json.loads(body[4 : 4 + length]), 4 + length, {}
    for stream in ("rgb", "flow"):
        ends = np.cumsum([at, *document[stream]])
        found[stream] = [body[first:last] for first, last in itertools.pairwise(ends)]
        at = int(ends[-1])
    assert at == len(body)
    return found


def test_only_who_knows_the_token_and_asks_this_machine_gets_an_answer(server: ViewerServer) -> None:
    path = below(server, "api/about")
    assert answer(server, path)[0] == 200
    assert answer(server, "/")[0] == answer(server, "/api/about")[0] == answer(server, "/x" + path[1:])[0] == 404
    assert answer(server, path, Host=f"localhost:{server.port}")[0] == 200
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "", "0.0.0.0"):
        assert answer(server, path, Host=host)[0] == 403
    assert answer(server, path, Sec_Fetch_Site="cross-site")[0] == 403
    assert answer(server, path, Origin="http://evil.example")[0] == 403
    for refused in ("api/../api/about", "../viewer.js", "api", "api/none", "..%2fview.py"):
        assert answer(server, below(server, refused))[0] == 404


def test_nothing_is_allowed_to_other_origins_or_kept(server: ViewerServer) -> None:
    clip = asked(server, "api/clips")["clips"][0]["clip_id"]
    for path in ("", "viewer.js", "api/about", f"api/picture?id={clip}", "nothing"):
        _, headers, _ = answer(server, below(server, path), Origin=f"http://127.0.0.1:{server.port}")
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_hold_every_clip_once_in_the_order_of_shards(server: ViewerServer, dataset: Dataset) -> None:
    pages = [asked(server, "api/clips", first=first) for first in range(0, COUNT, PAGE)]
    assert [len(page["clips"]) for page in pages] == [PAGE, COUNT - PAGE]
    shown = [clip["clip_id"] for page in pages for clip in page["clips"]]
    assert shown == [entry["clip_id"] for marker in dataset.markers() for entry in marker.clips]


def test_clips_are_chosen_by_class_split_outcome_and_search(server: ViewerServer, dataset: Dataset) -> None:
    split_of = {entry["clip_id"]: marker.split for marker in dataset.markers() for entry in marker.clips}
    for query, fits in (
        ({"class": 1}, lambda r: r.label == "right"),
        ({"split": "val"}, lambda r: split_of[r.clip_id] == "val"),
        ({"outcome": "gone"}, lambda r: r.outcome == "gone"),
        ({"search": "RIGHT", "outcome": "gone"}, lambda r: r.label == "right" and r.outcome == "gone"),
        ({"search": "v02"}, lambda r: "v02" in r.clip_id),
        ({"search": ".*"}, lambda r: False),
        ({"class": 0, "split": "none"}, lambda r: False),
    ):
        wanted = {record.clip_id for record in dataset.records().values() if fits(record)}
        page = asked(server, "api/clips", **query)
        assert page["total"] == len(wanted)
        assert {clip["clip_id"] for clip in page["clips"]} == wanted
    counts = asked(server, "api/about")["counts"]
    assert counts["outcomes"] == {"ok": COUNT - 3, "gone": 2, "private": 1}
    assert sum(counts["asked"]) == COUNT
    assert sum(counts["ok"]) == COUNT - 3


def test_a_clip_comes_as_the_jpegs_that_the_shard_holds(server: ViewerServer, dataset: Dataset) -> None:
    clip = clip_id("v012", 12, 22)
    chunks = [frames_of(server, clip, chunk) for chunk in range(2)]
    for stream, images in stored(dataset, clip).items():
        assert [image for chunk in chunks for image in chunk[stream]] == images
        assert len(images) == FRAMES
    status, headers, picture = answer(server, below(server, "api/picture", id=clip))
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert picture == stored(dataset, clip)["rgb"][FRAMES // 2]
    told = asked(server, "api/clip", id="v012")
    assert told["record"]["clip_id"] == clip
    assert dataset.records()[clip].frames == told["record"]["frames"]
    for refused in ({"id": clip, "chunk": 2}, {"id": clip, "chunk": -1}, {"id": "x"}, {"id": clip, "chunk": "a"}):
        assert answer(server, below(server, "api/frames", **refused))[0] == 404
    assert answer(server, below(server, "api/picture", id=next(iter(FAILED))))[0] == 404


def test_arrays_are_shown_as_jpegs_of_their_values(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).parents[3] / "data" / "schema_2_array", tmp_path / "data")
    source = Dataset.open(folder)
    clip = next(name for name, record in source.records().items() if record.outcome == "ok")
    with serving(source, tmp_path / "marked.txt") as server:
        rgb = frames_of(server, clip, 0)["rgb"]
        shown = simplejpeg.decode_jpeg(rgb[0]).astype(int)
        status, _, picture = answer(server, below(server, "api/picture", id=clip))
    assert status == 200
    assert simplejpeg.decode_jpeg(picture).shape == shown.shape


def test_mistakes_come_surest_first_and_a_cell_leads_to_its_clips(
    server: ViewerServer, dataset: Dataset, run: tuple[Path, Predictions]
) -> None:
    predictions = run[1]
    guessed = predictions.logits.argmax(axis=1)
    powers = np.exp(predictions.logits.astype(np.float64))
    sure = powers.max(axis=1) / powers.sum(axis=1)
    wrong = [k for k in np.argsort(-sure, kind="stable") if guessed[k] != predictions.labels[k]]
    page = asked(server, "api/clips", scored=0, wanted="mistakes")
    assert [clip["clip_id"] for clip in page["clips"]] == [predictions.clip_ids[k] for k in wrong]
    assert [clip["predicted"] for clip in page["clips"]] == [dataset.classes[guessed[k]] for k in wrong]
    assert [clip["sure"] for clip in page["clips"]] == pytest.approx([sure[k] for k in wrong])
    right = asked(server, "api/clips", scored=0, wanted="correct")
    assert right["total"] == len(guessed) - len(wrong)
    classes = asked(server, "api/about")["scored"][0]["classes"]
    cells = asked(server, "api/cells", scored=0)["cells"]
    assert sum(clips for *_, clips in cells) == len(wrong)
    for label, predicted, clips in cells:
        cell = asked(server, "api/clips", scored=0, label=label, predicted=predicted)
        assert cell["total"] == clips
        assert {(clip["label"], clip["predicted"]) for clip in cell["clips"]} == {(classes[label], classes[predicted])}


def mark(server: ViewerServer, **change: Any) -> tuple[int, Any]:
    body = json.dumps({"add": [], "remove": [], **change})
    status, _, told = answer(
        server, below(server, "api/marks"), method="POST", body=body, Content_Type="application/json"
    )
    return status, json.loads(told)


def test_marked_clips_are_a_list_that_loader_export_and_forget_take(tmp_path: Path) -> None:
    made = built(tmp_path / "dataset", 6, recipe=Recipe(short_side=48, flow="none"))
    one, two, three = (clip.clip_id for clip in asked_clips(3))
    file = tmp_path / "marked.txt"
    with serving(made, file) as server:
        told = mark(server, add=[one, two, three])[1]
        assert told["ids"] == [one, two, three]
        assert told["commands"][0].endswith(f"--split train --rgb RUN --clips {file}")
        assert mark(server, remove=[two])[1]["ids"] == [one, three]
        for bad in ("x", ["../x y"], [3], {"a": 1}):
            assert mark(server, add=bad)[0] == 404
        assert ids_of(file) == sorted([one, three])
    with serving(made, file) as server:
        assert asked(server, "api/about")["marks"]["ids"] == [one, three]
    export = [
        "tools",
        "export",
        made.store.uri,
        "--format",
        "frames",
        "--to",
        str(tmp_path / "out"),
        "--ids",
        str(file),
    ]
    assert cli(export) == 0
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("img_00001.jpg")) == [one, three]
    assert cli(["tools", "forget", made.store.uri, "--ids", str(file), "--reason", "asked"]) == 0
    assert set(made.outcomes().items()) >= {(one, "withdrawn"), (two, "ok"), (three, "withdrawn")}


def test_a_clip_that_is_withdrawn_while_the_viewer_is_open_is_gone_at_once(tmp_path: Path) -> None:
    made = built(tmp_path / "dataset", 6, recipe=Recipe(short_side=48, flow="none"))
    gone = asked_clips(6)[2].clip_id
    (tmp_path / "ids.txt").write_text("v002\n")
    with serving(made, tmp_path / "marked.txt") as server:
        assert mark(server, add=[gone])[1]["ids"] == [gone]
        assert answer(server, below(server, "api/picture", id=gone))[0] == 200
        assert cli(["tools", "forget", made.store.uri, "--ids", str(tmp_path / "ids.txt"), "--reason", "asked"]) == 0
        for path in ("picture", "frames", "clip"):
            status, _, body = answer(server, below(server, f"api/{path}", id=gone))
            assert status == 404, body
        for path in ("clips", "about"):
            assert gone not in json.dumps(asked(server, f"api/{path}"))
        assert asked(server, "api/clips")["total"] == 5
    with serving(made, tmp_path / "marked.txt") as server:
        assert gone not in json.dumps([asked(server, "api/clips"), asked(server, "api/about")])


def test_before_the_clips_are_read_the_viewer_says_how_far_it_is(dataset: Dataset, tmp_path: Path) -> None:
    view = DatasetView(dataset, [], tmp_path / "marked.txt")
    assert not view.about()["ready"]
    for marker in dataset.markers():
        view.reading.note(marker)
    assert view.about()["read"] == len(dataset.marker_names())


def test_a_dataset_in_a_bucket_is_shown_like_one_on_a_disk(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_s3() as (endpoint, _):
        use_endpoint(monkeypatch, endpoint)
        there = Dataset.create(f"s3://{new_bucket(endpoint)}/data", Recipe(short_side=48), dataset.classes, {})
        for shard in planned(there, asked_clips(3)).shards():
            commit(there, shard.name, shard.clips)
        clip = asked_clips(3)[1].clip_id
        with serving(there, tmp_path / "marked.txt") as server:
            assert asked(server, "api/clips")["total"] == 3
            assert len(frames_of(server, clip, 2)["flow"]) == 8
            assert asked(server, "api/clip", id=clip)["record"]["frames"] == 40


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--port", "80000"], "--port is 80000"),
        (["--run", "none"], "--run is"),
        (["--marks", "none/marks.txt"], "--marks is"),
        (["--json"], "--serve goes alone"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    flags: list[str], told: str, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", dataset.store.uri, "--serve", *flags]) == 2
    assert capsys.readouterr().err.startswith(f"kinetics-pipeline: {told}")
    assert cli(["report", dataset.store.uri, "--port", "1"]) == 2


def test_a_file_that_holds_no_predictions_is_named(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "evaluation-val-predictions.parquet"
    pq.write_table(pa.table({"stream": ["rgb"]}), file)
    assert cli(["report", dataset.store.uri, "--serve", "--run", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"kinetics-pipeline: {file} cannot be read")
