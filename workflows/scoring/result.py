"""What `evaluate` found: printed by the command, returned by the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.redaction import counted, html_table
from kinetics_pipeline.workflows.scoring.action_scores import print_action_scores
from kinetics_pipeline.workflows.scoring.groups import groups_table
from kinetics_pipeline.workflows.scoring.predictions_file import predictions_file

OF_CLIPS = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class", "mean_error": "mean error"}
OF_ACTIONS = {"classification_map": "classification mAP", "localisation_map": "localisation mAP"}


@dataclass(frozen=True)
class EvaluateResult:
    """The scores of trained streams on a split, and of both fused."""

    file: Path
    """Where `document` lies as JSON."""
    document: Mapping[str, Any]
    """All there is: config, fingerprint of the dataset, coverage, checkpoints, scores, versions."""

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Scores by stream (`rgb`, `flow`, `fused`, `both`): `clips`, `top1`, `top5`, `mean_class`, `mean_error`, all
        but the first from 0 to 1; `per_class` by name; `confusion` as rows of counts, [true][predicted]. Of clips with
        several actions `videos`, `classification_map` and `localisation_map`."""
        scores: Mapping[str, Mapping[str, Any]] = self.document["scores"]
        return scores

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of `confusion`."""
        return list(self.document["classes"])

    @property
    def predictions(self) -> Path | None:
        """The Parquet file with label, prediction and logits of each clip; None for clips with several actions."""
        return None if self._of_actions else predictions_file(self.file)

    @property
    def _of_actions(self) -> bool:
        return any("localisation_map" in score for score in self.scores.values())

    def _repr_html_(self) -> str:
        names = OF_ACTIONS if self._of_actions else OF_CLIPS
        first = "videos" if self._of_actions else "clips"
        rows = [
            [self._label(name), f"{score[first]:.0f}", *(f"{score[key]:.1%}" for key in names)]
            for name, score in self.scores.items()
        ]
        title = f"{self.document['config']['split']} of {self.document['dataset']['uri']}"
        return html_table(title, [*rows, [self._coverage()]], ("stream", first, *names.values()))

    def _label(self, name: str) -> str:
        """A stream as it is called in tables."""
        if "both" in self.scores and name != "both":
            return f"{name}, its head of both"
        return f"{name} ({self.document['config']['fuse']})" if name == "fused" else name

    def _coverage(self) -> str:
        cover, split = self.document["coverage"], self.document["config"]["split"]
        chance = 1 / len(self.classes)
        share = cover["ok"] / cover["asked"] if cover["asked"] else 0.0
        return (
            f"{cover['ok']} of {cover['asked']} clips asked of {split} are there ({share:.1%}); "
            f"{counted(len(self.classes), 'class')}, chance {chance:.1%}"
        )

    def print(self) -> None:
        """Prints the scores, on what they were computed, and where the rest lies."""
        if self._of_actions:
            print_action_scores(self.document)
            print(f"results lie in {self.file}")
            return
        table = Table("stream", box=None, pad_edge=False)
        for column in ("clips", *OF_CLIPS.values()):
            table.add_column(column, justify="right")
        for name, score in self.scores.items():
            table.add_row(self._label(name), str(score["clips"]), *(f"{score[key]:.1%}" for key in OF_CLIPS))
        console = Console(highlight=False, soft_wrap=True)
        console.print(table)
        if self.document["config"]["groups"]:
            console.print(groups_table({name: score["groups"] for name, score in self.scores.items()}))
        for stream, one in self.document["checkpoints"].items():
            seen = one["footprint"]
            console.print(f"{stream}: trained on snippets of {seen['training']}; scored on {seen['testing']}")
        console.print(self._coverage())
        print(f"results, with confusion and accuracy by class, lie in {self.file}")
        print(f"label, prediction and logits of each clip lie in {predictions_file(self.file)}")
