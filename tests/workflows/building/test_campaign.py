"""Many clips, everything that can go wrong at once, three kills: every clip has the one right outcome.
`KINETICS_CAMPAIGN=full` takes 300 clips.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from kinetics_pipeline.sources.pace.retries import POLICY
from kinetics_pipeline.workflows.building.state import SAVE_EVERY
from kinetics_pipeline.workflows.cli.app import run as cli
from tests.builders.building import Build, Pile
from tests.builders.staying_driver import StayingDriver
from tests.builders.youtube_builds import SMALL, ended, players, through
from tests.fake_youtube import FakeYouTube, Faults, Rendition, Request, Video
from tests.fake_youtube.media import render_indexed

pytestmark = pytest.mark.slow

FULL = os.environ.get("KINETICS_CAMPAIGN") == "full"
CLIPS = 300 if FULL else 150
NO_ANSWER = 5.0
"""Seconds until a request counts as stalled."""
EARLY = 120 if FULL else 80
"""Every kind has come up among so many videos, so that the last kill finds each of them tried and not yet over."""


@dataclass(frozen=True)
class Kind:
    """What a video of the fake is like, and so what its clip must become."""

    video: Video
    outcome: str
    once: bool = False
    """It fails at the first extraction alone."""

    @property
    def extractions(self) -> int:
        """The most that the policy allows: charged attempts by outcome, and one more after what is nobody's fault."""
        return 1 + self.once if self.outcome not in POLICY else POLICY[self.outcome].attempts


def kinds(film: Path, broken: Path) -> dict[str, Kind]:
    """Every way in which a video may fail, and some in which it may fail once and then come."""
    good = Video([Rendition(film, 134, 64, 48)], duration=2)
    found = {
        name: Kind(Video(playability=name), outcome)
        for outcome, names in {
            "private": ("private",),
            "gone": ("removed", "not_any_more", "terminated", "closed", "copyright", "guidelines"),
            "age_restricted": ("age",),
            "geo_blocked": ("geo", "geo_copyright"),
            "members_only": ("members", "payment"),
            "no_format": ("unavailable", "premiere", "live_to_come", "live_ended", "processing"),
            "internal": ("unheard_of",),
        }.items()
        for name in names
    }
    found["live"] = Kind(replace(good, details={"isLive": True}), "no_format")
    found["without formats"] = Kind(Video([]), "no_format")
    found["broken file"] = Kind(Video([Rendition(broken, 134, 64, 48)], duration=2), "decode")
    found["fragments"] = Kind(replace(good, hls=True), "ok")
    for name in ("bot", "session_limit", "captcha"):
        found[f"{name} once"] = Kind(replace(good, playability=name, refusals=1), "ok", once=True)
    for name in ("403", "404", "500", "503", "stall", "garbage"):
        found[f"api {name}"] = Kind(replace(good, api=Faults(name)), "network")
    for name in ("403", "404", "500", "stall_mid", "reset", "truncate", "empty", "html"):
        found[f"media {name}"] = Kind(replace(good, media=Faults(name)), "network")
    for name in ("429", "wrong_video", "403", "500", "garbage"):
        found[f"api {name} once"] = Kind(replace(good, api=Faults(name, times=1)), "ok", once=True)
    for name in ("403", "500", "stall", "reset", "truncate", "empty", "html"):
        found[f"media {name} once"] = Kind(replace(good, media=Faults(name, times=1)), "ok", once=True)
    wait = Faults("429", times=1, headers={"Retry-After": "1"})
    found["media 429 once"] = Kind(replace(good, media=wait), "ok", once=True)
    return found


@dataclass
class Campaign:
    """Deals the kinds to the videos in the order in which they are asked for, and kills at chosen requests."""

    kinds: dict[str, Kind]
    good: Kind
    youtube: FakeYouTube
    dealt: dict[str, Kind] = field(default_factory=dict)
    driver: psutil.Process | None = None
    disturbed: set[str] = field(default_factory=set)
    """Videos that were in hand when something was killed."""
    kills: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        early = [*self.kinds.values(), *[self.good] * (EARLY - len(self.kinds))]
        random.Random(6).shuffle(early)
        self.hands = iter([*early, *[self.good] * CLIPS])

    def on_request(self, request: Request) -> None:
        if request.video_id is None or request.kind == "other":
            return
        with self.lock:
            if request.video_id not in self.dealt:
                self.dealt[request.video_id] = next(self.hands)
                self.youtube.videos[request.video_id] = self.dealt[request.video_id].video
            self._kill_when_it_is_time(request)

    def _kill_when_it_is_time(self, request: Request) -> None:
        """While the request waits for its answer."""
        if self.driver is None or request.kind != "media" or self.dealt[request.video_id or ""] is not self.good:
            return
        at = {0: EARLY // 4, 1: EARLY // 2, 2: EARLY + EARLY // 3}.get(len(self.kills))
        if at is None or len(self.dealt) < at:
            return
        if not self.kills:
            self._kill("kinetics_pipeline.sources.child_process", request)
        elif len(self.kills) == 1:
            self._kill("ray::Fetcher", request)
        else:
            self.kills.append("the driver")
            forgotten = {r.video_id for r in self.youtube.log if r.video_id and r.time > request.time - SAVE_EVERY - 1}
            self.disturbed |= forgotten  # what was learnt of them may not have been written down
            self.driver.send_signal(signal.SIGKILL)

    def _kill(self, what: str, request: Request) -> None:
        assert self.driver is not None
        found = [p for p in self.driver.children(recursive=True) if any(what in word for word in p.cmdline())]
        assert found, what
        self.kills.append(what)
        self.disturbed.add(request.video_id or "")
        for process in found:
            process.send_signal(signal.SIGKILL)


def asked_for(folder: Path) -> tuple[Pile, dict[str, str]]:
    """`CLIPS` rows: a clip each of most videos, two of some, one that lies past its video's end, and no YouTube id.
    And what the rows alone decide."""
    rows = [(f"campaign{n:03d}", 0) for n in range(CLIPS - 12)]
    rows += [(f"campaign{n:03d}", 1) for n in range(10)]
    rows += [("not-of-youtube", 0), ("PastItsEnd0", 30)]
    annotations = folder / "asked.csv"
    with annotations.open("w", newline="") as out:
        table = [("running", name, second, second + 1, "train") for name, second in rows]
        csv.writer(out).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *table])
    ids = tuple(f"{name}_{second:06d}_{second + 1:06d}" for name, second in rows)
    return Pile(folder, annotations, ids), {ids[-2]: "not_found", ids[-1]: "too_short"}


@pytest.mark.timeout(1800)  # most of it is waiting: two minutes on an idle machine
def test_clips_through_every_failure_and_three_kills_have_their_one_right_outcome(
    tmp_path: Path, driver: StayingDriver
) -> None:
    film = render_indexed(tmp_path / "film.mp4", 64, 48, 2)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    good = Kind(Video([Rendition(film, 134, 64, 48)], duration=2), "ok")
    pile, by_row = asked_for(tmp_path)
    with FakeYouTube({"PastItsEnd0": good.video}) as youtube:
        campaign = Campaign(kinds(film, broken), good, youtube, dealt={"PastItsEnd0": good})
        youtube.on_request = campaign.on_request
        flags = (*SMALL, "--clips-per-shard", "40", "--rate", "100000000", "--cool-down", "1s")
        flags = (*through(youtube, flags=flags), "--ytdlp-option", f"socket_timeout={NO_ANSWER}")
        build = Build(pile, tmp_path, ["youtube"], flags)
        process = build.start()
        campaign.driver = psutil.Process(process.pid)
        code, said = ended(process)
        assert code == -signal.SIGKILL, said
        build.run(driver)

    assert campaign.kills == ["kinetics_pipeline.sources.child_process", "ray::Fetcher", "the driver"]
    assert all(kind in campaign.dealt.values() for kind in campaign.kinds.values())
    right = {clip: by_row.get(clip) or campaign.dealt[clip[:11]].outcome for clip in pile.clip_ids}
    entries = build.entries()
    assert Counter(map(len, entries.values())) == {1: CLIPS}
    assert {clip: records[0]["outcome"] for clip, records in entries.items()} == right
    assert build.leftovers() == []
    assert cli(["verify", str(build.output)]) == 0
    assert cli(["status", str(build.output)]) == 0

    allowed = {name: kind.extractions for name, kind in campaign.dealt.items()}
    for name in campaign.disturbed:
        allowed[name] += 1
    asked = players(youtube)
    for name, kind in campaign.dealt.items():
        if kind.outcome == "age_restricted":
            asked[name] = -(-asked[name] // 2)  # yt-dlp asks for such a video as another client too
    assert asked.keys() == allowed.keys()
    more = {name: asked[name] - allowed[name] for name in asked if asked[name] > allowed[name]}
    # A good video is asked again, as the canary, before failures are charged: for some at a time, not for each.
    assert {campaign.dealt[name].outcome for name in more} <= {"ok"}
    assert sum(more.values()) <= len(campaign.kinds), more
