"""Runs by minutes end on time, whatever happens to the speed."""

from types import SimpleNamespace

import pytest

from likewise.config import Training
from likewise.training.loop import _watch_held_out
from likewise.training.progress import Progress
from likewise.training.time_budget import replan, rhythm


def simulated(minutes, speed, steps, extra=lambda step: 0.0):
    """Train with steps of speed(share of the time) seconds; returns the progress at the end."""
    progress = Progress(steps=steps)
    while progress.step < progress.steps:
        progress.seconds += speed(progress.seconds / (60 * minutes)) + extra(progress.step)
        progress.step += 1
        replan(Training(minutes=minutes), progress)
    return progress


@pytest.mark.parametrize(
    "speed",
    [
        lambda t: 0.05,
        lambda t: 0.05 if t < 0.5 else 0.15,  # another program begins
        lambda t: 0.3 if t < 0.7 else 0.05,  # and ends
        lambda t: 0.05 * (1 + t),
        lambda t: 0.05 if int(20 * t) % 2 else 0.1,
        lambda t: 0.05 if t < 0.9 else 0.1,
    ],
)
@pytest.mark.parametrize("guess", [300, 3600, 20_000])
def test_ends_within_five_percent(speed, guess):
    progress = simulated(3, speed, guess, lambda step: 1.5 if step % 200 == 199 else 0.0)
    assert progress.seconds == pytest.approx(180, rel=0.05)
    assert len(progress.replanned) < 40


def test_a_steady_run_is_not_corrected_all_the_time():
    assert len(simulated(5, lambda t: 0.1, 2940).replanned) <= 2


def test_held_out_losses_and_checkpoints_follow_the_steps_that_there_turn_out_to_be():
    """Planned for a fortieth of its steps, as while another program has the machine."""
    progress = simulated(3, lambda t: 0.05, 90)
    assert progress.steps > 3000
    assert progress.evaluate_every == pytest.approx(progress.steps / 20, rel=0.2)
    assert progress.save_every == pytest.approx(progress.steps / 5, rel=0.2)
    own = Progress(steps=100)
    rhythm(Training(evaluate_every=7, checkpoint_every=9), own)
    assert (own.evaluate_every, own.save_every) == (7, 9)


@pytest.mark.parametrize(("settings", "expected"), [({}, 160), ({"evaluate_every": 4}, 32), ({"patience": None}, None)])
def test_patience_is_of_steps_too(settings, expected):
    """Planned for 98 steps, so that a held-out loss is taken every fourth, a run turns out to have 800."""
    model = SimpleNamespace(draws_last=False)
    learner = SimpleNamespace(settings=Training(steps=800, **settings), held_out=lambda _: 1.0, model=model)
    progress = Progress(steps=800, evaluate_every=4, best=0.5, best_step=0)
    for step in range(4, 801, 4):
        progress.step = step
        _watch_held_out(learner, None, progress, lambda _: None)  # pyright: ignore[reportArgumentType]
        if progress.stopped_early:
            break
    assert (progress.step if progress.stopped_early else None) == expected
