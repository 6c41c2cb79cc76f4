"""A source whose download is a probe: the canary goes the same way as every other video (`pace.breaker`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kinetics_pipeline.records import Clip
from kinetics_pipeline.sources.base import Download, NetworkSource


@dataclass(frozen=True)
class Canary:
    """Asks `source` again for `clip`, which was fetched recently."""

    source: NetworkSource
    clip: Clip
    on_network: ClassVar[bool] = True
    paced: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def uses_credentials(self) -> bool:
        return self.source.uses_credentials

    def accepts(self, video_id: str) -> bool:
        return True

    def through(self, proxy: str) -> Canary:
        return Canary(self.source.through(proxy), self.clip)

    def for_clips(self, clips: Sequence[Clip]) -> Canary:
        return self

    def download(self, video_id: str, clips: Sequence[Clip], folder: Path) -> Download:
        """Brings no clip; its failure says that this way to the source is not sound."""
        return self.source.probe(self.clip, folder)

    def probe(self, clip: Clip, folder: Path) -> Download:
        return self.source.probe(clip, folder)
