"""The role of a mapper: positions to fewer or to more of them, each place from what is near it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from likewise.backbones.conv import Conv
from likewise.backbones.mlp import MLP
from likewise.backbones.none import NoBackbone
from likewise.backbones.recurrent import GRU
from likewise.backbones.transformer import Transformer
from likewise.spaces import Continuous, Tokens, Unfit, drop

SIZES = Conv(width=16, multipliers=(1, 2))
MAPS = [
    (Continuous((1, 9)), Continuous((4, 3))),
    (Continuous((3, 8, 8)), Continuous((5, 4, 4))),
    (Continuous((1, 13, 7)), Continuous((2, 4, 2))),
    (Continuous((1, 28, 28)), Continuous((4, 7, 7))),
    (Continuous((2, 4, 6, 6)), Continuous((3, 4, 2, 2))),
    (Continuous((2, 5, 5)), Continuous((3, 5, 5))),
]
LABEL = {"label": Tokens(1, 3)}


def awake(net: nn.Module) -> nn.Module:
    """Layers that start at zero hide what stands behind them."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("condition", [{}, LABEL], ids=["nothing", "label"])
@pytest.mark.parametrize("back", [False, True], ids=["coarser", "finer"])
@pytest.mark.parametrize(("fine", "coarse"), MAPS, ids=str)
def test_shapes_gradients_and_conditions(fine, coarse, back, condition):
    source, target = (coarse, fine) if back else (fine, coarse)
    torch.manual_seed(0)
    net = awake(SIZES.mapper(source, target, condition))
    x, c = torch.randn(3, *source.shape), {name: torch.tensor([[0], [1], [2]]) for name in condition}
    out = net(x, c)
    assert out.shape == (3, *target.shape)
    assert out.dtype == torch.float32
    (out * torch.randn_like(out)).sum().backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    net.eval()
    with torch.no_grad():
        scale = 1e-5 * float(out.abs().max())
        torch.testing.assert_close(net(x), net(x, drop(c, torch.ones(3, dtype=torch.bool))), rtol=0, atol=scale)
        alone = torch.cat([net(x[i : i + 1], {k: v[i : i + 1] for k, v in c.items()}) for i in range(3)])
        torch.testing.assert_close(alone, net(x, c), rtol=0, atol=scale)
        if c:
            assert not torch.allclose(net(x, c), net(x), rtol=0, atol=10 * scale)


def test_a_place_is_made_of_what_is_near_it():
    torch.manual_seed(0)
    net = awake(SIZES.mapper(Continuous((1, 64, 64)), Continuous((2, 16, 16)), {})).eval()
    x = torch.randn(1, 1, 64, 64)
    other = x.clone()
    other[..., 40:] += 1.0
    with torch.no_grad():
        moved = (net(x) - net(other)).abs().amax((0, 1, 2))
    assert (moved[:4] == 0).all()
    assert (moved[10:] > 0).all()


def test_sizes_that_halving_misses_are_refused():
    with pytest.raises(Unfit, match="halves positions"):
        SIZES.mapper(Continuous((1, 12, 12)), Continuous((1, 5, 5)), {})


@pytest.mark.parametrize("backbone", [MLP(), Transformer(), GRU(), NoBackbone()], ids=lambda b: b.name)
def test_others_refuse_in_a_clause(backbone):
    space = Continuous((1, 8, 8))
    why = backbone.unfit("mapper", space)
    assert why.startswith(backbone.name)
    assert "\n" not in why
    assert not why.endswith(".")
    with pytest.raises(Unfit, match=backbone.name):
        backbone.mapper(space, Continuous((1, 4, 4)), {})


def test_conv_maps_only_what_has_positions():
    assert "positions" in (SIZES.unfit("mapper", Continuous((4,))) or "")
    assert "tokens" in (SIZES.unfit("mapper", Tokens(4, 5)) or "")
