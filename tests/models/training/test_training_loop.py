"""The loop: exact resume, accumulation, clipping, divergence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinetics_pipeline.models import Checkpoint, Diverged, build_model, read_checkpoint, save_checkpoint
from kinetics_pipeline.models.layers.batch_norm import freeze_batch_norm
from kinetics_pipeline.models.training.loop import StepMetrics, train_steps
from kinetics_pipeline.models.training.recipes import TrainingRecipe, training_recipe
from kinetics_pipeline.models.training.state import TrainingState, restore_state, start_training, state_to_save

CONFIG = {"num_classes": 3, "in_channels": 2}
STEPS = 6


def batch(number: int, clips: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    video = torch.rand(clips, 2, 9, 24, 24, generator=generator) * 2 - 1
    return {"video": video, "label": torch.randint(3, (clips,), generator=generator)}


def fresh(seed: int, recipe: TrainingRecipe | None = None) -> TrainingState:
    torch.manual_seed(seed)
    return start_training(
        build_model("i3d", **CONFIG), recipe or training_recipe("paper", "flow", steps=STEPS, learning_rate=0.02)
    )


def numbers(metrics: StepMetrics) -> tuple[float, ...]:
    return (metrics.step, metrics.loss, metrics.top1, metrics.learning_rate, metrics.gradient_norm)


def test_a_resumed_run_equals_the_undisturbed_one_bit_by_bit(tmp_path: Path) -> None:
    """Dropout is on, so the random numbers must go on too; the plateau comes after the interruption."""

    def step_and_validate(state: TrainingState, batches: list[dict[str, torch.Tensor]]) -> list[tuple[float, ...]]:
        found = []
        for metrics in train_steps(state, batches):
            state.schedule.observe(1.0)
            found.append(numbers(metrics))
        return found

    batches = [batch(i) for i in range(STEPS)]
    undisturbed = fresh(1)
    undisturbed.schedule.patience = 3  # type: ignore[attr-defined]
    expected = step_and_validate(undisturbed, batches)
    first = fresh(1)
    first.schedule.patience = 3  # type: ignore[attr-defined]
    found = step_and_validate(first, batches[:3])
    save_checkpoint(Checkpoint("i3d", CONFIG, first.model.state_dict(), state_to_save(first)), tmp_path / "last.pt")
    second = fresh(99)
    second.schedule.patience = 3  # type: ignore[attr-defined]
    saved = read_checkpoint(tmp_path / "last.pt")
    assert saved.training is not None
    second.model.load_state_dict(saved.state_dict)
    restore_state(second, saved.training)
    found += step_and_validate(second, batches[3:])
    assert found == expected
    assert {metrics[3] for metrics in expected} == {0.02, 0.002}
    for name, tensor in undisturbed.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert second.finished


def test_two_accumulated_halves_make_the_step_of_the_whole_batch() -> None:
    recipe = training_recipe("released", "flow", steps=1, learning_rate=0.1)
    whole = batch(0, clips=4)
    halves = [{name: tensor[i : i + 2] for name, tensor in whole.items()} for i in (0, 2)]
    after = []
    for batches, accumulation in (([whole], 1), (halves, 2)):
        torch.manual_seed(0)
        model = build_model("i3d", **CONFIG, dropout=0.0)
        freeze_batch_norm(model)  # whose statistics are the one thing that accumulation does not enlarge
        state = start_training(model, recipe)
        metrics = list(train_steps(state, batches, accumulation=accumulation))
        assert [m.clips for m in metrics] == [4]
        after.append((metrics[0].loss, metrics[0].gradient_norm, model.state_dict()))
    assert after[0][0] == pytest.approx(after[1][0], rel=1e-5)
    assert after[0][1] == pytest.approx(after[1][1], rel=1e-4)
    for name, tensor in after[0][2].items():
        torch.testing.assert_close(tensor, after[1][2][name], rtol=1e-4, atol=1e-6)


def test_a_clipped_gradient_moves_the_weights_by_no_more_than_rate_times_norm() -> None:
    recipe = training_recipe("released", "flow", steps=1, learning_rate=0.5)
    state = fresh(0, recipe)
    before = torch.nn.utils.parameters_to_vector(state.model.parameters()).clone()
    metrics = next(train_steps(state, [batch(0)], clip_norm=0.01))
    moved = torch.nn.utils.parameters_to_vector(state.model.parameters()).detach() - before.detach()
    assert metrics.gradient_norm > 0.01
    assert float(moved.norm()) == pytest.approx(0.5 * 0.01, rel=0.01)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_stops_before_the_weights_and_names_the_last_checkpoint(bad: float) -> None:
    state = fresh(0)
    steps = train_steps(state, [batch(0), {**batch(1), "video": torch.full((2, 2, 9, 24, 24), bad)}, batch(2)])
    next(steps)
    state.last_checkpoint = "last.pt"
    parameters = [p.detach().clone() for p in state.model.parameters()]
    with pytest.raises(Diverged, match=r"diverged at step 2: .*; the last good checkpoint is last\.pt"):
        next(steps)
    assert all(torch.equal(a, b) for a, b in zip(parameters, state.model.parameters(), strict=True))
    assert state.step == 1


def test_batches_that_do_not_fill_a_step_end_the_loop_quietly() -> None:
    state = fresh(0)
    assert len(list(train_steps(state, [batch(i) for i in range(3)], accumulation=2))) == 1
    assert not state.finished


def test_only_weights_decay() -> None:
    state = fresh(0)
    decays = {id(p): g["weight_decay"] for g in state.optimiser.param_groups for p in g["params"]}
    by_name = {name: decays[id(p)] for name, p in state.model.named_parameters()}
    assert {name for name, decay in by_name.items() if decay} == {n for n in by_name if n.endswith("conv3d.weight")}
    assert set(by_name.values()) == {0.0, 1e-7}
