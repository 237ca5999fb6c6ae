"""What is settled before the first step: the batch by its tokens, dropout by how often items are seen."""

from __future__ import annotations

from pydoc_data.topics import topics

import pytest

from likewise.planning import budget
from likewise.planning.budget import Tried
from likewise.planning.plan import make_plan


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "lines.txt"
    texts = [line.strip() for text in topics.values() for line in text.splitlines() if len(line.strip()) > 20]
    path.write_text("\n".join(texts[:2000]), encoding="utf-8")
    return path


def test_tokens_of_a_step_set_its_items(lines):
    plan = make_plan(lines, steps=1, set_={"training.tokens": 4000})
    mean = plan.encoding.space.mean_length
    training = plan.experiment.training
    assert training.batch % 8 == 0
    assert training.batch * mean == pytest.approx(4000, rel=4 / training.batch + 1e-6)
    assert training.tokens is None  # settled: the run's plan says the batch alone


def test_the_preset_of_texts_says_tokens_and_a_batch_of_ones_own_wins(lines):
    usual = make_plan(lines, steps=1).experiment.training
    mean = make_plan(lines, steps=1).encoding.space.mean_length
    assert usual.batch * mean == pytest.approx(2048, rel=4 / usual.batch + 1e-6)
    assert make_plan(lines, steps=1, set_={"training.batch": 20}).experiment.training.batch == 20


@pytest.mark.parametrize(("epochs", "dropout"), [(1.2, 0.0), (12.0, 0.1)])
def test_dropout_goes_by_how_often_items_are_seen(lines, monkeypatch, epochs, dropout):
    monkeypatch.setattr(budget, "measure", lambda plan, size, trial: Tried(size, 0.1, 3000, epochs, 10**6))
    plan, said = make_plan(lines, minutes=5), []
    fitted = budget.fit_budget(plan, {}, said.append)
    assert fitted.experiment.backbone.dropout == dropout
    assert ("no dropout" in said[0]) == (dropout == 0)
    # what a user sets stays
    own = {"backbone.dropout": 0.2}
    kept = budget.fit_budget(make_plan(lines, minutes=5, set_=own), {"set_": own}, said.append)
    assert kept.experiment.backbone.dropout == 0.2


def test_a_size_of_ones_own_is_left_alone_and_the_rest_is_not(lines, monkeypatch):
    """500 updates of the preset's size would be too few: a smaller one is chosen, unless its width was given."""
    steps = {"base": 300, "small": 600}
    monkeypatch.setattr(budget, "measure", lambda plan, size, trial: Tried(size, 0.1, steps[size], 1.0, 10**6))
    usual = make_plan(lines, minutes=5).experiment.backbone
    said = []
    for own, width in (({"backbone.width": 96}, 96), ({"backbone.given": "cross"}, 0.75 * usual.width)):
        plan = make_plan(lines, minutes=5, set_=own)
        fitted = budget.fit_budget(plan, {"set_": own}, said.append).experiment.backbone
        assert abs(fitted.width - width) <= 16
        assert fitted.dropout == 0
    assert "the size asked for" in said[0]
    assert "size small" in said[1]
