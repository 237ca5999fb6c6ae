"""A look at data: the summary, the page that stands alone, look.json as documented, the list of suspects."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from likewise.verbs.look import look

pytestmark = pytest.mark.full

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "look-json.md"
SMALL = {"steps": 2, "set_": {"backbone.width": 16, "training.batch": 16, "training.threads": 1}}
NASTY = "<script>alert('x')</script>"


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links, self.images, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [found[k] for k in ("src", "href") if k in found]
        if tag == "img":
            self.images.append(found)


def lay_out(kind, folder):
    if kind == "images":
        images, labels = load_digits(return_X_y=True)
        for i, (pixels, label) in enumerate(zip(images[:300], labels[:300], strict=True)):
            name = folder / "digits" / str(label if i % 25 else (label + 1) % 10) / f"{i}.png"
            name.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels.reshape(8, 8) * 15).astype("uint8")).save(name)
        return folder / "digits"
    if kind == "captions":
        path = folder / "captioned"
        path.mkdir()
        for i in range(40):
            Image.new("RGB", (8, 8), (i * 6, 255 - i * 6, i % 7 * 30)).save(path / f"{i}.png")
        rows = [{"file_name": f"{i}.png", "text": f"a colour with number {i} {NASTY}"} for i in range(40)]
        (path / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return path
    lines = [f"the {i}th line says {'yes' if i % 3 else 'no'} {NASTY}" for i in range(150)] + ["again and again"] * 4
    if kind == "text":
        path = folder / "text.txt"
        path.write_text("\n".join(lines))
    elif kind == "pairs":
        path = folder / "pairs.tsv"
        path.write_text("source\ttarget\n" + "".join(f"{a}\t{a.upper()}\n" for a in lines))
    else:
        path = folder / "table.csv"
        path.write_text("x,kind\n" + "".join(f"{i % 37 + i / 100},{'ab'[i % 5 > 3]}\n" for i in range(200)))
    return path


def hashes(path):
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("kind", ["images", "captions", "text", "pairs", "table"])
def test_every_kind_of_data(kind, tmp_path):
    data = lay_out(kind, tmp_path)
    before = hashes(data)
    found = look(data, out=tmp_path / "out", **SMALL)
    assert hashes(data) == before
    said = str(found)
    assert len(said.splitlines()) <= 40
    assert "try: likewise.train(" in said

    text = (tmp_path / "out/look.html").read_text()
    assert len(text) < 5 * 2**20
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert not [link for link in page.links if not link.startswith("data:")]
    assert all(image.get("alt") for image in page.images)
    assert "svg" in page.tags

    saved = json.loads((tmp_path / "out/look.json").read_text())
    assert saved["schema"] == 1
    assert saved["quality"]["records"] == found.quality.count
    with (tmp_path / "out/suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(r["record"]), r["check"]) for r in rows] == [(s.record, s.check) for s in found.quality.suspects]
    assert all(r["reason"] and r["item"] for r in rows)


def test_suspects_of_pictures_are_named_and_shown(tmp_path):
    found = look(lay_out("images", tmp_path), out=tmp_path / "out", **SMALL)
    listed = (tmp_path / "out/suspects.csv").read_text()
    planted = [i for i in range(0, 300, 25) if f"/{i}.png,label," in listed]
    assert len(planted) >= 8
    assert "labels that two classifiers doubt; first" in str(found)
    page = Page()
    page.feed((tmp_path / "out/look.html").read_text())
    assert len(page.images) >= 4 * len(planted)


def test_repeats_are_named(tmp_path):
    said = str(look(lay_out("text", tmp_path), **SMALL))
    assert "3 equal items; first record 151: equal to another: record 150" in said


def test_out_must_be_outside_of_the_data(tmp_path):
    data = lay_out("images", tmp_path)
    before = hashes(data)
    with pytest.raises(ValueError, match="inside the data"):
        look(data, out=data / "looked", **SMALL)
    assert hashes(data) == before


def test_equal_records(tmp_path):
    (tmp_path / "same.txt").write_text("the same line\n" * 30)
    found = look(tmp_path / "same.txt", out=tmp_path / "out", **SMALL)
    assert found.quality is None
    assert "nothing to check" in (tmp_path / "out/look.html").read_text()
    assert json.loads((tmp_path / "out/look.json").read_text())["quality"] is None


def test_docs_list_every_key(tmp_path):
    look(lay_out("images", tmp_path), out=tmp_path / "out", **SMALL)
    saved = json.loads((tmp_path / "out/look.json").read_text())
    documented = set(re.findall(r"`(\w+)`", DOCS.read_text()))

    def keys(value, free=("kinds", "counts", "pairs", "suspected", "encodings")):
        if isinstance(value, dict):
            for key, inside in value.items():
                yield key
                if key not in free:
                    yield from keys(inside)
        elif isinstance(value, list):
            for inside in value[:1]:
                yield from keys(inside)

    assert set(keys(saved)) <= documented
