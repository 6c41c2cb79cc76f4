"""Table 1: parameters of the five architectures, and what they see in training and in testing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.models import build_model, count_parameters
from kinetics_pipeline.workflows.paper.experiments import SHAPES
from kinetics_pipeline.workflows.scoring.footprint import footprint

ROWS = (
    # label, networks (name, channels), paper's millions, training input, test input
    ("(a) ConvNet+LSTM", (("convnet_lstm", 3),), 9, "25 rgb, 5 s", "50 rgb, 10 s"),
    ("(b) 3D-ConvNet", (("c3d", 3),), 79, "16 rgb, 0.64 s", "240 rgb, 9.6 s"),
    ("(c) Two-Stream", (("two_stream", 3),), 12, "1 rgb, 10 flow, 0.4 s", "25 rgb, 250 flow, 10 s"),
    ("(d) 3D-Fused", (("fused_two_stream", 3),), 39, "5 rgb, 50 flow, 2 s", "25 rgb, 250 flow, 10 s"),
    ("(e) Two-Stream I3D", (("i3d", 3), ("i3d", 2)), 25, "64 rgb, 64 flow, 2.56 s", "250 rgb, 250 flow, 10 s"),
)
FPS, TEST_FRAMES = 25, 250


def print_architectures(console: Console) -> None:
    """Builds each without storage for its parameters, and counts: a moment, and nothing is trained.

    What is seen here is computed from a training snippet and from ten seconds of 25 frames.
    """
    import torch

    table = Table(
        title="Table 1: parameters (millions) and temporal footprints, paper / here",
        box=None,
        pad_edge=False,
        title_justify="left",
    )
    table.add_column("")
    for column in ("parameters", "training input", "test input"):
        table.add_column(column, justify="right")
    for label, networks, paper, training, test in ROWS:
        with torch.device("meta"):
            models = [build_model(name, 400, channels) for name, channels in networks]
        count = sum(map(count_parameters, models))
        streams = ("rgb", "flow") if len(models) == 2 else ("rgb",)
        shapes = (SHAPES[networks[0][0]]["frames"], TEST_FRAMES)
        seen = [
            [footprint(model, stream, frames, FPS) for model, stream in zip(models, streams, strict=True)]
            for frames in shapes
        ]
        here = [" + ".join(parts) for parts in seen]
        table.add_row(label, f"{paper} / {count / 1e6:.2f}", f"{training} / {here[0]}", f"{test} / {here[1]}")
    Console(highlight=False, width=max(console.width, 150), file=console.file).print(table)
