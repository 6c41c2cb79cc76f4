"""What each layout and quality of RGB costs: bytes, processor time of a sample, PSNR, and what a network sees of it.

    python -m workflows.benchmarks.layouts [--clips FOLDER] [--count N] [--rounds N] [--weights FILE]

Clips are drawn, or cut from the videos of a folder, and stored in every form; nothing but the form differs. A sample is
64 frames and a crop of 224, loaded in this process; the forms take turns. I3D sees 64 frames of each clip: the cosine
of its features with those of the uncompressed frames, and the largest change of a logit, in standard deviations of the
logits over classes. Without `--weights` it is a seeded network whose batch norm is fitted to these clips: it knows no
class, yet passes on every detail.

Bars: the video layout takes at most 0.3 of the Parquet layout's bytes, and at most 2.2 times its processor time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.loading.clip_dataset import EpochIndex
from kinetics_pipeline.models import build_model, load_checkpoint
from kinetics_pipeline.models.i3d import I3D
from kinetics_pipeline.recipe import CRF, Recipe
from kinetics_pipeline.records import Record
from kinetics_pipeline.shards.clip_rows import decode_payload, encode_clip
from kinetics_pipeline.workflows.benchmarks.loader import squared_error, write_shards
from kinetics_pipeline.workflows.benchmarks.loader_clips import FRAMES, Frames, cut_clips, drawn_clip

CLIPS_OF_K400 = 306_245
"""Clips of the three splits of Kinetics-400 (Kay et al. 2017, table 1)."""
EXACT, PARQUET, VIDEO = "array", "parquet q90", f"video crf {CRF}"
FORMS: dict[str, Recipe] = {
    EXACT: Recipe(flow="none", layout="array"),
    "parquet q95": Recipe(flow="none", rgb_quality=95),
    PARQUET: Recipe(flow="none"),
    "parquet q75": Recipe(flow="none", rgb_quality=75),
    **{f"video crf {crf}": Recipe(flow="none", layout="video", crf=crf) for crf in (12, CRF, 20, 24)},
}
EPOCHS = 4
"""Different snippets of each clip."""


@dataclass
class Form:
    """What was measured of one layout and quality."""

    recipe: Recipe
    sizes: list[int] = field(default_factory=list)
    """Bytes of each clip."""
    errors: list[float] = field(default_factory=list)
    """Mean squared error of each clip's frames."""
    encoding: float = 0.0
    """Seconds of processor to encode all clips."""
    loading: list[float] = field(default_factory=list)
    """Seconds of processor a sample, in each turn."""
    cosines: list[float] = field(default_factory=list)
    change: float = 0.0
    """The largest of any logit."""

    def psnr(self) -> str:
        error = statistics.mean(self.errors)
        return "exact" if error == 0 else f"{10 * np.log10(255**2 / error):.1f}"


def store(folder: Path, clips: Iterable[Frames], forms: Mapping[str, Recipe] = FORMS) -> dict[str, Form]:
    """Every clip in every form, as a dataset `folder / name` each."""
    found = {name: Form(recipe) for name, recipe in forms.items()}
    records: list[Record] = []
    for number, frames in enumerate(clips):
        clip_id = f"clip{number:04d}"
        records.append(Record(clip_id, clip_id, None, None, "a", "ok", frames=len(frames)))
        for name, form in found.items():
            began = time.process_time()
            payload = encode_clip(clip_id, 0, frames, None, form.recipe)
            form.encoding += time.process_time() - began
            form.sizes.append(len(payload))
            form.errors.append(squared_error(frames, decode_payload(payload, "rgb", form.recipe.layout)))
            (folder / f"{clip_id}.{name}").write_bytes(payload)
    for name, form in found.items():
        write_shards(folder, name, form.recipe, records)
    return found


def time_loading(folder: Path, forms: Mapping[str, Form], rounds: int) -> None:
    """Loads samples of each form in turn; the first turn, which opens the files, does not count."""
    samples = {name: ClipDataset(folder / name, frames=64, crop=224, raw=True) for name in forms}
    for turn in range(rounds + 1):
        for name, form in forms.items():
            began = time.process_time()
            for clip in range(len(samples[name])):
                samples[name][EpochIndex(clip, turn % EPOCHS)]
            if turn:
                form.loading.append((time.process_time() - began) / len(samples[name]))


def compare_features(
    folder: Path, forms: Mapping[str, Form], network: I3D, *, frames: int = 64, crop: int = 224
) -> float:
    """Fills in what `network` sees of each form beside `EXACT`; the logits' standard deviation over classes, there."""

    def seen(name: str) -> Iterator[tuple[Tensor, Tensor]]:
        for sample in ClipDataset(folder / name, frames=frames, crop=crop, train=False):  # type: ignore[attr-defined]
            features = network.features(sample["video"][None]).mean(dim=2)[0]
            yield features, network.logits(features[None, :, None, None, None])[0, :, 0, 0, 0]

    with torch.inference_mode():
        exact = list(seen(EXACT))
        for name, form in forms.items():
            mine = exact if name == EXACT else seen(name)
            for (features, logits), (other, expected) in zip(mine, exact, strict=True):
                form.cosines.append(float(torch.cosine_similarity(features, other, dim=0)))
                form.change = max(form.change, float((logits - expected).abs().max()))
    return statistics.mean(float(logits.std()) for _, logits in exact)


def fitted_network(folder: Path, *, frames: int = 64, crop: int = 224) -> I3D:
    """A seeded I3D whose batch norm has the statistics of the uncompressed clips."""
    torch.manual_seed(0)
    network = build_model("i3d")
    assert isinstance(network, I3D)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # the mean over all that is seen
    network.train()
    with torch.no_grad():
        for sample in ClipDataset(folder / EXACT, frames=frames, crop=crop, train=False):  # type: ignore[attr-defined]
            network(sample["video"][None])
    return network.eval()


def table_of(forms: Mapping[str, Form], spread: float) -> Table:
    table = Table(box=None)
    columns = ("MB a clip", "K400, TB", "PSNR, dB", "encoding, s", "samples/s", "cosine", "least", "logits")
    for name in ("RGB", *columns):
        table.add_column(name, justify="left" if name == "RGB" else "right", no_wrap=True)
    for name, form in forms.items():
        a_clip = statistics.mean(form.sizes)
        table.add_row(
            name,
            f"{a_clip / 1e6:.2f}",
            f"{a_clip * CLIPS_OF_K400 / 1e12:.2f}",
            form.psnr(),
            f"{form.encoding / len(form.sizes):.2f}",
            f"{1 / statistics.median(form.loading):.0f}" if form.loading else "",
            f"{statistics.mean(form.cosines):.4f}" if form.cosines else "",
            f"{min(form.cosines):.4f}" if form.cosines else "",
            f"{form.change / spread:.3f}" if form.cosines else "",
        )
    return table


def bars(forms: Mapping[str, Form]) -> list[tuple[str, float, bool]]:
    """What the video layout is held to: a sentence, the number, and whether it is reached."""
    video, jpegs = forms[VIDEO], forms[PARQUET]
    sizes = sum(video.sizes) / sum(jpegs.sizes)
    times = statistics.median(one / other for one, other in zip(video.loading, jpegs.loading, strict=True))
    return [
        (f"bytes of {VIDEO} over those of {PARQUET} (at most 0.3)", sizes, sizes <= 0.3),
        ("processor time of a sample, likewise (at most 2.2)", times, times <= 2.2),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="a folder of videos to cut clips from; default: drawn ones")
    parser.add_argument("--count", type=int, default=4, help="how many clips")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", type=Path, help="weights of I3D for RGB, of any origin")
    asked = parser.parse_args(arguments)
    console = Console(width=120)
    torch.set_num_threads(1)
    clips: Iterator[Frames] = (drawn_clip(number) for number in range(asked.count))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            if asked.clips is not None:
                clips = cut_clips(asked.clips, asked.count)
            forms = store(folder, islice(clips, asked.count))
            time_loading(folder, forms, asked.rounds)
            network = fitted_network(folder)
            if asked.weights is not None:
                load_checkpoint(network, asked.weights)
        except UserError as error:
            parser.error(str(error))
        spread = compare_features(folder, forms, network)
    console.print(table_of(forms, spread))
    console.print(
        f"Clips of {FRAMES} frames. cosine, least: of I3D's features with those of uncompressed frames, mean and least "
        "of the clips. logits: the largest change of one, in standard deviations of the logits over classes.",
        highlight=False,
    )
    for sentence, number, reached in bars(forms):
        console.print(f"{'' if reached else 'MISSED: '}{sentence}: {number:.2f}", markup=False, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
