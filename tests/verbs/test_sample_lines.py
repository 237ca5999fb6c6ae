"""A file of sources to a file of translations, line by line."""

from __future__ import annotations

import json
import sys

import pytest

from likewise.cli import main
from likewise.verbs.train import train
from likewise.verbs.verify import verify

SMALL = {"backbone.width": 16, "backbone.depth": 1, "training.threads": 1, "training.batch": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "data").mkdir()
    for language, words in (("de", ("ein", "zwei", "drei")), ("en", ("one", "two", "three"))):
        lines = [f"{words[i % 3]} {words[i % 2]} {i % 50}" for i in range(90)]
        (folder / "data" / f"train.{language}").write_text("\n".join(lines))
    return train(folder / "data", target="en", out=folder / "run", steps=3, set_=SMALL, say=lambda _: None)


def likewise(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
    main()
    return capsys.readouterr().out


@pytest.mark.parametrize("bulk", [False, True])
def test_each_line_has_one_in_step(run, tmp_path, monkeypatch, capsys, bulk):
    sources = ["ein zwei 3", "", "drei ein 7", "  ", "ein ein 1", *(f"zwei {i}" for i in range(70))]
    path = tmp_path / "sources.txt"
    path.write_text("\n".join(sources) + "\n")
    if bulk:
        monkeypatch.setattr("likewise.cli.sample.BULK", 4)
    said = likewise(
        monkeypatch, capsys, "sample", run.path, "--given-file", path, "--seed", 3, "--out", tmp_path / "out",
        "--set", "beams=2",
    )  # fmt: skip
    assert said == (tmp_path / "out/samples.txt").read_text(encoding="utf-8")
    lines = said.split("\n")[:-1]
    assert len(lines) == len(sources)
    assert lines[1] == lines[3] == ""
    # Line i is sample i, given line i.
    given = [{"de": text.strip()} for text in sources]
    drawn = run.sample(len(sources), seed=3, given=given, settings={"beams": 2}).values
    assert [line for i, line in enumerate(lines) if i not in (1, 3)] == [
        " ".join(text.splitlines()) for i, text in enumerate(drawn) if i not in (1, 3)
    ]
    rows = [json.loads(row) for row in (tmp_path / "out/samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["given"] for row in rows] == given
    likewise(monkeypatch, capsys, "sample", "--from", tmp_path / "out/samples.jsonl", "--out", tmp_path / "again")
    for name in ("samples.jsonl", "samples.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_verify_draws_them_again_and_other_samples_replace_them(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "s.txt").write_text("ein zwei\n\ndrei")
    likewise(monkeypatch, capsys, "sample", run.path, "--given-file", f"de={tmp_path / 's.txt'}", "-n", 3)
    assert not verify(run.path).damaged
    assert len((run.path / "samples/samples.txt").read_text().splitlines()) == 3
    likewise(monkeypatch, capsys, "sample", run.path, "-n", 2)
    assert not (run.path / "samples/samples.txt").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--given-file", "s.txt", "-n", "5"], "has 2 lines"),
        (["--given-file", "none.txt"], "none.txt"),
        (["--given-file", "s.txt", "--given", "de=ein"], "de is given twice"),
        (["--given-file", "s.txt", "--set", "beams=4", "--set", "guidance_scale=2"], "has no guidance_scale"),
    ],
)
def test_mistakes(run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.txt").write_text("ein zwei\ndrei\n")
    with pytest.raises(SystemExit):
        likewise(monkeypatch, capsys, "sample", run.path, *words)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
