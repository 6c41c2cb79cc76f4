"""The cluster of the autoscaling benchmark, as far as it can be looked at without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

from kinetics_pipeline.workflows.benchmarks.autoscaling import cluster, downloads
from kinetics_pipeline.workflows.benchmarks.autoscaling.rounds import KINDS


def test_the_second_autoscaler_takes_the_configuration_without_the_file_that_rays_wheels_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    config = AutoscalingConfig(cluster._config(KINDS, "127.0.0.1:1", 15.0, launch_multiple=True))
    kinds = config.get_node_type_configs()
    assert {name: kind.resources.get("GPU", 0) for name, kind in kinds.items() if name in KINDS} == {"cpu": 0, "gpu": 1}
    assert isinstance(_get_node_provider(config.get_provider_config(), "fake"), FakeMultiNodeProvider)


@pytest.mark.parametrize("computes", [True, False])
def test_the_gpus_that_exist_by_name_only_compute_flow_while_a_file_is_there(tmp_path: Path, computes: bool) -> None:
    switch = tmp_path / "cuda"
    if computes:
        switch.touch()
    hook = cluster._FAKE_CUDA.format(switch=str(switch), slow=str(tmp_path / "slow"))
    (tmp_path / "sitecustomize.py").write_text(hook)
    code = "from kinetics_pipeline.workflows.building.placement.probe import trouble_with as t; print(t('cuda'))"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert said.stdout.strip().endswith("" if computes else "allowed here: auto, cpu, torch, opencv")
    assert bool(said.stdout.strip()) != computes


def test_a_node_is_needed_until_the_last_clip_of_its_downloads_is_processed(tmp_path: Path) -> None:
    notes = [
        {"time": 10, "event": "fetched", "node": "n", "clips": ["a", "b"]},
        {"time": 11, "event": "fetched", "node": "m", "clips": ["c"]},
        {"time": 40, "event": "processed", "node": "gpu", "clips": ["b"]},
        {"time": 30, "event": "processed", "node": "gpu", "clips": ["a"]},
    ]
    (tmp_path / "notes").write_text("".join(json.dumps(note) + "\n" for note in notes))
    assert downloads._needed(tmp_path / "notes") == {"n": 40, "m": float("inf")}
