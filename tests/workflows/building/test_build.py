"""The real command over real files: what it makes, and what is left when something is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.shards.spool import Spool
from tests.builders.building import CLIPS, FLAGS, Build, Pile, asked_videos, refusal, wait_for
from tests.builders.staying_driver import StayingDriver
from tests.fake_youtube import FileServer

pytestmark = pytest.mark.slow


def test_every_clip_has_exactly_one_outcome_and_nothing_is_left_over(undisturbed: Build):
    undisturbed.require_finished()
    outcomes = {clip: entries[0]["outcome"] for clip, entries in undisturbed.entries().items()}
    assert outcomes.pop("absent_0000_000000_000001") == "not_found"
    assert outcomes.pop("clip_000001_000030_000031") == "too_short"
    assert set(outcomes.values()) == {"ok"}


def test_the_record_of_a_clip_says_frames_source_requests_and_seconds_by_stage(undisturbed: Build):
    entry = undisturbed.entries()["clip_000000_000000_000001"][0]
    assert (entry["label"], entry["frames"], entry["requests"]) == ("left", 25, 1)
    assert entry["source"].endswith("/{video_id}.mp4")
    assert {"fetch", "decode", "flow", "encode"} <= set(entry["seconds"])


def test_a_killed_driver_goes_on_where_it_was_with_other_workers_to_the_same_bytes(
    pile: Pile, server: FileServer, undisturbed: Build, driver: StayingDriver, tmp_path: Path
):
    build = Build(pile, tmp_path, [server.template], (*FLAGS, "--cpus", "3"))
    process = build.start()
    wait_for(lambda: bool(build.markers()) and len(build.spooled()) >= 1, process)
    below = psutil.Process(process.pid).children(recursive=True)
    working = [one for one in below if "Agent" not in one.name()]  # Ray's agents idle on for a minute
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(working, timeout=300)[1] == []  # they end by themselves soon after their driver
    finished = {clip: Spool(path.parent).get(clip) for clip, path in build.spooled().items()}
    seconds = {clip: found[0].seconds for clip, found in finished.items() if found}
    committed = set(build.entries())
    asked_before = len(server.log)
    Build(pile, tmp_path, [server.template]).run(driver)
    build.require_finished(undisturbed)
    again = set(asked_videos(server)[asked_before:])
    assert again.isdisjoint(clip[:11] for clip in set(seconds) | committed - {"absent_0000_000000_000001"})
    # What it took to make a clip is kept with it: the same seconds mean that no flow was computed again.
    assert {clip: build.entries()[clip][0]["seconds"] for clip in seconds} == seconds


def test_a_killed_worker_costs_nothing_but_time(pile: Pile, server: FileServer, undisturbed: Build, tmp_path: Path):
    build = Build(pile, tmp_path, [server.template])
    process = build.start()
    wait_for(lambda: len(build.spooled()) >= 3 or bool(build.markers()), process)
    worker = _worker_at_work(process.pid)
    os.kill(worker, signal.SIGKILL)
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 0, said
    build.require_finished(undisturbed)


@pytest.mark.usefixtures("on_one_cluster")
def test_a_second_build_of_the_same_dataset_is_refused_in_a_line_and_afterwards_plans_nothing_and_asks_nobody(
    pile: Pile, server: FileServer, tmp_path: Path
):
    build = Build(pile, tmp_path, [server.template])
    process = build.start()
    wait_for(lambda: (build.output / "state" / "lease").is_dir(), process)
    second = build.start()
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 3, said
    assert f"process {process.pid}" in refusal(said)
    process.communicate(timeout=800)
    assert process.returncode == 0
    asked, plans = len(server.log), len(list((build.output / "plans").iterdir()))
    assert "nothing to do" in build.run()
    assert len(server.log) == asked
    assert len(list((build.output / "plans").iterdir())) == plans


@pytest.mark.usefixtures("on_one_cluster")
def test_a_build_that_is_interrupted_either_way_says_how_to_go_on(pile: Pile, server: FileServer, tmp_path: Path):
    build = Build(pile, tmp_path, [server.template])
    for request_to_stop in (signal.SIGINT, signal.SIGTERM):
        had = set(build.spooled()) | set(build.entries())
        process = build.start()
        wait_for(lambda: bool((set(build.spooled()) | set(build.entries())) - had), process)  # noqa: B023
        process.send_signal(request_to_stop)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 130, said
        assert "to go on: kinetics-pipeline build" in said
        assert "Traceback" not in said
    assert build.run()
    build.require_finished()


def test_a_request_to_end_that_comes_while_ray_starts_is_an_interruption_too(pile: Pile, tmp_path: Path):
    build = Build(pile, tmp_path, [str(pile.folder)])
    process = build.start()
    wait_for(lambda: (build.output / "state" / "lease").is_dir(), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said


@pytest.mark.usefixtures("on_one_cluster")
def test_a_mirror_that_is_down_charges_no_clip_and_the_same_command_goes_on_once_it_is_back(
    pile: Pile, undisturbed: Build, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
    nobody = f"http://127.0.0.1:{port}/{{video_id}}.mp4"
    code, said = (build := Build(pile, tmp_path, [nobody], (*FLAGS, "--max-wait", "1s"))).end()
    assert code == 3, said
    assert "paused" in said
    assert build.entries() == {}
    with FileServer(pile.folder) as server:
        Build(pile, tmp_path, [server.template]).run()
    build.require_finished(undisturbed)


@pytest.mark.usefixtures("on_one_cluster")
def test_flags_other_than_the_recipe_may_change_and_a_folder_gives_the_same_frames_as_a_server(
    pile: Pile, undisturbed: Build, tmp_path: Path
):
    first = Build(pile, tmp_path, [str(pile.folder)])
    Build(pile, tmp_path, first.source, [*first.flags, "--limit", "5"]).run()
    assert len(first.entries()) == 5
    code, said = Build(pile, tmp_path, first.source, [*first.flags, "--fps", "12"]).end()
    assert code == 2
    assert "fps is 12" in refusal(said)
    first.run()
    first.require_finished()
    assert len(list((first.output / "plans").iterdir())) == 2
    contents = [{clip: e[0].get("content") for clip, e in one.entries().items()} for one in (first, undisturbed)]
    assert contents[0] == contents[1]


def test_status_counts_what_the_markers_hold(undisturbed: Build, capsys: pytest.CaptureFixture[str]):
    from kinetics_pipeline.workflows.cli.app import run

    assert run(["status", str(undisturbed.output), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {k: document[k] for k in ("clips", "ok", "pending", "failed")} == {
        "clips": CLIPS + 2,
        "ok": CLIPS,
        "pending": 0,
        "failed": {"not_found": 1, "too_short": 1},
    }
    assert document["bytes"] == sum(p.stat().st_size for p in (undisturbed.output / "shards").glob("*.parquet"))
    assert document["next"].startswith("kinetics-pipeline train")
    assert Dataset.open(undisturbed.output).counts().clips == document["clips"]


def _worker_at_work(driver: int) -> int:
    """A Ray worker below the driver that processes a clip: the one with an ffmpeg, or that uses the processor most."""
    workers = [
        p
        for p in psutil.Process(driver).children(recursive=True)
        if "process_on_cpu" in p.name() or any("ray::process" in word for word in p.cmdline())
    ]
    assert workers, "no worker is at work"
    return workers[0].pid


@pytest.mark.usefixtures("on_one_cluster")
def test_a_cache_that_cannot_be_written_is_one_line_and_charges_no_clip(pile: Pile, tmp_path: Path):
    build = Build(pile, tmp_path, [str(pile.folder)])
    build.cache.write_text("a file where the cache should be")
    code, said = build.end()
    assert code == 2, said
    assert f"--cache is {build.cache}, which cannot be written: Not a directory; allowed: a folder" in refusal(said)
    assert build.markers() == []
