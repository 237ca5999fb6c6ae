"""R-precision on planted pairs: easy ones are all right, shuffled ones are guessed."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from likewise.metrics.matching import Matcher, r_precision, runs

pytestmark = pytest.mark.full

COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1)}
CHINESE = {"red": "红", "green": "绿", "blue": "蓝", "white": "白", "black": "黑"}


def pairs(count, seed, chinese=False):
    """Pictures of two halves in two colours, and captions that say which."""
    rng = np.random.default_rng(seed)
    pictures, captions = [], []
    kinds = list(COLOURS)
    for _ in range(count):
        a, b = (kinds[i] for i in rng.integers(0, len(kinds), 2))
        picture = np.empty((3, 16, 16), np.float32)
        picture[:, :8] = np.array(COLOURS[a])[:, None, None]
        picture[:, 8:] = np.array(COLOURS[b])[:, None, None]
        pictures.append(picture + 0.2 * rng.normal(size=picture.shape).astype(np.float32))
        captions.append(f"上{CHINESE[a]}下{CHINESE[b]}" if chinese else f"top{a} over bottom{b}")
    return torch.from_numpy(np.stack(pictures)), captions


@pytest.mark.parametrize("chinese", [False, True])
def test_easy_pairs_are_matched_and_shuffled_ones_guessed(chinese):
    x, captions = pairs(300, 0, chinese)
    fresh, asked = pairs(200, 1, chinese)
    before = torch.random.get_rng_state()
    matcher = Matcher(x, captions)
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's randomness is touched
    assert r_precision(matcher.scores(fresh, asked), asked).mean() > 0.97
    dealt = [asked[i] for i in np.random.default_rng(2).permutation(len(asked))]
    assert 0.04 < r_precision(matcher.scores(fresh, dealt), dealt).mean() < 0.2


def test_features_without_positions_are_matched_too():
    x, captions = pairs(300, 0)
    fresh, asked = pairs(100, 1)
    flat = (part.mean(3).flatten(1) for part in (x, fresh))
    matcher = Matcher(next(flat), captions)
    assert r_precision(matcher.scores(next(flat), asked), asked).mean() > 0.9


def test_the_chance_is_that_of_drawing_the_others():
    rng = np.random.default_rng(0)
    scores, captions = rng.normal(size=(8, 8)), [*"abcdefg", "a"]
    found = r_precision(scores, captions, among=4)
    for i in range(8):
        others = [j for j in range(7) if captions[j] != captions[i]]
        own = scores[i, captions.index(captions[i])]
        drawn = [all(scores[i, j] < own for j in three) for three in combinations(others, 3)]
        assert found[i] == pytest.approx(np.mean(drawn))


def test_equal_scores_are_no_skill():
    captions = [str(i) for i in range(50)]
    assert r_precision(np.zeros((50, 50)), captions) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="different captions"):
        r_precision(np.zeros((4, 4)), list("abcd"))
    with pytest.raises(ValueError, match="different captions"):
        Matcher(torch.zeros(4, 3, 8, 8), list("aaab"))


def test_captions_become_numbers_whatever_they_are():
    assert runs("") != []
    assert runs("Red Heart") == runs("red heart")
