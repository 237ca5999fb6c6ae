"""Which tokens texts are read as, where the user leaves it open."""

from __future__ import annotations

import pytest

from likewise.modalities.encoding import fit_encoding
from likewise.modalities.text import Text, TextSettings

CAPTIONS = [f"{colour} {thing} on a {ground} ground" for colour in ("red", "green", "dark blue", "golden")
            for thing in ("heart", "cat face", "birthday cake", "apple", "police car", "balloon")
            for ground in ("plain", "white", "striped", "dotted", "golden", "grey", "dark", "violet")]  # fmt: skip


def kind(values: list[str], **settings: str) -> str:
    return fit_encoding(Text, values, Text.given_settings(TextSettings(**settings))).tokenizer.kind  # pyright: ignore


def test_what_is_given_is_read_by_words() -> None:
    assert fit_encoding(Text, CAPTIONS, TextSettings()).tokenizer.kind == "characters"
    given = fit_encoding(Text, CAPTIONS, Text.given_settings(TextSettings()))
    assert given.tokenizer.kind == "bpe"
    assert len(given.tokens_of("dark blue balloon on a white ground")) == 7
    assert given.tokenizer.join(given.tokens_of("a heart of ice")) == "a heart of ice"


@pytest.mark.parametrize("wish", ["characters", "bytes", "bpe"])
def test_but_not_where_the_user_says_how(wish: str) -> None:
    assert kind(CAPTIONS, tokenizer=wish) == wish


def test_nor_where_there_are_no_words_or_hardly_any_text() -> None:
    assert kind(["CC(=O)O", "c1ccccc1", "CCO"] * 1000) == "characters"
    assert kind(["红心", "猫脸", "生日蛋糕"] * 1000) == "characters"
    assert kind(CAPTIONS[:20]) == "characters"
