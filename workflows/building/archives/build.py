"""A build from archives: one plan a group of archives, then one for what the archives could not give.

While the clips of a group are made, the next group is fetched; what is done with is removed. So the cache holds two
groups at most. A group's plan is frozen once each of its archives was read or given up, and only its archives are
asked for its clips: none of its shards waits for a network. What failed there is committed, and planned again for the
sources that come after. Which clips come next is said by the dataset alone, so a killed build goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol, cast

from kinetics_pipeline.annotations.table import clips_of
from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.plan import BEFORE_ARCHIVES, NEVER_RETRIED, Plan, PlannedShard, PlanSettings, in_order, make_plan
from kinetics_pipeline.records import Clip
from kinetics_pipeline.shards.markers import Marker, marker_name
from kinetics_pipeline.sources.archives.copies import Address
from kinetics_pipeline.sources.archives.listed import Contents, ListedArchive
from kinetics_pipeline.sources.base import LocalSource, NetworkSource, is_network
from kinetics_pipeline.sources.local.held import held
from kinetics_pipeline.sources.local.tars import ArchiveSource
from kinetics_pipeline.sources.pace.retries import Event
from kinetics_pipeline.workflows.building.archives.class_folders import folder_labels
from kinetics_pipeline.workflows.building.archives.freezing import AskedArchives, Room, frozen_list
from kinetics_pipeline.workflows.building.archives.holder import ArchiveHolder
from kinetics_pipeline.workflows.building.archives.node import ArchiveExecutor, ArchiveJob, Here, NotGiven
from kinetics_pipeline.workflows.building.archives.selection import Failed, Selection
from kinetics_pipeline.workflows.building.archives.state import ArchiveState, as_archive, contents_of, findings
from kinetics_pipeline.workflows.building.dataset_build import (
    BuildExecutor,
    DatasetBuild,
    Limits,
    Step,
    Tried,
    WantedClips,
)
from kinetics_pipeline.workflows.building.disk import needs, needs_of
from kinetics_pipeline.workflows.building.events import BuildEvent
from kinetics_pipeline.workflows.building.lease import Lease

NAMED_AT_MOST = 3
"""Archives that the detail of a clip names."""


class CopiesExecutor(BuildExecutor, ArchiveExecutor, Protocol):
    """Runs all stages, and fetches archives."""


@dataclass
class Arrival:
    """Archives that are waited for."""

    holder: ArchiveHolder
    keys: Sequence[str]
    max_wait: float
    things: str = "archives"

    @property
    def total(self) -> int:
        return len(self.keys)

    @property
    def done(self) -> int:
        return sum(key in self.holder.here or key in self.holder.refused for key in self.keys)

    @property
    def unanswered(self) -> str:
        return self.holder.unanswered

    def run(self) -> Generator[list[BuildEvent], None, None]:
        return self.holder.wait_for(self.keys, self.max_wait)


class CopiesBuild(DatasetBuild):
    """A build with public copies among its sources."""

    executor: CopiesExecutor

    def __init__(
        self,
        dataset: Dataset,
        lease: Lease,
        executor: CopiesExecutor,
        sources: Mapping[str, LocalSource | NetworkSource],
        wanted: WantedClips,
        limits: Limits,
        asked: AskedArchives,
    ) -> None:
        """`sources`: those of the copies too, which hold nothing by themselves."""
        super().__init__(dataset, lease, executor, sources, wanted, limits)
        self.asked = asked
        self.state = ArchiveState(lease.store)
        self._others = [key for key in sources if key not in asked.names]
        before = takewhile(lambda one: one[0] not in asked.names, sources.items())
        self._first = {key: cast(LocalSource, source) for key, source in before if not is_network(source)}
        """Local sources that come before the first copy."""

    def can_go_on(self) -> bool:
        return not self.holder.lose_dead_nodes()

    def _plans(self) -> Iterator[Step]:
        self._freeze()
        asked = {one.key: one for one in self.asked.archives}
        self._archives = {one.key: one for one in self.state.list.archives if one.key in asked}
        jobs = {key: self._job(one, asked[key].addresses) for key, one in self._archives.items()}
        self.holder = ArchiveHolder(self.executor, jobs, self._learn)
        self.selection = self._select()
        known = ((one, self.state.contents(one)) for one in self._archives.values())
        self.selection.learn({one.key: as_archive(one, found) for one, found in known if found is not None})
        yield from self._unfinished()
        yield from self._before()
        groups = [[one for one in group if one.key in asked] for group in self.state.list.groups()]
        for number, group in enumerate(groups):
            yield from self._group(group, groups[number + 1 :])
        self.holder.keep_only(())
        self.executor.end_removals()
        yield from self._last()

    # What there is

    def _freeze(self) -> None:
        """Puts archives that are asked for the first time on the list, in groups that the cache has room for."""
        table, settings = self.wanted.table, self.wanted.settings
        seconds = (table["time_end"] - table["time_start"]).sort_values(ascending=False, na_position="first")
        longest = table.loc[seconds.index[: settings.clips_per_shard]]
        shard = PlannedShard("", list(clips_of(longest)), local=not self._others)
        wanted = needs([shard], self.dataset.recipe)
        room = Room(self._disk(wanted).beside(wanted.least), wanted.least, self.limits.max_disk)
        known = self.state.list
        asked = {one.key for one in self.asked.archives}
        again = [one.key for one in known.archives if one.key in asked and self._may_have_come(one)]
        frozen = frozen_list(known, self.asked, room, again)
        if frozen != known:
            self.state.freeze(frozen)

    def _may_have_come(self, one: ListedArchive) -> bool:
        """Whether an archive of which nothing was read, or not all, is to be looked at again by its server."""
        contents = self.state.contents(one)
        if contents is None:
            return one.is_absent
        return bool(contents.damage) and "not_found" in self.wanted.settings.retried()

    def _job(self, one: ListedArchive, addresses: tuple[Address, ...]) -> ArchiveJob:
        asked = self.asked
        return ArchiveJob(one.key, addresses, one.allowed, asked.typed, asked.private_allowed, asked.keep)

    def _select(self) -> Selection:
        settings, dataset = self.wanted.settings, self.dataset
        asked = in_order(self.wanted.columns, settings)
        clips = {clip.clip_id: clip for clip in clips_of(asked)}
        groups = {number: plan.archive_group for number, plan in dataset.plans().items()}

        def newest(marker: Marker, entry: dict[str, Any]) -> Failed | None:
            return _failed(entry, marker.plan, groups.get(marker.plan))

        records = dataset.newest(newest)
        settled = dataset.settled((clip_id, clip.video_id) for clip_id, clip in clips.items())
        return Selection(
            clips,
            settings.limit,
            done={clip_id for clip_id, outcome in settled.items() if outcome in NEVER_RETRIED},
            failed={clip_id: failed for clip_id, failed in records.items() if failed is not None},
            retried=settings.retried(),
            first_plan=max(groups, default=-1) + 1,
            other_sources=bool(self._others),
        )

    def _learn(self, answer: Here | NotGiven) -> None:
        """Keeps what an archive holds, or why there is nothing of it."""
        one = self._archives[answer.key]
        if isinstance(answer, NotGiven):
            contents = Contents(damage=answer.reason, given_up=True)
        else:
            contents = contents_of(answer.archive)
        if contents != self.state.contents(one) and (line := findings(one, contents)) is not None:
            self.asked.say(line)
        self.state.learn(one, contents)
        self.selection.learn({one.key: as_archive(one, contents)})

    # Groups

    def _before(self) -> Iterator[Step]:
        """The plan of the clips that local sources hold which the command names before its first copy."""
        clips = list(self.selection.clips.values()) if self._first else []
        found: set[str] = set().union(*(held(source, clips) for source in self._first.values()))
        taken = self.selection.take_first(found)
        plan = self._planned(taken, lambda _: taken, BEFORE_ARCHIVES)
        if not len(plan):
            return
        self._disk(needs_of(plan, self.dataset.recipe), self.state.list.reserve)
        number = self.dataset.add_plan(plan)
        yield self._driver(number, plan, plan.shard_names(), {}, self._from_first())
        self._finished(number, plan)

    def _from_first(self) -> Tried:
        return Tried(self._first or self.sources, archives=self.state.list.reserve)

    def _group(self, group: Sequence[ListedArchive], later: Sequence[Sequence[ListedArchive]]) -> Iterator[Step]:
        """The plan of a group's archives; none where nothing of them is left to do."""
        wanted = dict.fromkeys(self._useful(group))
        if self.selection.limit is None and wanted:
            self._fetch_next(list(wanted), later)
            yield Arrival(self.holder, list(wanted), self.limits.pace.max_wait)
        clips: dict[str, None] = {}
        used = []
        for one in group:
            if self.selection.is_full:
                break
            if one.key in wanted and self._is_unread(one):
                waiting = [key for key in wanted if self._is_unread(self._archives[key])]
                self.holder.want(waiting[: self.selection.ahead()])
                yield Arrival(self.holder, [one.key], self.limits.pace.max_wait)
            new = [clip_id for clip_id in self.selection.take(one.key) if self.selection.is_open(clip_id, one.group)]
            if new:
                used.append(one.key)
                clips |= dict.fromkeys(new)
        if clips:
            yield Arrival(self.holder, used, self.limits.pace.max_wait)
            yield from self._plan(group[0].group, used, list(clips), later)

    def _plan(
        self, group: int, keys: Sequence[str], clip_ids: Sequence[str], later: Sequence[Sequence[ListedArchive]]
    ) -> Iterator[Step]:
        tried = self._from_archives(keys)
        there = [
            clip_id
            for clip_id in clip_ids
            if any(source.candidates(self.selection.clips[clip_id]) for source in _local(tried.sources))
        ]
        clips = [self.selection.clips[clip_id] for clip_id in there]
        several = "actions" in self.wanted.columns.column_names
        labels = {} if several else folder_labels(clips, _local(tried.sources), self.dataset.classes)
        plan = self._planned(there, lambda _: there, group, labels)
        if not len(plan):
            return
        self._disk(needs_of(plan, self.dataset.recipe), tried.archives)  # raises before the plan is frozen
        number = self.dataset.add_plan(plan)
        self._fetch_next(keys, later)
        yield self._driver(number, plan, plan.shard_names(), {}, tried)
        yield from self._unfinished()  # where a node went with its archives
        self._finished(number, plan)

    def _fetch_next(self, keys: Sequence[str], later: Sequence[Sequence[ListedArchive]]) -> None:
        """Lets go of all but the archives of one group and of the next, and begins to fetch what is not here of them,
        in their order: the link is never idle while the cache has room."""
        following = next(filter(None, map(self._useful, later)), [])
        if (ahead := self.selection.ahead()) is not None:
            following = following[: 0 if self.selection.is_full else ahead]
        self.holder.keep_only([*keys, *following])
        self.executor.end_removals()
        self.holder.want(keys if self.holder.on_the_way() - {*keys, *following} else [*keys, *following])

    def _useful(self, group: Sequence[ListedArchive]) -> list[str]:
        """The archives of a group that hold, or may hold, clips that are still to be made."""
        labels = self.selection.open_labels(group[0].group) if group else set()
        named = {label for label in labels if label is not None}
        return [
            one.key
            for one in group
            if (
                bool(labels) and (None in labels or self.asked.may_hold(one.title, named))
                if self._is_unread(one)
                else self.selection.holds_open(one.key, one.group)
            )
        ]

    def _is_unread(self, one: ListedArchive) -> bool:
        """Whether what an archive holds is not known, or is to be looked at again."""
        contents = self.state.contents(one)
        if contents is None:
            return True
        asked_now = one.key in self.holder.here or one.key in self.holder.refused
        return bool(contents.damage) and "not_found" in self.selection.retried and not asked_now

    def _from_archives(self, keys: Iterable[str]) -> Tried:
        """The archives that are here as sources, by copy."""
        sources: dict[str, LocalSource | NetworkSource] = {}
        for copy, name in self.asked.names.items():
            here = [key for key in keys if key in self.holder.here and self._archives[key].copy == copy]
            if here:
                sources[copy] = ArchiveSource(name, [self.holder.here[key] for key in here])
        return Tried(sources, archives=self.state.list.reserve)

    def _unfinished(self) -> Iterator[Step]:
        """The plans that earlier runs, or nodes that went, left unfinished."""
        while (unfinished := self.dataset.unfinished()) is not None:
            number, plan, missing = unfinished
            group = plan.archive_group
            wanted = {clip.clip_id for shard in plan.shards() if shard.name in missing for clip in shard.clips}
            if group is None:
                yield self._driver(number, plan, missing, self.dataset.outcomes(), self._from_all())
            elif group == BEFORE_ARCHIVES:
                yield self._driver(number, plan, missing, {}, self._from_first())
            else:
                members = [one for one in self._archives.values() if one.group == group]
                keys = [one.key for one in members if self.selection.holds(one.key, wanted)]
                yield Arrival(self.holder, keys, self.limits.pace.max_wait)
                tried = self._from_archives(keys)
                yield self._driver(number, plan, missing, {}, tried if tried.sources else Tried(self.sources))
            self._finished(number, plan)

    # What the archives lack

    def _from_all(self) -> Tried:
        """All sources, with what the copies have said before."""
        known = ((one, self.state.contents(one)) for one in self._archives.values())
        self._damaged = [(one, found.damage) for one, found in known if found is not None and found.damage]
        return Tried(self.sources, self._earlier)

    def _last(self) -> Iterator[Step]:
        clip_ids = self.selection.rest()
        contents = [self.state.contents(one) for one in self._archives.values()]
        if clip_ids and not self._others and contents and all(one is not None and one.given_up for one in contents):
            raise JobFailed("none of the archives could be had, and there is no other --source")
        plan = self._planned(clip_ids, self.wanted.held_locally, None)
        if not len(plan):
            return
        self._disk(needs_of(plan, self.dataset.recipe))
        number = self.dataset.add_plan(plan)
        outcomes = {clip_id: failed.outcome for clip_id, failed in self.selection.failed.items()}
        yield self._driver(number, plan, plan.shard_names(), outcomes, self._from_all())

    def _earlier(self, clip_id: str) -> list[Event]:
        """What each copy has said of a clip before the plan of all sources."""
        failed = self.selection.failed.get(clip_id)
        of = None
        if failed is not None and failed.group is not None:
            of = next((one.copy for one in self.state.list.archives if one.group == failed.group), None)
        events = []
        for copy, name in self.asked.names.items():
            if failed is not None and copy == of:
                events.append(Event(copy, failed.settled_outcome, failed.detail))
            else:
                events.append(Event(copy, "not_found", f"{name}: no file{self._lost(copy, clip_id)}"))
        return events

    def _lost(self, copy: str, clip_id: str) -> str:
        """The archives in which the clip may have been, and that could not be read to their end."""
        clip = self.selection.clips.get(clip_id)
        told = [
            f"{one.title}: {reason}"
            for one, reason in self._damaged
            if one.copy == copy and (clip is None or clip.label is None or self.asked.may_hold(one.title, {clip.label}))
        ]
        more = f" and {len(told) - NAMED_AT_MOST} more" if len(told) > NAMED_AT_MOST else ""
        return (
            f"; it may have been in an archive that was lost ({', '.join(told[:NAMED_AT_MOST])}{more})" if told else ""
        )

    # Plans

    def _planned(
        self,
        clip_ids: Collection[str],
        held_locally: Callable[[Iterable[Clip]], Collection[str]],
        group: int | None,
        labels: Mapping[str, str] | None = None,
    ) -> Plan:
        """A plan of these clips, whatever became of them before. `labels`: of clips that the annotations give none."""
        table = self.wanted.table
        table = table[table["clip_id"].isin(set(clip_ids))]
        if labels:
            own = zip(table["clip_id"], table["label"], strict=True)
            table = table.assign(label=[labels.get(clip_id, label) for clip_id, label in own])
        settings = PlanSettings(clips_per_shard=self.wanted.settings.clips_per_shard)
        with self.dataset.one_listing():
            return make_plan(
                table,
                outcomes={},
                settings=settings,
                held_locally=held_locally,
                next_shard=self.dataset.next_shard_numbers(),
                archive_group=group,
            )

    def _finished(self, number: int, plan: Plan) -> None:
        """Takes in what became of the clips of a plan."""
        names = {marker_name(name) for name in plan.shard_names()}
        files = [file for file in self.dataset.marker_files() if file.name in names]
        for marker in self.dataset.markers(files):
            self.selection.finished(
                (entry["clip_id"], _failed(entry, number, plan.archive_group)) for entry in marker.clips
            )


def _failed(entry: Mapping[str, Any], plan: int, group: int | None) -> Failed | None:
    return None if entry["outcome"] == "ok" else Failed(entry["outcome"], entry["detail"] or "", plan, group)


def _local(sources: Mapping[str, LocalSource | NetworkSource]) -> list[ArchiveSource]:
    return [source for source in sources.values() if isinstance(source, ArchiveSource)]
