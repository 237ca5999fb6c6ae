"""Sizes: what the settings promise about the networks they build."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from likewise.backbones.conv import Conv, default_patch, scales
from likewise.backbones.mlp import MLP
from likewise.backbones.recurrent import GRU, LSTM
from likewise.backbones.transformer import Transformer
from likewise.backbones.transformer import default_patch as patch_of_transformer
from likewise.spaces import Continuous, Tokens


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_dense_gan() -> None:
    """The preset's networks: 100-256-512-1024-784 with BatchNorm, and 784-1024-512-1 with dropout."""
    dense = MLP(
        encoder_hidden=(1024, 512),
        decoder_hidden=(256, 512, 1024),
        activation="leaky_relu",
        decoder_norm="batch",
        encoder_dropout=0.2,
    )
    picture = Continuous((1, 28, 28))
    generator, discriminator = dense.decoder(100, picture, {}), dense.encoder(picture, 1, {})

    def kinds(net: nn.Module) -> list[str]:
        return [type(layer).__name__ for layer in net.modules() if not list(layer.children())]

    hidden = ["Linear", "BatchNorm1d", "LeakyReLU"]
    assert [k for k in kinds(generator) if k != "ModuleList"] == [*hidden, *hidden, *hidden, "Linear"]
    hidden = ["Linear", "LeakyReLU", "Dropout"]
    assert [k for k in kinds(discriminator) if k != "ModuleList"] == [*hidden, *hidden, "Linear"]
    assert count(discriminator) == 784 * 1024 + 1024 + 1024 * 512 + 512 + 512 + 1
    layers = [(100, 256), (256, 512), (512, 1024), (1024, 784)]
    assert count(generator) == sum(a * b + b for a, b in layers) + 2 * (256 + 512 + 1024)
    assert all(m.negative_slope == 0.2 for m in generator.modules() if isinstance(m, nn.LeakyReLU))


def test_sizes_of_language_models() -> None:
    text = Tokens(256, 65, end=0)
    assert count(Transformer(width=384).predictor(text, {})) == pytest.approx(10.7e6, rel=0.05)
    assert count(Transformer(width=128, depth=5).predictor(text, {})) == pytest.approx(1e6, rel=0.1)
    tied = Transformer(width=128, tie_embeddings=True).predictor(Tokens(64, 2048, end=0), {})
    untied = Transformer(width=128).predictor(Tokens(64, 2048, end=0), {})
    assert count(untied) - count(tied) == 128 * 2048
    assert count(LSTM(width=512).predictor(text, {})) == pytest.approx(4.3e6, rel=0.05)
    assert count(GRU(width=512).predictor(text, {})) == pytest.approx(3.2e6, rel=0.05)


def test_patches() -> None:
    assert patch_of_transformer((28, 28)) == 2
    assert patch_of_transformer((16, 16)) == 1
    assert patch_of_transformer((1000,)) == 4
    assert patch_of_transformer(()) == 1
    assert default_patch((28, 28)) == 2
    assert default_patch((8, 8)) == 1
    assert default_patch((64, 64)) == 4


def test_scales_round_up() -> None:
    assert scales((28, 7)) == [(28, 7), (14, 4), (7, 4), (4, 4)]
    assert scales((50,), smallest=2, most=3) == [(50,), (25,), (13,)]


@pytest.mark.parametrize("positions", [(1,), (2, 50), (7, 7), (1, 1, 5), (33, 17)])
def test_conv_takes_any_size(positions: tuple[int, ...]) -> None:
    space = Continuous((2, *positions))
    sizes = Conv(width=16, multipliers=(1, 2))
    x = torch.randn(2, *space.shape)
    assert sizes.encoder(space, 3, {})(x).shape == (2, 3)
    assert sizes.decoder(3, space, {})(torch.randn(2, 3)).shape == x.shape
    assert sizes.denoiser(space, {})(x, torch.rand(2)).shape == x.shape


@pytest.mark.parametrize("bad", [{"width": 100, "heads": 3}, {"width": 30}, {"ffn": "gelu"}, {"depht": 3}])
def test_bad_sizes(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Transformer.model_validate(bad)


def test_each_group_of_choices_is_one_token() -> None:
    """A DiT over a row sees a one-hot column as one token."""
    row = Continuous((7,), choices=((1, 4), (4, 6)))
    net = Transformer(width=32, depth=1).denoiser(row, {})
    places = dict(net.named_parameters())["patches.embed_place"]
    assert places.shape == (4, 32)


def test_a_patch_of_more_numbers_than_channels_loses_nothing() -> None:
    """Noise has no structure that fewer numbers could hold, and most of what a denoiser must give at first is noise."""
    torch.manual_seed(0)
    space = Continuous((4, 16, 16))
    net = Conv(width=8, multipliers=(1,), attention=False, patch=4).denoiser(space, {})
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(40):
        noise = torch.randn(4, *space.shape)
        error = (net(noise, torch.rand(4)) + noise).square().mean()
        adam.zero_grad()
        error.backward()
        adam.step()
    assert error < 0.1  # the 8 channels alone hold an eighth of it


def test_an_encoder_sees_all_of_a_patch() -> None:
    space = Continuous((3, 64, 64))
    assert Conv(width=32).widths(3, 48) == [48, 64, 128]
    assert Conv(width=32).widths(2, 4) == [32, 64]
    assert Conv(width=32).widths(1, 1000) == [128]
    first = next(m for m in Conv(width=32).encoder(space, 1, {}).modules() if isinstance(m, nn.Conv2d))
    assert first.out_channels == first.in_channels == 48
