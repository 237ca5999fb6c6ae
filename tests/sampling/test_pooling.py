"""Samples of several requests drawn together are those of each request alone, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from likewise.families.flow import FlowSampling
from likewise.sampling.pooling import PooledRow, in_any_place, in_their_places, pools
from likewise.sampling.prompting import Prompting
from likewise.sampling.sampler import SampleRequest
from likewise.verbs.train import train

SMALL = {"backbone.width": 16, "training.batch": 8, "training.threads": 1}
#: settings and seeds that differ, and requests that begin within a block and go on into the next
REQUESTS = [
    SampleRequest(3, 1),
    SampleRequest(2, 7, {"label": "a"}, settings={"guidance": 2.0}),
    SampleRequest(5, 2**40, {"label": "b"}, start=14),
    SampleRequest(1, 1, [{}]),
    SampleRequest(2, 3, {"label": "a"}, settings={"guidance": 0.5}, start=1),
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for label in "ab":
        (folder / label).mkdir()
        for i in range(24):
            PILImage.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def sampler_of(squares, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def trained(family, **settings):
        return train(squares, family=family, out=folder / family, steps=2, set_=SMALL | settings, say=lambda _: None)

    runs = {
        "flow": trained("flow", **{"backbone.name": "mlp", "backbone.depth": 1, "family.sampling.steps": 3}),
        "autoregressive": trained("autoregressive", **{"backbone.depth": 1}),
    }
    return lambda name: replace(runs[name].sampler, block_size=16)


@pytest.mark.parametrize("family", ["flow", "autoregressive"])
def test_requests_together_are_those_apart(sampler_of, family):
    sampler = sampler_of(family)
    together = sampler.draw_many(REQUESTS)
    for request, drawn in zip(REQUESTS, together, strict=True):
        alone = sampler.draw(request)
        assert torch.equal(drawn.x, alone.x)
        assert [v.tobytes() for v in drawn.values] == [v.tobytes() for v in alone.values]
        assert (drawn.provenance, drawn.seed, drawn.start) == (alone.provenance, alone.seed, alone.start)


def test_settings_that_no_batch_can_mix_are_drawn_apart(sampler_of):
    sampler = sampler_of("flow")
    requests = [SampleRequest(2, 1), SampleRequest(2, 1, settings={"steps": 5}), SampleRequest(2, 1, tile=False)]
    drawn = sampler.draw_many(requests)
    assert torch.equal(drawn[0].x, drawn[2].x)
    assert not torch.equal(drawn[0].x, drawn[1].x)
    assert torch.equal(drawn[1].x, sampler.draw(requests[1]).x)


def test_few_passes_draw_many_requests(sampler_of, monkeypatch):
    sampler = sampler_of("autoregressive")
    model, sizes = sampler.model, []
    sample = type(model).sample
    monkeypatch.setattr(
        type(model), "sample", lambda self, c, draws, *rest, **more: (
            sizes.append(draws.batch), sample(self, c, draws, *rest, **more))[1],
    )  # fmt: skip
    sampler.draw_many([SampleRequest(1, seed, {"label": "a"}) for seed in range(40)])
    if model.draws_alone(sampler.settings(), 16):
        assert sizes == [16, 16, 8]


def test_what_is_wrong_with_one_is_said_before_any_is_drawn(sampler_of):
    with pytest.raises(ValueError, match="at least one sample"):
        sampler_of("flow").draw_many([SampleRequest(1), SampleRequest(0)])
    with pytest.raises(ValueError, match="are for text, and this is image"):
        sampler_of("flow").draw_many([SampleRequest(1, prompting=Prompting(prompt="x"))])


def test_rows_stand_where_they_stand_alone():
    rows = [PooledRow(i, 0, {}, FlowSampling(), False, (0, 0)) for i in (3, 7, 0, 4)]
    assert [[row.index for row in batch] for batch in in_any_place(rows, 3)] == [[3, 7, 0], [4]]
    first, second = in_their_places(rows, 4)
    assert [row.index for row in first] == [0, 3, 3, 3]
    assert [row.part for row in first] == [(0, 0), None, None, (0, 0)]
    assert [row.index for row in second] == [4, 7, 7, 7]
    other = replace(rows[0], settings=FlowSampling(guidance_scale=3.0))
    slow = replace(rows[0], settings=FlowSampling(steps=3))
    assert len(pools([*rows, other], {"guidance_scale"})) == 1
    assert len(pools([*rows, other, slow], set())) == 3
    assert len(pools([*rows, replace(other, conditional=True)], {"guidance_scale"})) == 2
