"""An address that is blocked without a word, a proxy that is down, a limited API: no clip pays for it.

Most of it runs the shipped driver and yt-dlp's real extractor on a simulated clock (`driven_builds`)."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.sources.http.template import UrlTemplate
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.pace.breaker import OUTAGE_VIDEOS, SUSPECTS
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.building import Build
from tests.builders.driven_builds import DrivenBuild
from tests.builders.youtube_builds import SMALL, asked_for, ended, ids, outcomes, players, through
from tests.fake_youtube import WATCH_PAGE, FakeYouTube, Faults, FileServer, Rendition, Video
from tests.fake_youtube.media import render_indexed

MANY = 24
FLAGS = (*SMALL, "--clips-per-shard", "4", "--rate", "100000", "--max-wait", "1s")
DAY = 86400.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("film") / "film.mp4", 64, 48, 13)


@pytest.fixture
def youtube(film: Path) -> Iterator[FakeYouTube]:
    with FakeYouTube() as fake:
        fake.videos = {name: Video([Rendition(film, 134, 64, 48)], duration=13) for name in ids(MANY + 4)}
        yield fake


def driven(youtube: FakeYouTube, folder: Path, **options: object) -> DrivenBuild:
    chosen = SourceOptions(short_side=32, proxy=youtube.url, ytdlp_options=youtube.ytdlp_options, timeout=2.0)
    return DrivenBuild(folder, YouTube(chosen, **options))  # type: ignore[arg-type]


def table(folder: Path, videos: list[str]) -> object:
    return load_annotations([str(asked_for(folder, videos).annotations)]).table


@pytest.mark.parametrize(
    ("block", "asked"), [("soft_block", 2), ("session_limit", 2), ("bot", 1), ("unavailable", SUSPECTS + 1)]
)
def test_a_block_that_begins_charges_nobody(youtube: FakeYouTube, tmp_path: Path, block: str, asked: int) -> None:
    build = driven(youtube, tmp_path)
    assert build.run(table(tmp_path, ids(4))) == 0
    youtube.reset()
    youtube.refusing = block
    assert build.run(table(tmp_path, ids(MANY + 4))) == 3
    assert players(youtube).total() == asked
    assert build.charged == Counter()

    youtube.reset()
    build.executor.time += DAY
    assert build.run(None) == 3
    assert set(players(youtube)) <= set(ids(4))  # after a pause the canary comes first, and alone
    assert players(youtube).total() == 1

    youtube.reset()
    youtube.refusing = None
    build.executor.time += 2 * DAY
    assert build.run(None) == 0
    assert build.outcomes == dict.fromkeys(ids(MANY + 4), "ok")
    assert players(youtube).total() == MANY + 1


def test_a_soft_block_from_the_beginning_charges_nobody(youtube: FakeYouTube, tmp_path: Path) -> None:
    youtube.refusing = "soft_block"
    build = driven(youtube, tmp_path)
    for _ in range(3):
        youtube.reset()
        assert build.run(table(tmp_path, ids(MANY))) == 3
        assert players(youtube).total() == 1
        assert (build.charged, build.outcomes) == (Counter(), {})
        build.executor.time += DAY


def test_every_other_video_that_fails_is_its_own_fault(youtube: FakeYouTube, tmp_path: Path) -> None:
    """The canary comes well each time: the failures stand, and none of them is final."""
    bad = ids(MANY, "badbadb")
    random.Random(1).shuffle(bad)
    youtube.videos |= {name: Video(playability="unavailable") for name in bad[::2]}
    youtube.videos |= {name: Video(playability="soft_block") for name in bad[1::2]}
    build = driven(youtube, tmp_path)
    assert build.run(table(tmp_path, ids(4))) == 0
    youtube.reset()
    assert build.run(table(tmp_path, [*ids(MANY), *bad])) == 0
    assert build.outcomes == dict.fromkeys(ids(MANY), "ok") | dict.fromkeys(bad, "no_format")
    asked = players(youtube)
    assert {asked[name] for name in bad} == {2}  # as often as the policy says
    assert asked.total() <= 3 * len(bad) + 2 * MANY


def test_one_video_that_always_says_try_again_later_does_not_hold_up_the_others(
    youtube: FakeYouTube, tmp_path: Path
) -> None:
    youtube.videos["oddoddoddod"] = Video(playability="session_limit")
    youtube.videos["laterlaterl"] = Video(
        playability={"status": "ERROR", "reason": "An error occurred. Please try again later."}
    )
    build = driven(youtube, tmp_path)
    assert build.run(table(tmp_path, ids(2))) == 0
    assert build.run(table(tmp_path, [*ids(7), "oddoddoddod", "laterlaterl"])) == 0
    assert Counter(build.outcomes.values()) == {"ok": 7, "no_format": 2}
    assert players(youtube)["oddoddoddod"] == players(youtube)["laterlaterl"] == 2


def test_videos_that_never_answer_are_charged_while_others_come(youtube: FakeYouTube, tmp_path: Path) -> None:
    """The canary tells that it is not an outage, and no shard waits for ever for what is settled."""
    silent = ids(OUTAGE_VIDEOS + 1, "silent0")
    youtube.videos |= {name: Video(api=Faults("stall")) for name in silent}
    chosen = SourceOptions(short_side=32, proxy=youtube.url, ytdlp_options=youtube.ytdlp_options, timeout=0.3)
    build = DrivenBuild(tmp_path, YouTube(chosen))
    assert build.run(table(tmp_path, ids(2))) == 0
    assert build.run(table(tmp_path, [*ids(4), *silent])) == 0
    assert build.outcomes == dict.fromkeys(ids(4), "ok") | dict.fromkeys(silent, "network")
    assert {players(youtube)[name] for name in silent} == {3}


def test_an_outage_that_begins_charges_nobody(youtube: FakeYouTube, tmp_path: Path) -> None:
    chosen = SourceOptions(short_side=32, proxy=youtube.url, ytdlp_options=youtube.ytdlp_options, timeout=0.3)
    build = DrivenBuild(tmp_path, YouTube(chosen))
    assert build.run(table(tmp_path, ids(2))) == 0
    for video in youtube.videos.values():
        video.api = Faults("stall")
    youtube.reset()
    assert build.run(table(tmp_path, ids(MANY)), max_wait=30.0) == 3
    assert build.charged == Counter()
    assert players(youtube).total() == OUTAGE_VIDEOS + 1
    (lane,) = json.loads((tmp_path / "dataset" / "state" / "egress.json").read_text()).values()
    assert lane["reason"] == "outage"


def test_a_dead_proxy_charges_nobody(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        options = {**FakeYouTube.ytdlp_options, "retries": 0}
        proxy = f"http://127.0.0.1:{free.getsockname()[1]}"
        build = DrivenBuild(tmp_path, YouTube(SourceOptions(proxy=proxy, ytdlp_options=options, timeout=1.0)))
        assert build.run(table(tmp_path, ids(MANY)), max_wait=30.0) == 3
    (lane,) = json.loads((tmp_path / "dataset" / "state" / "egress.json").read_text()).values()
    assert (build.charged, build.outcomes) == (Counter(), {})
    assert lane["reason"] == "outage"
    assert lane["requests"] <= 2 * OUTAGE_VIDEOS


def test_a_limited_api_behind_a_sound_watch_page_charges_nobody(
    youtube: FakeYouTube, film: Path, tmp_path: Path
) -> None:
    good = Video([Rendition(film, 134, 64, 48)], duration=13)
    limited = Video([Rendition(film, 134, 64, 48)], duration=13, api=Faults("429"))
    shown = Video(by_client={"TVHTML5": limited, "VISIONOS": limited, WATCH_PAGE: good})
    youtube.videos = dict.fromkeys(ids(MANY), shown)
    options = SourceOptions(short_side=32, proxy=youtube.url, ytdlp_options=youtube.default_options, timeout=2.0)
    build = DrivenBuild(tmp_path, YouTube(options))
    assert build.run(table(tmp_path, ids(MANY))) == 3
    assert (build.charged, build.outcomes) == (Counter(), {})
    assert list(players(youtube).values()) == [2]  # two clients of one video
    (lane,) = json.loads((tmp_path / "dataset" / "state" / "egress.json").read_text()).values()
    assert lane["reason"] == "throttled"


def test_a_mirror_in_trouble_charges_nobody_and_its_missing_files_are_missing(tmp_path: Path) -> None:
    names, folder = ids(MANY), tmp_path / "videos"
    folder.mkdir()
    for name in names[: MANY // 2]:
        (folder / f"{name}.mp4").write_bytes(b"video")
    with FileServer(folder) as server:
        build = DrivenBuild(
            tmp_path / "build", UrlTemplate(server.template, SourceOptions(ytdlp_options={"retries": 0}))
        )
        assert build.run(table(tmp_path, names[:2])) == 0
        server.default = Faults("502")
        server.reset()
        assert build.run(table(tmp_path, names)) == 3
        assert build.charged == Counter()
        assert len(server.log) <= SUSPECTS + 4  # several at a time
        server.default = Faults()
        build.executor.time += DAY
        assert build.run(None) == 0
    assert Counter(build.outcomes.values()) == {"ok": MANY // 2, "not_found": MANY // 2}


@pytest.mark.slow
@pytest.mark.usefixtures("on_one_cluster")
def test_the_command_asks_the_canary_says_what_it_found_and_goes_on(
    youtube: FakeYouTube, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = ids(6, "hidden0")
    youtube.videos |= {name: Video(playability="network_rules") for name in hidden}
    build = Build(asked_for(tmp_path, ids(2)), tmp_path, ["youtube"], through(youtube, flags=FLAGS))
    build.run()
    asked_for(tmp_path, [*ids(4), *hidden])
    youtube.reset()
    youtube.refusing = "soft_block"
    code, said = ended(build)
    assert code == 3, said
    assert players(youtube).total() == 2
    assert outcomes(build) == dict.fromkeys(ids(2), "ok")
    path = build.output / "state" / "egress.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({name: {**lane, "paused_until": 0.0} for name, lane in state.items()}))
    youtube.refusing = None
    said = build.run()
    (line,) = [line for line in said.splitlines() if "this network restricts YouTube" in line]
    assert "6 clips" in line
    assert "found: an administrator" in said
    assert outcomes(build) == dict.fromkeys(ids(4), "ok") | dict.fromkeys(hidden, "no_format")
    assert cli(["status", str(build.output)]) == 0
    shown = capsys.readouterr().out
    assert "6 clips: this network restricts YouTube" in shown
    assert "--retry no_format" in shown
    assert cli(["report", str(build.output)]) == 0
    assert "this network restricts YouTube" in capsys.readouterr().out
