"""Table 1: parameters of the five architectures, and what they see in training and in testing."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.models import build_model, count_parameters

ROWS = (
    # label, networks (name, channels), paper's millions, training input, test input
    ("(a) ConvNet+LSTM", (("convnet_lstm", 3),), 9, "25 rgb, 5 s", "50 rgb, 10 s"),
    ("(b) 3D-ConvNet", (("c3d", 3),), 79, "16 rgb, 0.64 s", "240 rgb, 9.6 s"),
    ("(c) Two-Stream", (("two_stream", 3),), 12, "1 rgb, 10 flow, 0.4 s", "25 rgb, 250 flow, 10 s"),
    ("(d) 3D-Fused", (("fused_two_stream", 3),), 39, "5 rgb, 50 flow, 2 s", "25 rgb, 250 flow, 10 s"),
    ("(e) Two-Stream I3D", (("i3d", 3), ("i3d", 2)), 25, "64 rgb, 64 flow, 2.56 s", "250 rgb, 250 flow, 10 s"),
)


def print_architectures(console: Console) -> None:
    """Builds each without storage for its parameters, and counts: a moment, and nothing is trained."""
    import torch

    table = Table(title="Table 1: parameters (millions), paper / here", box=None, pad_edge=False, title_justify="left")
    table.add_column("")
    for column in ("parameters", "training input", "test input"):
        table.add_column(column, justify="right")
    for label, networks, paper, training, test in ROWS:
        with torch.device("meta"):
            count = sum(count_parameters(build_model(name, 400, channels)) for name, channels in networks)
        table.add_row(label, f"{paper} / {count / 1e6:.2f}", training, test)
    console.print(table)
