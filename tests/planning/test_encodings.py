"""Which encoding is learned: the first that fits, the one asked for, or a refusal that names what there is."""

import pytest

from digits import few_digits
from likewise.planning.plan import make_plan
from likewise.runs.run import Run
from likewise.spaces import Unfit
from likewise.verbs.train import train

ROWS = "a,b\n" + "\n".join(f"{i},{'xyz'[i % 3]}" for i in range(60))
TINY = {"backbone.width": 16, "backbone.depth": 1, "training.batch": 8, "training.threads": 1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return few_digits(tmp_path_factory.mktemp("digits"), 60)


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path / "rows.csv"


def test_the_family_decides_and_the_plan_says_so(rows):
    for family, name in (("flow", "quantiles"), ("autoregressive", "bins")):
        plan = make_plan(rows, family=family, steps=1)
        assert (plan.encoding.name, plan.experiment.target.encoding) == (name, name)
        assert f"as {name}" in str(plan.guess())


def test_an_encoding_brings_its_family(rows):
    plan = make_plan(rows, steps=1, set_={"target.encoding": "bins"})
    assert plan.experiment.to_dict()["family"]["name"] == "autoregressive"


def test_a_chosen_one_that_does_not_fit_is_refused(rows):
    with pytest.raises(Unfit, match=r"target\.encoding=bins: .*; the encodings of table are quantiles and bins"):
        make_plan(rows, family="flow", steps=1, set_={"target.encoding": "bins"})
    with pytest.raises(ValueError, match=r"target\.encoding: the encodings of table are quantiles, bins \(got 'bin'\)"):
        make_plan(rows, steps=1, set_={"target.encoding": "bin"})
    with pytest.raises(ValueError, match=r"target\.encoding: the encodings of table are quantiles and bins"):
        make_plan(rows, steps=1, set_={"target.encoding": "latents"})


def test_a_condition_is_encoded_as_asked(pictures, tmp_path):
    settings = {**TINY, "target.encoding": "patches", "condition.small.encoding": "patches"}
    train(pictures, out=tmp_path / "run", given=["small"], steps=2, set_=settings, say=lambda _: None)
    run = Run(tmp_path / "run")
    assert (run.encoding.name, run.conditions["small"].name) == ("patches", "patches")
    assert run.experiment.condition["small"].encoding == "patches"
    assert run.sample(2).values[0].size == (8, 8)
    with pytest.raises(ValueError, match=r"condition\.small\.encoding"):
        make_plan(pictures, given=["small"], steps=1, set_={"condition.small.encoding": "codes"})
