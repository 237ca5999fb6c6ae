"""Every modality, family and backbone: what fits trains and samples, the rest is refused in a sentence."""

import copy
import json
from collections import Counter
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from likewise import catalog
from likewise.assemble import assemble, unfit
from likewise.config import Training
from likewise.draws import Draws
from likewise.modalities import sentence_embeddings
from likewise.modalities.encoding import fit_encoding
from likewise.spaces import Continuous, Tokens, Unfit
from likewise.training import checkpoint
from likewise.training.batches import Batches, FieldData
from likewise.training.learner import Learner

COUNT = 16


class Triple(NamedTuple):
    """A target's encoding, a family and a backbone, by name."""

    modality: str
    encoding: str
    family: str
    backbone: str


@cache
def fitted(name, encoding=None):
    kind = catalog.find("modality", name)
    return fit_encoding(kind, kind.examples(COUNT), name=encoding)


@cache
def field_data(name, encoding=None):
    return FieldData(fitted(name, encoding), fitted(name, encoding).pack(KINDS[name].examples(COUNT)))


def space_of(name, encoding=None):
    return fitted(name, encoding).space


def spaces_of(given):
    return {} if given is None else {"given": space_of(given)}


def parts(triple):
    """(space, family, backbone) of the names."""
    family, backbone = catalog.find("family", triple.family)(), catalog.find("backbone", triple.backbone).tiny()
    return space_of(triple.modality, triple.encoding), family, backbone


def refusal(triple, given=None):
    return unfit(*parts(triple), spaces_of(given))


KINDS = {m: catalog.find("modality", m) for m in catalog.names("modality")}
TARGETS = [(m, e) for m, kind in KINDS.items() if not kind.condition_only for e in catalog.encodings(m)]
CONDITIONS = [None, *KINDS]
TRIPLES = [
    Triple(*target, family, backbone)
    for target in TARGETS
    for family in catalog.names("family")
    for backbone in catalog.names("backbone")
]
FITS = [triple for triple in TRIPLES if refusal(triple) is None]
ACCEPTED = {triple: [given for given in CONDITIONS if refusal(triple, given) is None] for triple in FITS}


def pairs(triple, given):
    """The condition with each of the parts that read it."""
    return {(given, "family", triple.family), (given, "backbone", triple.backbone), (given, triple[:2])}


def rotation():
    """Each triple that fits, with a condition it accepts; another condition only where a pair would be left out."""
    left = {pair for triple, accepted in ACCEPTED.items() for given in accepted for pair in pairs(triple, given)}
    chosen, used = [], Counter()
    for triple, accepted in ACCEPTED.items():
        given = max(accepted, key=lambda given: (len(pairs(triple, given) & left), -used[given]))
        chosen.append((triple, given))
        used[given] += 1
        left -= pairs(triple, given)
    for triple, accepted in ACCEPTED.items():
        for given in accepted:
            if pairs(triple, given) & left:
                chosen.append((triple, given))
                left -= pairs(triple, given)
    return chosen


ROTATION = rotation()


@pytest.fixture(autouse=True)
def quick_sentences(monkeypatch):
    """The network that reads sentences takes seconds to load; any numbers will do here."""
    monkeypatch.setattr(sentence_embeddings, "_embed", lambda text: np.full(384, len(text) / 384, np.float32))


def reloaded(learner, folder):
    """The learner that a checkpoint of this one makes."""
    fresh = Learner(copy.deepcopy(learner.model), learner.settings, learner.device)
    with torch.no_grad():
        for p in fresh.model.parameters():
            p.zero_()
    fresh.restore(*checkpoint.load(checkpoint.save(folder, 2, *learner.tensors(), {}))[:2])
    return fresh


@pytest.mark.parametrize(("modality", "encoding"), TARGETS)
def test_what_does_not_fit_is_refused(modality, encoding):
    """What does not fit without a condition fits with none, and is assembled once."""
    for triple in TRIPLES:
        if triple[:2] == (modality, encoding) and triple not in ACCEPTED:
            check_refused(triple, None)
            assert all(refusal(triple, given) for given in CONDITIONS), triple


@pytest.mark.parametrize("family", catalog.names("family"))
def test_a_condition_that_a_family_cannot_read_is_refused(family):
    for triple, accepted in ACCEPTED.items():
        for given in CONDITIONS:
            if triple.family == family and given not in accepted:
                check_refused(triple, given)


def check_refused(triple, given):
    space, family, backbone = parts(triple)
    said = "nothing: the model was built"
    try:
        assemble(space, spaces_of(given), family, backbone)
    except Unfit as error:
        said = str(error)
    assert "what fits" in said, f"{triple} given {given}: {said}"
    assert "\n" not in said, f"{triple} given {given}: {said}"


def test_every_pair_that_fits_is_trained():
    """Every triple, and every condition with every family, backbone and target that can be given it."""
    met = {pair for triple, given in ROTATION for pair in pairs(triple, given)}
    for triple, accepted in ACCEPTED.items():
        assert triple in {triple for triple, _ in ROTATION}
        for given in accepted:
            assert pairs(triple, given) <= met, (triple, given)


def test_every_part_fits_somewhere():
    assert {triple[:2] for triple in FITS} == set(TARGETS)
    assert {triple.family for triple in FITS} == set(catalog.names("family"))
    assert {triple.backbone for triple in FITS} == set(catalog.names("backbone"))
    assert {given for _, given in ROTATION} == set(CONDITIONS)


@pytest.mark.parametrize(("triple", "given"), ROTATION, ids=lambda v: "-".join(v) if isinstance(v, tuple) else v)
def test_what_fits_trains_and_samples(triple, given, tmp_path):
    target = field_data(triple.modality, triple.encoding)
    condition = {} if given is None else {"given": field_data(given)}
    space, family, backbone = parts(triple)
    spaces = spaces_of(given)
    torch.manual_seed(0)
    batches = Batches(target, condition)
    learner = Learner(assemble(space, spaces, family, backbone), Training(batch=6, ema=0.5), torch.device("cpu"))
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    for step in range(2):
        terms = learner.step(batches, np.arange(6) + step, step, 10)
        assert all(torch.isfinite(v) for v in terms.values())
    assert any(not torch.equal(v, before[k]) for k, v in learner.model.state_dict().items())
    step_after = [learner.step(batches, np.arange(6), 2, 10) for learner in (learner, reloaded(learner, tmp_path))]
    assert step_after[0] == step_after[1]
    _, c = batches.take(np.arange(4))
    with torch.no_grad(), learner.averaged() as model:
        if family.generates:
            few = {"steps": 4} if "steps" in type(family.sampling).model_fields else {}
            settings = family.sampling.model_copy(update=few)
            drawn = model.sample(c, Draws(3, torch.arange(4)), settings)
            anything = model.sample(None, Draws(3, torch.arange(4)), settings)
        else:
            drawn = anything = _there_and_back(model, family, batches.take(np.arange(4))[0])
    for x in (drawn, anything):
        if isinstance(space, Continuous):
            assert x.shape == (4, *space.shape)
            assert torch.isfinite(x).all()
        else:
            assert isinstance(space, Tokens)
            assert x.shape[0] == 4
            assert x.shape[1] <= space.length
            assert ((x >= 0) & (x < space.vocabulary)).all()
    values = target.encoding.decode(drawn, Draws(4, torch.arange(4)))
    assert len(values) == 4
    modality = target.encoding.modality
    if modality.suffix is None:
        json.dumps([modality.to_json(v) for v in values])


def _there_and_back(model, family, x):
    """What comes back of items by their codes, of a model that draws nothing and says so."""
    with pytest.raises(Unfit, match="through=RUN"):
        model.sample(None, Draws(3, torch.arange(4)), family.sampling)
    codes, space = model.codes(x), family.codebook(model.target)
    assert codes.shape == (len(x), space.length)
    assert ((codes >= 0) & (codes < space.vocabulary)).all()
    latents = model.encode(x, None, family.sampling)
    assert latents.shape == (len(x), *family.latents(model.target).shape)
    back = model.from_latent(latents, None, Draws(3, torch.arange(4)), family.sampling)
    torch.testing.assert_close(back, model.from_codes(codes))
    return back


@pytest.mark.parametrize(
    ("family", "options", "total"),
    [
        ("vae", {}, 10),
        ("gan", {}, 10),
        ("flow", {}, 10),
        ("flow", {"few_step": True}, 4),
        ("flow", {"guide_model": 0.3}, 10),
    ],
)
def test_resumed_learner_equals_uninterrupted(family, options, total):
    """Save after two steps, load into a fresh learner, go on: the same weights, bit for bit.

    A flow that learns to jump does so from its third step of four on: it is interrupted between its phases.
    """
    target, given = field_data("image"), {"given": field_data("label")}
    batches = Batches(target, given)
    settings = Training(batch=6, ema=0.9, accumulate=2)

    def fresh():
        torch.manual_seed(0)
        parts = catalog.find("family", family)(**options), catalog.find("backbone", "conv").tiny()
        model = assemble(target.encoding.space, {"given": Tokens(1, 3)}, *parts)
        return Learner(model, settings, torch.device("cpu"))

    def go(learner, steps):
        for step in steps:
            learner.step(batches, (np.arange(6) + step) % COUNT, step, total)

    straight, first, second = fresh(), fresh(), fresh()
    go(straight, range(4))
    go(first, range(2))
    weights, rest = first.tensors()
    second.restore({k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in rest.items()})
    go(second, range(2, 4))
    for a, b in zip(straight.tensors(), second.tensors(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
