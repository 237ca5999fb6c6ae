"""Bits per byte: special tokens are in neither sum, and of a text that was cut only what the model read counts."""

import math

import numpy as np
import pytest
import tiny
import torch

from likewise.runs.run import Run
from likewise.spaces import Tokens, without_end
from likewise.training import batches
from likewise.verbs.evaluate import evaluate
from likewise.verbs.train import train


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return tiny.lay_out("text", tmp_path_factory.mktemp("bits") / "data")


def run_of(lines, folder, **options):
    options.setdefault("steps", 3)
    settings = {**tiny.SMALL, "backbone.width": 16, "backbone.depth": 1, **options.pop("set_", {})}
    train(lines, out=folder, set_=settings, say=lambda _: None, **options)
    return Run(folder)


@pytest.mark.parametrize("backbone", ["transformer", "lstm", "gru"])
def test_the_end_is_not_counted(lines, tmp_path, backbone):
    run = run_of(lines, tmp_path / "run", backbone=backbone)
    x = run.reference("held_out").x[:32]
    each = run.model.surprisal(x, None).double()
    space = run.model.target
    expected = -(each * (x != space.end)).sum(1).numpy()
    found = run.log_likelihood(without_end(x, space), None)
    assert found == pytest.approx(expected, abs=1e-4)
    whole = run.log_likelihood(x, None)
    ended = (x == space.end).any(1).numpy()  # one or two are longer than any in training, and cut
    assert ended.mean() > 0.8
    assert (whole < found - 1e-3)[ended].all()  # an untrained model gives the end a small chance


def test_a_text_vae_does_not_count_it_either(lines, tmp_path):
    run = run_of(lines, tmp_path / "run", family="vae")
    x = run.reference("held_out").x[:32]
    counted = run.log_likelihood(without_end(x, run.model.target), None)
    assert np.isfinite(counted).all()
    ended = (x == run.model.target.end).any(1).numpy()
    assert (run.log_likelihood(x, None) < counted)[ended].all()


def test_scoring_never_holds_all_logits(lines, tmp_path, monkeypatch):
    run = run_of(lines, tmp_path / "run")
    x, space = run.reference("held_out").x[:30], run.model.target
    at_once = run.log_likelihood(x, None)
    monkeypatch.setattr(batches, "_LOGITS", 7 * space.length * space.vocabulary)
    seen, inner = [], run.model.log_likelihood

    def watched(x, c, draws):
        seen.append(len(x))
        return inner(x, c, draws)

    monkeypatch.setattr(run.model, "log_likelihood", watched)
    assert run.log_likelihood(x, None) == pytest.approx(at_once, abs=1e-4)
    assert max(seen) == 7
    assert sum(seen) == 30
    assert batches.scored_together(Tokens(8192, 65536, end=0)) == 1


def test_of_a_cut_text_only_what_was_read_counts(lines, tmp_path):
    """All texts are 40 bytes; a model that reads 12 of them must not be told to explain 40."""
    bytes_ = {"target.tokenizer": "bytes", "target.length": 12}
    run = run_of(lines, tmp_path / "run", set_=bytes_)
    report = evaluate(run, n=20)
    row = next(row for row in report["metrics"] if row["name"] == "bits")
    assert row["value"] == pytest.approx(math.log2(257), abs=1.5)  # three steps from an even chance for each byte
    x = run.reference("held_out").x
    assert torch.equal(without_end(x, run.model.target), x)  # cut ones have no end
