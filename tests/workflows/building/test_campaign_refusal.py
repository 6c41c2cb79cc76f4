"""Five thousand rows, and a YouTube that at some point refuses everything: no request more, local files meanwhile, and
on by itself afterwards. `KINETICS_CAMPAIGN=full` refuses after the 500th video, and sees 500 more afterwards.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.building import Build, wait_for
from tests.builders.youtube_builds import SMALL, asked_for, ended, ids, players, through
from tests.fake_youtube import FakeYouTube, Rendition, Request, Video
from tests.fake_youtube.media import render_indexed

pytestmark = pytest.mark.slow

FULL = os.environ.get("KINETICS_CAMPAIGN") == "full"
ROWS, LOCAL = 5000, 256
BEFORE = 500 if FULL else 60
"""Videos that YouTube answers for before it refuses."""
AFTERWARDS = 500 if FULL else 30
"""Videos of which the run must have been told once YouTube relents."""
COOL_DOWN = 4.0
LANES = 1
"""Extractions that may be in flight when the first refusal comes."""


@dataclass
class Mood:
    """Answers for so many videos, then asks whoever comes to show that he is not a bot, until it is told to relent."""

    youtube: FakeYouTube
    answered: int = 0
    refused: list[Request] = field(default_factory=list)
    relented: bool = False

    def on_request(self, request: Request) -> None:
        if request.kind != "player":
            return
        if self.answered >= BEFORE and not self.relented:
            self.youtube.refusing = "bot"
            self.refused.append(request)
        else:
            self.youtube.refusing = None
            self.answered += 1


@pytest.mark.timeout(3000 if FULL else 1800)
def test_a_refusal_stops_the_requests_not_the_local_files_and_the_run_goes_on_by_itself(tmp_path: Path) -> None:
    film = render_indexed(tmp_path / "film.mp4", 64, 48, 2)
    local, remote = ids(LOCAL, "local00"), ids(ROWS - LOCAL)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in local:
        (folder / f"{name}.mp4").symlink_to(film)
    good, gone = Video([Rendition(film, 134, 64, 48)], duration=2), Video(playability="removed")
    videos = {name: gone if number % 4 else good for number, name in enumerate(remote)}
    pile = asked_for(tmp_path, [*local, *remote], second=0)
    with FakeYouTube(videos) as youtube:
        mood = Mood(youtube)
        youtube.on_request = mood.on_request
        flags = through(youtube, flags=(*SMALL, "--rate", "100000000", "--cool-down", f"{COOL_DOWN:g}s"))
        build = Build(pile, tmp_path, [str(folder), "youtube"], flags)
        process = build.start()
        wait_for(lambda: bool(mood.refused), process, seconds=1500 if FULL else 600)
        wait_for(lambda: recorded(build, local) == LOCAL, process)
        wait_for(lambda: len(mood.refused) > 1, process)
        assert mood.answered == BEFORE
        mood.relented = True
        wait_for(lambda: mood.answered >= BEFORE + AFTERWARDS, process, seconds=1500)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == 130, said

    # Each refusal is one request, and the address then rests, twice as long each time.
    for number, refused in enumerate(mood.refused):
        rest = COOL_DOWN * 2**number
        assert len([r for r in youtube.log if refused.time < r.time < refused.time + rest]) < LANES

    asked, refusals = players(youtube), Counter(request.video_id for request in mood.refused)
    # After the pause a video that came well is asked again before all others, the canary: that one alone, once.
    again = {name: times - 1 - refusals[name] for name, times in asked.items() if times > 1 + refusals[name]}
    assert list(again.values()) == [1]
    assert all(videos[name] is good for name in again)
    assert not set(asked) & set(local)
    assert cli(["verify", str(build.output)]) == 0
    found = {clip[:11]: outcome for clip, outcome in Dataset.open(build.output).outcomes().items()}
    right = {name: "ok" if video is good else "gone" for name, video in videos.items()} | dict.fromkeys(local, "ok")
    assert found == {name: right[name] for name in found}
    assert set(local) <= set(found)


def recorded(build: Build, videos: list[str]) -> int:
    """How many of the videos' clips the committed shards hold."""
    return len({clip[:11] for clip in build.entries()} & set(videos))
