"""The real command against a YouTube that answers, refuses, relents and breaks; what it asks, records and says."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.sources.pace.breaker import VIDEOS
from kinetics_pipeline.workflows.building.open_shards import AT_ONCE
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.building import Build, Pile, texts_in, wait_for
from tests.builders.youtube_builds import SMALL, asked_for, ended, ids, outcomes, players, through
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import render_indexed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_one_cluster")]

DURATION = 30.0
COOKIE = "Very-Secret-Cookie-Value"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_indexed(tmp_path_factory.mktemp("film") / "film.mp4", 160, 120, DURATION)


@pytest.fixture
def youtube(film: Path) -> Iterator[FakeYouTube]:
    with FakeYouTube() as fake:
        yield fake


def video(film: Path, **what: object) -> Video:
    return Video([Rendition(film, 134, 160, 120)], duration=DURATION, **what)  # type: ignore[arg-type]


def status_of(build: Build, capsys: pytest.CaptureFixture[str]) -> tuple[dict, str]:
    capsys.readouterr()
    assert cli(["status", str(build.output), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert cli(["status", str(build.output)]) == 0
    return document, capsys.readouterr().out


def let_go_on(build: Build) -> None:
    """Ends every pause, as the passing of time would."""
    path = build.output / "state" / "egress.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({name: {**lane, "paused_until": 0.0} for name, lane in state.items()}))


def test_a_watch_url_becomes_a_shard_and_refusals_become_outcomes(
    youtube: FakeYouTube, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"private": "private", "removed": "gone", "age": "age_restricted", "geo": "geo_blocked"}
    good, bad = ids(4), ids(len(kinds), "badbadb")
    youtube.videos = {name: video(film) for name in good}
    youtube.videos |= {name: Video(playability=kind) for name, kind in zip(bad, kinds, strict=True)}
    pile = asked_for(tmp_path, [*good, *bad])
    build = Build(pile, tmp_path, ["youtube"], through(youtube))
    said = build.run()
    assert outcomes(build) == dict.fromkeys(good, "ok") | dict(zip(bad, kinds.values(), strict=True))
    assert build.leftovers() == []
    asked = players(youtube)
    assert asked.pop(bad[list(kinds).index("age")]) <= 2  # yt-dlp asks for such a video as another client too
    assert asked == Counter([*good, *bad[:2], bad[3]])
    entry = build.entries()[pile.clip_ids[0]][0]
    assert (entry["source"], entry["frames"]) == ("youtube", 50)
    fetched = sum(request.sent for request in youtube.media())
    whole = len(good) * film.stat().st_size
    document, text = status_of(build, capsys)
    (lane,) = document["egress"]
    assert lane["bytes_whole"] == whole
    assert lane["bytes_fetched"] == pytest.approx(fetched, rel=0.02)
    assert fetched < 0.6 * whole
    assert "fetched" in said
    assert "in whole files" in text
    assert f"127.0.0.1:{youtube.port}" not in texts_in(build.output / "shards")


def test_a_bot_check_pauses_charges_nothing_and_is_not_forgotten(
    youtube: FakeYouTube, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ids(6)
    youtube.videos = {name: video(film) for name in names}
    youtube.refusing = "bot"
    build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], (*through(youtube), "--max-wait", "2s"))
    code, said = ended(build)
    assert code == 3
    (line,) = [line for line in said.splitlines() if "paused" in line and "to go on" in line]
    assert "kinetics-pipeline build" in line
    assert players(youtube).total() == 1
    assert build.entries() == {}
    document, text = status_of(build, capsys)
    assert document["pending"] == 6
    assert document["next"].startswith("kinetics-pipeline build")
    assert document["egress"][0]["paused_until"] > time.time() + 3000
    assert document["egress"][0]["reason"] == "bot_check"
    assert "is paused until" in text

    youtube.refusing = None
    code, _ = ended(build)
    assert code == 3
    assert players(youtube).total() == 1  # the cool-down holds for the next driver too

    let_go_on(build)
    build.run()
    assert outcomes(build) == dict.fromkeys(names, "ok")
    assert players(youtube) == Counter(names) + Counter([next(iter(players(youtube)))])


def test_a_pause_that_the_server_asked_for_ends_by_itself(youtube: FakeYouTube, film: Path, tmp_path: Path) -> None:
    names = ids(3)
    youtube.videos = {name: video(film) for name in names}
    for name in names:
        youtube.videos[name].media = Faults("429", times=1, headers={"Retry-After": "2"})
    build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], through(youtube))
    build.run()
    assert outcomes(build) == dict.fromkeys(names, "ok")
    asked = sorted(request.time for request in youtube.media())
    refused = [request.time for request in youtube.media() if request.status == 429]
    for moment in refused:
        assert not [other for other in asked if moment < other < moment + 1.9]


def test_local_clips_do_not_wait_for_youtube(youtube: FakeYouTube, film: Path, tmp_path: Path) -> None:
    """Not even when every shard of local files has a broken one, for which YouTube would have to be asked."""
    local, remote = ids(3 * AT_ONCE, "local00"), ids(5)
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(local):
        if number % 2:
            (folder / f"{name}.mp4").symlink_to(film)
        else:
            (folder / f"{name}.mp4").write_bytes(film.read_bytes()[:2000])
    youtube.refusing = "session_limit"
    pile = asked_for(tmp_path, [*local, *remote])
    flags = through(youtube, flags=(*SMALL, "--clips-per-shard", "1", "--rate", "100000"))
    build = Build(pile, tmp_path, [str(folder), "youtube"], (*flags, "--max-wait", "1s"))
    code, _ = ended(build)
    assert code == 3
    assert outcomes(build) == dict.fromkeys(local[1::2], "ok")
    assert players(youtube).total() == 1
    assert cli(["status", str(build.output)]) == 0


def test_a_burst_of_videos_without_formats_pauses_and_records_none(
    youtube: FakeYouTube, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ids(VIDEOS + 6)
    youtube.videos = {name: Video([], duration=DURATION) for name in names}
    flags = (*through(youtube), "--max-wait", "1s")
    build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], flags)
    code, said = ended(build)
    assert code == 3, said
    assert build.entries() == {}
    assert players(youtube).total() == VIDEOS
    document, _ = status_of(build, capsys)
    assert document["egress"][0]["reason"] == "burst"
    youtube.videos = {name: video(film) for name in names}
    let_go_on(build)
    build.run()
    assert outcomes(build) == dict.fromkeys(names, "ok")


def test_a_run_with_nothing_but_doubtful_videos_left_pauses_once_and_ends(
    youtube: FakeYouTube, film: Path, tmp_path: Path
) -> None:
    """Their failing again, after the pause or in a later run, is not news."""
    names = ids(VIDEOS + 4)
    youtube.videos = dict.fromkeys(names, Video(playability="unheard_of"))
    flags = (*through(youtube), "--cool-down", "2s")
    build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], flags)
    build.run()
    assert outcomes(build) == dict.fromkeys(names, "internal")
    assert max(players(youtube).values()) <= 4  # two uncharged, where it takes a while until the burst shows
    youtube.reset()
    Build(build.pile, tmp_path, ["youtube"], (*through(youtube), "--retry", "internal", "--max-wait", "1s")).run()
    assert players(youtube) == dict.fromkeys(names, 2)


def test_attempts_survive_a_killed_driver(youtube: FakeYouTube, film: Path, tmp_path: Path) -> None:
    """Three tries at a player API that fails, however often the driver is killed in between."""
    youtube.videos = {"failing0000": Video(api=Faults("500"))}
    build = Build(asked_for(tmp_path, ["failing0000"]), tmp_path, ["youtube"], through(youtube))
    for tried in (1, 2):
        process = build.start()
        attempts = build.output / "state" / "attempts.json"
        wait_for(lambda: attempts.exists() and attempts.read_text().count("network") >= tried, process)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.wait()
    build.run()
    assert outcomes(build) == {"failing0000": "network"}
    assert players(youtube)["failing0000"] == 3


def test_two_proxies_are_sticky_share_one_budget_and_one_is_left_alone_when_it_is_refused(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ids(12)
    with FakeYouTube({n: video(film) for n in names}) as one, FakeYouTube({n: video(film) for n in names}) as two:
        two.refusing = "bot"
        flags = through(one, two, flags=(*SMALL, "--clips-per-shard", "4", "--rate", "7200"))
        build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], (*flags, "--max-wait", "1s"))
        code, _ = ended(build)
        assert code == 3
        assert players(two).total() == 1
        mine = set(players(one))
        assert 0 < len(mine) < 12
        extractions = sorted(r.time for fake in (one, two) for r in fake.log if r.kind == "player")
        for first, last in itertools.combinations(range(len(extractions)), 2):
            # Half a second for each, whichever proxy; a request may take a while to arrive.
            assert extractions[last] - extractions[first] > 0.5 * (last - first) - 1.5
        document, text = status_of(build, capsys)
        paused = {lane["name"]: lane["paused_until"] > time.time() for lane in document["egress"]}
        assert paused == {"youtube proxy 1": False, "youtube proxy 2": True}
        assert "youtube proxy 2 is paused until" in text
        two.refusing = None
        let_go_on(build)
        build.run()
        assert outcomes(build) == dict.fromkeys(names, "ok")
        assert set(players(one)) == mine
        assert set(players(two)) == set(names) - mine
        for proxy in (one, two):
            assert f"127.0.0.1:{proxy.port}" not in texts_in(build.output / "shards", build.output / "plans")


def test_cookies_are_never_stored_and_open_nothing_that_was_not_allowed(
    youtube: FakeYouTube, film: Path, tmp_path: Path
) -> None:
    cookies = tmp_path / "cookies.txt"
    line = "\t".join((".youtube.com", "TRUE", "/", "TRUE", "2000000000", "LOGIN_INFO", COOKIE))
    cookies.write_text(f"# Netscape HTTP Cookie File\n{line}\n")
    before = cookies.read_bytes()
    names = ids(2)
    youtube.videos = {names[0]: video(film), names[1]: video(film, details={"isPrivate": True})}
    flags = (*through(youtube), "--cookies", str(cookies))
    build = Build(asked_for(tmp_path, names), tmp_path, ["youtube"], flags)
    process = build.start()
    seen = ""
    while process.poll() is None:
        try:
            seen += texts_in(build.output, build.cache)
        except FileNotFoundError:
            continue
        time.sleep(0.2)
    assert ended(process)[0] == 0
    assert outcomes(build) == {names[0]: "ok", names[1]: "private"}
    assert COOKIE not in seen + texts_in(build.output, build.cache)
    assert cookies.read_bytes() == before
    allowed = Build(build.pile, tmp_path, ["youtube"], (*flags, "--retry", "private", "--allow-access", "private"))
    allowed.run()
    assert Dataset.open(build.output).outcomes()[build.pile.clip_ids[1]] == "ok"


def test_clips_that_failed_another_day_are_planned_again_and_withdrawn_ones_never(pile: Pile, tmp_path: Path) -> None:
    from tests.fake_youtube import FileServer

    folder = pile.folder
    names = [f"clip_{number:06d}" for number in range(3)]
    mine = asked_for(tmp_path, names, second=0)
    mine.annotations.write_text(mine.annotations.read_text().replace(",0,2,", ",0,1,"))
    with FileServer(folder, default=Faults("500")) as server:
        flags = (*SMALL, "--clips-per-shard", "1", "--ytdlp-option", "retries=0")
        build = Build(mine, tmp_path, [server.template], flags)
        build.run()
        assert outcomes(build) == dict.fromkeys(names, "network")
        assert Counter(Path(request.path).stem for request in server.media()) == dict.fromkeys(names, 3)
        ids_file = tmp_path / "ids.txt"
        ids_file.write_text(f"{names[0]}_000000_000001\n")
        assert cli(["tools", "forget", str(build.output), "--ids", str(ids_file), "--reason", "asked to"]) == 0
        server.default = Faults()
        server.reset()
        said = build.run()
        assert "nothing to do" in said
        assert not server.log
        for wanted in ("network,no_format", "all"):
            again = Build(mine, tmp_path / wanted, build.source, (*flags, "--retry", wanted))
            shutil.copytree(build.output, again.output)
            server.reset()
            again.run()
            after = Dataset.open(again.output).outcomes()
            assert {clip[:11]: outcome for clip, outcome in after.items()} == {
                names[0]: "withdrawn",
                names[1]: "ok",
                names[2]: "ok",
            }
            assert {Path(request.path).stem for request in server.media()} == set(names[1:])
