"""`plan`: what a build with the same flags would do, from the planner's own table; nothing is fetched, nothing written
but the notes on tar files.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from kinetics_pipeline.annotations.table import clips_of
from kinetics_pipeline.dataset.dataset import DATASET, Dataset
from kinetics_pipeline.dataset.plan_files import plan_name
from kinetics_pipeline.estimate import Estimate, estimate
from kinetics_pipeline.plan import NETWORK, SCHEMA, Plan, make_plan
from kinetics_pipeline.recipe import Recipe
from kinetics_pipeline.records import Clip, count_different
from kinetics_pipeline.redaction import counted
from kinetics_pipeline.sources.base import LocalSource, is_network
from kinetics_pipeline.sources.local.tars import TarSource
from kinetics_pipeline.sources.objects.videos import ObjectVideos
from kinetics_pipeline.sources.youtube.source import YouTube
from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.building.copies import UnfetchedCopy
from kinetics_pipeline.workflows.building.copy_preview import about_copies, left_for_others
from kinetics_pipeline.workflows.building.disk import needs_of
from kinetics_pipeline.workflows.building.forecast.hours import machines
from kinetics_pipeline.workflows.building.forecast.lines import Work, fetch_seconds, local_samples
from kinetics_pipeline.workflows.building.forecast.lines import lines as time_and_cost
from kinetics_pipeline.workflows.building.forecast.rates import Rates, parse_rates
from kinetics_pipeline.workflows.building.forecast.timing import TIMED, StageTimes, gpus_here, stage_times
from kinetics_pipeline.workflows.building.open_shards import AT_ONCE
from kinetics_pipeline.workflows.building.request import Asked, asked_recipe, read_asked, say_what_is_odd
from kinetics_pipeline.workflows.building.time_needed import FrameTimes
from kinetics_pipeline.workflows.flags.build_flags import PlanConfig
from kinetics_pipeline.workflows.runtime.progress import duration, size

PENDING = "pending"
_SHARES = {"shared": "", "per-node": ", of one node: the more nodes, the less time", "per-proxy": ", of each proxy"}


def plan(files: Sequence[str], config: PlanConfig) -> None:
    """Prints what a build with the same flags would do. Raises UserError for whatever is wrong with them."""
    rates = parse_rates(config.rates) if config.rates else None
    asked = read_asked(files, config)
    say_what_is_odd(asked.annotations, Console(stderr=True, highlight=False))
    exists = config.output is not None and open_store(config.output).exists(DATASET)
    dataset = Dataset.open(config.output) if exists and config.output else None
    gpu = None if config.gpus is None else config.gpus > 0
    recipe = asked_recipe(config, dataset.recipe if dataset else None, gpu=gpu)
    console = Console(highlight=False)
    if dataset is None:
        work = _planned(asked, {}, {})
    else:
        for line in asked.annotations.changed_since(dataset.annotations):
            console.print(line, markup=False, soft_wrap=True)
        dataset.recipe.require_same(recipe)
        dataset.require_classes(asked.annotations.labels)
        work = _beside(dataset, asked, console)
    _show(console, Shown(work, asked, config, recipe, dataset, rates))


def _planned(asked: Asked, outcomes: dict[str, str], next_shard: dict[str, int]) -> Plan:
    return make_plan(
        asked.annotations.columns,
        outcomes=outcomes,
        settings=asked.settings,
        held_locally=asked.held_locally,
        next_shard=next_shard,
    )


def _beside(dataset: Dataset, asked: Asked, console: Console) -> Plan:
    """What is left to do beside what the dataset holds, which is printed: its unfinished plans and a new one."""
    table = asked.annotations.columns
    ids = (table[name].to_pylist() for name in ("clip_id", "video_id"))
    outcomes: dict[str, str] = dict(dataset.settled(zip(*ids, strict=True)))
    committed = {name.removeprefix("shards/").removesuffix(".json") for name in dataset.marker_names()}
    begun = []
    for number, one in dataset.plans().items():
        missing = [name not in committed for name in one.table["shard"].to_pylist()]
        if any(missing):
            rest = one.table.select(SCHEMA.names).filter(pa.array(missing))
            begun.append(rest)
            outcomes |= dict.fromkeys(rest["clip_id"].to_pylist(), PENDING)
            shards = len(rest["shard"].unique())
            console.print(
                f"plan {plan_name(number)} comes first: {counted(len(rest), 'clip')} in "
                f"{counted(shards, 'shard')} not committed"
            )
    everything = make_plan(table, outcomes={}, settings=asked.settings, held_locally=lambda _: (), next_shard={})
    there = Counter(outcomes[clip] for clip in everything.clip_ids() if clip in outcomes)
    retried = asked.settings.retried()
    told = [f"{number} {outcome}{' (again)' if outcome in retried else ''}" for outcome, number in there.most_common()]
    console.print(
        f"{counted(len(everything), 'clip')} asked, of them in {dataset.store.uri}: {', '.join(told) or 'none'}",
        soft_wrap=True,
    )
    new = _planned(asked, outcomes, dataset.next_shard_numbers())
    return Plan(pa.concat_tables([*begun, new.table.select(SCHEMA.names)]))


@dataclass(frozen=True)
class Shown:
    """What is shown: the work, and what was asked."""

    work: Plan
    asked: Asked
    config: PlanConfig
    recipe: Recipe
    dataset: Dataset | None
    rates: Rates | None


def _show(console: Console, shown: Shown) -> None:
    work, asked, config, recipe = shown.work, shown.asked, shown.config, shown.recipe
    if not len(work):
        console.print("nothing to do: every clip asked has an outcome")
        return
    alone = len(config.proxy) if config.egress == "per-proxy" else 1
    total = estimate(work, config.rate * alone, recipe)
    console.print(_by_split(work, total))
    console.print()
    console.print(_by_source(work, asked))
    copies = [source for source in asked.sources if isinstance(source, UnfetchedCopy)]
    for source in asked.sources:
        if isinstance(source, TarSource):
            _show_tars(console, source, asked)
    for copy in copies:
        unknown = f" and {copy.unknown} of unknown size" if copy.unknown else ""
        held = f"{copy.name}: {counted(copy.archives, 'archive')}, {size(copy.bytes)}{unknown} still to be fetched"
        console.print(f"{held}; which clips they hold is known once they are here", markup=False, soft_wrap=True)
        if copy.missing:
            these = counted(copy.missing, "archive is", "archives are")
            told = "bytes and disk are counted without what is not there"
            console.print(f"  {these} not there (404) or refused (403): {told}", soft_wrap=True)
        if config.classes and copy.archives:
            console.print("  archives in which classes are mixed are all read, whatever --classes asks")
    console.print()
    left = left_for_others(work, asked.annotations.published) if copies else None
    times = stage_times(recipe, shown.dataset, local_samples(work, asked.sources, TIMED))
    lines = _expected(work, total, asked, config, recipe, left)
    if copies:
        lines += about_copies(work, copies, recipe, FrameTimes(times.flow, times.decode + times.encode, times.how))
    lines += _hours(shown, total, left, times)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _hours(shown: Shown, total: Estimate, left: int | None, times: StageTimes) -> Iterator[str]:
    """Time, requests and cost, a line each. `left`: see `_expected`."""
    asked, config = shown.asked, shown.config
    copies = [source for source in asked.sources if isinstance(source, UnfetchedCopy)]
    share = left / total.clips if left is not None else 1.0
    youtube = any(isinstance(source, YouTube) for source in asked.sources)
    videos = round(total.network_videos * share) if youtube else 0
    on = machines(config.nodes, config.cores, config.gpus, gpus_here(shown.recipe))
    days = total.days * share / (on.nodes if config.egress == "per-node" else 1) if youtube else 0.0
    fetch = fetch_seconds(days, copies)
    work = Work(shown.work, total, shown.recipe, videos, fetch, config.keep_clips is not None)
    return time_and_cost(work, times, on, shown.rates)


def _by_split(work: Plan, total: Estimate) -> Table:
    found = work.table.group_by("split").aggregate(
        [("clip_id", "count"), ("video_id", "count_distinct"), ("shard", "count_distinct")]
    )
    table = _table("to do", "clips", "videos", "shards")
    for row in found.sort_by("split").to_pylist():
        names = ("clip_id_count", "video_id_count_distinct", "shard_count_distinct")
        table.add_row(row["split"], *(str(row[name]) for name in names))
    if len(found) > 1:
        table.add_row("all", str(total.clips), str(total.videos), str(total.shards))
    return table


def _by_source(work: Plan, asked: Asked) -> Table:
    clips: Counter[str] = Counter()
    videos: dict[str, set[str]] = {}
    asks_alike = not any(isinstance(source, ObjectVideos) for source in asked.sources)
    for shard in work.shards(local=True if asks_alike else None):
        for clip in shard.clips:
            origin = _origin(clip, asked, held=shard.local)
            clips[origin] += 1
            videos.setdefault(origin, set()).add(clip.video_id)
    counted = {origin: len(there) for origin, there in videos.items()}
    network = pc.equal(work.table["source"], NETWORK)
    number = pc.sum(network).as_py() or 0
    if asks_alike and number:  # one answer for all that no local source has
        first = Plan(work.table.slice(pc.index(network, True).as_py(), 1))
        origin = _origin(next(first.shards()).clips[0], asked, held=False)
        names = work.table["video_id"].filter(network)
        if origin in videos:
            names = names.filter(pc.invert(pc.is_in(names, pa.array(list(videos[origin]), pa.string()))))
        clips[origin] += number
        counted[origin] = counted.get(origin, 0) + count_different(names)
    table = _table("from", "clips", "videos")
    for origin, found in clips.most_common():
        table.add_row(origin, str(found), str(counted[origin]))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _expected(
    work: Plan,
    total: Estimate,
    asked: Asked,
    config: PlanConfig,
    recipe: Recipe,
    left: int | None,
) -> list[str]:
    """Bytes and days, a line each, if every clip is still there. `left`: clips that public copies lack, if known."""
    streams = "RGB" if recipe.flow == "none" else "RGB and flow"
    lines = [f"shards      about {size(total.bytes)} ({streams}, {recipe.layout}, short side {recipe.short_side})"]
    if config.output is not None and "://" not in config.output:
        place = Path(config.output).expanduser().absolute()
        free = shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free
        if free < total.bytes:
            lines[0] += f": the disk of {config.output} has only {size(free)} free"
    if config.keep_clips is not None:
        lines.append(f"segments    about {size(total.kept)} (--keep-clips), at the size that YouTube's have")
    youtube = any(isinstance(source, YouTube) for source in asked.sources)
    first = next((source for source in asked.sources if is_network(source)), None)
    copies = any(isinstance(source, UnfetchedCopy) for source in asked.sources)
    alone = isinstance(first, YouTube) and (not copies or asked.sources[0] is first)
    share, most = 1.0, "" if alone else ", if it has to give all of them"
    if left is not None and isinstance(first, YouTube) and not alone:
        share, most = left / total.clips, f", for about {counted(left, 'clip')} that the public copy lacks"
    videos = round(total.network_videos * share)
    if total.network_videos and youtube:
        fetched = size(round(total.fetched * share))
        lines.append(f"download    about {fetched} of YouTube's files, the sections with the clips{most}")
    if total.network_videos and first is not None and not isinstance(first, YouTube):
        what = "whole files or their sections" if isinstance(first, ObjectVideos) else "whole files"
        lines.append(f"download    {what} from {first.name}, of sizes that only it knows")
    wanted = needs_of(work, recipe)
    kinds = pc.equal(work.table["source"], NETWORK)
    opened = sum(min(AT_ONCE, len(work.table["shard"].filter(one).unique())) for one in (kinds, pc.invert(kinds)))
    ahead = total.fetched / max(1, total.clips_by_source["network"]) * AT_ONCE * config.clips_per_shard
    at_once = (opened + 1) * wanted.shard + min(total.fetched, ahead)
    lines.append(
        f"cache       up to about {size(at_once)} at a time; with --max-disk as little as {size(wanted.least)}"
    )
    if total.network_videos and youtube:
        lines.append(
            f"time        {duration(total.days * share * 86400)} for {counted(videos, 'video')} of YouTube's at "
            f"{config.rate:g} an hour (--rate{_SHARES[config.egress]}){most}"
        )
    return lines


def _show_tars(console: Console, source: TarSource, asked: Asked) -> None:
    """What lies in the archives, and what it takes to read them."""
    packed = sum(archive.size for archive in source.archives)
    console.print(
        f"{source.name}: {counted(len(source), 'video')} in {counted(len(source.archives), 'tar file')} "
        f"({size(packed)}), read once; notes of what lies where take {size(source.notes)} of the cache, and a video is "
        "unpacked only while its clip is made",
        markup=False,
        soft_wrap=True,
    )
    odd = {
        ("video", "that no clip asks for"): source.orphans(clips_of(asked.annotations.columns)),
        ("name", "that several videos have (the first that decodes counts)"): source.repeated(),
    }
    for (thing, what), names in odd.items():
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            console.print(f"  {counted(len(names), thing)} {what}: {shown}", markup=False, soft_wrap=True)


def _origin(clip: Clip, asked: Asked, *, held: bool) -> str:
    """The first source that has the clip, or would be asked for it. `held`: whether a local source has it."""
    for source in asked.sources:
        if isinstance(source, UnfetchedCopy):
            return f"{source.name}, or what comes after it"
        if isinstance(source, ObjectVideos) and not source.keys(clip):
            continue
        if is_network(source):
            return source.name
        if held and cast(LocalSource, source).candidates(clip):
            return source.name
    return "nowhere: no source has them"
