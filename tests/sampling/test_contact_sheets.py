"""Contact sheets: rows, captions, letters that no font has, and the same sheet again."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

from likewise.cli import main
from likewise.sampling import contact_sheets
from likewise.sampling.contact_sheets import Letters, has
from likewise.verbs.train import train

SMALL = {"backbone.width": 8, "backbone.multipliers": [1], "training.threads": 1, "training.batch": 8}
WORDS = ("red", "green", "blue")
COLOURS = ((220, 30, 30), (30, 200, 30), (40, 40, 220))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    rows = []
    for i in range(36):
        PILImage.new("RGBA", (8, 8), (*COLOURS[i % 3], 255)).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": f"a {WORDS[i % 3]} square, number {i}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(folder, family="gan", out=out, steps=2, set_=SMALL, say=lambda _: None)


def likewise(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
    main()
    return capsys.readouterr()


def test_prompts_each_and_grid(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "prompts.txt").write_text("a red square\na blue square\n")
    likewise(
        monkeypatch, capsys, "sample", run.path, "--prompts", tmp_path / "prompts.txt", "--each", 3, "--grid",
        "--out", tmp_path / "out", "--seed", 4,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert [row["given"]["text"] for row in rows] == ["a red square"] * 3 + ["a blue square"] * 3
    sheet = PILImage.open(tmp_path / "out/sheet.png")
    gap, cell = 6, 96
    assert sheet.size == (3 * (cell + gap) + gap, 2 * (cell + gap + gap + 20) + gap)
    # Sample 4 is in the second row, second place; and letters stand under it.
    second = PILImage.open(tmp_path / "out/000004.png").convert("RGBA")
    on_white = PILImage.alpha_composite(PILImage.new("RGBA", second.size, "white"), second).convert("RGB")
    top = gap + cell + 2 * gap + 20
    found = sheet.crop((gap + cell + gap, top, 2 * (gap + cell), top + cell))
    assert np.abs(np.asarray(found.resize((8, 8), 0)).astype(int) - np.asarray(on_white)).max() <= 1
    assert np.asarray(sheet.crop((0, top + cell + gap, sheet.width, top + cell + gap + 20))).min() < 60
    likewise(monkeypatch, capsys, "sample", "--from", tmp_path / "out/sheet.png", "--out", tmp_path / "again")
    assert (tmp_path / "again/sheet.png").read_bytes() == (tmp_path / "out/sheet.png").read_bytes()


def test_without_words_it_is_a_square(run, tmp_path):
    drawn = run.sample(9, given=[{}] * 9)
    assert contact_sheets.write_sheet(drawn, run.conditions, tmp_path / "s.png") == ""
    picture = PILImage.open(tmp_path / "s.png").convert("RGB")
    assert picture.width == picture.height == 3 * 102 + 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--each", "3"], "--prompts FILE"),
        (["--font", "a.ttf"], "--grid too"),
        (["--prompts", "p.txt", "--grid", "--font", "none.ttf"], "--font none.ttf"),
        (["--walk", "a.gif", "--grid"], "--walk is a file of its own"),
    ],
)
def test_mistakes(run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a red square\n")
    with pytest.raises(SystemExit):
        likewise(monkeypatch, capsys, "sample", run.path, "--out", tmp_path / "out", *words)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_letters_that_no_font_has_are_said(monkeypatch):
    monkeypatch.setattr(contact_sheets, "_FOLDERS", ())
    letters = Letters()
    assert letters.length("a heart") > 0
    assert letters.note() == ""
    letters.length("红心")
    assert "2 letters" in letters.note()
    assert "红" in letters.note()
    assert "font=FILE.ttf" in letters.note()


def test_a_font_of_the_system_is_looked_for(monkeypatch, tmp_path):
    """A font whose name promises such letters is taken only for those that it really has."""
    own = Letters().faces[0]
    assert has(own, "a")
    assert not has(own, "红")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "FakeCJK-Regular.ttf").write_bytes(b"no font")
    monkeypatch.setattr(contact_sheets, "_FOLDERS", (str(tmp_path),))
    assert [file.rpartition("/")[2] for file in contact_sheets.system_fonts()] == ["FakeCJK-Regular.ttf"]
    letters = Letters()
    assert letters.face("红") is letters.faces[0]
    assert letters.lacking == {"红"}


def test_long_words_are_wrapped():
    letters = Letters()
    lines = letters.wrapped("a rather long caption about a small picture of a cat", 120)
    assert 1 < len(lines) <= 3
    assert all(letters.length(line) <= 120 for line in lines)
    assert letters.wrapped("", 120) == []
    assert len(letters.wrapped("x" * 500, 60)) == 3
    assert letters.wrapped("x" * 500, 60)[-1].endswith("…")
