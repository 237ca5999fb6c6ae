"""Every modality, family and backbone: what fits trains and samples, the rest is refused in a sentence."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from likewise import catalog
from likewise.assemble import assemble, unfit
from likewise.config import Training
from likewise.draws import Draws
from likewise.modalities import sentence_embeddings
from likewise.modalities.video_io import Clip
from likewise.spaces import Continuous, Tokens, Unfit
from likewise.training import checkpoint
from likewise.training.batches import Batches, FieldData
from likewise.training.learner import Learner

rng = np.random.default_rng(1)
COUNT = 16
VALUES = {
    "image": [Image.fromarray(a) for a in rng.integers(0, 256, (COUNT, 8, 8), np.uint8)],
    "video": [Clip(a) for a in rng.integers(0, 256, (COUNT, 2, 4, 4, 1), np.uint8)],
    "label": [str(i % 3) for i in range(COUNT)],
    "text": ["a" * (1 + i % 5) + "b" for i in range(COUNT)],
    "dialogue": [
        [{"role": r, "content": "ab" * (1 + i % 3)} for r in ("user", "assistant", "user")[: 1 + i % 3]]
        for i in range(COUNT)
    ],
    "palette": ["#ff0000", "#00ff00,#0000ff"] * (COUNT // 2),
    "sentence": ["a" * (1 + i % 5) + "b" for i in range(COUNT)],
    "table": [{"age": None if i % 8 == 3 else i, "kind": "xyz"[i % 3] if i % 5 else None} for i in range(COUNT)],
}
SMALL = {
    "mlp": {"width": 16},
    "conv": {"width": 8, "multipliers": (1, 2)},
    "unet": {"width": 8, "multipliers": (1, 2), "groups": 4},
    "dcgan": {"width": 8},
    "style": {"width": 8, "multipliers": (1, 2), "style": 16},
    "transformer": {"width": 16, "depth": 1},
    "lstm": {"width": 16, "depth": 1},
    "gru": {"width": 16, "depth": 1},
    "pretrained": {"width": 16, "depth": 1, "hidden": 32, "groups": 2},
    "none": {},
}
KINDS = {m: catalog.find("modality", m) for m in catalog.names("modality")}
TARGETS = [(m, e) for m, kind in KINDS.items() if not kind.condition_only for e in kind.encodings]
CONDITIONS = [None, *catalog.names("modality")]


@pytest.fixture(autouse=True)
def quick_sentences(monkeypatch):
    """The network that reads sentences takes seconds to load; any numbers will do here."""
    monkeypatch.setattr(sentence_embeddings, "digest", lambda: "stub")
    monkeypatch.setattr(sentence_embeddings, "_embed", lambda text: np.full(384, len(text) / 384, np.float32))


def field_data(name, encoding=None):
    cls = catalog.find("modality", name)
    fitted = cls.fit(VALUES[name], cls.Settings())
    encoding = encoding or cls.encodings[0]
    return FieldData(fitted, encoding, fitted.pack(VALUES[name], encoding))


def reloaded(learner, folder):
    """The learner that a checkpoint of this one makes."""
    fresh = Learner(copy.deepcopy(learner.model), learner.settings, learner.device)
    with torch.no_grad():
        for p in fresh.model.parameters():
            p.zero_()
    fresh.restore(*checkpoint.load(checkpoint.save(folder, 2, *learner.tensors(), {}))[:2])
    return fresh


@pytest.mark.parametrize("given", CONDITIONS)
@pytest.mark.parametrize("backbone", catalog.names("backbone"))
@pytest.mark.parametrize("family", catalog.names("family"))
@pytest.mark.parametrize(("modality", "encoding"), TARGETS)
def test_fits_or_is_refused(modality, encoding, family, backbone, given, tmp_path):
    target = field_data(modality, encoding)
    space = target.modality.space(encoding)
    condition = {} if given is None else {"given": field_data(given)}
    spaces = {k: v.modality.space(v.encoding) for k, v in condition.items()}
    family, backbone = catalog.find("family", family)(), catalog.find("backbone", backbone)(**SMALL[backbone])
    if unfit(space, family, backbone, spaces):
        with pytest.raises(Unfit) as refusal:
            assemble(space, spaces, family, backbone)
        assert "what fits" in str(refusal.value)
        assert "\n" not in str(refusal.value)
        return
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
            drawn = model.sample(c, Draws(3, torch.arange(4)), family.sampling)
            anything = model.sample(None, Draws(3, torch.arange(4)), family.sampling)
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
    values = target.modality.decode(drawn, encoding, Draws(4, torch.arange(4)))
    assert len(values) == 4
    if target.modality.suffix is None:
        json.dumps([target.modality.to_json(v) for v in values])


def _there_and_back(model, family, x):
    """What comes back of items by their codes, of a model that draws nothing and says so."""
    with pytest.raises(NotImplementedError, match="--through"):
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
    [("vae", {}, 10), ("gan", {}, 10), ("flow", {}, 10), ("flow", {"few_step": True}, 4), ("flow", {"weak": 0.3}, 10)],
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
        parts = catalog.find("family", family)(**options), catalog.find("backbone", "conv")(**SMALL["conv"])
        model = assemble(target.modality.space("continuous"), {"given": Tokens(1, 3)}, *parts)
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
