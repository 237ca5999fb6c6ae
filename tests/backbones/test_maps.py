"""Given fields with positions, as maps over the target's own positions."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from likewise.backbones.conv import Conv
from likewise.backbones.spatial_condition import Maps, is_map, resize
from likewise.spaces import Condition, Continuous, Tokens

BACKBONE = Conv(width=8, multipliers=(1, 2), attention=False)
PICTURE, FILM = Continuous((3, 12, 8)), Continuous((2, 4, 6, 6))


def test_which_fields_lie_on_the_target() -> None:
    small = Continuous((3, 5, 4))
    assert is_map(small, (12, 8))
    assert is_map(small, (4, 6, 6))  # a picture of each time
    assert is_map(Continuous((1, 9)), (40,))
    assert not is_map(Continuous((1, 9)), (12, 8))  # a sound has no place in a picture
    assert not is_map(FILM, (12, 8))
    assert not is_map(Continuous((4,)), (12, 8))
    assert not is_map(Tokens(9, 5), (12, 8))


def test_resize_takes_means_and_draws_lines() -> None:
    x = torch.arange(8.0).view(1, 1, 8)
    assert resize(x, (4,)).flatten().tolist() == [0.5, 2.5, 4.5, 6.5]
    assert resize(x, (8,)) is x
    assert resize(torch.tensor([[[0.0, 2.0]]]), (4,)).flatten().tolist() == [0.0, 0.5, 1.5, 2.0]
    mixed = resize(torch.rand(2, 3, 8, 2), (4, 6))
    assert mixed.shape == (2, 3, 4, 6)


def test_without_such_a_field_there_are_no_more_weights() -> None:
    """Weights of runs that are given nothing of the kind load as they did."""
    for given in ({}, {"label": Tokens(1, 4), "numbers": Continuous((3,))}):
        nets = (
            BACKBONE.encoder(PICTURE, 4, given), BACKBONE.decoder(4, PICTURE, given), BACKBONE.denoiser(PICTURE, given),
        )  # fmt: skip
        assert not [name for net in nets for name in net.state_dict() if name.startswith("maps")]
    assert Maps.of({"label": Tokens(1, 4)}, (12, 8), []) is None


def _alive(net: nn.Module) -> nn.Module:
    for p in net.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return net.eval()


@pytest.mark.parametrize(("target", "given"), [(PICTURE, (3, 3, 2)), (PICTURE, (1, 24, 16)), (FILM, (3, 6, 6))])
@pytest.mark.parametrize("role", ["encoder", "decoder", "denoiser"])
def test_what_stands_where(target: Continuous, given: tuple[int, ...], role: str) -> None:
    """A change at one place of the condition moves the output; a missing one is the same as none."""
    torch.manual_seed(0)
    condition: Condition = {"map": Continuous(given), "other": Continuous((2,))}
    x, t, z = torch.randn(2, *target.shape), torch.rand(2), torch.randn(2, 4)
    made = {
        "encoder": lambda: (BACKBONE.encoder(target, 4, condition), (x,)),
        "decoder": lambda: (BACKBONE.decoder(4, target, condition), (z,)),
        "denoiser": lambda: (BACKBONE.denoiser(target, condition), (x, t)),
    }
    net, inputs = cast(tuple[nn.Module, tuple[Tensor, ...]], made[role]())
    net = _alive(net)
    c = {"map": torch.rand(2, *given), "other": torch.randn(2, 2)}
    with torch.no_grad():
        free = net(*inputs, {"other": c["other"]})
        gone = net(*inputs, {**c, "map": torch.full_like(c["map"], math.nan)})
        torch.testing.assert_close(free, gone)
        assert not torch.allclose(net(*inputs, c), free)


def test_detail_reaches_the_pixel() -> None:
    """Through the maps alone a denoiser tells apart two conditions that differ by the place of one pixel."""
    torch.manual_seed(0)
    space = Continuous((1, 32, 32))
    net = _alive(BACKBONE.denoiser(space, {"grey": space}))
    x, t = torch.zeros(2, 1, 32, 32), torch.zeros(2)
    dots = torch.zeros(2, 1, 32, 32)
    dots[0, 0, 8, 8] = dots[1, 0, 8, 9] = 5.0
    for name, part in net.named_parameters():  # what is read as a few vectors is silenced
        if name.startswith("context"):
            nn.init.zeros_(part)
    with torch.no_grad():
        out = net(x, t, {"grey": dots})
    difference = (out[0] - out[1]).abs()[0]
    near = difference[4:13, 4:14]
    assert near.max() == difference.max() > 0.05
