"""Baselines as families: what is kept, what labels change, likelihoods that are exact, and runs like any other."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toys import draws

from likewise import catalog
from likewise.assemble import assemble
from likewise.backbones.mlp import MLP
from likewise.backbones.none import NoBackbone
from likewise.families.baselines import Gaussian, Marginals, NGram, Resample
from likewise.families.reservoir import Reservoir
from likewise.runs.run import Run
from likewise.spaces import MISSING_TOKEN, Continuous, Tokens, from_index
from likewise.training import checkpoint
from likewise.verbs.demo import lay_out
from likewise.verbs.export import export
from likewise.verbs.look import look
from likewise.verbs.train import resume, train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full

LABEL = {"label": Tokens(1, 3)}
POINT = Continuous((2,))
WORD = Tokens(6, 5, end=4)


def labelled(count, seed=1):
    """Points around (0, 0), (10, 10) and (20, 20), by label."""
    source = draws(count, seed)
    label = source.integers(3)
    return 10.0 * label[:, None] + source.normal(2), {"label": label[:, None]}


def built(family, space, condition=LABEL):
    return assemble(space, condition, family, NoBackbone())


@pytest.mark.parametrize(
    ("space", "items"),
    [
        (Continuous((1, 2, 2), levels=256), from_index(torch.arange(40).view(10, 1, 2, 2), 256)),
        (Continuous((3,)), draws(10).normal(3)),
        (Tokens(4, 70_000), torch.arange(40).view(10, 4) * 1000),
        (WORD, torch.tensor([[0, 1, 4], [2, 4, 4]] * 5)),
    ],
    ids=["picture", "point", "codes", "word"],
)
def test_a_reservoir_gives_back_what_it_was_shown(space, items):
    reservoir = Reservoir(space, {}, 2**20)
    for part in items.split(3):
        reservoir.add(part, None)
    kept = reservoir.take(())
    assert len(reservoir) == len(reservoir.items) == 10
    assert torch.equal(kept[:, : items.shape[1]], items)
    assert kept.dtype == items.dtype
    if isinstance(space, Tokens):
        rest = kept[:, items.shape[1] :]
        assert torch.equal(rest, torch.full_like(rest, space.end or 0))


def test_a_reservoir_keeps_the_first_that_it_has_room_for():
    reservoir = Reservoir(POINT, LABEL, 7 * (2 * 4 + 4))
    x, c = labelled(20)
    for rows in torch.arange(20).split(4):
        reservoir.add(x[rows], {"label": c["label"][rows]})
    assert len(reservoir) == reservoir.capacity == 7
    assert torch.equal(reservoir.take((MISSING_TOKEN,)), x[:7])
    for label in range(3):
        same = c["label"][:7, 0] == label
        assert torch.equal(reservoir.take((label,)), x[:7][same] if same.any() else x[:7])


def test_each_label_has_its_own_and_any_has_all():
    for family in (Resample(), Marginals(), Gaussian()):
        model = built(family, POINT)
        model.observe(*labelled(300))
        asked = torch.tensor([0, 2, 1, 2] * 20)[:, None]
        drawn = model.sample({"label": asked}, draws(80), family.sampling)
        assert ((drawn / 10 - asked).abs() < 0.6).all()
        anything = model.sample({"label": torch.full_like(asked, MISSING_TOKEN)}, draws(80), family.sampling)
        assert torch.equal(anything, model.sample(None, draws(80), family.sampling))
        assert anything.std() > 3


def test_the_likelihood_of_a_gaussian_is_its_entropy():
    model = built(Gaussian(), POINT)
    model.observe(*labelled(20_000))
    x, c = labelled(20_000, seed=2)
    given = -model.log_likelihood(x, c, draws(len(x))).mean().item()
    assert given == pytest.approx(math.log(2 * math.pi * math.e), abs=0.01)
    assert model.likelihood == "exact"
    assert built(Gaussian(), Continuous((3,), choices=((0, 3),))).likelihood is None


def test_uniform_pictures_need_all_their_bits():
    space = Continuous((1, 2, 2), levels=16)
    for family in (Marginals(), Gaussian()):
        model = built(family, space, {})
        model.observe(from_index(draws(4000).integers(16, 1, 2, 2), 16), None)
        x = from_index(draws(1000, 5).integers(16, 1, 2, 2), 16)
        bits = -model.log_likelihood(x, None, draws(1000)).mean().item() / math.log(2) / 4 + math.log2(16 / 2)
        # a Gaussian as wide as a uniform density needs 1/2 log2(2 pi e / 12) bits more
        extra = 0.5 * math.log2(2 * math.pi * math.e / 12) if isinstance(family, Gaussian) else 0.0
        assert bits == pytest.approx(4 + extra, abs=0.02)


@pytest.mark.parametrize("space", [WORD, Tokens(2, 5, ranges=((0, 2), (2, 5)))], ids=str)
def test_the_chances_of_all_items_add_up_to_one(space):
    """Of an n-gram model; all that have not ended at the greatest length are items too."""
    space = Tokens(3, space.vocabulary, end=space.end) if space.end is not None else space
    every = torch.cartesian_prod(*[torch.arange(space.vocabulary)] * space.length)
    if space.end is None:
        low, high = torch.tensor(space.ranges).T
        every = every[((every >= low) & (every < high)).all(1)]
    else:
        every = every.masked_fill((every == space.end).cumsum(1) > 0, space.end).unique(dim=0)
    model = built(NGram(order=3), space, {})
    model.observe(every[draws(50).integers(len(every) // 2)], None)
    total = model.log_likelihood(every, None, draws(len(every))).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-6)


def test_an_ngram_model_draws_what_it_says():
    words = torch.tensor([[0, 1, 2, 4, 4, 4], [1, 1, 4, 4, 4, 4], [3, 4, 4, 4, 4, 4]])
    model = built(NGram(), WORD, {})
    model.observe(words[draws(300).integers(3)], None)
    drawn = model.sample(None, draws(600), NGram().sampling)
    seen, counts = drawn.unique(dim=0, return_counts=True)
    said = model.log_likelihood(seen, None, draws(len(seen))).exp() * 600
    often = counts > 50
    assert often.sum() == 3
    assert counts[often].tolist() == pytest.approx(said[often].tolist(), rel=0.2)
    assert model.sample(None, draws(5), NGram.model_validate({"sampling": {"temperature": 0}}).sampling).unique(
        dim=0
    ).shape[0] == 1  # fmt: skip


@pytest.mark.parametrize(
    ("family", "backbone", "condition", "said"),
    [
        (Gaussian(), MLP(width=8), {}, "gaussian needs no network, not the backbone mlp"),
        (catalog.find("family", "flow")(), NoBackbone(), {}, "flow needs networks, not the backbone none"),
        (Gaussian(), NoBackbone(), {"text": WORD}, "needs labels as conditions, and text is none"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(family, backbone, condition, said):
    with pytest.raises(ValueError, match=said) as refusal:
        assemble(POINT, condition, family, backbone)
    assert "\n" not in str(refusal.value)


def test_an_untrained_model_says_so():
    with pytest.raises(ValueError, match="has not seen any data"):
        built(Gaussian(), POINT).sample(None, draws(2), Gaussian().sampling)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return lay_out("images", tmp_path_factory.mktemp("data"))


def final(run):
    path, _ = checkpoint.latest(run.path / "checkpoints")
    assert path is not None
    return path, (path / "weights.safetensors").read_bytes()


def test_a_run_like_any_other_that_goes_on_where_it_was(digits, tmp_path):
    said: list[str] = []
    options = {"family": "gaussian", "set_": {"training.batch": 300, "training.checkpoint_every": 1}}
    run = train(digits, out=tmp_path / "run", say=said.append, **options)
    assert any("no network is trained: one pass, all of them are kept" in line for line in said)
    assert not any("0 parameters" in line for line in said)
    count = run.info["train"]
    assert run.info["steps"] == -(-count // 300)
    assert len(run.model.reservoir.items) == count
    before = [run.modality.features(run.sample(20, seed=3).values)]
    newest, weights = final(run)
    shutil.rmtree(newest)
    shutil.rmtree(run.path / "samples")
    again = resume(run.path, said.append)
    assert final(again)[1] == weights
    before.append(Run(again.path).modality.features(again.sample(20, seed=3).values))
    assert np.array_equal(*before)
    assert not verify(run.path).damaged


def test_weights_are_exported_and_the_preflight_knows_their_size(digits, tmp_path):
    run = train(digits, out=tmp_path / "run", family="marginals", say=lambda _: None)
    weights = load_file(export(run, tmp_path / "w.safetensors"))
    assert torch.equal(weights["reservoir.items"], run.model.reservoir.items)
    found = look(digits, family="marginals")
    assert "no network is trained: one pass" in str(found)
    assert found.steps == run.info["steps"]
    held = found.checkpoint_bytes / (found.plan.experiment.training.keep_checkpoints + 2)
    assert held == pytest.approx(checkpoint.size(weights), rel=0.01)


def test_one_pass_takes_every_item_once(digits, tmp_path):
    run = train(digits, out=tmp_path / "run", family="resample", say=lambda _: None, given=[])
    kept = run.model.reservoir.items.flatten(1)
    assert len(kept) == run.info["train"]
    assert len(kept.unique(dim=0)) == len(kept)  # digits has no two pictures alike


def test_little_memory_keeps_a_random_part(digits, tmp_path):
    set_ = {"family.memory": 1, "target.size": 32, "training.batch": 100}
    run = train(digits, out=tmp_path / "run", family="marginals", say=lambda _: None, set_=set_)
    capacity = 2**20 // (32 * 32 + 4)
    assert len(run.model.reservoir.items) == capacity < run.info["train"]
    assert run.info["steps"] == -(-capacity // 100)
    classes = torch.bincount(run.model.reservoir.labels[:, 0].long(), minlength=10)
    assert classes.min() > 0.05 * capacity


def test_sizes_mean_nothing_without_a_network(digits, tmp_path):
    with pytest.raises(ValueError, match="gaussian has no network"):
        train(digits, out=tmp_path / "run", family="gaussian", size="tiny", say=lambda _: None)
    assert not (tmp_path / "run").exists()
