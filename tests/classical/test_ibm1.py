"""IBM model 1: EM as the textbook's example has it, and words that are found by what they stand beside."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.classical.ibm1 import IBM1, words

HOUSES = (["das Haus", "das Buch", "ein Buch"], ["the house", "the book", "a book"])


def plain(sources, targets, iterations):
    """The same EM, word by word over dictionaries."""
    pairs = [(["", *s.split()], t.split()) for s, t in zip(sources, targets, strict=True)]
    t = {(e, f): 1.0 for source, target in pairs for e in source for f in target}
    for _ in range(iterations):
        count = dict.fromkeys(t, 0.0)
        for source, target in pairs:
            for f in target:
                total = sum(t[e, f] for e in source)
                for e in source:
                    count[e, f] += t[e, f] / total
        t = {(e, f): n / sum(m for (other, _), m in count.items() if other == e) for (e, f), n in count.items()}
    return t


@pytest.mark.parametrize("iterations", [1, 2, 8])
def test_it_is_the_em_of_the_paper(iterations):
    model = IBM1(*HOUSES, iterations)
    for (e, f), chance in plain(*HOUSES, iterations).items():
        assert model.chance(e, f) == pytest.approx(chance, abs=1e-12)
    assert all(b >= a - 1e-9 for a, b in zip(model.history, model.history[1:], strict=False))


def test_words_are_found():
    rng = np.random.default_rng(0)
    german = ["eins", "zwei", "drei", "vier", "fünf", "sechs"]
    english = ["one", "two", "three", "four", "five", "six"]
    chosen = [rng.permutation(6)[:3] for _ in range(60)]
    model = IBM1(
        [" ".join(german[i] for i in c) + "." for c in chosen], [" ".join(english[i] for i in c) + "." for c in chosen]
    )
    assert model.translate("sechs drei unbekannt eins.") == "six three unbekannt one."
    assert model.translate("") == ""
    assert model.chance("unbekannt", "one") == 0


def test_scripts_without_spaces():
    assert words("我是 2 a.") == ["我", "是", "2", "a", "."]
    model = IBM1(["I am", "I go", "you am"], ["我是", "我去", "你是"])
    assert model.translate("you go") == "你去"
    assert IBM1([], []).translate("as it is") == "as it is"
