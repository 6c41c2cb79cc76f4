"""Files of one clock, encoded by the bundled ffmpeg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from tests.builders.videos import H264, ffmpeg, render
from tests.media_zoo.entry import Entry, Shown, even

Make = Callable[[Path], object]
INTRA = (*H264, "-g", "1")


def encoded(
    name: str,
    kind: str,
    report: str,
    codec: Sequence[str] = H264,
    *,
    fps: float | str = 25,
    seconds: float = 2.0,
    shown: Shown | None = None,
    **what: object,
) -> Entry:
    """An entry that is one call of ffmpeg: `codec` are its options for the output, `what` goes to `render`."""

    def make(path: Path) -> object:
        return render(path, fps=fps, seconds=seconds, codec=codec, **what)  # type: ignore[arg-type]

    encoder = codec[codec.index("-c:v") + 1] if "-c:v" in codec else "gif"
    return Entry(name, kind, report, make, shown or even(fps, seconds), encoder=encoder)


def at_times(times: Sequence[float], codec: Sequence[str] = H264, extra: Sequence[str] = ()) -> Make:
    """Frames shown from these seconds on."""
    steps = "+".join(f"gte(N,{k})*{round(1e6 * (b - a))}" for k, (a, b) in enumerate(pairwise(times), 1))
    timed = (
        *codec,
        "-vf",
        f"settb=1/1000000,setpts='{steps}'",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1/1000000",
    )
    return lambda path: render(path, seconds=len(times) / 25, codec=(*timed, *extra))


def copied(
    options: Sequence[str | float | Path], suffix: str = ".mp4", before: Sequence[str | float] = (), **what: object
) -> Make:
    """A rendered file, written once more without encoding, with ffmpeg's options before the input and after it."""

    def make(path: Path) -> None:
        source = render(path.with_name(f"source of {path.stem}{suffix}"), **what)  # type: ignore[arg-type]
        ffmpeg(*before, "-i", source, "-c", "copy", *options, path)
        source.unlink()

    return make


@cache
def encoders() -> frozenset[str]:
    """The encoders that the bundled ffmpeg has."""
    import subprocess

    import imageio_ffmpeg

    listed = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
    )
    return frozenset(line.split()[1] for line in listed.stdout.splitlines() if line.startswith(" V"))
