"""Builds on real Ray clusters: a node dies, nodes share no disk, a job is submitted, stopped and submitted again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kinetics_pipeline.errors import JobFailed, UserError
from kinetics_pipeline.shards.spool import Spool
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.__main__ import main
from kinetics_pipeline.workflows.building.lease import holder
from kinetics_pipeline.workflows.runtime.cluster import connected
from tests.builders.building import Build, Pile, asked_videos, wait_for
from tests.builders.clusters import SCRIPTS, Cluster, head, namespaces_allowed, several_nodes
from tests.builders.staying_driver import StayingDriver
from tests.fake_youtube import Faults, FileServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLAIN = ("--short-side", "32", "--flow", "none", "--clips-per-shard", "4")
SLOW = Faults(kind="slow", rate=20_000)
"""So that some downloads are under way whenever something is killed."""


@pytest.fixture(scope="module")
def plain(pile: Pile, driver: StayingDriver, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """An undisturbed build without flow."""
    with FileServer(pile.folder) as server:
        build = Build(pile, tmp_path_factory.mktemp("plain"), [server.template], PLAIN)
        build.run(driver)
    return build


def _videos(clip_ids: set[str]) -> set[str]:
    return {clip_id[: len("clip_000000")] for clip_id in clip_ids}


def _seconds(build: Build) -> dict[str, dict[str, float]]:
    """The seconds of each stage, by clip that is finished and not committed."""
    found = {clip_id: Spool(path.parent).get(clip_id) for clip_id, path in build.spooled().items()}
    return {clip_id: clip[0].seconds for clip_id, clip in found.items() if clip}


def test_a_killed_node_with_its_downloads_costs_nothing_that_was_finished(
    pile: Pile, server: FileServer, undisturbed: Build, tmp_path: Path
):
    with several_nodes(2) as cluster:
        build = Build(pile, tmp_path, [server.template], environment=cluster.environment)
        process = build.start()
        wait_for(lambda: len(build.spooled()) >= 3, process)
        finished, asked_before = _seconds(build), len(asked_videos(server))
        cluster.kill_node(cluster.node_of("ray::Fetcher"))
        said, _ = process.communicate(timeout=800)
        assert process.returncode == 0, said
        build.require_finished(undisturbed)
        assert _videos(set(finished)).isdisjoint(asked_videos(server)[asked_before:])
        # What it took to make a clip is kept with it: the same seconds mean that no flow was computed again.
        assert {clip_id: build.entries()[clip_id][0]["seconds"] for clip_id in finished} == finished
        asked_before = len(server.log)
        assert "nothing to do" in build.run()
        assert len(server.log) == asked_before


@pytest.mark.skipif(not namespaces_allowed(), reason="needs the right to make mount namespaces")
def test_a_killed_node_that_shares_no_disk_takes_only_its_own_clips_with_it(pile: Pile, plain: Build, tmp_path: Path):
    disks = tmp_path / "disks"
    with FileServer(pile.folder, default=SLOW) as server:
        build = Build(pile, tmp_path, [server.template], PLAIN)
        build.cache.mkdir()
        with several_nodes(2, private=(disks, build.cache)) as cluster:
            build.environment = cluster.environment
            process = build.start()
            wait_for(lambda: all(any((disks / n).glob("*/spool/*.clip")) for n in "01"), process)
            kept = {path.name.split(".")[0] for path in (disks / "1").glob("*/spool/*.clip")}
            asked_before = len(asked_videos(server))
            cluster.kill_node(cluster.raylets[0])
            said, _ = process.communicate(timeout=800)
            assert process.returncode == 0, said
            build.require_finished(plain)
            assert not any(path.is_file() for path in (disks / "1").rglob("*"))
            assert _videos(kept).isdisjoint(asked_videos(server)[asked_before:])


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001", "head", "head:99999"])
def test_an_address_that_names_no_head_is_refused_in_one_line(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"^RAY_ADDRESS is {address}; allowed: [^\n]*$"), connected():
        pass


def test_a_cluster_that_does_not_answer_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as closed:  # bound and not listening
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(JobFailed, match=f"RAY_ADDRESS={address} did not answer: [^\n]*$"), connected():
            pass


@pytest.mark.parametrize(("raised", "said"), [(Exception, JobFailed), (ZeroDivisionError, ZeroDivisionError)])
def test_a_ray_that_takes_too_long_to_start_is_said_in_a_line_and_a_defect_is_not(
    raised: type[Exception], said: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    def init(**options: object) -> None:
        raise raised("The current node timed out during startup. This could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(said, match="timed out during startup"), connected():
        pass


def test_a_job_is_told_when_its_dataset_would_go_with_its_working_folder(
    pile: Pile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"  # where Ray unpacks it
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert main(["build", str(pile.annotations), "--source", str(pile.folder), "--output", "here"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "--output is here" in said[0]


@pytest.fixture(scope="module")
def one_node() -> Iterator[Cluster]:
    with head(cpus=2) as cluster:
        yield cluster


def _job(cluster: Cluster, *words: str) -> str:
    """What `ray job ...` says; fails unless it ends with 0."""
    command = [str(SCRIPTS / "ray"), "job", words[0], f"--address={cluster.dashboard}", *words[1:]]
    environment = {**os.environ, **cluster.environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_job_imports_the_three_packages_from_its_working_folder_under_one_name(one_node: Cluster):
    code = (
        "import kinetics_pipeline.models.errors as m; import kinetics_pipeline.workflows.flags.values as w; "
        "from kinetics_pipeline.workflows.__main__ import main; "
        "print('from', m.__file__, w.__file__); main(['--version'])"
    )
    said = _job(one_node, "submit", "--submission-id=names", "--working-dir=.", "--", "python", "-c", code)
    (line,) = [line for line in said.splitlines() if line.startswith("from ")]
    assert all("working_dir_files" in file for file in line.split()[1:])


def _submit(cluster: Cluster, build: Build, name: str, *flags: str) -> str:
    entrypoint = ["python", *build.command[1:]]
    return _job(cluster, "submit", f"--submission-id={name}", *flags, "--working-dir=.", "--", *entrypoint)


def _driver(build: Build) -> psutil.Process:
    lease = holder(open_store(str(build.output)))
    assert lease is not None
    return psutil.Process(lease.pid)


def _wait_until_clips_are_finished(build: Build, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while len(build.spooled()) < 2:
        assert time.monotonic() < deadline, "no clip was finished"
        time.sleep(0.02)


def test_a_job_that_is_stopped_lets_go_and_goes_on_when_it_is_submitted_again(
    pile: Pile, plain: Build, one_node: Cluster, tmp_path: Path
):
    with FileServer(pile.folder, default=SLOW) as server:
        build = Build(pile, tmp_path, [server.template], PLAIN, environment=one_node.environment)
        _submit(one_node, build, "first", "--no-wait")
        _wait_until_clips_are_finished(build)
        _job(one_node, "stop", "first")
        assert "to go on: kinetics-pipeline build" in _job(one_node, "logs", "first")
        (lease,) = sorted((build.output / "state" / "lease").glob("*.json"))
        assert json.loads(lease.read_text())["released"]
        finished, asked_before = set(build.spooled()) | set(build.entries()), len(asked_videos(server))
        assert len(finished) < len(pile.clip_ids)
        assert "succeeded" in _submit(one_node, build, "second")
        build.require_finished(plain)
        assert _videos(finished - {"absent_0000_000000_000001"}).isdisjoint(asked_videos(server)[asked_before:])


def test_a_job_that_ignores_the_stop_and_is_killed_goes_on_from_a_shell(
    pile: Pile, plain: Build, one_node: Cluster, tmp_path: Path
):
    with FileServer(pile.folder, default=SLOW) as server:
        build = Build(pile, tmp_path, [server.template], PLAIN, environment=one_node.environment)
        _submit(one_node, build, "stuck", "--no-wait")
        _wait_until_clips_are_finished(build)
        driver = _driver(build)
        driver.send_signal(signal.SIGSTOP)
        _job(one_node, "stop", "stuck")
        assert holder(open_store(str(build.output))) is None
        build.run()
        build.require_finished(plain)
