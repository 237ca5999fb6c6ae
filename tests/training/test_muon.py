"""Muon: the same step as the reference, in batches, for kernels too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from likewise.training.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_steps_equal_those_of_torch(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(shape, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # both round to bfloat16, in different places


def test_singular_values_come_near_one() -> None:
    x = torch.randn(3, 40, 64, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalize(x, torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_matrix_moves_alike_alone_and_in_company() -> None:
    generator = torch.Generator().manual_seed(3)
    start, gradients = torch.randn(4, 32, 32, generator=generator), torch.randn(4, 32, 32, generator=generator)
    together = [nn.Parameter(w.clone()) for w in start]
    alone = nn.Parameter(start[2].clone())
    for p, g in zip(together, gradients, strict=True):
        p.grad = g.clone()
    alone.grad = gradients[2].clone()
    Muon(together).step()
    Muon([alone]).step()
    torch.testing.assert_close(together[2], alone, rtol=0, atol=1e-4)


def test_a_kernel_is_one_row_per_output_channel_whatever_its_layout() -> None:
    generator = torch.Generator().manual_seed(4)
    start, gradient = (torch.randn(8, 4, 3, 3, generator=generator) for _ in range(2))
    flat = nn.Parameter(start.flatten(1).clone())
    kernel = nn.Parameter(start.clone().to(memory_format=torch.channels_last))
    flat.grad, kernel.grad = gradient.flatten(1).clone(), gradient.clone().to(memory_format=torch.channels_last)
    Muon([flat, kernel], weight_decay=0.1).step()
    torch.testing.assert_close(kernel.detach().flatten(1), flat.detach(), rtol=0, atol=1e-5)
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_parameters_without_gradient_stay_and_have_no_state() -> None:
    idle, busy = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    busy.grad = torch.eye(4)
    optimizer = Muon([idle, busy])
    optimizer.step()
    assert torch.equal(idle, torch.ones(4, 4))
    assert idle not in optimizer.state
    assert [tuple(v.shape) for v in optimizer.state[busy].values()] == [(4, 4)]


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([nn.Parameter(torch.ones(3))])
