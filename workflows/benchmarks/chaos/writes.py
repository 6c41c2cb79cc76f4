"""Rounds in which a writer is killed at its writes, one after the other, and the next build goes on."""

from __future__ import annotations

from kinetics_pipeline.workflows.benchmarks.chaos.ground import StoreKind, place_of
from kinetics_pipeline.workflows.benchmarks.chaos.inline import InlineBuild
from kinetics_pipeline.workflows.benchmarks.chaos.judge import judge, made
from kinetics_pipeline.workflows.benchmarks.chaos.rounds import Play, Round
from kinetics_pipeline.workflows.benchmarks.chaos.writers import writers

EVERY: dict[StoreKind, int] = {"disk": 5, "S3": 12}
"""A round kills at every fifth write, say: five rounds after one another at each."""


def _killed_at_writes(one: Round, store: StoreKind) -> None:
    ground = one.ground

    # Two clips of a video, one past its end, and one that no source has.
    rows = ground.annotations.read_text().splitlines(keepends=True)
    annotations = one.folder / "asked.csv"
    annotations.write_text("".join([rows[0], rows[1], rows[5], *rows[-2:]]))
    asked = [ground.clip_ids[number] for number in (0, 4, -2, -1)]

    def build_in(name: str) -> InlineBuild:
        folder = one.folder / name
        folder.mkdir()
        place = place_of(store, folder) + name
        return InlineBuild(place, str(folder / "cache"), str(annotations), str(ground.videos))

    with writers(ground.variables) as ones:
        first = build_in("undisturbed")
        whole = ones.build(first)
        assert not whole.problem, whole.problem
        undisturbed = made(first.place, one.folder / "undisturbed" / "cache")
        for number in range(1 + one.turn % EVERY[store], whole.writes + 1, EVERY[store]):
            build = build_in(f"killed-at-{number}")
            killed = ones.build(build, die_at=number, planted=one.planted)
            if killed.killed and one.random.random() < 0.3:  # and a second time, while it goes on
                ones.build(build, die_at=one.random.randint(1, whole.writes), planted=one.planted)
                one.injected += 1
            one.injected += killed.killed
            ended = ones.build(build, planted=one.planted)
            verdict = judge(build.place, one.folder / f"killed-at-{number}" / "cache", asked, undisturbed)
            if ended.killed or ended.problem:
                verdict.wrong.append(f"the next build ended: {ended.problem or 'killed'}")
            if verdict.problems:
                one.told.append(f"killed at write {number} of {whole.writes} on {store}")
            one.verdicts.append(verdict)
            if one.planted and verdict.problems:
                break


FAULTS: dict[str, Play] = {
    "writer killed, disk": lambda one: _killed_at_writes(one, "disk"),
    "writer killed, S3": lambda one: _killed_at_writes(one, "S3"),
}
