"""Every modality: state goes through JSON, and what is encoded decodes to itself."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo

from likewise import catalog
from likewise.draws import Draws
from likewise.modalities.base import BadValue
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.image import Image, ImageSettings
from likewise.modalities.label import Label, LabelSettings
from likewise.modalities.table import Table, TableSettings
from likewise.modalities.text import Text, TextSettings
from likewise.modalities.video_io import Clip

rng = np.random.default_rng(0)
ROWS = [
    {"age": int(a), "gain": float(g), "sex": s, "note": None}
    for a, g, s in zip(
        rng.integers(18, 90, 500), rng.exponential(1, 500).round(3), rng.choice(["f", "m"], 500), strict=True
    )
]
VALUES = {
    "image": [PILImage.fromarray(a) for a in rng.integers(0, 256, (20, 8, 8), np.uint8)],
    "video": [Clip(a) for a in rng.integers(0, 256, (6, 3, 4, 4, 1), np.uint8)],
    "label": ["10", "2", "cat", "2"],
    "text": ["In the beginning", "春眠不覺曉", "tab\tand emoji 😀", ""],
    "dialogue": [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "春眠不覺曉"}],
        [{"role": "user", "content": ""}, {"role": "assistant", "content": "😀"}, {"role": "user", "content": "no"}],
        [],
    ],
    "table": ROWS,
    "palette": ["#ff0000", "#00ff00,#0000ff", "#000000,#ffffff,#808080,#123456,#fedcba"],
}


def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b)) if isinstance(a, PILImage.Image) else a == b


def again(encoding):
    """The encoding that the JSON of its state and its modality's makes."""
    modality, own = (json.loads(json.dumps(part.state())) for part in (encoding.modality, encoding))
    return type(encoding).from_state(type(encoding.modality).from_state(modality), own)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        (n, e)
        for n in catalog.names("modality")
        for e in catalog.encodings(n)
        if not catalog.find("modality", n).condition_only
    ],
)
def test_decode_inverts_encode(name, encoding):
    values = VALUES[name]
    fitted = again(fit_encoding(catalog.find("modality", name), values, name=encoding))
    assert (fitted.modality_name, fitted.name, fitted.modality.name) == (name, encoding, name)
    x = fitted.encode(fitted.pack(values).take(np.arange(len(values))))
    space = fitted.space
    assert x.shape[1:] == torch.Size(space.shape) if hasattr(space, "shape") else x.shape[1] <= space.length
    if (name, encoding) != ("table", "bins"):  # bins are coarse on purpose
        assert all(same(a, b) for a, b in zip(fitted.decode(x), values, strict=True))
    modality = fitted.modality
    assert len(modality.features([modality.read(v) for v in values])) == len(values)


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_any_text_goes_round(kind):
    fitted = fit_encoding(Text, ["the cat sat on the mat"] * 20, TextSettings(tokenizer=kind, length=64))
    strange = ["naïve", "中文\n", "\u0000x", "🤖🤖"]
    batch = fitted.pack(strange).take(np.arange(4))
    assert fitted.decode(fitted.encode(batch)) == strange
    assert isinstance(fitted.decode(torch.randint(0, fitted.end + 1, (3, 9)))[0], str)


def test_table_columns_are_standard_normal_and_stay_in_range():
    fitted = fit_encoding(Table, ROWS)
    x = fitted.encode(fitted.pack(ROWS).data, Draws(0, torch.arange(500)))
    assert abs(x[:, 0].mean()) < 0.1
    assert abs(x[:, 0].std() - 1) < 0.1
    for name in ("quantiles", "bins"):
        encoding = fit_encoding(Table, ROWS, name=name)
        space = encoding.space
        noise = torch.randn(300, space.size) * 3 if name == "quantiles" else torch.stack(
            [torch.randint(a, b, (300,)) for a, b in space.ranges], 1)  # fmt: skip
        rows = encoding.decode(noise, Draws(1, torch.arange(300)))
        assert all(
            isinstance(r["age"], int) and 18 <= r["age"] < 90 and r["sex"] in "fm" and r["note"] is None for r in rows
        )


def test_a_frequent_number_has_one_token():
    rows = [{"gain": 0 if i % 10 else i} for i in range(3000)]
    fitted = fit_encoding(Table, rows, name="bins")
    tokens = fitted.encode(fitted.pack(rows).data, Draws(0, torch.arange(3000)))
    zero = tokens[[i for i, r in enumerate(rows) if r["gain"] == 0]]
    assert len(zero.unique()) == 1
    assert {r["gain"] for r in fitted.decode(zero, Draws(1, torch.arange(len(zero))))} == {0}


def test_unknown_label_names_the_nearest():
    with pytest.raises(BadValue, match="did you mean 'cat'"):
        Label.fit(["cat", "dog"], LabelSettings()).read("cta")


def test_pictures_of_all_kinds(tmp_path):
    a = rng.integers(0, 256, (9, 12), np.uint8)
    kinds = {
        "g.png": PILImage.fromarray(a),
        "d.png": PILImage.fromarray(a.astype(np.uint16) * 257),
        "p.gif": PILImage.fromarray(a),
    }
    kinds["c.jpg"] = PILImage.fromarray(a).convert("CMYK")
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
    fitted = Image.fit([tmp_path / k for k in kinds], ImageSettings(size=8, mode="L"))
    packed = [fitted.array(tmp_path / k) for k in kinds]
    assert np.abs(packed[0].astype(int) - packed[1]).max() <= 2
    (tmp_path / "broken.png").write_bytes((tmp_path / "g.png").read_bytes()[:60])
    with pytest.raises(BadValue, match="readable"):
        fitted.read(tmp_path / "broken.png")


def test_provenance_is_in_the_file(tmp_path):
    fitted = Image.fit(VALUES["image"], ImageSettings())
    fitted.write(VALUES["image"][0], tmp_path / "a.png", {"seed": 7})
    assert fitted.read_provenance(tmp_path / "a.png") == {"seed": 7}
    PILImage.new("L", (2, 2)).save(tmp_path / "b.png", pnginfo=PngInfo())
    assert fitted.read_provenance(tmp_path / "b.png") is None


def test_what_was_never_seen_in_training_is_said():
    label = catalog.find("modality", "label")
    fitted = fit_encoding(label, ["a", "b"])
    assert fitted.unseen(["a", "b"]) == {}
    assert fitted.unseen(["a", "c"]) == {1: "label 'c'"}
    table = catalog.find("modality", "table")
    for name in catalog.encodings("table"):
        fitted = fit_encoding(table, [{"kind": "xy"[i % 2], "age": i} for i in range(20)], name=name)
        assert fitted.unseen([{"kind": "x", "age": 99}]) == {}
        assert fitted.unseen([{"kind": "x", "age": 1}, {"kind": "z", "age": 1}]) == {1: "kind 'z'"}
        assert fitted.unseen([{"kind": "x", "age": None}]) == {0: "age None"}


def test_missing_numbers_mixed_cells_and_rare_categories_are_learned_and_said():
    rows = [
        {"age": None if i % 4 == 0 else i, "id": f"n{i}", "same": 1, "size": "?" if i == 7 else i} for i in range(300)
    ]
    table = Table.fit(rows, TableSettings())
    said = "\n".join(table.notes)
    assert "column size: 1 cells are not numbers" in said
    assert "'?'" in said
    assert "column id has 300 different values" in said
    assert "column same is always 1" in said
    for name in catalog.encodings("table"):
        encoding = fit_encoding(Table, rows, name=name)
        x = encoding.encode(encoding.pack(rows).data)
        assert not x.isnan().any()
        back = again(encoding).decode(x)
        assert [row["age"] is None for row in back] == [row["age"] is None for row in rows]
        assert [row["same"] for row in back] == [1] * 300
        assert back[7]["size"] is None
        assert {row["id"] for row in back} == {row["id"] for row in rows[:255]} | {"(other)"}


def test_a_cell_without_a_name_is_unknown_and_an_empty_one_is_missing():
    known = [{"age": None if i == 3 else i, "kind": "ab"[i % 2] if i else None} for i in range(30)]
    table = fit_encoding(Table, known, name="bins")
    rows = [{"kind": "a"}, {"age": 5}, {"age": None, "kind": None}]
    tokens = table.encode(table.pack(rows).data)
    assert (tokens == -1).tolist() == [[True, False], [False, True], [False, False]]
    assert table.decode(tokens[2:]) == [{"age": None, "kind": None}]


def test_the_tokenizer_goes_by_the_data():
    """Words are read by byte pairs, strings without words and large alphabets by character."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefg"), 5)) for _ in range(200)]
    prose = [" ".join(rng.choice(words, 100)) for _ in range(600)]
    molecules = ["".join(rng.choice(list("CNOcn1()="), 40)) for _ in range(8000)]
    assert fit_encoding(Text, prose).tokenizer.kind == "bpe"
    assert fit_encoding(Text, molecules).tokenizer.kind == "characters"
    assert fit_encoding(Text, prose[:100]).tokenizer.kind == "characters"
