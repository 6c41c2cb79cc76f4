"""An address that is blocked without a word, a proxy that is down, a limited API: no clip pays for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.sources.pace.breaker import OUTAGE_VIDEOS, SUSPECTS
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.building import Build
from tests.builders.youtube_builds import SMALL, asked_for, ended, ids, outcomes, players, through
from tests.fake_youtube import WATCH_PAGE, FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_cluster")]

MANY = 24
FLAGS = (*SMALL, "--clips-per-shard", "4", "--rate", "100000", "--max-wait", "1s")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("film") / "film.mp4", 64, 48, 13)


@pytest.fixture
def youtube(film: Path) -> Iterator[FakeYouTube]:
    with FakeYouTube() as fake:
        fake.videos = {name: Video([Rendition(film, 134, 64, 48)], duration=13) for name in ids(MANY + 4)}
        yield fake


def let_go_on(build: Build) -> None:
    """Ends every pause, as the passing of time would."""
    path = build.output / "state" / "egress.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({name: {**lane, "paused_until": 0.0} for name, lane in state.items()}))


def test_a_block_that_begins_is_found_by_asking_a_good_video_again(youtube: FakeYouTube, tmp_path: Path) -> None:
    good, more = ids(4), ids(MANY + 4)
    build = Build(asked_for(tmp_path, good), tmp_path, ["youtube"], through(youtube, flags=FLAGS))
    build.run()
    asked_for(tmp_path, more)
    for block, asked in (("unavailable", SUSPECTS + 1), ("soft_block", 1)):
        youtube.reset()
        youtube.refusing = block
        code, said = ended(build.start())
        assert code == 3, said
        assert players(youtube).total() == asked
        assert len(set(players(youtube)) & set(good)) == 1  # the canary: after a pause it comes first, and alone
        assert outcomes(build) == dict.fromkeys(good, "ok")  # nobody is charged
        let_go_on(build)
    youtube.reset()
    youtube.refusing = None
    build.run()
    assert outcomes(build) == dict.fromkeys(more, "ok")
    assert players(youtube).total() == MANY + 1


def test_a_soft_block_from_the_beginning_charges_nothing(youtube: FakeYouTube, tmp_path: Path) -> None:
    youtube.refusing = "soft_block"
    build = Build(asked_for(tmp_path, ids(MANY)), tmp_path, ["youtube"], through(youtube, flags=FLAGS))
    code, said = ended(build.start())
    assert code == 3, said
    assert players(youtube).total() == 1
    assert build.entries() == {}


def test_a_proxy_that_is_down_charges_nothing(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        flags = (
            *FLAGS,
            "--proxy",
            f"http://127.0.0.1:{free.getsockname()[1]}",
            "--ytdlp-option",
            "extractor_retries=0",
        )
        build = Build(asked_for(tmp_path, ids(MANY)), tmp_path, ["youtube"], flags)
        code, said = ended(build.start())
    assert code == 3, said
    assert build.entries() == {}
    (lane,) = json.loads((build.output / "state" / "egress.json").read_text()).values()
    assert lane["reason"] == "outage"
    assert lane["requests"] <= 8 * OUTAGE_VIDEOS


def test_a_limited_api_behind_a_sound_watch_page_charges_nothing(
    youtube: FakeYouTube, film: Path, tmp_path: Path
) -> None:
    good = Video([Rendition(film, 134, 64, 48)], duration=13)
    limited = Video([Rendition(film, 134, 64, 48)], duration=13, api=Faults("429"))
    youtube.videos = {
        name: Video(by_client={"TVHTML5": limited, "VISIONOS": limited, WATCH_PAGE: good}) for name in ids(MANY)
    }
    options = youtube.default_options
    build = Build(asked_for(tmp_path, ids(MANY)), tmp_path, ["youtube"], through(youtube, flags=FLAGS, options=options))
    code, said = ended(build.start())
    assert code == 3, said
    assert build.entries() == {}
    assert {request.video_id for request in youtube.log if request.kind == "player"} <= {ids(MANY)[0], *ids(MANY)}
    assert players(youtube).total() == 2  # two clients of one video
    (lane,) = json.loads((build.output / "state" / "egress.json").read_text()).values()
    assert lane["reason"] == "throttled"


def test_a_network_that_hides_videos_is_a_line_and_not_an_outcome_each(
    youtube: FakeYouTube, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = ids(6, "hidden0")
    youtube.videos |= {name: Video(playability="network_rules") for name in hidden}
    flags = (*FLAGS, "--retry", "gone")
    build = Build(asked_for(tmp_path, [*ids(2), *hidden]), tmp_path, ["youtube"], through(youtube, flags=flags))
    code, said = ended(build.start())
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if "this network restricts YouTube" in line]
    assert "6 clips" in line
    assert cli(["status", str(build.output)]) == 0
    shown = capsys.readouterr().out
    assert "6 clips: this network restricts YouTube" in shown
    assert "--retry no_format" in shown
    assert "--retry gone" not in shown
    assert cli(["report", str(build.output)]) == 0
    assert "this network restricts YouTube" in capsys.readouterr().out
