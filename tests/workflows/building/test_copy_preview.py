"""What `plan` says of public copies, beside figures made by hand: time and what limits it, disk, what YouTube is left
with; and that it fetches lists and annotations alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.annotations import download
from kinetics_pipeline.annotations.published import lacking_in_copy
from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.plan import PlanSettings, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives, served
from kinetics_pipeline.workflows.building.copy_preview import Stages, stages
from kinetics_pipeline.workflows.building.time_needed import FrameTimes
from kinetics_pipeline.workflows.cli.app import run

HEADER = "label,youtube_id,time_start,time_end,split\n"
BASE = "https://s3.amazonaws.com/kinetics/400"


@pytest.fixture
def copy() -> Iterator[LoopbackArchives]:
    with served() as server:
        rows = "".join(f"run,video{n:06d},1,11,train\n" for n in range(1000))
        server.files = {
            "/k/400/annotations/train.csv": (HEADER + rows).encode(),
            "/k/400/annotations/val.csv": (HEADER + "run,other000000,0,10,val\n").encode(),
            "/k/400/annotations/test.csv": (HEADER + "run,another0000,0,10,test\n").encode(),
            "/k/400/train/k400_train_path.txt": f"{BASE}/train/part_0.tar.gz\n{BASE}/train/part 1.tar.gz\n".encode(),
            "/k/400/train/part_0.tar.gz": b"a" * 700_000,
            "/k/400/train/part 1.tar.gz": b"b" * 300_000,
            "/k/400/replacement_for_corrupted_k400.tgz": b"c" * 500_000,
        }
        yield server


def plan(copy: LoopbackArchives, folder: Path, *flags: str) -> int:
    place = ("--mirror", f"{copy.base}/k", "--cache", str(folder), "--flow", "none")
    return run(["plan", "kinetics-400", "--split", "train", "--source", "cvdf", "--source", "youtube", *place, *flags])


def test_the_plan_of_a_copy_says_bytes_time_disk_and_what_is_left_and_fetches_no_archive(
    copy: LoopbackArchives, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(copy, tmp_path) == 0
    out = capsys.readouterr().out
    assert "not there" not in out
    assert "cvdf: 3 archives, 1.5 MB still to be fetched" in out
    # 1000 clips of 2.14 %, which the copy lacks: 21 videos at 300 an hour.
    assert "4 min 12 s for 21 videos of YouTube's at 300 an hour (--rate), for about 21 clips that the public" in out
    assert "limited by decoding" in out
    assert "cvdf, or what comes after it" in out
    assert not [path for path, _ in copy.gets if path.endswith(("gz", "tgz"))]


def test_the_terms_of_a_copy_are_said_once(
    copy: LoopbackArchives, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = [caplog.text.count("hosts for researchers") for _ in range(2) if plan(copy, tmp_path) == 0]
    assert said == [1, 1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--mirror", "host/kinetics"), "--mirror"),
        (("--split", "dev"), "dev"),
        (("--source", "hf//x"), "hf/x"),
        (("--classes", "swim"), "swim"),
    ],
)
def test_each_wrong_word_is_one_line(
    copy: LoopbackArchives, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    assert plan(copy, tmp_path, *flags) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert says in told[-1]
    assert not [line for line in told if "Traceback" in line]


def test_a_mirror_that_lacks_what_is_asked_or_is_not_there_is_one_line(
    copy: LoopbackArchives, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy.files["/k/400/train/part_0.tar.gz"] = 403
    assert plan(copy, tmp_path) == 0
    assert "1 archive is not there (404) or refused (403)" in capsys.readouterr().out
    del copy.files["/k/400/train/k400_train_path.txt"]
    assert plan(copy, tmp_path) == 2
    assert "k400_train_path.txt: the server answered 404" in capsys.readouterr().err
    del copy.files["/k/400/annotations/val.csv"]
    assert plan(copy, tmp_path / "other") == 2
    assert "val.csv: the server has none (404)" in capsys.readouterr().err


def test_the_slowest_stage_limits_where_decoding_and_flow_share_the_cores() -> None:
    assert (Stages(100.0, 40.0, 50.0).total, Stages(100.0, 40.0, 50.0).limit) == (100.0, "the network")
    assert (Stages(80.0, 40.0, 50.0).total, Stages(80.0, 40.0, 50.0).limit) == (90.0, "flow")
    assert Stages(80.0, 60.0, 50.0).limit == "decoding"


def test_the_stages_are_those_of_the_frames_asked_and_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    rows = "".join(f"run,video{n:06d},{n},{n + 10},train\n" for n in range(4))
    (tmp_path / "a.csv").write_text(HEADER + rows)
    table = load_annotations([str(tmp_path / "a.csv")]).table
    work = make_plan(table, outcomes={}, settings=PlanSettings(), held_locally=lambda _: (), next_shard={})
    frames = 4 * 10 * 25
    found = stages(work, 1000, Recipe(), FrameTimes(flow=0.2, other=0.1, how=""), rate=10.0)
    assert found == Stages(100.0, pytest.approx(frames * 0.1 / 4), pytest.approx(frames * 0.2 / 4))


def test_what_the_copy_lacks_is_known_for_the_splits_that_were_counted() -> None:
    assert lacking_in_copy("kinetics-400", {"train": 246_534, "val": 19_906}) == 5_276 + 25
    assert lacking_in_copy("Kinetics-600", {"val": 30_000}) == 207
    assert lacking_in_copy("kinetics-600", {"train": 392_622}) is None, "it has others besides"
    assert lacking_in_copy("kinetics-700", {"val": 1}) is None


def test_a_few_bytes_do_not_tell_how_fast_the_network_is() -> None:
    assert download.Received(10_000, 0.5).rate is None
    assert download.Received(8 << 20, 2.0).rate == 4 << 20
