"""Patterns that go on with themselves, and the way between samples as a moving picture."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import nn

from likewise.cli import main
from likewise.draws import Draws
from likewise.sampling import interpolation
from likewise.sampling.tiling import seamless
from likewise.verbs.train import train

pytestmark = pytest.mark.full

SMALL = {
    "backbone.width": 8, "backbone.multipliers": [1, 2], "backbone.patch": 1, "training.batch": 8,
    "training.threads": 1, "family.sampling.steps": 3,
}  # fmt: skip
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    """Smooth pictures whose left and right, and top and bottom, are far apart."""
    folder = tmp_path_factory.mktemp("clouds")
    for i in range(64):
        y, x = np.mgrid[:16, :16] / 15
        slope = rng.normal(size=2)
        value = 128 + 100 * np.tanh(slope[0] * (x - 0.5) * 3 + slope[1] * (y - 0.5) * 3)
        PILImage.fromarray(value.round().astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def trained(clouds, folder, family, steps=2, **settings):
    chosen = {k: v for k, v in SMALL.items() if family == "flow" or not k.startswith("family")} | settings
    return train(clouds, family=family, out=folder / family, steps=steps, set_=chosen, say=lambda _: None)


@pytest.fixture(scope="module")
def flow(clouds, tmp_path_factory):
    return trained(clouds, tmp_path_factory.mktemp("runs"), "flow", 150)


def edge_over_inside(values):
    """Mean difference across the edge, left to right and top to bottom, over that between neighbours inside."""
    pixels = np.stack([np.asarray(v, np.float64) for v in values])
    edge = np.abs(pixels[:, :, 0] - pixels[:, :, -1]).mean() + np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    inside = np.abs(np.diff(pixels, axis=1)).mean() + np.abs(np.diff(pixels, axis=2)).mean()
    return edge / inside


def test_the_edge_is_like_any_other_place(flow):
    plain, tiled = flow.sample(32, seed=1), flow.sample(32, seed=1, tile=True)
    assert edge_over_inside(plain.values) > 1.5
    assert edge_over_inside(tiled.values) < 1.25
    assert tiled.provenance["tile"] is True
    assert "tile" not in plain.provenance
    again = flow.sample(32, seed=1)  # nothing of it is left in the network
    assert torch.equal(again.x, plain.x)


def test_what_is_drawn_from_moved_noise_is_moved(flow):
    """On a torus no place is special: noise moved by a whole number of the coarsest steps gives the picture moved."""
    model, settings = seamless(flow.model, flow.experiment.backbone, "image"), flow.sampler.settings()
    z = model.latent(Draws(0, torch.arange(2)))
    with torch.no_grad():
        x = model.from_latent(z, None, Draws(0, torch.arange(2)), settings)
        moved = model.from_latent(z.roll((4, 8), (2, 3)), None, Draws(0, torch.arange(2)), settings)
    assert torch.allclose(moved, x.roll((4, 8), (2, 3)), atol=1e-3)


def test_a_tiled_and_a_plain_sample_are_drawn_at_once(flow):
    """Nothing that other threads see is changed while a pattern is drawn, and the weights are there once."""
    expected = {tile: flow.sample(32, seed=1, tile=tile).x for tile in (False, True)}
    turns = [False, True] * 4
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda tile: flow.sample(32, seed=1, tile=tile).x, turns))
    assert all(torch.equal(x, expected[tile]) for x, tile in zip(drawn, turns, strict=True))
    tiled = seamless(flow.model, flow.experiment.backbone, "image")
    own = {name: p.data_ptr() for name, p in flow.model.state_dict(keep_vars=True).items()}
    assert own == {name: p.data_ptr() for name, p in tiled.state_dict(keep_vars=True).items()}


def test_tiles_again_from_their_files(flow, tmp_path, monkeypatch):
    for words in (["sample", flow.path, "-n", 2, "--tile", "--out", tmp_path / "a"],
                  ["sample", "--from", tmp_path / "a/000001.png", "--out", tmp_path / "b"]):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
        main()
    assert (tmp_path / "a/000001.png").read_bytes() == (tmp_path / "b/000001.png").read_bytes()


def test_who_cannot_tile_says_so(clouds, tmp_path):
    run = trained(clouds, tmp_path, "gan", **{"target.size": 14})
    with pytest.raises(ValueError, match="14x14 is not divisible by 2 at every scale"):
        run.sample(1, tile=True)
    settings = {"backbone.width": 16, "training.threads": 1, "training.batch": 8}
    dense = train(
        clouds, family="vae", backbone="mlp", out=tmp_path / "mlp", steps=1, set_=settings, say=lambda _: None
    )
    with pytest.raises(ValueError, match="tile=: mlp cannot tile: that needs convolutions; conv"):
        dense.sample(1, tile=True)
    through = train(
        clouds, through=run_of_vae(clouds, tmp_path), out=tmp_path / "latent", steps=1, set_=settings,
        say=lambda _: None,
    )  # fmt: skip
    drawn = through.sample(4, tile=True)
    assert len(drawn) == 4  # what paints is the autoencoder, which is of convolutions
    assert all(m.padding_mode == "zeros" for m in through.autoencoder.model.modules() if isinstance(m, nn.Conv2d))


def run_of_vae(clouds, folder):
    return trained(clouds, folder, "vae").path


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_walk_goes_round_and_comes_again(flow, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(interpolation, "FRAMES", 3)
    out = interpolation.walk(flow.sampler, tmp_path / f"a{suffix}", n=3, seed=5)
    with PILImage.open(out) as picture:
        assert picture.n_frames == 9
        assert picture.size == (192, 192)
        if suffix != ".gif":  # whose colours are a palette
            # It comes by each of the samples.
            for i, value in enumerate(flow.sample(3, seed=5).values):
                picture.seek(3 * i)
                there = np.asarray(picture.convert("L").resize((16, 16), 0)).astype(int)
                assert np.abs(there - np.asarray(value)).max() <= 1
    found = interpolation.read_provenance(out)
    assert found is not None
    assert (found["seed"], found["walk"]["n"], found["weights"]) == (5, 3, flow.weights_hash)
    monkeypatch.setattr(sys, "argv", ["likewise", "sample", "--from", str(out), "--out", str(tmp_path / "again")])
    main()
    assert (tmp_path / "again" / out.name).read_bytes() == out.read_bytes()


def test_a_walk_changes_a_little_at_a_time(flow):
    values, _ = interpolation._frames(flow.sampler, 3, 1, None, None)
    pixels = np.stack([np.asarray(v, np.float64) for v in values])
    step = np.abs(pixels - np.roll(pixels, -1, 0)).mean((1, 2))
    between = np.abs(pixels[:: interpolation.FRAMES] - np.roll(pixels[:: interpolation.FRAMES], -1, 0)).mean()
    assert step.max() < 0.6 * between


def test_walks_that_are_none(flow, clouds, tmp_path):
    with pytest.raises(ValueError, match=r"written as \.gif"):
        interpolation.walk(flow.sampler, tmp_path / "a.avi")
    with pytest.raises(ValueError, match="two samples"):
        interpolation.walk(flow.sampler, tmp_path / "a.gif", n=1)
    settings = {"backbone.width": 16, "backbone.depth": 1, "training.threads": 1, "training.batch": 8}
    tokens = train(clouds, family="autoregressive", out=tmp_path / "ar", steps=1, set_=settings, say=lambda _: None)
    with pytest.raises(ValueError, match="token by token and has no latent; vae, gan and flow"):
        interpolation.walk(tokens.sampler, tmp_path / "a.gif")
    assert interpolation.read_provenance(tmp_path / "none.txt") is None
    PILImage.new("L", (2, 2)).save(tmp_path / "b.gif", comment=json.dumps({"seed": 1}))
    assert interpolation.read_provenance(tmp_path / "b.gif") is None


def test_a_film(flow, tmp_path):
    out = interpolation.walk(flow.sampler, tmp_path / "a.mp4", n=2)
    with av.open(str(out)) as film:
        assert json.loads(film.metadata["comment"])["walk"]["n"] == 2
        assert sum(1 for _ in film.decode(video=0)) == 2 * interpolation.FRAMES
