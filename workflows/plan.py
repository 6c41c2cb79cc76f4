"""`plan`: the planner's own table, without doing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.annotations import clips_of
from kinetics_pipeline.estimate import estimate
from kinetics_pipeline.plan import Plan, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip
from kinetics_pipeline.shards.catalogue import Dataset
from kinetics_pipeline.sources.base import LocalSource, is_network
from kinetics_pipeline.sources.tars import TarSource
from kinetics_pipeline.sources.youtube import YouTube
from workflows.build.asked import Asked, asked_recipe, read_asked, say_what_is_odd
from workflows.configs import PlanConfig
from workflows.progress import duration, size


def plan(files: Sequence[str], config: PlanConfig) -> None:
    """Prints what a build with the same flags would do. Raises UserError for whatever is wrong with them."""
    asked = read_asked(files, config)
    say_what_is_odd(asked.annotations, Console(stderr=True, highlight=False))
    dataset = Dataset.open(config.output) if config.output else None
    recipe = asked_recipe(config, dataset.recipe if dataset else None)
    if dataset is not None:
        dataset.recipe.require_same(recipe)
        dataset.require_classes(asked.annotations.labels)
    unfinished = dataset.unfinished() if dataset else None
    table = asked.annotations.table
    planned = make_plan(
        table,
        outcomes=dataset.settled(dict(zip(table["clip_id"], table["video_id"], strict=True))) if dataset else {},
        settings=asked.settings,
        held_locally=asked.held_locally,
        next_shard=dataset.next_shard_numbers() if dataset else {},
    )
    _show(planned, asked, config, recipe)
    if unfinished is not None:
        number, _, missing = unfinished
        print(f"plan {number:05d} of {config.output} comes first: {len(missing)} of its shards are not committed")


def _show(planned: Plan, asked: Asked, config: PlanConfig, recipe: Recipe) -> None:
    console = Console(highlight=False)
    total = estimate(planned, config.rate, recipe)
    splits: dict[str, Counter[str]] = {}
    videos: dict[str, set[str]] = {}
    origins: Counter[str] = Counter()
    for shard in planned.shards():
        split = shard.name.rpartition("-")[0]
        counts = splits.setdefault(split, Counter())
        counts["shards"] += 1
        counts["clips"] += len(shard.clips)
        videos.setdefault(split, set()).update(clip.video_id for clip in shard.clips)
        origins.update(_origin(clip, asked) for clip in shard.clips)
    table = Table("split", "clips", "videos", "shards", box=None, pad_edge=False)
    for split, counts in sorted(splits.items()):
        table.add_row(split, str(counts["clips"]), str(len(videos[split])), str(counts["shards"]))
    table.add_row("all", str(total.clips), str(total.videos), str(total.shards))
    console.print(table)
    for origin, clips in origins.most_common():
        console.print(f"{clips} clips from {origin}", markup=False, soft_wrap=True)
    for source in asked.sources:
        if isinstance(source, TarSource):
            _show_tars(console, source, asked)
    console.print(f"about {size(total.bytes)} of shards ({recipe.layout}, short side {recipe.short_side})")
    if total.network_videos and any(isinstance(source, YouTube) for source in asked.sources):
        console.print(
            f"{duration(total.days * 86400)} for {total.network_videos} videos at {config.rate:g} an hour (--rate)"
        )


def _show_tars(console: Console, source: TarSource, asked: Asked) -> None:
    """What lies in the archives, and what it takes to read them."""
    packed = sum(archive.size for archive in source.archives)
    points = sum(archive.points.stat().st_size for archive in source.archives if archive.points)
    console.print(
        f"{source.name}: {len(source)} videos in {len(source.archives)} tar files ({size(packed)}), read once; notes "
        f"of what lies where take {size(points)} of the cache, and a video is unpacked only while its clip is made",
        markup=False,
        soft_wrap=True,
    )
    odd = {
        "videos that no clip asks for": source.orphans(clips_of(asked.annotations.table)),
        "names that several videos have (the first that decodes counts)": source.repeated(),
    }
    for what, names in odd.items():
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            console.print(f"  {len(names)} {what}: {shown}", markup=False, soft_wrap=True)


def _origin(clip: Clip, asked: Asked) -> str:
    """The first source that has the clip, or would be asked for it."""
    for source in asked.sources:
        if is_network(source):
            return source.name
        if cast(LocalSource, source).candidates(clip):
            return source.name
    return "nowhere: no source has them"
