"""The files for containers and clusters, as far as they can be read without an engine."""

from __future__ import annotations

import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray
import yaml

from kinetics_pipeline.workflows.runtime.cluster import _is_open

DOCKER = Path(__file__).parents[3] / "docker"


def test_every_path_that_the_image_copies_is_there_and_not_ignored():
    ignored = {line.strip("/") for line in (DOCKER.parent / ".dockerignore").read_text().splitlines()}
    lines = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    copied = [word for line in lines for word in line.split()]
    assert {"pyproject.toml", "kinetics_pipeline", "models", "workflows"} <= set(copied)
    assert all((DOCKER.parent / path).exists() for path in copied)
    assert ignored.isdisjoint(copied)


def test_the_image_runs_as_a_user_who_is_not_root():
    users = re.findall(r"^USER (\S+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert users[-1] not in ("root", "0")


@pytest.mark.parametrize("file", ["rayjob.yaml", "rayjob-train.yaml"])
def test_a_job_for_kubernetes_asks_for_what_this_ray_needs(file: str):
    spec = yaml.safe_load((DOCKER / file).read_text())["spec"]
    assert spec["entrypoint"].startswith("kinetics-pipeline ")
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted["shm"] == "/dev/shm"
        assert {volume["name"] for volume in pod["volumes"]} == set(mounted)


def test_all_nodes_of_the_compose_file_share_image_and_token():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert len({node["image"] for node in services.values()}) == 1
    assert len({node["environment"]["RAY_AUTH_TOKEN"] for node in services.values()}) == 1


def test_the_cluster_of_cloud_machines_asks_for_a_token():
    cluster = yaml.safe_load((DOCKER / "cluster.yaml").read_text())
    options = cluster["docker"]["run_options"]
    assert "--env=RAY_AUTH_MODE=token" in options
    (path,) = [one.partition("RAY_AUTH_TOKEN_PATH=")[2] for one in options if "RAY_AUTH_TOKEN_PATH" in one]
    assert cluster["file_mounts"] == {path: "~/.ray/auth_token"}


@pytest.mark.parametrize(
    ("build", "stop", "code"),
    [("exit 0", False, 0), ("exit 2", False, 2), ("trap 'exit 130' TERM; while :; do sleep 0.05; done", True, 3)],
    ids=["done", "failed", "stopped before the limit"],
)
def test_the_slurm_job_ends_as_its_build_and_with_3_where_it_is_told_to_stop(
    build: str, stop: bool, code: int, tmp_path: Path
):
    programs = {
        "scontrol": "echo node1",
        "ray": '[ "$1" = status ] || exec sleep 60',
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "kinetics-pipeline": f"touch {tmp_path}/begun; {build}",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "x", "SLURM_CPUS_PER_TASK": "1"}
    job = subprocess.Popen([DOCKER / "slurm.sh", "a.csv"], env={**os.environ, **variables}, stderr=subprocess.PIPE)
    while stop and not (tmp_path / "begun").exists():
        time.sleep(0.05)
    if stop:
        time.sleep(0.2)  # the build sets its trap
        job.terminate()
    _, said = job.communicate(timeout=60)
    assert job.returncode == code, said
    assert (b"to resume: sbatch" in said) == stop


@pytest.mark.parametrize("script", [DOCKER / "slurm.sh", DOCKER.parent / ".ci/run"], ids=lambda path: path.name)
def test_scripts_can_be_run_and_parsed(script: Path):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.parametrize("asks", [True, False])
def test_a_cluster_that_answers_without_a_token_is_open_whatever_token_this_process_has(
    asks: bool, monkeypatch: pytest.MonkeyPatch
):
    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if asks and "authorization" not in dict(context.invocation_metadata()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    server = grpc.server(ThreadPoolExecutor(1))
    method = {"GetClusterId": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", method)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert _is_open(f"127.0.0.1:{port}") != asks
    finally:
        server.stop(None).wait()
