"""Long texts in windows: every token in just one of them, and the plain way for all that is short."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.modalities.encoding import fit_encoding
from likewise.modalities.packed import Packed, Windows
from likewise.modalities.text import Text, TextSettings
from likewise.modalities.text_tokens import TextTokens
from likewise.spaces import MISSING_TOKEN, only_read, space_from_json, space_to_json

LONG = ["abcdefghij" * 7, "xyz", "", "abc" * 11]


@pytest.mark.parametrize("length", [2, 3, 8, 71, 200])
def test_every_token_counts_once(length):
    text = TextTokens(Text(), "bytes", None, length, 5.0, windows=True)
    windows = text.windows(LONG)
    rows = windows.take(np.arange(len(windows)))
    counted: dict[int, list[int]] = {}
    for owner, row, size in zip(windows.owner, rows, windows.lengths, strict=True):
        assert size <= length
        begins = owner not in counted
        assert (row[:size] < MISSING_TOKEN).sum() == (not begins)
        if not begins:
            assert row[0] == only_read(counted[owner][-1])
        counted.setdefault(int(owner), []).extend(row[not begins : size].tolist())
        assert (row[size:] == text.end).all()
        assert size == rows.shape[1] or row[size - 1] == text.end  # padding stands behind an end only
    assert [bytes(ids[:-1]).decode() for _, ids in sorted(counted.items())] == LONG
    assert all(ids[-1] == text.end for ids in counted.values())


def test_windows_of_short_texts_are_the_texts():
    packed = Packed(np.arange(9), np.array([0, 4, 6, 9]), pad=99)
    windows = Windows.of(packed, 4)
    assert windows.owner.tolist() == [0, 1, 2]
    assert (windows.take(np.arange(3)) == packed.take(np.arange(3))).all()
    assert (windows.lengths == packed.lengths).all()


def test_the_data_decide():
    short = fit_encoding(Text, ["ab", "abc"], TextSettings(tokenizer="bytes"))
    assert short.in_windows() is short
    long = fit_encoding(Text, LONG, TextSettings(tokenizer="bytes", length=8))
    assert not long.windowed
    assert "cut there" in long.notes[0]
    whole = long.in_windows()
    assert whole.windowed
    assert "2 of 4 texts are longer than 8 tokens: they are learned in windows" in whole.notes[0]
    windows = whole.windows(LONG)
    tokens = sum(len(text) + 1 for text in LONG)
    assert whole.mean_length == pytest.approx(tokens / len(windows))
    wanted = fit_encoding(Text, LONG, TextSettings(tokenizer="bytes", length=8, windows=False))
    assert wanted.in_windows() is wanted


def test_the_state_holds_it_and_old_states_load():
    whole = fit_encoding(Text, LONG, TextSettings(tokenizer="bytes", length=8)).in_windows()
    again = TextTokens.from_state(Text(), whole.state())
    assert again.windowed
    assert again.space == space_from_json(space_to_json(whole.space))
    old = {k: v for k, v in whole.state().items() if k != "windows"}
    assert not TextTokens.from_state(Text(), old).windowed
    # What is packed for features, pages and conditions is cut as ever.
    assert whole.pack(LONG).lengths.max() == 8
