"""What modalities offer to explanations: pieces with names, shades, slips, and a user's own file."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from likewise.modalities.base import BadValue
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.image import Image, ImageSettings
from likewise.modalities.label import Label, LabelSettings
from likewise.modalities.table import Table, TableSettings
from likewise.modalities.text import Text, TextSettings

TEXTS = ["the cat sat on the mat", "naïve 春 <b>"] * 20
PICTURES = [PILImage.fromarray(a) for a in np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)]
ROWS = [{"age": i % 60, "sex": "fm"[i % 2], "town": "abc"[i % 3]} for i in range(200)]


def encoded(encoding, value):
    return encoding.encode(encoding.pack([value]).take(np.arange(1)))[0]


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_pieces_of_a_text_make_the_text(kind):
    text = fit_encoding(Text, TEXTS, TextSettings(tokenizer=kind))
    for value in ("the cat", "naïve 春 <b>"):
        x = encoded(text, value)
        pieces = text.pieces(torch.cat((x, x[-1:])))
        assert "".join(pieces) == value + "∎"
        assert len(pieces) == len(x)


def test_a_text_is_shaded_piece_by_piece():
    text = fit_encoding(Text, TEXTS, TextSettings(tokenizer="bytes"))
    x = encoded(text, "a<b")
    shown = text.heatmap_html(x, np.array([0.0, 1.0, 0.5, 0.25]), ["1", '"2"', "3", "4"])
    assert re.findall(r"--heat:([\d.]+)", shown) == ["0.00", "1.00", "0.50", "0.25"]
    assert "&lt;" in shown
    assert "<b" not in shown
    assert 'title="&quot;2&quot;"' in shown


@pytest.mark.parametrize("encoding", ["quantiles", "bins"])
def test_a_row_is_shaded_column_by_column(encoding):
    table = fit_encoding(Table, ROWS, name=encoding)
    x = encoded(table, ROWS[3])
    weights = np.zeros(len(x))
    weights[0] = 1  # the only channel, or token, of the age
    shown = table.heatmap_html(x, weights)
    assert re.findall(r"--heat:([\d.]+)", shown) == ["1.00", "0.00", "0.00"]
    assert [piece.partition("=")[0] for piece in table.pieces(x)] == ["age", "sex", "town"]


@pytest.mark.parametrize("encoding", ["pixels", "patches"])
def test_a_picture_is_coloured_where_it_is_hot(encoding, monkeypatch):
    image = fit_encoding(Image, PICTURES, ImageSettings(patch=2, codes=4), encoding)
    x = encoded(image, PICTURES[0])
    weights = np.zeros(tuple(x.shape))
    weights[(2, 1, 6) if encoding == "pixels" else 3] = 1  # near the right upper corner
    seen = []
    monkeypatch.setattr(image.modality, "to_html", lambda value: seen.append(np.asarray(value, int)) or "<img>")
    image.heatmap_html(x, weights)
    red = seen[0][..., 0] - seen[0][..., 2]
    assert red[1, 6] > 100
    assert red[4:].max() == 0


@pytest.mark.parametrize(
    ("modality", "value", "least"),
    [
        (Text.fit(TEXTS, TextSettings()), "the cat sat", 5),
        (Image.fit(PICTURES, ImageSettings()), PICTURES[0], 5),
        (Image.fit([p.convert("L") for p in PICTURES], ImageSettings()), PICTURES[0].convert("L"), 5),
        (Image.fit([p.convert("RGBA") for p in PICTURES], ImageSettings()), PICTURES[0].convert("RGBA"), 5),
        (Table.fit(ROWS, TableSettings()), ROWS[3], 5),
        (Label.fit(["a", "b"], LabelSettings()), "a", 0),
    ],
    ids=["text", "rgb", "grey", "rgba", "table", "label"],
)
def test_slips_are_other_values_and_the_same_ones_each_time(modality, value, least):
    first, second = (modality.perturbations(value, np.random.default_rng(5)) for _ in range(2))
    assert len(first) >= least
    assert [what for what, _ in first] == [what for what, _ in second]
    assert all(_plain(a) == _plain(b) for (_, a), (_, b) in zip(first, second, strict=True))
    assert all(_plain(other) != _plain(value) for _, other in first)
    if first:
        others = [other for _, other in first]
        fit_encoding(type(modality), [value, *others]).pack(others)


def _plain(value):
    return value.tobytes() if isinstance(value, PILImage.Image) else value


def test_slips_of_a_row_leave_the_range_of_the_data():
    perturbations = dict(
        Table.fit([{"age": i % 60} for i in range(200)], TableSettings()).perturbations({"age": 3}, _rng())
    )
    assert perturbations["age far too large"] == {"age": 649}
    assert perturbations["age not known"] == {}


def _rng():
    return np.random.default_rng(0)


def test_empty_and_short_texts_have_slips_too():
    text = Text.fit(TEXTS, TextSettings())
    assert text.perturbations("", _rng()) == []
    assert all(other != "a" for _, other in text.perturbations("a", _rng()))


def test_own_files(tmp_path):
    text, table = Text.fit(TEXTS, TextSettings()), Table.fit(ROWS, TableSettings())
    (tmp_path / "a.txt").write_text("the mat\n")
    assert text.read_file(tmp_path / "a.txt") == "the mat"
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadValue, match="not UTF-8 at byte 3"):
        text.read_file(tmp_path / "b.txt")
    (tmp_path / "a.json").write_text(json.dumps(ROWS[0]))
    assert table.read_file(tmp_path / "a.json") == ROWS[0]
    for wrong, said in (("[1]", "one object"), ('{"agee": 3}', "age, sex, town"), ("{", "not JSON")):
        (tmp_path / "b.json").write_text(wrong)
        with pytest.raises(BadValue, match=said):
            table.read_file(tmp_path / "b.json")
    PICTURES[0].save(tmp_path / "a.png")
    image = Image.fit(PICTURES, ImageSettings())
    assert np.array_equal(np.asarray(image.read_file(tmp_path / "a.png")), np.asarray(PICTURES[0]))
    with pytest.raises(BadValue, match="number of a sample"):
        Label.fit(["a"], LabelSettings()).read_file(tmp_path / "a.txt")
