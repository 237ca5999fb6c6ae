"""Text given a picture: the same parts as picture given text, the other way round."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

from likewise.cli import main
from likewise.data.read import read_records
from likewise.runs.run import Run
from likewise.verbs.evaluate import evaluate
from likewise.verbs.train import train

pytestmark = pytest.mark.full

COLOURS = {"red": (220, 40, 30), "green": (40, 190, 60), "blue": (40, 60, 220), "black": (10, 10, 10)}
SMALL = {
    "backbone.width": 32, "backbone.depth": 1, "training.batch": 32, "training.threads": 1, "training.lr": 0.01,
    "family.condition_dropout": 0.0, "training.checkpoint_every": 1000, "training.evaluate_every": 1000,
}  # fmt: skip


def square(colour, rng):
    """Nearly a colour, on transparent ground."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[1:7, 1:7] = (*np.clip(np.array(colour) + rng.integers(-9, 10, 3), 0, 255), 255)
    return PILImage.fromarray(pixels)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    rng, rows = np.random.default_rng(0), []
    for i in range(160):
        name = list(COLOURS)[i % 4]
        square(COLOURS[name], rng).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": f"{name} {i // 4 % 10}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "captions"
    trained = train(pictures, target="text", out=out, steps=120, set_=SMALL, say=lambda _: None)
    return Run(trained.path)


def test_a_caption_is_given_its_picture(pictures):
    found = read_records(pictures, target="text")
    assert (found.target, found.given) == ("text", ("image",))
    assert read_records(pictures).given == ("text",)
    assert read_records(pictures, target="text", given=[]).given == ()


def test_it_names_what_it_sees(run, tmp_path, monkeypatch, capsys):
    """Pictures of one's own, by a list of their files."""
    rng, names = np.random.default_rng(1), [*COLOURS] * 4
    for i, name in enumerate(names):
        square(COLOURS[name], rng).resize((20, 20), 0).save(tmp_path / f"{i}.png")
    (tmp_path / "files.txt").write_text("".join(f"{tmp_path / f'{i}.png'}\n" for i in range(len(names))))
    monkeypatch.setattr(
        sys, "argv",
        ["likewise", "sample", str(run.path), "--given-file", str(tmp_path / "files.txt"), "--set", "temperature=0",
         "--out", str(tmp_path / "out")],
    )  # fmt: skip
    main()
    said = capsys.readouterr().out.splitlines()
    right = sum(line.split()[0] == name for line, name in zip(said, names, strict=True))
    assert right >= 15


def test_one_picture_by_the_command_line_and_again_without_its_file(run, tmp_path, monkeypatch, capsys):
    square(COLOURS["blue"], np.random.default_rng(2)).save(tmp_path / "mine.png")
    words = ["sample", run.path, "-n", 3, "--given", f"image={tmp_path / 'mine.png'}", "--out", tmp_path / "out"]
    for each in (words, ["sample", "--from", tmp_path / "out/samples.jsonl", "--out", tmp_path / "again"]):
        monkeypatch.setattr(sys, "argv", ["likewise", *map(str, each)])
        main()
        (tmp_path / "mine.png").unlink(missing_ok=True)
    assert (tmp_path / "again/samples.jsonl").read_bytes() == (tmp_path / "out/samples.jsonl").read_bytes()


def test_the_run_alone_is_enough(run, pictures):
    """The pictures that captions were given are kept with the run, and its reports need no data."""
    (pictures / "0.png").rename(pictures / "gone.png")  # of paths, the first would be missing now
    part = run.reference("train")
    assert part.c is not None
    assert part.c["image"].shape == (len(part.values), 4, 8, 8)
    drawn = run.sample(4, seed=3)
    assert all(given["image"].startswith("data:image/png") for given in drawn.given)
    report = evaluate(run, n=24)
    assert report["run"]["given"] == {"image": "8x8 colour with transparency"}
    page = (run.path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") >= 12
