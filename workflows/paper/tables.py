"""The paper's tables: their rows, its own figures, and the experiments that measure the same here.

Figures: Carreira and Zisserman, "Quo Vadis, Action Recognition?", arXiv 1705.07750 version 3, tables 2 to 5; of
miniKinetics, version 1. Percent, top-1, in brackets top-5. Two-Stream is one network with two heads, which are scored
together and apart; 3D-Fused has one head: the paper's figures of its streams alone have no experiment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kinetics_pipeline.workflows.paper.experiments import Experiment, Place, Protocol, Score, Stream

ROWS = {
    "convnet_lstm": "(a) ConvNet+LSTM",
    "c3d": "(b) 3D-ConvNet",
    "two_stream": "(c) Two-Stream",
    "fused_two_stream": "(d) 3D-Fused",
    "i3d": "(e) Two-Stream I3D",
}
BOTH = ("two_stream", "fused_two_stream")


@dataclass(frozen=True)
class Cell:
    """`paper` and `paper_top5`: the figures there, or None; `scores`: of which the mean is measured here, none where
    nothing can be."""

    paper: float | None
    scores: tuple[Score, ...] = ()
    paper_top5: float | None = None


@dataclass(frozen=True)
class PaperTable:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    def scores(self) -> list[Score]:
        return list(dict.fromkeys(score for _, cells in self.rows for cell in cells for score in cell.scores))


Figures = dict[str, tuple[float | None, ...]]

_TABLE_2: dict[Place, Figures] = {
    "ucf": {
        "convnet_lstm": (81.0, None, None),
        "c3d": (51.6, None, None),
        "two_stream": (83.6, 85.6, 91.2),
        "fused_two_stream": (83.2, 85.8, 89.3),
        "i3d": (84.5, 90.6, 93.4),
    },
    "hmdb": {
        "convnet_lstm": (36.0, None, None),
        "c3d": (24.3, None, None),
        "two_stream": (43.2, 56.3, 58.3),
        "fused_two_stream": (49.2, 55.5, 56.8),
        "i3d": (49.8, 61.9, 66.4),
    },
    "kinetics": {
        "convnet_lstm": (63.3, None, None),
        "c3d": (56.1, None, None),
        "two_stream": (62.2, 52.4, 65.6),
        "fused_two_stream": (None, None, 67.2),
        "i3d": (71.1, 63.4, 74.2),
    },
}
_TABLE_3: dict[bool, Figures] = {
    False: {
        "convnet_lstm": (53.9, None, None),
        "c3d": (56.1, None, None),
        "two_stream": (57.9, 49.6, 62.8),
        "fused_two_stream": (None, None, 62.7),
        "i3d": (68.4, 61.5, 71.6),
    },
    True: {**_TABLE_2["kinetics"], "c3d": (None, None, None)},
}
_TABLE_3_TOP5: dict[bool, tuple[float, float, float]] = {False: (88.0, 83.4, 90.0), True: (89.3, 84.9, 91.3)}
"""I3D's: the others have none."""
_TABLE_4: dict[Place, Figures] = {
    # Original, Fixed, Full-FT: each with ImageNet, then without
    "ucf": {
        "convnet_lstm": (81.0, 54.2, 88.1, 82.6, 91.0, 86.8),
        "c3d": (None, 51.6, None, 76.0, None, 79.9),
        "two_stream": (91.2, 83.6, 93.9, 93.3, 94.2, 93.8),
        "fused_two_stream": (89.3, 69.5, 94.3, 89.8, 94.2, 91.5),
        "i3d": (93.4, 88.8, 97.7, 97.4, 98.0, 97.6),
    },
    "hmdb": {
        "convnet_lstm": (36.0, 18.3, 50.8, 47.1, 53.4, 49.7),
        "c3d": (None, 24.3, None, 47.0, None, 49.4),
        "two_stream": (58.3, 47.1, 66.6, 65.9, 66.6, 64.3),
        "fused_two_stream": (56.8, 37.3, 69.9, 64.6, 71.0, 66.5),
        "i3d": (66.4, 62.2, 79.7, 78.6, 81.2, 81.3),
    },
}
_TABLE_5: dict[tuple[Stream | str, bool], tuple[float, float]] = {
    ("rgb", True): (95.6, 74.8),
    ("flow", True): (96.7, 77.1),
    ("rgb+flow", True): (98.0, 80.7),
    ("rgb", False): (95.1, 74.3),
    ("flow", False): (96.5, 77.3),
    ("rgb+flow", False): (97.8, 80.9),
}
_MINI: Figures = {
    "convnet_lstm": (69.9, None, None),
    "c3d": (60.0, None, None),
    "two_stream": (70.1, 58.4, 72.9),
    "fused_two_stream": (71.4, 61.0, 74.0),
    "i3d": (74.1, 69.6, 78.7),
}
EXAMPLES = (25, 50, 100, 200, 400)
"""Training examples a class of the curve."""


def score_of(
    model: str,
    streams: str,
    place: Place,
    protocol: Protocol = "original",
    imagenet: bool = False,
    split: int = 1,
    examples: int | None = None,
) -> Score | None:
    """The score of `rgb`, `flow` or `rgb+flow` of an architecture; None for one that it has not."""

    def one(stream: Stream) -> Experiment:
        # C3D has no 2D weights to begin with.
        return Experiment(place, model, stream, protocol, imagenet and model != "c3d", split, examples)

    if model in BOTH:
        if streams == "rgb+flow":
            return Score((one("both"),))
        return Score((one("both"),), "rgb" if streams == "rgb" else "flow") if model == "two_stream" else None
    if model != "i3d" and streams != "rgb":
        return None
    if streams == "rgb+flow":
        return Score((one("rgb"), one("flow")))
    return Score((one("rgb" if streams == "rgb" else "flow"),))


def _cell(paper: float | None, *scores: Score | None) -> Cell:
    return Cell(paper, tuple(score for score in scores if score is not None))


STREAMS = ("rgb", "flow", "rgb+flow")


def _by_stream(model: str, figures: tuple[float | None, ...], place: Place, imagenet: bool) -> tuple[Cell, ...]:
    return tuple(
        _cell(paper, score_of(model, streams, place, imagenet=imagenet))
        for streams, paper in zip(STREAMS, figures, strict=True)
    )


def _with_top5(cells: tuple[Cell, ...], figures: tuple[float, ...]) -> tuple[Cell, ...]:
    return tuple(replace(cell, paper_top5=top5) for cell, top5 in zip(cells, figures, strict=True))


def table_2() -> PaperTable:
    """Architectures by dataset and stream; all but C3D begin with ImageNet's weights. UCF and HMDB: split 1."""
    places: dict[Place, str] = {"ucf": "UCF-101", "hmdb": "HMDB-51", "kinetics": "Kinetics"}
    columns = tuple(f"{label} {streams}" for label in places.values() for streams in STREAMS)
    rows = tuple(
        (
            ROWS[model],
            tuple(cell for place in places for cell in _by_stream(model, _TABLE_2[place][model], place, True)),
        )
        for model in ROWS
    )
    return PaperTable("Table 2: architectures, trained and tested on each dataset", columns, rows)


def table_3() -> PaperTable:
    """Kinetics with and without ImageNet."""
    columns = tuple(f"{start} {streams}" for start in ("Kinetics", "ImageNet, Kinetics") for streams in STREAMS)
    rows = []
    for model in ROWS:
        cells: list[Cell] = []
        for imagenet in (False, True):
            if imagenet and model == "c3d":  # it has no second entry
                cells += [Cell(None)] * 3
                continue
            some = _by_stream(model, _TABLE_3[imagenet][model], "kinetics", imagenet)
            cells += _with_top5(some, _TABLE_3_TOP5[imagenet]) if model == "i3d" else some
        rows.append((ROWS[model], tuple(cells)))
    return PaperTable("Table 3: Kinetics, without and with ImageNet, top-1 (top-5)", columns, tuple(rows))


def table_4() -> PaperTable:
    """Transfer, split 1."""
    protocols: dict[Protocol, str] = {"original": "Original", "fixed": "Fixed", "full": "Full-FT"}
    starts = {True: "", False: " w/o ImageNet"}
    columns = tuple(f"{label}{start}" for label in protocols.values() for start in starts.values())
    rows = []
    for place, label in (("ucf", "UCF-101"), ("hmdb", "HMDB-51")):
        for model in ROWS:
            streams = "rgb+flow" if model in (*BOTH, "i3d") else "rgb"
            figures = iter(_TABLE_4[place][model])  # type: ignore[index]
            cells = []
            for protocol in protocols:
                for imagenet in starts:
                    paper = next(figures)
                    if imagenet and model == "c3d":
                        cells.append(Cell(None))
                        continue
                    cells.append(_cell(paper, score_of(model, streams, place, protocol, imagenet)))  # type: ignore[arg-type]
            rows.append((f"{label} {ROWS[model]}", tuple(cells)))
    return PaperTable("Table 4: transfer from Kinetics, split 1", columns, tuple(rows))


def table_5() -> PaperTable:
    """I3D fine-tuned, the mean of three splits."""
    rows = []
    for (streams, imagenet), figures in _TABLE_5.items():
        cells = []
        for place, paper in zip(("ucf", "hmdb"), figures, strict=True):
            scores = [score_of("i3d", streams, place, "full", imagenet, split) for split in (1, 2, 3)]  # type: ignore[arg-type]
            cells.append(_cell(paper, *scores))
        start = "ImageNet+Kinetics" if imagenet else "Kinetics"
        rows.append((f"{streams} I3D, {start}", tuple(cells)))
    return PaperTable("Table 5: I3D fine-tuned, mean of three splits", ("UCF-101", "HMDB-51"), tuple(rows))


def minikinetics() -> PaperTable:
    """The classes are a user's list: the paper did not publish its own."""
    rows = tuple((ROWS[model], _by_stream(model, _MINI[model], "mini", True)) for model in ROWS)
    return PaperTable("miniKinetics (version 1 of the paper)", STREAMS, rows)


def examples() -> PaperTable:
    """Accuracy over the number of training examples a class."""
    columns = (*(f"{n} a class" for n in EXAMPLES), "all")
    rows = []
    for streams in ("rgb", "flow"):
        scores = [score_of("i3d", streams, "kinetics", imagenet=True, examples=n) for n in (*EXAMPLES, None)]
        cells = [_cell(None, score) for score in scores]
        rows.append((f"{streams} I3D", tuple(cells)))
    return PaperTable("Accuracy over training examples, Kinetics", columns, tuple(rows))


TABLES = {
    "2": table_2,
    "3": table_3,
    "4": table_4,
    "5": table_5,
    "minikinetics": minikinetics,
    "examples": examples,
}
