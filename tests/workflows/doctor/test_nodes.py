"""What `doctor --cluster` says of the nodes of a cluster."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.doctor.nodes import NodeLook, ToReach, judged, look
from tests.builders.staying_driver import StayingDriver

HERE = {"python": "3.12.1", "kinetics-pipeline": "0.1.0", "ray": "2.60.0", "yt-dlp": "2026.10.26", "ffmpeg": "7.0.2"}
SOUND = NodeLook(HERE, free=100 << 30, gpus=0, gpu_says="", unreached=())


def test_a_sound_node_is_one_line_of_what_it_has() -> None:
    found = judged("node a", SOUND, {"CPU": 4.0}, HERE)
    assert (found.state, found.mend) == ("ok", "")
    assert found.says == "4 cores, 0 GPUs, 107.4 GB free, python 3.12.1, ray 2.60.0, ffmpeg 7.0.2"


@pytest.mark.parametrize(
    ("changed", "state", "says"),
    [
        ({"versions": {**HERE, "ray": "2.59.0"}}, "wrong", "ray 2.59.0, here 2.60.0"),
        ({"versions": {**HERE, "ffmpeg": ""}}, "wrong", "ffmpeg is missing, here 7.0.2"),
        ({"versions": {**HERE, "ffmpeg": "6.1"}}, "note", "ffmpeg 6.1, here 7.0.2"),
        ({"free": 1 << 30}, "note", "only 1.1 GB free"),
        ({"unreached": ("s3://b/d: refused",)}, "wrong", "s3://b/d: refused"),
        ({"gpu_says": "no driver"}, "wrong", "Ray counts 2 GPUs, PyTorch can use 0: no driver"),
    ],
)
def test_what_a_node_lacks_is_named_with_what_to_do(changed: dict[str, object], state: str, says: str) -> None:
    found = judged("node a", replace(SOUND, **changed), {"CPU": 4.0, "GPU": 2.0 * ("gpu_says" in changed)}, HERE)
    assert (found.state, found.says) == (state, says)
    assert found.mend


def test_a_source_is_reached_where_something_listens_or_lies(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/{{video_id}}.mp4"
        assert look(ToReach(None, (address, str(tmp_path)), tmp_path), 0).unreached == ()
    refused, missing = look(ToReach(None, (address, str(tmp_path / "none")), tmp_path), 0).unreached
    assert refused.endswith("Connection refused")
    assert missing == f"{tmp_path / 'none'}: it is not there, or cannot be read"


def test_a_place_that_is_not_the_drivers_is_told(tmp_path: Path) -> None:
    (told,) = look(ToReach(str(tmp_path / "elsewhere"), (), tmp_path, "state/doctor-1"), 0).unreached
    assert "shared storage" in told


def test_flags_for_nodes_without_a_cluster_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert run(["doctor", "--output", "data"]) == 2
    assert "--output is given without --cluster" in capsys.readouterr().err
    assert run(["doctor", "--cluster"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("names, and none is named")


@pytest.mark.slow
def test_every_node_is_looked_at_and_what_it_cannot_reach_fails(driver: StayingDriver, tmp_path: Path) -> None:
    output = str(tmp_path / "data")
    words = ["doctor", "--json", "--cluster", "--output", output, "--cache", str(tmp_path / "cache")]
    code, said = driver.run([*words, "--source", str(tmp_path)])
    (node,) = [one for one in json.loads(said)["findings"] if one["what"].startswith("node ")]
    assert code == 0, said
    assert node["state"] != "wrong"
    assert node["says"].endswith("free") or node["says"].startswith("2 cores, 0 GPUs")  # noted where the disk is small
    assert not Path(output).exists()
    code, said = driver.run([*words, "--source", str(tmp_path / "none")])
    (node,) = [one for one in json.loads(said)["findings"] if one["what"].startswith("node ")]
    assert (code, node["state"]) == (1, "wrong")
    assert f"{tmp_path / 'none'}: it is not there" in node["says"]
