"""Prints what becomes of YouTube's answers: `python -m tests.fake_youtube.show answers|breaker|fragments`.

`answers`: every row of the table through yt-dlp's real extractor, right / all, by kind. `breaker`: what a block costs.
`fragments`: what becomes of a clip whose HLS fragments or their list fail.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kinetics_pipeline.annotations.table import load_annotations
from kinetics_pipeline.records import Clip, clip_id
from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.http.ytdlp import Opener
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.video.container import BrokenVideo
from kinetics_pipeline.video.frames import TooShort, read_clip
from tests.builders.driven_builds import DrivenBuild
from tests.builders.youtube_builds import asked_for, ids
from tests.fake_youtube import WATCH_PAGE, FakeYouTube, Faults, Rendition, Video
from tests.fake_youtube.media import cut_into_fragments, render_indexed
from tests.fake_youtube.reasons import ROWS

ID = "okokokokok1"
CLIENTS = {"default clients": FakeYouTube.default_options, "one client": FakeYouTube.ytdlp_options}


def answers(folder: Path) -> None:
    """Right / all by kind, and each row that is read wrongly."""
    kinds = dict.fromkeys(said.kind for said in ROWS)
    right: dict[str, Counter[str]] = {}
    for name, options in CLIENTS.items():
        found: Counter[str] = Counter()
        with FakeYouTube() as fake:
            chosen = SourceOptions(proxy=fake.url, ytdlp_options=options)
            with Opener(chosen) as opener:
                for said in ROWS:
                    fake.videos[ID] = Video(playability=said.playability)
                    opener.begin()
                    failure = YouTube(chosen).extract(opener, ID)
                    assert isinstance(failure, Failure)
                    found[said.kind] += failure.outcome == said.outcome
                    if failure.outcome != said.outcome:
                        print(f"wrong with {name}: {said}: {failure}")
        right[name] = found
    every = Counter(said.kind for said in ROWS)
    print(f"{'kind':16}{'rows':>6}" + "".join(f"{name:>18}" for name in right) + "  outcomes")
    for kind in kinds:
        outcomes = ", ".join(sorted({said.outcome for said in ROWS if said.kind == kind}))
        print(f"{kind:16}{every[kind]:6}" + "".join(f"{found[kind]:18}" for found in right.values()) + f"  {outcomes}")
    print(f"{'all':16}{len(ROWS):6}" + "".join(f"{found.total():18}" for found in right.values()))


@contextmanager
def _dead_proxy() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


def breaker(folder: Path) -> None:
    """Twenty-four videos under blocks of different kinds, from the beginning and after four that came well."""
    film = Rendition(render_indexed(folder / "film.mp4", 64, 48, 13), 134, 64, 48)

    def good(**faults: Any) -> Video:
        return Video([film], duration=13, **faults)

    limited, refused = good(api=Faults("429")), good(api=Faults("403"))
    soft, bare = Video(playability="soft_block"), Video(playability="unavailable")
    foreign = Video(playability={"status": "ERROR", "reason": "Видео недоступно"})

    def behind_a_sound_page(video: Video) -> Video:
        return good(by_client={"TVHTML5": video, "VISIONOS": video, WATCH_PAGE: good()})

    of_address = {  # what every video answers, also those that came well before
        "soft block": [soft],
        "unavailable": [bare],
        "soft block, unavailable, API 403, no answer": [soft, bare, refused, good(api=Faults("stall"))],
        "text in another language": [foreign],
        "media 403": [good(media=Faults("403"))],
        "API 403 behind a sound watch page": [behind_a_sound_page(refused)],
        "API 429 behind a sound watch page": [behind_a_sound_page(limited)],
        "dead proxy": [good()],
    }
    of_videos = {
        "soft block, every other one": [soft, good()],
        "unavailable, every other one": [bare, good()],
        "good, unavailable, API 403, soft block": [good(), bare, refused, soft],
    }
    print(f"{'':45}{'begins':>12}{'requests':>10}{'charged':>34}{'exit':>6}")
    for name, shown in (of_address | of_videos).items():
        for begins in ("at once", "after four"):
            build = _blocked(
                folder / f"{name} {begins}", name, shown, good(), begins == "after four", name in of_address
            )
            charged = ", ".join(f"{n} {outcome}" for outcome, n in sorted(build.charged.items())) or "none"
            print(f"{name:45}{begins:>12}{_requests(build):10}{charged:>34}{build.code:6}")


@dataclass
class _Blocked(DrivenBuild):
    code: int = 0
    before: int = 0
    """Requests of the run before the block."""


def _blocked(place: Path, name: str, shown: Sequence[Video], good: Video, after: bool, all_of_them: bool) -> _Blocked:
    """A build of 24 videos that answer as `shown`, in turn; `after`: after another of four videos that came well."""
    names, first = ids(24), ids(4, "sound00")
    options = FakeYouTube.default_options if "watch page" in name else FakeYouTube.ytdlp_options
    with FakeYouTube(dict.fromkeys(first, good)) as fake, _dead_proxy() as dead:
        way = SourceOptions(short_side=32, proxy=fake.url, ytdlp_options=options, timeout=1.0)
        build = _Blocked(place, YouTube(way))
        if after:
            build.run(load_annotations([str(asked_for(place, first).annotations)]).table)
            build.before = _requests(build)
        fake.videos |= {
            video: shown[n % len(shown)] for n, video in enumerate([*names, *(first if all_of_them else ())])
        }
        if name == "dead proxy":
            build.source = YouTube(replace(way, proxy=dead))
        build.code = build.run(load_annotations([str(asked_for(place, names).annotations)]).table, max_wait=30.0)
    return build


def _requests(build: _Blocked) -> int:
    """All requests of the latest run, as the build counted them."""
    lanes = json.loads((build.folder / "dataset" / "state" / "egress.json").read_text())
    return sum(int(lane["requests"]) for lane in lanes.values()) - build.before


def fragments(folder: Path) -> None:
    """A clip of four seconds from eight fragments of a second; each fault at the first, a middle and the last one."""
    whole = render_indexed(folder / "film.mp4", 160, 128, 8)
    files = cut_into_fragments(whole, folder / "fragments")
    clip = Clip(clip_id(ID, 0, 4), ID, 0, 4, "running", "train")
    expected = read_clip(whole, 0, 4, short_side=64, lookahead=1)

    def shown(video: Video, at: str) -> str:
        options = {**FakeYouTube.ytdlp_options, "fragment_retries": 1}
        with FakeYouTube({ID: video}) as fake:
            source = YouTube(SourceOptions(short_side=64, proxy=fake.url, ytdlp_options=options, timeout=1.0))
            answer = source.download(ID, [clip], folder / at)
        if answer.failure is not None:
            return f"{answer.failure.outcome}: {answer.failure.detail}"
        media = answer.media[clip.clip_id]
        try:
            frames = read_clip(media.path, 0, 4, short_side=64, lookahead=1, duration=media.duration)
        except (BrokenVideo, TooShort) as error:
            return f"decode: {error}"
        same = [bool(np.array_equal(a, b)) for a, b in zip(frames, expected, strict=False)]
        return f"ok: {sum(same)} of {len(expected)} frames are those of the whole file, {len(frames)} in all"

    print(f"{'none':12}{shown(Video(fragments=files, hls=True, duration=8), 'none')}")
    for fault in ("403", "404", "429", "500", "truncate", "empty", "html"):
        for number in (0, 4, 7):
            video = Video(fragments=files, hls=True, duration=8, fragment_faults={number: Faults(fault)})
            print(f"{fault:12}{number:3}  {shown(video, f'{fault} {number}')}")
    for fault in ("403", "404", "429", "500", "empty"):
        for place in ("manifest", "playlist"):
            faulty: dict[str, Any] = {place: Faults(fault)}
            video = Video(fragments=files, hls=True, duration=8, **faulty)
            print(f"{fault:12}{place:10} {shown(video, f'{place} {fault}')}")


def main() -> None:
    warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    tables = {"answers": answers, "breaker": breaker, "fragments": fragments}
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("table", choices=tables)
    chosen = parser.parse_args().table
    with tempfile.TemporaryDirectory() as folder:
        tables[chosen](Path(folder))


if __name__ == "__main__":
    main()
