"""Times of a flow that are shifted towards noise: what that means, and where it is so by default."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from toys import draws

from likewise.backbones.conv import Conv
from likewise.families.flow import Flow, FlowModel
from likewise.families.prob_paths import Linear
from likewise.families.solvers import FlowSampling
from likewise.spaces import Continuous


def flow(side: int = 8, **settings) -> FlowModel:
    model = Flow(**settings).build(Continuous((1, side, side), levels=256), {}, Conv(width=8, multipliers=(1,)))
    assert isinstance(model, FlowModel)
    return model


def noise_for_data(t: torch.Tensor) -> torch.Tensor:
    return (1 - t) / t


def test_a_shift_of_three_is_three_times_the_noise():
    t = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(noise_for_data(Linear(1.0, 3.0).placed(t)), 3 * noise_for_data(t))
    for share in (0.0, 0.3, 1.0):
        placed = float(Linear(1.0, 3.0).placed(torch.tensor(share)))
        assert Linear(1.0, 3.0).share(placed) == pytest.approx(share)


@pytest.mark.parametrize("times", ["path", "uniform"])
def test_training_times_are_shifted(times):
    plain, shifted = (flow(shift=s, time_sampling=times)._times(draws(64).uniform()) for s in (1.0, 3.0))
    torch.testing.assert_close(noise_for_data(shifted), 3 * noise_for_data(plain), rtol=1e-4, atol=0)


def test_steps_are_shifted_and_an_edit_still_begins_where_it_is_told_to():
    settings = FlowSampling(steps=8, shift=3.0)
    plain, shifted = (flow().timesteps(s) for s in (FlowSampling(steps=8), settings))
    torch.testing.assert_close(noise_for_data(shifted[1:-1]), 3 * noise_for_data(plain[1:-1]))
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert torch.equal(shifted, flow(shift=1.5).timesteps(FlowSampling(steps=8)))  # twice as far as in training
    part = flow().timesteps(settings, 0.5)
    assert float(part[0]) == pytest.approx(0.5)
    assert len(part) == 5
    assert float(part[-1]) == 1


def test_by_their_size_large_pictures_are_shifted_and_small_ones_are_not():
    assert [flow(side, shift="auto").path.shift for side in (8, 32, 64, 96)] == [1, 1, 2, 3]  # pyright: ignore[reportAttributeAccessIssue]


def test_other_paths_have_times_of_their_own():
    assert torch.equal(flow(64, path="edm", shift="auto").timesteps(FlowSampling(steps=4)), torch.linspace(0, 1, 5))
    with pytest.raises(ValidationError, match="linear is shifted"):
        Flow(path="edm", shift=2.0)
    with pytest.raises(ValueError, match="linear is shifted"):
        flow(path="edm").timesteps(FlowSampling(shift=2.0))
    with pytest.raises(ValidationError, match="greater than 0"):
        Flow(shift=0)
