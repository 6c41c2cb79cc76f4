"""Recipes and schedules: the released steps, how they carry over, and the plateau."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from kinetics_pipeline.models import InputError
from kinetics_pipeline.models.training.recipes import (
    CLIPS_PER_STEP,
    evaluation_spacing,
    explain_batch,
    patience_of,
    training_recipe,
)
from kinetics_pipeline.models.training.schedules import PlateauSchedule, StepSchedule, schedule_of


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("rgb", {0: 0.1, 96_999: 0.1, 97_000: 0.01, 107_999: 0.01, 108_000: 0.001, 114_999: 0.001}),
        # Two runs of the authors one after the other; here one, with as many steps at each rate.
        ("flow", {0: 0.1, 121_999: 0.1, 122_000: 0.01, 139_499: 0.01, 139_500: 0.001, 154_999: 0.001}),
    ],
)
def test_the_released_recipe_has_the_rates_of_the_released_runs(stream: str, expected: dict[int, float]) -> None:
    recipe = training_recipe("released", stream)  # type: ignore[arg-type]
    schedule = schedule_of(recipe)
    assert {step: schedule.rate(step) for step in expected} == expected
    assert (recipe.momentum, recipe.weight_decay, recipe.dropout) == (0.9, 1e-7, 0.5)
    assert recipe.steps == {"rgb": 115_000, "flow": 155_000}[stream]


def test_a_smaller_batch_learns_in_proportion_slower_and_sees_as_many_clips() -> None:
    full = training_recipe("released", "rgb")
    small = training_recipe("released", "rgb", clips_per_step=16)
    assert small.learning_rate == pytest.approx(0.1 * 16 / CLIPS_PER_STEP)
    assert small.steps * 16 == full.steps * CLIPS_PER_STEP
    assert small.changes[0] == (97_000 * 24, pytest.approx(0.01 * 16 / CLIPS_PER_STEP))


def test_fewer_steps_move_the_changes_in_proportion() -> None:
    short = training_recipe("released", "flow", steps=1550, learning_rate=0.02)
    assert [step for step, _ in short.changes] == [1220, 1395]
    assert [rate for _, rate in short.changes] == pytest.approx([0.002, 0.0002])


def test_flow_has_as_many_steps_at_each_rate_as_in_the_two_released_runs() -> None:
    runs = [(97_000, 0.1), (7_500, 0.01), (10_500, 0.001), (25_000, 0.1), (10_000, 0.01), (5_000, 0.001)]
    schedule = schedule_of(training_recipe("released", "flow"))
    counted = Counter(schedule.rate(step) for step in range(0, 155_000, 500))
    assert counted == {rate: sum(steps for steps, at in runs if at == rate) / 500 for rate in (0.1, 0.01, 0.001)}


@pytest.mark.parametrize("warmup", [0, 5, 50])
@pytest.mark.parametrize("steps", [1, 3, 7, 40, 41, 130])
@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("name", ["paper", "released"])
def test_no_rate_rises_after_it_fell(name: str, stream: str, steps: int, warmup: int) -> None:
    recipe = training_recipe(name, stream, steps=steps, warmup_steps=warmup)  # type: ignore[arg-type]
    schedule, rates = schedule_of(recipe), []
    for step in range(steps):
        rates.append(schedule.rate(step))
        schedule.observe(1.0)
    fell = next((step for step in range(1, steps) if rates[step] < rates[step - 1]), steps)
    assert all(later <= earlier for earlier, later in pairwise(rates[fell:]))


def test_a_run_that_goes_on_with_more_steps_keeps_the_rate_that_it_has_come_down_to() -> None:
    short, longer = (schedule_of(training_recipe("released", "rgb", steps=steps)) for steps in (100, 1000))
    longer.load_state_dict(short.state_dict(100))
    assert [longer.rate(step) for step in (100, 500, 999)] == pytest.approx([0.001] * 3)
    undisturbed = schedule_of(training_recipe("released", "rgb", steps=1000))
    undisturbed.load_state_dict(short.state_dict(50))  # before anything fell
    assert undisturbed.rate(500) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [3, 5, 11, 39, 41, 500, 5000, 110_000])
def test_a_plateau_can_act_in_a_run_of_any_length(steps: int) -> None:
    recipe = training_recipe("paper", "rgb", steps=steps)
    spacing = evaluation_spacing(recipe)
    schedule = PlateauSchedule(0.1, patience=patience_of(steps // spacing))
    rates = []
    for step in range(steps):
        rates.append(schedule.rate(step))
        if (step + 1) % spacing == 0:
            schedule.observe(1.0)
    assert rates[-1] < 0.1
    assert steps / spacing <= 40


def test_a_plateau_divides_by_ten_only_after_patience_without_progress() -> None:
    schedule = PlateauSchedule(0.1, patience=2)
    rates = []
    for loss in (3.0, 2.0, 2.0, 1.9999, 1.9, 1.95, 1.95, 1.95):
        schedule.observe(loss)
        rates.append(schedule.rate(0))
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001])


def test_a_loss_that_is_no_number_is_no_progress() -> None:
    schedule = PlateauSchedule(0.1, patience=1)
    schedule.observe(float("nan"))
    assert schedule.rate(0) == pytest.approx(0.01)


def test_a_plateau_goes_on_where_it_was() -> None:
    first, second = PlateauSchedule(0.1, patience=2), PlateauSchedule(0.1, patience=2)
    for loss in (1.0, 1.0):
        first.observe(loss)
    second.load_state_dict(first.state_dict(2))
    for schedule in (first, second):
        schedule.observe(1.0)
    assert first.rate(0) == second.rate(0) == pytest.approx(0.01)


def test_the_rate_warms_up_in_a_straight_line() -> None:
    schedule = StepSchedule(0.1, (), warmup_steps=4)
    assert [schedule.rate(step) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_wrong_settings_are_refused_with_the_allowed_ones() -> None:
    with pytest.raises(InputError, match="no recipe 'fast' for stream 'rgb'; allowed: paper, released for flow, rgb"):
        training_recipe("fast", "rgb")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="steps is 0; allowed: from 1"):
        training_recipe("paper", "rgb", steps=0)
    with pytest.raises(InputError, match="learning rate is nan; allowed: above 0"):
        training_recipe("paper", "rgb", learning_rate=float("nan"))


def test_the_log_line_states_the_rule() -> None:
    recipe = training_recipe("released", "rgb", clips_per_step=96)
    line = explain_batch(recipe, batch_size=6, accumulation=4, processes=4)
    assert "clips a step: 6 x 4 (accumulated) x 4 (processes) = 96, 0.25 of the recipe's 384" in line
    assert "learning rate 0.025" in line
