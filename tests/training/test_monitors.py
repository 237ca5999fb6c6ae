"""Each alarm: it is told when its fault is planted, once, with its beginning, and not on a healthy run."""

import json

import numpy as np
import pytest

from likewise.training.monitors import Watch
from likewise.verbs.demo import lay_out
from likewise.verbs.train import train

chance = np.random.default_rng(0)


def kinds(alarms):
    return [a.kind for a in alarms]


def fed(watch, lines, start=0):
    return [a for i, line in enumerate(lines, start) for a in watch.losses(i, line)]


def test_a_spike_is_told_once_and_again_when_it_comes_back():
    watch = Watch()
    calm = [{"loss": 2 - 0.01 * i + 0.05 * chance.normal()} for i in range(30)]
    assert not fed(watch, calm)
    told = fed(watch, [{"loss": 2000.0}, {"loss": 1800.0}, {"loss": 1.8}, {"loss": 3000.0}], 30)
    assert [(a.kind, a.step, a.since) for a in told] == [("loss spike (loss)", 30, 30), ("loss spike (loss)", 33, 33)]
    assert "2000" in str(told[0])
    assert "try" in str(told[0])


def test_a_loss_that_falls_fast_or_is_noisy_is_no_spike():
    assert not fed(Watch(), [{"loss": 100 * 0.7**i} for i in range(60)])
    assert not fed(Watch(), [{"loss": float(1 + 0.3 * chance.normal())} for _ in range(300)])


def test_a_loss_that_is_not_a_number_is_a_spike():
    watch = Watch()
    assert kinds(fed(watch, [{"loss": 1.0}] * 20 + [{"loss": float("nan")}])) == ["loss spike (loss)"]


def test_a_discriminator_that_is_sure_for_long():
    sure = {"discriminator": 0.001, "generator": 9.0, "_real": 6.0, "_generated": -6.0}
    even = {"discriminator": 0.6, "generator": 0.8, "_real": 0.2, "_generated": -0.1}
    watch = Watch()
    assert not fed(watch, [even, sure, sure, even] * 5)
    told = fed(watch, [sure] * 9, 20)
    assert [(a.kind, a.since, a.step) for a in told] == [("discriminator overpowering", 20, 24)]


def test_a_posterior_that_collapses():
    dead = {"reconstruction": 50.0, "_kl": 0.01, "_active_units": 0.0}
    assert kinds(fed(Watch(), [dead] * 6)) == ["posterior collapse"]
    assert not fed(Watch(), [{**dead, "_kl": 12.0, "_active_units": 5.0}] * 50)


def test_a_codebook_that_collapses():
    dead = {"loss": 1.0, "_perplexity": 1.2, "_codes_used": 0.01}
    assert kinds(fed(Watch(), [dead] * 6)) == ["codebook collapse"]
    assert not fed(Watch(), [{**dead, "_perplexity": 40.0}] * 50)


def test_overfitting():
    watch = Watch()
    losses = [3.0, 2.0, 1.0, 1.05, 1.2, 1.3, 1.4, 1.5]
    told = [a for i, loss in enumerate(losses) for a in watch.held_out(i, loss, min(losses[: i + 1]))]
    assert [(a.kind, a.since, a.step) for a in told] == [("overfitting", 4, 6)]


def previews(watch, draw, train, held_out, times=6):
    return [a for i in range(times) for a in watch.preview(i, draw(16), train, held_out)]


@pytest.mark.parametrize("columns", [2, 20])
def test_previews_of_a_collapsed_model_of_a_copying_one_and_of_a_good_one(columns):
    train, held_out = chance.normal(size=(500, columns)), chance.normal(size=(100, columns))
    assert not previews(Watch(), lambda n: chance.normal(size=(n, columns)), train, held_out, 20)
    one = chance.normal(size=columns)
    collapsed = previews(Watch(), lambda n: one + 0.001 * chance.normal(size=(n, columns)), train, held_out)
    assert "mode collapse" in kinds(collapsed)
    same = previews(Watch(), lambda n: np.repeat(one[None], n, 0), train, held_out)
    assert "mode collapse" in kinds(same)
    copied = previews(Watch(), lambda n: train[chance.choice(500, n, False)], train, held_out)
    assert "copying" in kinds(copied)


def test_records_that_repeat_are_not_copies():
    train = chance.integers(0, 3, (500, 3)).astype(float)
    draw = lambda n: train[chance.choice(500, n)]  # noqa: E731
    assert not previews(Watch(), draw, train, train[:50], 20)


def test_a_resumed_watch_tells_nothing_twice():
    dead = {"_kl": 0.01, "_active_units": 0.0, "split": "train"}
    watch, lines = Watch(), []
    for i in range(8):
        lines.append({"step": i, **dead})
        lines += [a.line() for a in watch.losses(i, dead)]
    again = Watch()
    again.replay(json.loads(json.dumps(lines)))
    assert not fed(again, [dead] * 8, 8)


@pytest.mark.full
def test_a_real_run_tells_and_a_healthy_one_does_not(tmp_path):
    digits = lay_out("images", tmp_path / "data")
    common = {"backbone.width": 16, "training.batch": 16, "training.threads": 1, "training.evaluate_every": 5}
    said = []
    train(digits, out=tmp_path / "dead", family="vae", steps=120, say=said.append,
          set_={**common, "family.beta": 1e5, "training.patience": 100})  # fmt: skip
    healthy = []
    train(digits, out=tmp_path / "fine", family="vae", steps=60, say=healthy.append, set_=common)
    lines = [json.loads(t) for t in (tmp_path / "fine/metrics.jsonl").read_text().splitlines()]
    assert not [x for x in lines if x["split"] == "alarm"]
    assert not [x for x in healthy if x.startswith("alarm")]
    assert any(x.startswith("alarm: posterior collapse") for x in said)
