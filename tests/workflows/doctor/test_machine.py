"""What `doctor` finds amiss, and that it says what to do about it."""

from __future__ import annotations

import datetime
import json
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.workflows.cli.app import run
from kinetics_pipeline.workflows.doctor.machine import (
    OLDEST_YTDLP,
    TOO_OLD_WEEKS,
    ask_for,
    feeding,
    how_long,
    how_old,
    po_token,
    scripts_fit,
)
from tests.fake_youtube import FakeYouTube, Rendition, Video
from tests.fake_youtube.media import render_indexed

ID = "canarybird1"


def found(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, dict[str, str]]]:
    capsys.readouterr()
    code = run(["doctor", "--json", *flags])
    document = json.loads(capsys.readouterr().out)
    return code, {finding["what"]: finding for finding in document["findings"]}


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeYouTube]:
    film = render_indexed(tmp_path_factory.mktemp("film") / "film.mp4", 320, 256, 2)
    with FakeYouTube({ID: Video([Rendition(film, 134, 320, 256)], duration=2)}) as youtube:
        yield youtube


def test_everything_the_job_needs_is_looked_at_and_nobody_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    _, findings = found(capsys)
    wanted = {"python", "ffmpeg", "opencv", "ray", "yt-dlp", "deno", "torch", "memory", "disk", "cluster"}
    assert wanted <= set(findings)
    assert "canary" not in findings
    for finding in findings.values():
        assert finding["state"] == "ok" or finding["mend"] or finding["what"] == "gpu"


@pytest.mark.parametrize(
    ("version", "weeks", "state"),
    [
        ("2026.10.26", 0, "ok"),
        ("2026.10.26", TOO_OLD_WEEKS, "ok"),
        ("2026.10.26", TOO_OLD_WEEKS + 1, "note"),
        ("2027.03.01.232815", -1, "ok"),
        ("2026.08.19", 1, "note"),
        ("2026.13.45", 0, "note"),
        ("unknown", 0, "note"),
    ],
)
def test_an_old_ytdlp_is_to_be_upgraded(version: str, weeks: int, state: str) -> None:
    parts = (
        [int(part) for part in version.split(".")[:3]] if version[0] == "2" and "13" not in version else [2026, 1, 1]
    )
    finding = how_old(version, datetime.date(*parts) + datetime.timedelta(weeks=weeks))
    assert (finding.state, bool(finding.mend)) == (state, state != "ok")


def test_scripts_of_another_minor_version_are_not_taken_by_yt_dlp() -> None:
    from yt_dlp.extractor.youtube.jsc._builtin.vendor import VERSION

    major, minor, _ = VERSION.split(".")
    assert scripts_fit(f"{major}.{minor}.99", "deno 2").state == "ok"
    other = scripts_fit(f"{major}.{int(minor) + 1}.0", "deno 2")
    assert (other.state, other.mend) == ("note", f"pip install yt-dlp-ejs=={VERSION}")


def test_the_days_that_the_asked_videos_take_are_said_at_the_rate_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = "".join(f"running,video{n:06d},{second},{second + 9},train\n" for n in range(500) for second in (0, 30))
    (tmp_path / "a.csv").write_text("label,youtube_id,time_start,time_end,split\n" + rows)
    _, findings = found(capsys, str(tmp_path / "a.csv"), "--rate", "250")
    assert findings["rate"]["says"].endswith("500 videos at 250 an hour take 2 h 00 min")
    assert findings["rate"]["state"] == "ok"
    assert "canary" not in findings
    assert how_long(10, 301).state == "note"
    assert run(["doctor", str(tmp_path / "none.csv")]) == 2
    assert run(["doctor", "--rate", "0"]) == 2


def test_a_provider_of_proof_of_origin_tokens_is_named_where_a_plugin_brings_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yt_dlp.extractor.youtube.pot import _registry

    (without,) = po_token()
    assert without.state == "note"
    monkeypatch.setitem(_registry._pot_providers.value, "A", type("Provider", (), {"PROVIDER_NAME": "tokens"}))
    (given,) = po_token()
    assert (given.state, given.says) == ("ok", "provided by tokens")


def test_two_opencvs_that_share_one_module_are_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    about = tmp_path / "opencv_python-4.10.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.10.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, findings = found(capsys)
    assert code == 1
    assert findings["opencv"]["state"] == "wrong"
    assert "pip uninstall" in findings["opencv"]["mend"]


def test_a_cluster_that_does_not_answer_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    code, findings = found(capsys)
    assert (code, findings["cluster"]["state"]) == (1, "wrong")


def test_the_canary_is_one_request_and_no_download(fake: FakeYouTube) -> None:
    fake.reset()
    finding = ask_for(ID, SourceOptions(proxy=fake.url, ytdlp_options=fake.ytdlp_options, timeout=5))
    assert (finding.what, finding.state) == ("canary", "ok")
    assert "short side 256" in finding.says
    assert [request.kind for request in fake.log] == ["player"]


@pytest.mark.parametrize(
    ("refusal", "state", "remedy"),
    [
        ("bot", "wrong", "--cookies"),
        ("session_limit", "wrong", "--rate"),
        ("unheard_of", "wrong", "pip install --upgrade yt-dlp"),
        ("removed", "note", "another"),
        ("private", "note", "another"),
    ],
)
def test_a_refused_canary_says_what_to_do(fake: FakeYouTube, refusal: str, state: str, remedy: str) -> None:
    fake.videos["refused0000"] = Video(playability=refusal)
    finding = ask_for("refused0000", SourceOptions(proxy=fake.url, ytdlp_options=fake.ytdlp_options, timeout=5))
    assert finding.state == state
    assert remedy in finding.mend


def test_a_canary_without_a_network_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{closed_port()}")
    code, findings = found(capsys, "--canary")
    assert code == 1
    assert findings["canary"]["says"].endswith("network (YouTube's watch page: the connection failed)")
    assert "HTTPS_PROXY" in findings["canary"]["mend"]
    assert "secret" not in str(findings)


def test_what_is_no_id_is_no_canary() -> None:
    with pytest.raises(UserError, match=r'--canary is "\.\./etc"'):
        ask_for("../etc", SourceOptions())


def test_the_oldest_yt_dlp_that_is_not_warned_of_is_the_oldest_that_is_installed():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert f"yt-dlp>={'.'.join(map(str, OLDEST_YTDLP))}" in project["project"]["optional-dependencies"]["build"]


def test_too_few_cores_to_feed_the_gpus_are_noted_with_the_layout_that_takes_fewer() -> None:
    short = feeding(cores=4, gpus=1)
    assert (short.state, feeding(cores=16, gpus=1).state) == ("note", "ok")
    assert "an H100 takes 5 cores for RGB" in short.says
    assert "--layout array" in short.mend
