"""The ruler does not depend on what it measures; the classifier recognises what it was taught."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from likewise.metrics.agreement import Classifier, unlearnable
from likewise.metrics.features import Projection, shuffled


def test_projection_is_deterministic_and_sees_noise_outside_its_components() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 40)) + rng.normal(size=(300, 40)) * 0.05
    ruler = Projection.fit(real, 3)
    assert np.array_equal(ruler(real), Projection.fit(real, 3)(real))
    assert ruler.size == ruler(real).shape[1] == 4
    noisy = real + rng.normal(size=real.shape)
    assert ruler(noisy)[:, 3].mean() > ruler(real)[:, 3].max()


def test_constant_and_nearly_constant_features_make_no_infinities() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(100, 5))
    real[:, 0] = 7.0
    real[:, 1] = 0.0
    real[0, 1] = 1e-6
    fake = real.copy()
    fake[:, 0] = 9.0
    ruler = Projection.fit(real, 64)
    assert np.isfinite(ruler(fake)).all()
    assert np.abs(ruler(real)).max() < 20
    assert np.abs(ruler(fake) - ruler(real)).max() > 1
    assert np.isfinite(Projection.fit(np.ones((10, 3)))(np.ones((2, 3)))).all()


def test_shuffling_keeps_columns_and_breaks_rows() -> None:
    x = np.arange(300.0).reshape(100, 3)
    y = shuffled(x, np.random.default_rng(0))
    assert np.array_equal(np.sort(y, 0), x)
    assert (np.diff(y, axis=1) != 1).any()


def test_classifier_recognises_real_digits() -> None:
    x, y = load_digits(return_X_y=True)
    ruler = Projection.fit(x[:1000], 32)
    plain = Projection.fit(x[:1000], 32, standardise=False)

    def views(part: np.ndarray) -> list[np.ndarray]:
        return [part[:, :1], ruler(part), plain(part)]

    classifier = Classifier(views(x[:1000]), [int(label) for label in y[:1000]])
    right = classifier.agreement(views(x[1000:]), [int(label) for label in y[1000:]])
    assert classifier.view > 0
    assert right.value > 0.93
    wrong = classifier.agreement(views(x[1000:]), [(int(label) + 1) % 10 for label in y[1000:]])
    assert wrong.value < 0.05
    assert unlearnable(["a", "b"] * 10) is None
    assert "same value" in (unlearnable(["a"] * 10) or "")
    assert "too many" in (unlearnable([str(i) for i in range(10)]) or "")
