"""DCGAN's and StyleGAN's networks: sizes that do not halve evenly, what a style does, what the condition does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from likewise.backbones.dcgan import DCGAN
from likewise.backbones.style import Style, _Modulated
from likewise.spaces import Continuous, Tokens

SMALL = {"dcgan": DCGAN(width=4, given=6), "style": Style(width=8, multipliers=(1, 2), style=6, mapping=2)}
SPACES = [Continuous((1, 13)), Continuous((3, 9, 28)), Continuous((2, 4, 4)), Continuous((2, 5, 12, 8))]


def net(build, seed=0):
    torch.manual_seed(seed)
    return build()


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_any_size_goes_in_and_comes_out(name, space):
    x, z = torch.randn(3, *space.shape), torch.randn(3, 7)
    encoder, decoder = SMALL[name].encoder(space, 5, {}), SMALL[name].decoder(7, space, {})
    assert encoder(x).shape == (3, 5)
    made = decoder(z)
    assert made.shape == (3, *space.shape)
    made.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_an_item_does_not_depend_on_its_neighbours_when_drawn(name):
    space = Continuous((1, 8, 8))
    decoder = net(lambda: SMALL[name].decoder(7, space, {}))
    decoder(torch.randn(32, 7))
    decoder.eval()
    z = torch.randn(6, 7)
    torch.testing.assert_close(decoder(z)[4:], decoder(z[4:]))
    assert not torch.allclose(decoder(z)[0], decoder(z)[1])


@pytest.mark.parametrize("given", [Tokens(1, 3), Tokens(4, 9, end=8)])
@pytest.mark.parametrize("name", SMALL)
def test_the_condition_is_heard_by_both_players(name, given):
    space = Continuous((1, 8, 8))
    x, z = torch.randn(2, 1, 8, 8), torch.randn(2, 7)
    encoder = net(lambda: SMALL[name].encoder(space, 1, {"given": given})).eval()
    decoder = net(lambda: SMALL[name].decoder(7, space, {"given": given})).eval()
    one, two = ({"given": torch.full((2, given.length), i)} for i in (0, 1))
    assert not torch.allclose(encoder(x, one), encoder(x, two))
    assert not torch.allclose(decoder(z, one), decoder(z, two))
    torch.testing.assert_close(encoder(x, None), encoder(x, {"given": torch.full((2, given.length), -1)}))


def test_scaling_what_flows_through_is_scaling_the_weights():
    """Equations 1 and 3 of StyleGAN2, with weights of their own for each item."""
    layer = net(lambda: _Modulated(2, 5, 4, 6))
    x, style = torch.randn(3, 5, 7, 7), torch.randn(3, 6)
    with torch.no_grad():
        scale = layer.style(style)
        expected = []
        for i in range(3):
            weight = layer.mix.weight * scale[i].view(1, -1, 1, 1)
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            expected.append(F.conv2d(x[i : i + 1], weight, layer.mix.bias, padding=1))
        torch.testing.assert_close(layer(x, style), torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_the_paper_s_layers():
    """64x64: four halvings, channels doubling, no normalisation next to the picture."""
    sizes = DCGAN(width=64)
    encoder, decoder = sizes.encoder(Continuous((3, 64, 64)), 1, {}), sizes.decoder(100, Continuous((3, 64, 64)), {})
    down = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in down] == [64, 128, 256, 512]
    assert [m.out_channels for m in up] == [256, 128, 64, 3]
    assert all(m.kernel_size == (4, 4) and m.stride == (2, 2) for m in [*down, *up])
    assert sum(isinstance(m, nn.BatchNorm2d) for m in encoder.modules()) == 3
    assert sum(isinstance(m, nn.BatchNorm2d) for m in decoder.modules()) == 4
    assert not any(
        isinstance(m, nn.BatchNorm2d) for m in DCGAN(norm="none").decoder(9, Continuous((1, 8, 8)), {}).modules()
    )
    assert DCGAN().unfit("denoiser", Continuous((1, 8, 8)))
    assert Style().unfit("encoder", Continuous((4,)))
