"""A folder of texts longer than the window, from training to the report."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from commands import command
from likewise.runs.run import Run
from likewise.sampling.prompting import Prompting
from likewise.training import checkpoint
from likewise.training.batches import Batches
from likewise.verbs.evaluate import evaluate
from likewise.verbs.train import resume, train

STEPS = {"training.batch": 8, "training.threads": 1, "training.checkpoint_every": 2, "training.keep_checkpoints": 3}
SMALL = {
    **STEPS,
    "backbone.width": 16,
    "backbone.depth": 1,
    "target.length": 32,
    "target.tokenizer": "bytes",
    "data.val_fraction": 0.3,
}


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Twenty texts of 100 to 500 bytes, and four short ones."""
    folder = tmp_path_factory.mktemp("long") / "books"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(24):
        words = rng.choice(["sun", "moon", "star", "sea", "and", "over"], 6 if i % 6 == 0 else rng.integers(30, 120))
        (folder / f"{i:02}.txt").write_text(f"{i} " + " ".join(words))
    return folder


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def run(books, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    said: list[str] = []
    train(books, out=folder, backbone=request.param, unit="document", steps=6, set_=SMALL, say=said.append)
    assert any("texts are longer than 32 tokens: they are learned in windows" in line for line in said)
    assert any(" windows of " in line for line in said)
    return Run(folder)


def test_all_of_a_held_out_text_is_scored(run):
    held_out = run.reference("held_out")
    found = run.log_likelihood_of(held_out.values, held_out.c)
    for text, nats in zip(held_out.values, found, strict=True):
        x = torch.tensor([list(text.encode())])
        with torch.no_grad():
            alone = run.model.surprisal(x, None)
        assert alone.shape == x.shape
        assert (alone > 0).all()
        assert nats == pytest.approx(-float(alone.sum()), rel=1e-5)


def test_the_report_says_how(run):
    held_out = run.reference("held_out")
    found = {row["name"]: row for row in evaluate(run, n=24)["metrics"]}["bits"]
    nats = run.log_likelihood_of(held_out.values, held_out.c)
    size = sum(len(text.encode()) for text in held_out.values)
    assert found["value"] == pytest.approx(-nats.sum() / np.log(2) / size, rel=1e-5)
    every = "all that is before it" if run.name == "lstm" else "the 16 to 31 tokens before it"
    assert found["note"] == f"exact: the product over tokens, each given {every}"


def test_samples_go_on_beyond_the_window(run):
    many = run.sample(3, settings={"length": 100})
    assert max(len(text.encode()) for text in many.values) > 64
    assert run.sample(1, start=1, settings={"length": 100}).values == many.values[1:2]
    told: list[str] = []
    begun = run.sample(
        1, settings={"length": 90}, prompting=Prompting(prompt="over the sea " * 4, stop=("zz",)), live=told.append
    )
    assert begun.values[0].startswith("over the sea " * 4)
    assert "".join(told) == begun.values[0]
    with pytest.raises(ValueError, match="prompt=: it has 52 tokens and the run's texts at most 32"):
        run.sample(1, prompting=Prompting(prompt="over the sea " * 4))


def test_length_is_a_setting_of_the_command(run, monkeypatch, capsys, tmp_path):
    command(monkeypatch, capsys, "sample", run.path, "-n", "2", "--set", "length=80", "--out", tmp_path / "drawn")
    text = (tmp_path / "drawn" / "samples.jsonl").read_text()
    again = command(monkeypatch, capsys, "sample", "--from", tmp_path / "drawn/samples.jsonl", "--out", tmp_path / "b")
    assert again
    assert (tmp_path / "b" / "samples.jsonl").read_text() == text


def test_resumed_equals_uninterrupted(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    for folder in sorted((copy / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    resume(copy, say=lambda _: None)
    weights, _ = checkpoint.latest(copy / "checkpoints")
    expected, _ = checkpoint.latest(run.path / "checkpoints")
    assert weights is not None
    assert expected is not None
    assert weights.name == expected.name
    assert checkpoint.weights_hash(weights) == checkpoint.weights_hash(expected)


def test_windows_get_what_their_record_gives(tmp_path):
    table = tmp_path / "pairs.tsv"
    rows = [f"{'low' if i % 2 else 'high'}\t{('ab ' if i % 2 else 'yz ') * (20 + i)}" for i in range(40)]
    table.write_text("\n".join(["kind\ttext", *rows]) + "\n")
    train(table, out=tmp_path / "run", target="text", given=["kind"], steps=2, set_=SMALL, say=lambda _: None)
    run = Run(tmp_path / "run")
    assert run.encoding.windowed
    kept = run.reference("train")
    batches = Batches(
        run.field_data(kept.values, windows=True), {k: run.field_data(v, k) for k, v in kept.given.items()}
    )
    assert len(batches) > len(kept.values)
    x, c = batches.take(np.arange(len(batches)))
    assert c is not None
    kinds = run.conditions["kind"].decode(c["kind"])
    for row, kind in zip(x.tolist(), kinds, strict=True):
        assert {chr(i) for i in row if 0 <= i < 256} <= set("ab " if kind == "low" else "yz ")


def test_a_family_that_reads_no_windows_cuts(books, tmp_path):
    said: list[str] = []
    train(books, out=tmp_path / "run", family="vae", unit="document", steps=1, set_=SMALL, say=said.append)
    assert any("are cut there" in line for line in said)
    assert not Run(tmp_path / "run").encoding.windowed
