"""Networks over space and time: clips of any size go in and come out, and time is not cut like space."""

import pytest
import torch

from likewise.backbones.conv import Conv
from likewise.backbones.convolutions import conv, fold, spacetime, unfold
from likewise.backbones.downsampling import default_patches
from likewise.backbones.transformer import Transformer
from likewise.backbones.transformer import default_patches as transformer_patch
from likewise.spaces import Continuous


def test_time_is_not_cut_like_space():
    assert default_patches((16, 32, 32)) == (1, 2, 2)
    assert default_patches((8, 64, 64)) == (1, 4, 4)
    assert default_patches((32, 36, 64)) == (2, 4, 4)
    assert default_patches((32, 32)) == (2, 2)
    assert default_patches((1000,)) == (1,)


def test_a_picture_s_denoiser_has_finer_patches():
    sizes = {8: 1, 16: 1, 28: 2, 32: 2, 64: 2, 128: 4, 256: 8}
    assert {n: default_patches((n, n), fine=True) for n in sizes} == {n: (p, p) for n, p in sizes.items()}
    assert default_patches((16, 64, 64), fine=True) == default_patches((16, 64, 64)) == (1, 4, 4)
    time, height, width = transformer_patch((16, 32, 32))
    assert time < height == width
    assert transformer_patch((32, 32)) == (2, 2)


@pytest.mark.parametrize("patch", [2, (1, 2, 3), (3, 1, 2)])
def test_unfolding_undoes_folding(patch):
    x = torch.randn(2, 3, 5, 7, 6)
    assert torch.equal(unfold(fold(x, patch), patch, (5, 7, 6)), x)


def test_a_patch_needs_a_number_for_each_dimension():
    with pytest.raises(ValueError, match=r"backbone\.patch: 2 numbers for 3"):
        Conv(width=8, patch=(1, 2)).denoiser(Continuous((1, 4, 4, 4)), {})


@pytest.mark.parametrize("sizes", [
    Conv(width=8, multipliers=(1, 2)), Conv(width=8, multipliers=(1, 2), factorised=True),
    Conv(width=8, patch=(1, 2, 2)), Transformer(width=24, depth=1),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (1, 2, 9, 16)])
def test_clips_of_any_size_go_in_and_come_out(sizes, shape):
    space = Continuous(shape)
    x, t = torch.randn(2, *shape), torch.rand(2)
    assert sizes.denoiser(space, {})(x, t).shape == x.shape
    assert sizes.encoder(space, 5, {})(x).shape == (2, 5)
    assert sizes.decoder(5, space, {})(torch.randn(2, 5)).shape == x.shape


def test_apart_is_cheaper_and_begins_as_a_convolution_of_each_frame():
    both, apart = conv(3, 8, 8), spacetime(8, 8)
    count = [sum(p.numel() for p in net.parameters()) for net in (both, apart)]
    assert count[1] < 0.5 * count[0]
    x = torch.randn(2, 8, 4, 5, 5)
    space = apart[0]
    assert torch.allclose(apart(x), space(x), atol=1e-6)
    with torch.no_grad():
        apart[1].weight.normal_()
    alone = apart(torch.where(torch.arange(4)[:, None, None] == 1, x, 0.0))
    assert not torch.allclose(alone[:, :, 2], alone[:, :, 3])


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("make", [lambda: conv(3, 16, 32), lambda: spacetime(16, 32)])
def test_gradients_in_half_precision_are_those_in_full(make, frames):
    """Two frames left: oneDNN's own gradient is of memory that nobody has written."""
    net, x = make(), torch.randn(8, 16, frames, 4, 4)
    sure = torch.autograd.grad(net(x).square().sum(), [*net.parameters()])
    for _ in range(3):
        del [torch.full((n,), float("nan")) for n in (10**3, 10**5, 10**6)][:]
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(x).float().square().sum()
        for ours, exact in zip(torch.autograd.grad(loss, [*net.parameters()]), sure, strict=True):
            assert (ours - exact).norm() < 0.05 * exact.norm()
