"""Quantisers against the papers' rules: levels, indices, straight-through gradients, and what becomes of dead codes."""

from __future__ import annotations

import math

import pytest
import torch
from toys import draws

from likewise.families.quantise import FSQ, VQ


@pytest.mark.parametrize("levels", [(3,), (4,), (5, 4), (8, 5, 5, 5), (8, 6, 5), (7, 5, 5, 5, 5)])
def test_fsq_has_every_level_and_no_other(levels):
    quantiser = FSQ(levels)
    wide = torch.linspace(-60, 60, 20001)[:, None, None].expand(-1, len(levels), 1)
    values = quantiser.bound(wide)
    vectors, index = quantiser(values)
    for number, count in enumerate(levels):
        # Mentzer et al., section 3.1: floor(L / 2) steps below the middle, and as many above, one less where L is even
        below = count // 2
        expected = torch.arange(-below, count - below) / below
        torch.testing.assert_close(vectors[:, number].unique(), expected, atol=1e-6, rtol=0)
    # rounding moves no number by more than half a step
    step = 1 / (torch.tensor(levels) // 2)
    assert ((vectors - values).abs()[:, :, 0] <= step / 2 + 1e-5).all()
    assert index.shape == (20001, 1)


def test_fsq_is_the_papers_equation():
    levels = torch.tensor([8.0, 5.0])
    z = torch.randn(200, 2, dtype=torch.double)
    reach = (levels.double() - 1) * (1 - 1e-3) / 2
    offset = torch.tensor([0.5, 0.0], dtype=torch.double)
    rounded = (torch.tanh(z + torch.atanh(offset / reach)) * reach - offset).round()
    quantiser = FSQ((8, 5)).double()
    vectors, index = quantiser(quantiser.bound(z))
    torch.testing.assert_close(vectors, rounded / torch.tensor([4.0, 2.0]))
    assert torch.equal(index, ((rounded[:, 0] + 4) + 8 * (rounded[:, 1] + 2)).long())
    assert quantiser.bound(torch.zeros(1, 2).double()).abs().max() < 1e-6  # nothing said is the middle


def test_fsq_codes_and_vectors_are_one_to_one():
    quantiser = FSQ((8, 6, 5))
    assert (quantiser.width, quantiser.vocabulary) == (3, 240)
    codes = torch.arange(240).view(2, 10, 12)
    vectors = quantiser.vectors(codes)
    assert vectors.shape == (2, 3, 10, 12)
    assert len(vectors.movedim(1, -1).reshape(-1, 3).unique(dim=0)) == 240
    assert torch.equal(quantiser.index(vectors), codes)
    # what another family draws may lie outside: the nearest level is meant
    assert torch.equal(quantiser.index(9 * torch.ones(1, 3, 1)), torch.tensor([[239]]))
    assert torch.equal(quantiser.index(-9 * torch.ones(1, 3, 1)), torch.tensor([[0]]))


@pytest.mark.parametrize("quantiser", [FSQ((8, 5)), VQ(16, 2)])
def test_the_gradient_passes_straight_through(quantiser):
    values = (torch.rand(3, 2, 4, 4) * 1.8 - 0.9).requires_grad_()
    vectors, _ = quantiser(values)
    weight = torch.randn_like(vectors)
    (vectors * weight).sum().backward()
    torch.testing.assert_close(values.grad, weight)


def test_vq_takes_the_nearest_vector_and_pulls_towards_it():
    quantiser = VQ(16, 3)
    values = torch.randn(5, 3, 2, 2)
    flat = values.movedim(1, -1).reshape(-1, 3)
    nearest = torch.cdist(flat, quantiser.codebook).argmin(1)
    index = quantiser.index(values)
    assert torch.equal(index.flatten(), nearest)
    far = (flat - quantiser.codebook[nearest]).square().mean()
    torch.testing.assert_close(quantiser.commitment(values, index), far)


def test_vq_codes_become_the_means_of_what_they_stand_for():
    """Four clusters, and more codes than that: the codes in use are the clusters' means."""
    torch.manual_seed(0)
    centres = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]])
    quantiser, source = VQ(8, 2), draws(64, 1)
    errors = []
    for step in range(400):
        quantiser.tidy(step, 400)
        values = (centres[source.integers(4)] + 0.1 * source.normal(2))[:, :, None]
        vectors, index = quantiser(values)
        quantiser.learn(values, index, draws(64, step))
        errors.append(float((vectors - values).square().mean()))
    assert errors[-1] < 0.02
    near = torch.cdist(centres, quantiser.codebook).min(1).values
    assert near.max() < 0.15


def test_dead_codes_are_put_where_vectors_are_always_alike():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        quantiser = VQ(32, 2)
        values = draws(8, 3).normal(2, 5) + 10.0  # far from where any code is at first
        index = quantiser.index(values)
        quantiser.learn(values, index, draws(8, 4))
        dead = quantiser.used < 0.05
        assert dead.sum() >= 31 - 8
        quantiser.tidy(1, 100)
        assert (quantiser.codebook[dead].mean(0) - 10).abs().max() < 1.5
        assert torch.equal(quantiser.used[dead], torch.ones(int(dead.sum())))
        found.append(quantiser.codebook)
    assert torch.equal(*found)
    before = quantiser.codebook.clone()
    quantiser.used.mul_(0.01)
    quantiser.total.mul_(0.01)
    quantiser.tidy(90, 100)  # late: averaged weights must settle
    torch.testing.assert_close(quantiser.codebook, before)


def test_a_batch_in_parts_teaches_the_same_means():
    """Running means are of shares: two halves, one after another, move codes as the whole does, up to the decay."""
    torch.manual_seed(0)
    whole, parts = VQ(4, 2), VQ(4, 2)
    parts.load_state_dict(whole.state_dict())
    values = draws(8, 1).normal(2, 6)
    index = whole.index(values)
    for _ in range(300):
        whole.learn(values, index, draws(8, 2))
        for half in (slice(0, 4), slice(4, 8)):
            parts.learn(values[half], index[half], draws(4, 2))
    torch.testing.assert_close(whole.codebook, parts.codebook, atol=0.05, rtol=0.05)


def test_perplexity_counts_codes_as_evenly_used():
    from likewise.families.codec import perplexity, psnr

    assert float(perplexity(torch.tensor([5, 5, 0, 5, 5]))) == pytest.approx(4)
    assert float(perplexity(torch.tensor([7, 0, 0]))) == pytest.approx(1)
    # 8-bit pictures one level off everywhere: 10 log10(255^2)
    assert float(psnr(torch.tensor((2 / 255) ** 2))) == pytest.approx(20 * math.log10(255), abs=1e-4)
