"""The judge: honest when there is nothing to see, sharp when there is."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.metrics.twosample import JUDGES, own_judge, two_sample_test


def rejections(trials: int, judges: tuple[str, ...]) -> int:
    """How often two samples of one distribution are told apart at the 5% level."""
    rejected = 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
        rejected += two_sample_test(x, y, seed=trial, judges=judges).p_value < 0.05
    return rejected


@pytest.mark.full
def test_rejects_equal_distributions_about_one_time_in_twenty() -> None:
    assert 2 <= rejections(200, ("linear",)) <= 20


@pytest.mark.slow
def test_rejects_equal_distributions_5_percent_of_500_times() -> None:
    """With all three judges, the choice among them included: 5% +- 2%."""
    assert 15 <= rejections(500, tuple(JUDGES)) <= 35


@pytest.mark.parametrize("change", ["mean", "scale", "relation", "threshold"])
def test_sees_each_kind_of_flaw(change: str) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(600, 4)), rng.normal(size=(600, 4))
    real[:, 1] = real[:, 0] + 0.5 * real[:, 1]
    fake[:, 1] = fake[:, 0] + 0.5 * fake[:, 1]
    if change == "mean":
        fake[:, 2] += 0.7
    elif change == "scale":
        fake[:, 2] *= 0.5
    elif change == "relation":
        fake[:, 1] = rng.permutation(fake[:, 1])
    else:
        fake[:, 3] = np.round(fake[:, 3] * 2) / 2
    verdict = two_sample_test(real, fake)
    assert verdict.p_value < 1e-3
    assert verdict.measures["auc"].low > 0.5
    for estimate in verdict.measures.values():
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_the_most_recognisable_fakes_come_first() -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    fake[:100] += 6
    verdict = two_sample_test(real, fake, judges=("kernel",))
    assert len(verdict.test_fake) == 100
    assert (verdict.test_fake[:30] < 100).all()
    assert (verdict.test_fake[-20:] >= 100).all()
    assert verdict.tested == 200


def test_is_a_pure_function_of_the_seed_and_refuses_a_handful() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2))
    assert two_sample_test(x, y, 3).measures == two_sample_test(x, y, 3).measures
    with pytest.raises(ValueError, match="at least 8"):
        two_sample_test(x[:5], y)


def test_the_most_mistaken_real_items_come_first_with_their_ranks() -> None:
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 4
    real[:30] += 4  # real items that look like fakes
    verdict = two_sample_test(real, fake)
    assert len(verdict.test_real) == len(verdict.real_scores) == 100
    odd = sum(i < 30 for i in verdict.test_real)
    assert odd >= 5
    assert all(i < 30 for i in verdict.test_real[: odd - 2])
    for shares in (verdict.fake_scores, verdict.real_scores):
        assert (np.diff(shares) <= 0).all()
        assert shares.min() >= 0
        assert shares.max() <= 1
    assert verdict.fake_scores[0] == 1
    assert len(set(verdict.test_real) & set(range(200))) == 100


def test_a_models_own_discriminator_needs_no_zero_of_its_own() -> None:
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=400) + 102, rng.normal(size=400) + 100  # both far from zero, real the higher
    found = own_judge(real, fake)
    assert found["accuracy"].low < 0.8413 < found["accuracy"].high  # of the best cut, Phi(1)
    assert found["auc"].low < 0.9214 < found["auc"].high  # Phi(sqrt 2)
    turned = own_judge(fake, real)
    assert turned["auc"].high < 0.2
    blind = own_judge(rng.normal(size=400), rng.normal(size=400))
    assert blind["auc"].low < 0.5 < blind["auc"].high
    assert blind["accuracy"].low < 0.5 < blind["accuracy"].high
    with pytest.raises(ValueError, match="at least 4"):
        own_judge(real[:3], fake)
