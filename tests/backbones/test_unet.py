"""The U-Net and its norm: what they compute beside torch's own, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from likewise.backbones.group_norm import GroupNorm
from likewise.backbones.unet import UNet
from likewise.sampling.tiling import seamless
from likewise.spaces import Continuous, Tokens

SMALL = UNet(width=8, multipliers=(1, 2), groups=4)
PICTURE = Continuous((1, 8, 8), levels=256)


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def filled(sizes: UNet, space: Continuous) -> nn.Module:
    """A network none of whose weights are zero."""
    net = sizes.denoiser(space, {}).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_norm_and_its_gradients_are_torchs(groups: int) -> None:
    torch.manual_seed(0)
    norm = GroupNorm(groups, 16, 1e-5)
    for p in norm.parameters():
        nn.init.normal_(p)
    x, g = 3 + 2 * channels_last(3, 16, 5, 7), torch.randn(3, 16, 5, 7)
    x.requires_grad_()
    inputs = (x, norm.weight, norm.bias)
    own, theirs = norm(x), F.group_norm(x, groups, norm.weight, norm.bias, 1e-5)
    assert "NativeGroupNorm" in str(theirs.grad_fn)
    assert "NativeGroupNorm" not in str(own.grad_fn)
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(torch.autograd.grad(own, inputs, g), torch.autograd.grad(theirs, inputs, g), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_norm_sums_in_float32() -> None:
    """A sum of many numbers in bfloat16 would stop growing: 100,000 ones are 256."""
    norm = GroupNorm(2, 4, 1e-5)
    x = (1 + 0.5 * channels_last(1, 4, 200, 200)).bfloat16()
    found = norm(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), F.group_norm(x.float(), 2), atol=0.03, rtol=0.01)


def test_autocast_changes_little() -> None:
    torch.manual_seed(0)
    net, x, t = filled(UNet(width=16, multipliers=(1, 2)), PICTURE), channels_last(4, 1, 8, 8), torch.rand(4)
    with torch.no_grad():
        exact = net(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(x, t)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean().sqrt() < 0.03 * exact.std()


def test_what_does_not_fit_says_what_does() -> None:
    sizes = UNet()
    assert sizes.unfit("denoiser", Continuous((3, 32, 28))) is None
    assert "not multiples of 4; take target.size=32x28" in str(sizes.unfit("denoiser", Continuous((1, 29, 31))))
    assert "has 1" in str(sizes.unfit("denoiser", Continuous((3, 32))))
    assert "are tokens" in str(sizes.unfit("denoiser", Tokens(9, 9)))
    assert "builds a denoiser, but no encoder" in str(sizes.unfit("encoder", PICTURE))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"groups": 3}, "groups 3: 32 channels are not divisible by it"),
        ({"attention": 4}, "attention 4: there are 3 scales"),
        ({"head": 5}, "head 5: 128 channels are not divisible by it"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        UNet.model_validate(bad)


def test_a_picture_of_any_shape_that_is_halved_evenly() -> None:
    space = Continuous((3, 4, 6))
    assert SMALL.denoiser(space, {})(torch.randn(2, 3, 4, 6), torch.rand(2)).shape == (2, 3, 4, 6)


def test_it_draws_on_a_torus() -> None:
    """With convolutions that go round the edge, what is shifted in comes out shifted, by whole coarse places."""
    net = filled(SMALL, PICTURE)
    model = nn.Module()
    model.network, model.target = net, PICTURE  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    tiled = seamless(model, SMALL, "image").network  # pyright: ignore[reportArgumentType]
    x, t = torch.randn(1, 1, 8, 8), torch.rand(1)
    with torch.no_grad():
        torch.testing.assert_close(tiled(x.roll(2, 3), t), tiled(x, t).roll(2, 3), atol=1e-4, rtol=1e-4)
