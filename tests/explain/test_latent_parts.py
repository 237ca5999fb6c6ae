"""Nearest items and directions of a latent that is known: one unit says whether a text asks, the others nothing."""

import numpy as np
import pytest
import torch

from likewise.explain import directions, latent_neighbours
from likewise.explain.probe import Probe, Subject
from likewise.modalities.char_features import properties
from likewise.verbs.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking")
    things, ends = ["cat", "dog", "sky", "sea", "hat", "sun", "day", "way"], [".", "?"]
    lines = [f"{'old ' * (i % 3)}{a} and {b}{ends[i % 2]}" for i, a in enumerate(things * 4) for b in things]
    (folder / "lines.txt").write_text("\n".join(dict.fromkeys(lines)), encoding="utf-8")
    settings = {"backbone.width": 16, "backbone.depth": 1, "training.threads": 1, "training.batch": 16}
    settings |= {"family.latent": 4, "data.val_fraction": 0.3}
    return train(folder / "lines.txt", out=folder / "run", family="vae", steps=2, set_=settings, say=lambda _: None)


@pytest.fixture
def probe(run, monkeypatch):
    """The model is as it is, but for what it says of real items."""
    asks = run.encoding.tokenizer.tokenize(["?"])[0][0]

    def encode(x, c, settings):
        noise = torch.linspace(-1, 1, len(x) * 3).reshape(len(x), 3).sin()
        return torch.cat(((x == asks).any(1).float()[:, None] * 4 - 2, 0.1 * noise), 1)

    monkeypatch.setattr(run.model, "encode", encode)
    drawn = run.sample(1)
    return Probe(run, [Subject("sample 0", drawn.values[0], drawn.x, {}, 0, True)], 0)


def test_the_nearest_ask_if_the_item_does(probe):
    found = latent_neighbours.section(probe)
    held_out = {f"held-out item {i}": text for i, text in enumerate(probe.held_out.values)}
    assert len(found.data["items"]) == 3
    for line in found.data["items"]:
        asks = "?" in held_out[line["name"]]
        assert all(("?" in probe.train.values[i]) == asks for i, _ in line["by_latent"])
        assert [d for _, d in line["by_latent"]] == sorted(d for _, d in line["by_latent"])
    assert 0 <= found.data["agreement"]["low"] <= found.data["agreement"]["value"] <= 1
    assert found.data["chance"] == pytest.approx(10 / len(probe.train.values), abs=1e-4)


def test_the_direction_of_asking_is_found(probe):
    found = directions.section(probe)
    first = found.data["directions"][0]
    assert first["property"] == "with a question mark"
    assert first["accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert first["n"] == len(probe.held_out.values)
    assert len(first["gained"]) == len(found.data["reach"])
    # Nothing else is in the latent: other properties are guessed, or go with asking.
    assert all(line["accuracy"]["value"] < 0.9 for line in found.data["directions"][1:])
    assert len(found.strips) == len(found.data["directions"])


def test_properties_of_texts():
    texts = ["is it so?", "it is so", "so it goes on and on", "what is it?"] * 3
    known = properties(texts)
    assert known["with a question mark"]("who？")
    assert not known["with a question mark"]("who")
    assert known["with the word what"]("What now")
    assert not known["with the word what"]("whatever")
    assert "with the word it" not in known  # all have it, and it is short
    longer = next(tell for name, tell in known.items() if name.startswith("longer"))
    assert np.mean([longer(text) for text in texts]) <= 0.5
