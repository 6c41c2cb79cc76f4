"""`evaluate`: scores against a computation of their own, from the rows of the shards to the fusion of the streams."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from kinetics_pipeline.models import build_model, read_checkpoint, save_checkpoint
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.shards.clip_rows import decode_rows
from kinetics_pipeline.shards.data_file import read_clips
from kinetics_pipeline.workflows.cli.app import run
from tests.builders.motion import CLASSES, build_motion
from tests.builders.trained_streams import save_network

LOST = "val005_000000_000002"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    return build_motion(folder, splits={"train": 4, "val": 6}, count=12, lost=[LOST])


@pytest.fixture(scope="module")
def files(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {
        stream: save_network(dataset, stream, folder / stream / "checkpoints/best.pt") for stream in ("rgb", "flow")
    }


def evaluate(*arguments):
    return run(["evaluate", *map(str, arguments), "--loaders", "0"])


def expected_logits(dataset, stream, file):
    """Logits by clip id, by another way: rows of the shard, numpy for crop and scale, the network itself."""
    model = read_checkpoint(file).build().eval()
    found = {}
    for name in ("val-00000", "val-00001"):
        marker = json.loads(dataset.store.read(f"shards/{name}.json"))
        ok = [clip for clip in marker["clips"] if clip["outcome"] == "ok"]
        data = Path(dataset.store.uri) / f"shards/{name}.parquet"
        for clip, rows in zip(ok, read_clips(data, "parquet", [clip["rows"] for clip in ok]), strict=True):
            values = np.stack(list(decode_rows(rows, stream, "parquet"))).astype(np.float32)
            if stream == "rgb":
                video = (values / 127.5 - 1).transpose(3, 0, 1, 2)
            else:
                video = ((np.maximum(values, 1) - 128) / 127).transpose(1, 0, 2, 3)
            video = video[:, np.arange(16) % 12, :, 4:36]  # 12 frames of 32x40, looped to 16
            with torch.no_grad():
                found[clip["clip_id"]] = model(torch.from_numpy(video)[None]).numpy()[0]
    return found


def test_scores_are_those_of_the_networks_on_whole_clips_and_fused_streams_add_their_logits(
    dataset, files, tmp_path, capsys
):
    runs = {stream: file.parent.parent for stream, file in files.items()}
    out = tmp_path / "results.json"
    assert evaluate(dataset.store.uri, "--rgb", runs["rgb"], "--flow", runs["flow"], "--output", out) == 0
    results = json.loads(out.read_text())

    said = pq.read_table(tmp_path / "results-predictions.parquet")
    assert json.loads(said.schema.metadata[b"classes"]) == CLASSES
    rgb, flow = (expected_logits(dataset, stream, files[stream]) for stream in ("rgb", "flow"))
    assert set(rgb) == set(flow)
    assert len(rgb) == 5
    labels = {clip: CLASSES[int(clip[5]) % 4] for clip in rgb}
    for name, logits in (("rgb", rgb), ("flow", flow), ("fused", {clip: rgb[clip] + flow[clip] for clip in rgb})):
        right = [CLASSES[int(logits[clip].argmax())] == labels[clip] for clip in logits]
        rows = {row["clip_id"]: row for row in said.filter(pc.equal(said["stream"], name)).to_pylist()}
        assert {clip: row["label"] for clip, row in rows.items()} == labels
        assert [rows[clip]["predicted"] == labels[clip] for clip in logits] == right
        if name != "fused":
            assert all(rows[clip]["logits"] == pytest.approx(logits[clip], abs=1e-3) for clip in logits)
        assert results["scores"][name]["top1"] == pytest.approx(np.mean(right))
        assert results["scores"][name]["clips"] == 5
        assert np.trace(results["scores"][name]["confusion"]) == sum(right)
        assert results["scores"][name]["mean_error"] == pytest.approx(1 - (np.mean(right) + 1) / 2)
    assert results["coverage"]["asked"] == 6
    assert results["coverage"]["ok"] == 5
    assert results["coverage"]["by_class"]["left"] == {"asked": 2, "ok": 1}
    assert results["checkpoints"]["flow"]["sha256"] == hashlib.sha256(files["flow"].read_bytes()).hexdigest()
    assert set(results["dataset"]["fingerprint"]) == {"annotations", "recipe", "survivors", "content"}
    said = capsys.readouterr().out
    assert "fused (logits)" in said
    assert "5 of 6 clips" in said


def test_a_list_of_clips_chooses_them(dataset, files, tmp_path):
    (tmp_path / "clips.txt").write_text(f"val001_000000_000002\n{LOST}\n")
    out = tmp_path / "results.json"
    assert evaluate(dataset.store.uri, "--rgb", files["rgb"], "--clips", tmp_path / "clips.txt", "--output", out) == 0
    results = json.loads(out.read_text())
    assert results["scores"]["rgb"]["clips"] == 1
    assert (results["coverage"]["asked"], results["coverage"]["ok"]) == (2, 1)


def test_a_checkpoint_of_another_recipe_is_refused_unless_told(dataset, files, tmp_path, capsys):
    checkpoint = read_checkpoint(files["flow"])
    recipe = checkpoint.metadata["recipe"] | {"fps": 12.5}
    other = dataclasses.replace(checkpoint, metadata=checkpoint.metadata | {"recipe": recipe})
    save_checkpoint(other, tmp_path / "other.pt")
    arguments = (dataset.store.uri, "--flow", tmp_path / "other.pt", "--output", tmp_path / "r.json")
    assert evaluate(*arguments) == 2
    said = capsys.readouterr().err
    assert "fps 12.5" in said
    assert "--any-recipe" in said
    assert evaluate(*arguments, "--any-recipe") == 0


def test_a_recipe_that_differs_in_flow_matters_to_flow_alone(dataset, files, tmp_path):
    for stream, expected in (("rgb", 0), ("flow", 2)):
        checkpoint = read_checkpoint(files[stream])
        recipe = checkpoint.metadata["recipe"]
        recipe = recipe | {"flow_parameters": recipe["flow_parameters"] | {"tau": 0.1}}
        file = tmp_path / f"{stream}.pt"
        save_checkpoint(dataclasses.replace(checkpoint, metadata=checkpoint.metadata | {"recipe": recipe}), file)
        assert evaluate(dataset.store.uri, f"--{stream}", file, "--output", tmp_path / "r.json") == expected


def test_classes_that_the_dataset_does_not_have_are_refused(files, tmp_path, capsys):
    other = build_motion(tmp_path, splits={"val": 3}, count=12, classes=["down", "left", "right"])
    assert evaluate(other.store.uri, "--rgb", files["rgb"], "--output", tmp_path / "r.json") == 2
    assert "'up'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder: folder / "absent", "not there"),
        (lambda folder: folder, "without checkpoints"),
        (lambda folder: _written(folder / "notes.txt", b"no weights"), "not a checkpoint"),
        (lambda folder: _weights_alone(folder / "weights.pt"), "not one of our checkpoints"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(dataset, tmp_path, make, named, capsys):
    assert evaluate(dataset.store.uri, "--rgb", make(tmp_path)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert len(said.splitlines()) == 1


def test_a_stream_given_as_the_other_is_refused(dataset, files, capsys):
    assert evaluate(dataset.store.uri, "--rgb", files["flow"]) == 2
    assert "--flow" in capsys.readouterr().err


def test_flow_is_refused_where_there_is_none(files, tmp_path, capsys):
    other = build_motion(tmp_path, recipe=Recipe(short_side=32, flow="none"), splits={"val": 3}, count=12)
    assert evaluate(other.store.uri, "--flow", files["flow"], "--any-recipe") == 2
    assert "without flow" in capsys.readouterr().err


def _written(path, data):
    path.write_bytes(data)
    return path


def _weights_alone(path):
    torch.save(build_model("i3d", 4).state_dict(), path)
    return path


def test_a_place_where_no_results_can_be_written_is_refused_before_anything_is_scored(dataset, files, tmp_path, capsys):
    (tmp_path / "file").touch()
    for place, why in ((tmp_path / "file" / "r.json", "cannot be written"), (tmp_path, "is a folder")):
        assert evaluate(dataset.store.uri, "--rgb", files["rgb"], "--output", place) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--output is {place}" in line
        assert why in line


def test_several_processes_give_the_scores_of_one(dataset, files, tmp_path, capsys):
    results = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        words = ("--rgb", files["rgb"], "--views", "sliding", "--window", 16, "--mirrored", "--output", out)
        assert evaluate(dataset.store.uri, *words, "--workers", workers) == 0
        results.append(json.loads(out.read_text())["scores"])
    assert results[0] == results[1]
    assert results[0]["rgb"]["clips"] == 5


def test_more_processes_than_the_machine_has_room_for_are_refused(dataset, files, capsys):
    assert evaluate(dataset.store.uri, "--rgb", files["rgb"], "--workers", 1000) == 2
    assert "--workers is 1000; allowed on this machine" in capsys.readouterr().err


def test_the_heads_of_two_stream_are_scored_apart_and_both_footprints_are_said(dataset, tmp_path, capsys):
    file = save_network(dataset, "both", tmp_path / "both.pt", model="two_stream")
    assert evaluate(dataset.store.uri, "--both", file, "--output", tmp_path / "r.json") == 0
    results = json.loads((tmp_path / "r.json").read_text())
    assert list(results["scores"]) == ["both", "flow", "rgb"]
    by_class = results["scores"]["rgb"]["per_class"].values()
    assert results["scores"]["rgb"]["mean_class"] == pytest.approx(np.mean([v for v in by_class if v is not None]))
    footprint = {"training": "1 rgb, 10 flow, 0.4 s", "testing": "1 rgb, 10 flow, 0.4 s"}
    assert results["checkpoints"]["both"]["footprint"] == footprint
    said = capsys.readouterr().out
    assert "rgb, its head of both" in said
    assert "mean class" in said
    assert "both: trained on snippets of 1 rgb, 10 flow, 0.4 s" in said


def test_a_folder_of_safetensors_is_scored_as_the_checkpoint_that_it_was_made_of(dataset, files, tmp_path):
    assert run(["tools", "convert-checkpoint", str(files["rgb"]), str(tmp_path / "network")]) == 0
    scores = []
    for weights in (files["rgb"], tmp_path / "network"):
        assert evaluate(dataset.store.uri, "--rgb", weights, "--output", tmp_path / "r.json") == 0
        scores.append(json.loads((tmp_path / "r.json").read_text())["scores"])
    assert scores[0] == scores[1]
