"""What a user gives in confidence is found nowhere again: not in dataset, cache or log, nor in what `status` says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from kinetics_pipeline.workflows.cli.app import run
from tests.builders.building import Build, Pile, texts_in
from tests.fake_youtube import FakeYouTube, Faults, FileServer, Rendition, Video
from tests.fake_youtube.media import render_indexed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_cluster")]

SECRET = "Sesame0pen"
NAMES = ("okokokok001", "okokokok002", "badbadbad01")


def test_no_secret_is_found_again_while_building_after_a_refusal_and_when_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = render_indexed(tmp_path / "film.mp4", 160, 120, 20)
    cookies = tmp_path / "cookies.txt"
    line = "\t".join((".youtube.com", "TRUE", "/", "TRUE", "2000000000", "LOGIN_INFO", SECRET))
    cookies.write_text(f"# Netscape HTTP Cookie File\n{line}\n")
    asked = tmp_path / "asked.csv"
    rows = "".join(f"running,{name},10,12,train\n" for name in NAMES)
    asked.write_text(f"label,youtube_id,time_start,time_end,split\n{rows}")
    pile = Pile(tmp_path, asked, tuple(f"{name}_000010_000012" for name in NAMES))
    videos = {name: Video([Rendition(film, 134, 160, 120)], duration=20) for name in NAMES[:2]}
    videos[NAMES[2]] = Video(playability="unheard_of")
    with FakeYouTube(videos) as youtube, FileServer(tmp_path, default=Faults("404")) as mirror:
        youtube.refusing = "bot"
        headers = {"X-Token": SECRET}
        options = {**youtube.ytdlp_options, "http_headers": headers}
        flags = [word for name, value in options.items() for word in ("--ytdlp-option", f"{name}={json.dumps(value)}")]
        flags += ["--proxy", youtube.url.replace("//", f"//me:{SECRET}@"), "--cookies", str(cookies)]
        flags += ["--rate", "100000", "--flow", "none", "--short-side", "32", "--max-wait", "1s"]
        template = mirror.url.replace("//", f"//me:{SECRET}@") + "/{video_id}.mp4?token=" + SECRET
        build = Build(pile, tmp_path, [template, "youtube"], flags)
        said, seen = "", ""
        for refusing, code in (("bot", 3), (None, 0)):
            youtube.refusing = refusing
            state = build.output / "state" / "egress.json"
            if state.exists():  # the pause ends, as the passing of time would end it
                lanes = json.loads(state.read_text())
                state.write_text(json.dumps({name: {**lane, "paused_until": 0.0} for name, lane in lanes.items()}))
            process = build.start()
            while process.poll() is None:
                seen += texts_in(build.output, build.cache)
                time.sleep(0.2)
            told, _ = process.communicate()
            said += told
            assert process.returncode == code, told
            capsys.readouterr()
            assert run(["status", str(build.output)]) == 0
            assert run(["status", str(build.output), "--json"]) == 0
            said += capsys.readouterr().out
        assert youtube.log
    assert {record["outcome"] for (record,) in build.entries().values()} == {"ok", "internal"}
    assert "run.json" in seen
    assert "to go on (put back what is WITHHELD): kinetics-pipeline build" in said
    assert f"--cookies {cookies}" in said
    kept = texts_in(build.output, build.cache)
    assert SECRET not in said + seen + kept
    assert str(cookies) not in seen + kept
