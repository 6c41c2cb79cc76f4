"""What a command line asks for, read and checked before anything is started: clips, recipe and sources."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from kinetics_pipeline.annotations.checks import normalised_split
from kinetics_pipeline.annotations.class_names import alike, chosen_classes
from kinetics_pipeline.annotations.published import against_known_counts
from kinetics_pipeline.annotations.split_by import parse_shares
from kinetics_pipeline.annotations.table import Annotations, load_annotations, read_labels
from kinetics_pipeline.errors import UserError
from kinetics_pipeline.flow import FlowBackend, resolve_backend
from kinetics_pipeline.plan import PlanSettings
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, perhaps_repeated
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources import parse_source
from kinetics_pipeline.sources.archives.copies import is_copy
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.sources.local.held import held
from kinetics_pipeline.sources.local.tars import TarSource
from kinetics_pipeline.sources.options import SourceOptions
from kinetics_pipeline.storage.cache import cache_folder, make_private
from kinetics_pipeline.workflows.building import copies
from kinetics_pipeline.workflows.flags.build_flags import BuildConfig, Selection, ytdlp_options
from kinetics_pipeline.workflows.flags.values import comma_separated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    annotations: Annotations
    sources: tuple[LocalSource | NetworkSource, ...]
    settings: PlanSettings
    keys: tuple[str, ...]
    """What tells each source from the others, in this run and in later ones; names no folder and no host."""

    def held_locally(self, clips: Iterable[Clip]) -> set[str]:
        """The clips that a local source has a file for; `clips` is gone through once for each source."""
        local = [cast(LocalSource, source) for source in self.sources if not is_network(source)]
        return set().union(*(held(source, clips) for source in local))

    @property
    def copies(self) -> dict[str, copies.CopySource]:
        """The public copies among the sources, by their keys."""
        pairs = zip(self.keys, self.sources, strict=True)
        return {key: source for key, source in pairs if isinstance(source, copies.CopySource)}

    @property
    def notes(self) -> int:
        """Bytes of the cache that say what lies where in tar files."""
        return sum(source.notes for source in self.sources if isinstance(source, TarSource))


def read_asked(files: Sequence[str], config: Selection) -> Asked:
    """Reads the annotation files and names the sources. Raises UserError for whatever is wrong with either."""
    options = SourceOptions(short_side=config.short_side, allow_private_addresses=config.allow_private_addresses)
    if isinstance(config, BuildConfig):
        options = replace(
            options,
            cookies=_cookies(config.cookies),
            ytdlp_options=ytdlp_options(config.ytdlp_option),
            allow_access=frozenset(comma_separated(config.allow_access)),
            sound=config.keep_clips is not None,
        )
    annotations = load_annotations(
        files,
        labels=read_labels(config.labels) if config.labels else None,
        on_bad_row=config.on_bad_row,
        split_by=parse_shares(config.split_by) if config.split_by is not None else None,
        mirror=config.mirror,
        cache=config.cache,
    )
    # The videos of class folders lie there, whatever else is a source.
    places = tuple(dict.fromkeys((*(str(folder) for folder in annotations.folders), *config.source)))
    sources: dict[str, LocalSource | NetworkSource] = {}
    for text in places:
        if not is_copy(text):
            sources[text] = parse_source(text, options, config.cache)
        elif isinstance(config, BuildConfig):
            sources[text] = copies.ask(_wanted(text, config, annotations), annotations)
        else:
            sources[text] = copies.look_at(_wanted(text, config, annotations), annotations)
    settings = PlanSettings(
        clips_per_shard=config.clips_per_shard,
        limit=config.limit,
        per_class=config.per_class,
        classes=chosen_classes(config.classes, annotations.labels) or None,
        splits=comma_separated(config.split) or None,
        retry=frozenset(comma_separated(config.retry)),
    )
    keys = tuple(_key(text) for text in sources)
    return Asked(annotations, tuple(sources.values()), settings, keys)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _wanted(text: str, config: Selection, annotations: Annotations) -> copies.Wanted:
    """The part of a public copy that the flags ask for."""
    splits = tuple(map(normalised_split, comma_separated(config.split)))
    return copies.Wanted(
        text,
        _key(text),
        mirror=config.mirror,
        splits=splits or None,
        classes=chosen_classes(config.classes, annotations.labels) or None,
        private_allowed=config.allow_private_addresses,
        say=partial(_say_once, cache_folder(config.cache) / "said"),
    )


def _say_once(folder: Path, line: str) -> None:
    """Says a line, as the terms of a copy, that was not said before: `folder` has a file for each that was."""
    said = folder / hashlib.sha256(line.encode()).hexdigest()[:16]
    if said.exists():
        return
    log.warning("%s", line)
    with suppress(OSError):  # then it is said again
        make_private(folder)
        said.touch()


def say_what_is_odd(annotations: Annotations, console: Console) -> None:
    """Rows left out, segments that stand in two files, labels that may be one: told, never an error by now."""
    if annotations.bad_rows:
        console.print(f"{counted(annotations.bad_count, 'bad row')} left out:", highlight=False, markup=False)
        for row in annotations.bad_rows[:10]:
            console.print(f"  {row}", highlight=False, markup=False, soft_wrap=True)
    known: list[str] = []
    if len(annotations.published) == 1 and len(annotations.folders) == 0:
        known = against_known_counts(annotations.published[0], Counter(annotations.columns["split"].to_pylist()))
    for line in [*known, *overlaps(annotations), *alike(annotations.labels)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def overlaps(annotations: Annotations) -> list[str]:
    """What files have in common, and splits: a line a pair. Where a segment, or another of its video, is in two splits
    a test would see what was trained on."""
    lines = []
    pairs = Counter((one.first_file, one.first_split, one.file, one.split) for one in annotations.duplicates)
    for (first_file, first_split, file, split), number in pairs.items():
        kept = "" if first_split == split else f": {split} there, kept in {first_split}"
        lines.append(
            counted(
                number,
                f"segment of {file} is in {first_file} too, and counts once{kept}",
                f"segments of {file} are in {first_file} too, and count once{kept}",
            )
        )
    asked = annotations.columns
    places = pa.table({"video": asked["video_id"], "split": asked["split"].cast(pa.string())})
    places = places.take(pa.array(perhaps_repeated(places["video"]))).group_by(["video", "split"]).aggregate([])
    counts = places.group_by("video").aggregate([([], "count_all")])
    several = counts["video"].filter(pc.greater(counts["count_all"], 1))
    splits_of: dict[str, list[str]] = {}
    for place in places.filter(pc.is_in(places["video"], several)).sort_by("split").to_pylist():
        splits_of.setdefault(place["video"], []).append(place["split"])
    for splits, number in sorted(Counter(map(" and in ".join, splits_of.values())).items()):
        lines.append(f"{counted(number, 'video has', 'videos have')} clips in {splits}")
    return lines


def asked_recipe(
    config: Selection, existing: Recipe | None, backend: FlowBackend | None = None, *, gpu: bool | None = None
) -> Recipe:
    """The recipe that the flags ask for. `backend`: what a build has settled on; None: for `auto` what an existing
    dataset was begun with, else a GPU where there is one (`gpu`; None asks this machine), else the CPU."""
    if backend is not None:
        pass
    elif config.flow_backend != "auto":
        backend = config.flow_backend
    else:
        backend = existing.flow_backend if existing is not None else _auto(gpu)
    return Recipe(
        fps=config.fps,
        short_side=config.short_side,
        interpolation=config.interpolation,
        flow=config.flow,
        flow_backend=backend,
        layout=config.layout,
        rgb_quality=config.rgb_quality,
        flow_quality=config.flow_quality,
        chunk_length=config.chunk_length,
        crf=config.crf,
    )


def _auto(gpu: bool | None) -> FlowBackend:
    if gpu is None:
        return resolve_backend("auto")
    return "cuda" if gpu else "cpu"


def _cookies(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"--cookies is {path}, which cannot be read: {reason}") from error
    if not any(line.count("\t") >= 6 for line in text.splitlines()):
        raise UserError(f"--cookies is {path}, which holds no cookie in Netscape's format (cookies.txt)")
    return text
