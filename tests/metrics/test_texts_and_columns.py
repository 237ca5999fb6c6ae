"""What only texts and tables have."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.metrics import table, text


def test_distinct_and_repeated() -> None:
    assert text.distinct(["a b a", "a b c"], 1, False) == pytest.approx(3 / 6)
    assert text.distinct(["a b a", "a b c"], 2, False) == pytest.approx(3 / 4)
    assert text.distinct(["", "x"], 2, False) == 0
    assert text.distinct(["山高水", "山高"], 2, True) == pytest.approx(2 / 3)
    assert text.spaced(["in the beginning", "and god said", "so"])
    assert not text.spaced(["山高水長", "風"])
    found = text.text_statistics(["one two", "one two", "three"] * 10, False)
    assert found["repeated"].value == 1
    assert found["length"].value == pytest.approx(19 / 3)
    assert 0 <= found["distinct_2"].low <= found["distinct_2"].value


def test_shuffled_texts_keep_lengths_and_characters() -> None:
    texts = ["in the beginning", "", "and the earth"]
    dealt = text.shuffled(texts, np.random.default_rng(0))
    assert [len(each) for each in dealt] == [len(each) for each in texts]
    assert sorted("".join(dealt)) == sorted("".join(texts))


def rows(rng: np.random.Generator, n: int, shift: float = 0.0) -> list[dict]:
    return [
        {"age": float(rng.normal() + shift), "sex": str(rng.choice(["f", "m"])), "debt": None if i % 4 else i}
        for i in range(n)
    ]


def test_columns_say_which_one_is_off() -> None:
    rng = np.random.default_rng(0)
    real, same, off = rows(rng, 400), rows(rng, 400), rows(rng, 400, shift=2.0)
    by_name = {column.name: column for column in table.columns(real, off)}
    assert by_name["age"].measure == "KS"
    assert by_name["age"].distance > 0.6
    assert by_name["sex"].measure == "TV"
    assert by_name["sex"].distance < 0.1
    assert by_name["debt"].bins[-1][0] == "(missing)"
    for column in by_name.values():
        assert sum(real for _, real, _ in column.bins) == pytest.approx(1)
        assert sum(fake for _, _, fake in column.bins) == pytest.approx(1)
    assert table.mean_distance(real, same).high < table.mean_distance(real, off).low
    assert table.mean_distance(real, real).value == 0


def test_categories_that_do_not_exist_and_missing_numbers_count() -> None:
    real = [{"a": "x", "b": 1.0}] * 10
    fake = [{"a": "y", "b": None}] * 10
    assert [column.distance for column in table.columns(real, fake)] == [1.0, 1.0]


def test_shuffled_rows_keep_each_column() -> None:
    real = rows(np.random.default_rng(1), 50)
    dealt = table.shuffled(real, np.random.default_rng(2))
    assert table.mean_distance(real, dealt).value == 0
    assert dealt != real
