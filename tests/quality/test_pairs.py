"""Pairs that were mixed up are found; pairs that say nothing of each other accuse nobody."""

from __future__ import annotations

import numpy as np
from planted import gaussian, rates, sentences

from likewise.modalities.text import Text, TextSettings
from likewise.quality.items import features, standardise
from likewise.quality.pairs import FEWEST, match


def _features(texts):
    return standardise(features(texts, Text.fit(texts, TextSettings())))


def test_mixed_up_translations_are_found():
    source, target = sentences(1500)
    where = np.random.default_rng(1).choice(1500, 45, replace=False)
    mixed = list(target)
    for i, j in zip(where, np.roll(where, 1), strict=True):
        mixed[i] = target[j]
    clean = match(_features(source), _features(target))
    assert clean.knowing
    assert len(clean.suspects) <= 0.01 * 1500
    precision, recall = rates(match(_features(source), _features(mixed)).suspects, where)
    assert precision >= 0.8
    assert recall >= 0.7


def test_sides_that_say_nothing_of_each_other_accuse_nobody():
    found = match(standardise(gaussian(400, 20, 0)), standardise(gaussian(400, 20, 1)))
    assert not found.knowing
    assert found.suspects == []
    assert 0.4 < found.median < 0.6


def test_too_few_pairs():
    assert match(gaussian(FEWEST - 1, 4), gaussian(FEWEST - 1, 4)) is None
