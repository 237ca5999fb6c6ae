"""Streams: the same records as those in memory, the same split, the same batches, whatever the size of the data."""

import os
import random

import numpy as np
import pytest
from PIL import Image

from likewise.data import cache, columns
from likewise.data.indexed import Files, Lines
from likewise.data.read import read_records
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.image import Image as ImageModality
from likewise.modalities.text import Text
from likewise.training.batches import Batches, FieldData, Streamed
from likewise.training.data_order import Order


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


def text(count=3000, seed=0):
    chance = random.Random(seed)
    words = ["sea", "ünder", "山", "of", "light", "x" * 300, "  ", "\t"]
    return [" ".join(chance.choices(words, k=chance.randrange(0, 9))) for _ in range(count)]


@pytest.mark.parametrize(
    ("raw", "unit"),
    [
        ("\n".join(text()).encode(), None),
        ("\r\n".join(text()).encode(), None),
        (b"\xef\xbb\xbf" + "\n".join(text()).encode() + b"\n\n", None),
        ("\n".join(t.encode("latin-1", "replace").decode("latin-1") for t in text()).encode("latin-1"), None),
        (b"a\0b\n\0\nlast", None),
        ("\n".join(text()).encode(), "paragraph"),
        ("\r\n".join(text()).encode(), "paragraph"),
        (b"first\n\x1f\n\x1d last\n", None),
    ],
)
def test_streamed_lines_are_the_lines_in_memory(tmp_path, raw, unit):
    (tmp_path / "t.txt").write_bytes(raw)
    streamed = read_records(tmp_path / "t.txt", unit=unit, memory=0)
    whole = read_records(tmp_path / "t.txt", unit=unit)
    assert streamed.streamed
    assert not whole.streamed
    column = streamed.columns["text"]
    assert list(column) == whole.columns["text"]
    assert streamed.notes == whole.notes
    picked = random.Random(1).choices(range(len(column)), k=50)
    everything = list(column)
    assert [column[i] for i in picked] == [everything[i] for i in picked]
    with pytest.raises(IndexError):
        column[len(column)]


def test_many_files_are_one_stream(tmp_path):
    lines = text(500)
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text("\n".join(lines[i * 100 : i * 100 + 100]), encoding="utf-8")
    column = Lines([tmp_path / f"{i}.txt" for i in range(5)])
    assert list(column) == [v.strip() for v in lines if v.strip()]


@pytest.mark.parametrize("how", ["hash", "tail"])
def test_the_split_is_that_of_records_in_memory(tmp_path, how):
    (tmp_path / "t.txt").write_text("\n".join(f"line {i % 2800}" for i in range(3000)))
    parts = [read_records(tmp_path / "t.txt", memory=m).split(0.1, how) for m in (0, 128)]
    for streamed, whole in zip(*parts, strict=True):
        assert [streamed[i] for i in range(len(streamed))] == list(whole)
    train, held = parts[0]
    column = read_records(tmp_path / "t.txt", memory=0).columns["text"]
    assert len(held)
    assert not {column[held[i]] for i in range(len(held))} & {column[train[i]] for i in range(len(train))}


def test_the_split_is_never_empty(tmp_path):
    (tmp_path / "t.txt").write_text("\n".join("abcde"))
    train, held = read_records(tmp_path / "t.txt", memory=0).split(1e-9)
    assert (len(train), len(held)) == (4, 1)


def test_rows_of_texts_are_streamed(tmp_path):
    (tmp_path / "p.tsv").write_text("source\ttarget\n" + "".join(f"a {i}\tb {i}\n" for i in range(3000)))
    found = read_records(tmp_path / "p.tsv", memory=0)
    assert found.streamed
    assert (found.target, found.given) == ("target", ("source",))
    assert (found.columns["source"][2999], found.columns["target"][2999]) == ("a 2999", "b 2999")
    (tmp_path / "p.jsonl").write_text("".join(f'{{"text": "a {i}"}}\n' for i in range(3000)))
    found = read_records(tmp_path / "p.jsonl", memory=0)
    assert found.streamed
    assert found.columns["text"][17] == "a 17"
    (tmp_path / "bad.tsv").write_text("source\ttarget\n" + "a b\tb c\n" * 1500 + "only one\n")
    column = read_records(tmp_path / "bad.tsv", memory=0).columns["target"]
    with pytest.raises(ValueError, match="a row with 1 cells, its header has 2"):
        column[1500]


def test_bits_are_a_sorted_array_of_indices():
    mask = np.random.default_rng(0).random(20_000) < 0.3
    bits = columns.Bits(mask)
    assert len(bits) == mask.sum()
    assert [bits[i] for i in range(0, len(bits), 7)] == np.flatnonzero(mask)[::7].tolist()
    assert np.array_equal(bits.indices(), np.flatnonzero(mask))
    assert bits.digest() != columns.Bits(~mask).digest()
    with pytest.raises(IndexError):
        bits[len(bits)]


def test_an_index_is_made_once_and_made_again_when_it_is_damaged(tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("\n".join(f"line {i}" for i in range(1000)))
    made = []
    make = Lines._make
    monkeypatch.setattr(Lines, "_make", lambda self, folder: (made.append(1), make(self, folder))[1])
    first = Lines([tmp_path / "t.txt"])
    assert (Lines([tmp_path / "t.txt"]).fingerprint(), len(made)) == (first.fingerprint(), 1)
    (folder,) = (cache.folder() / "indices").iterdir()
    (folder / "marks.u32").write_bytes(b"damaged!")
    assert (Lines([tmp_path / "t.txt"]).fingerprint(), len(made)) == (first.fingerprint(), 2)
    (tmp_path / "t.txt").write_text("other\nlines")
    assert (list(Lines([tmp_path / "t.txt"])), len(made)) == (["other", "lines"], 3)


def test_old_indices_are_removed(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text(f"line {i}")
        Lines([tmp_path / f"{i}.txt"])
    assert len(list((cache.folder() / "indices").iterdir())) == 8


def test_without_a_cache_an_index_is_temporary(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "file"))
    (tmp_path / "t.txt").write_text("a\nb")
    assert list(Lines([tmp_path / "t.txt"])) == ["a", "b"]


def pictures(folder, count=40):
    chance = np.random.default_rng(0)
    for i in range(count):
        (folder / f"{i % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 255, (6, 6), np.uint8)).save(folder / f"{i % 3}" / f"ä{i:03}.png")


def test_paths_of_many_files(tmp_path, monkeypatch):
    pictures(tmp_path / "d")
    whole = read_records(tmp_path / "d")
    monkeypatch.setattr("likewise.data.layouts.items._MANY_FILES", 10)
    streamed = read_records(tmp_path / "d")
    column = streamed.columns["image"]
    assert isinstance(column, Files)
    assert list(column) == whole.columns["image"]
    assert list(streamed.columns["label"]) == whole.columns["label"]
    assert column.bytes == sum(os.path.getsize(p) for p in column)
    for a, b in zip(streamed.split(0.2), whole.split(0.2), strict=True):
        assert [a[i] for i in range(len(a))] == list(b)


def both(encoding, values, lengths=False):
    """Batches of items packed at once, and of the same read as needed."""
    packed = Batches(FieldData(encoding, encoding.pack(values)))
    streamed = Batches(FieldData(encoding, Streamed(encoding, values)))
    return [(b, Order(len(b), 8, 3, b.lengths if lengths else None)) for b in (packed, streamed)]


def test_streamed_batches_are_the_packed_ones(tmp_path):
    pictures(tmp_path / "d")
    found = read_records(tmp_path / "d").columns["image"]
    pixels = fit_encoding(ImageModality, found)
    for (a, order), (b, other) in [both(pixels, found)]:
        for step in range(12):
            b.ahead(other.ahead(step))
            assert (a.take(order.batch(step))[0] == b.take(other.batch(step))[0]).all()
    lines = [v.strip() for v in text(300) if v.strip()]
    tokens = fit_encoding(Text, lines)
    for (a, order), (b, other) in [both(tokens, lines, lengths=True)]:
        for step in range(70):  # more than two chunks
            b.ahead(other.ahead(step))
            x, y = a.take(order.batch(step))[0], b.take(other.batch(step))[0]
            assert x.shape == y.shape
            assert (x == y).all()


def test_what_is_at_hand_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("likewise.training.batches._AT_HAND", 10_000)
    pictures(tmp_path / "d")
    found = read_records(tmp_path / "d").columns["image"] * 50
    (_, _), (batches, order) = both(fit_encoding(ImageModality, found), found)
    for step in range(200):
        batches.take(order.batch(step))
        assert sum(row.nbytes for row in batches.target.packed._rows.values()) <= 10_000


def test_an_unreadable_picture_is_replaced_by_the_next_and_said(tmp_path):
    pictures(tmp_path / "d")
    found = read_records(tmp_path / "d").columns["image"]
    pixels = fit_encoding(ImageModality, found)
    found[4].write_bytes(b"not a picture")
    streamed = Streamed(pixels, found)
    rows = streamed.take(np.arange(8))
    assert (rows[4] == rows[5]).all()
    assert list(streamed.broken) == [4]
    for path in found[5:30]:
        path.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="mend or remove them"):
        Streamed(pixels, found).take(np.arange(40))


def test_order_reads_ahead_what_it_then_gives():
    order = Order(1000, 8, 0)
    assert all((order.ahead(k) == Order(1000, 8, 0).batch(k + 1)).all() for k in range(70))
    lengths = np.arange(1000) % 17
    order = Order(1000, 8, 0, lengths)
    read = {i for k in range(32) for i in order.ahead(k)}
    assert read == {i for k in range(32, 64) for i in Order(1000, 8, 0, lengths).batch(k)}
