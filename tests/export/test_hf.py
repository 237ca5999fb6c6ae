"""`transformers` loads what is exported, and computes and writes the same."""

from __future__ import annotations

import sys

import pytest
import torch
from tiny_text import STRANGE, own_logits, tiny_text
from transformers import AutoModelForCausalLM, AutoTokenizer

from likewise.draws import Draws
from likewise.verbs.export import export

TEXTS = ["The statement is executed as follows", "a class", STRANGE]
VARIANTS = {
    "qwen3": ("bpe", {}),
    "llama": ("characters", {"qk_norm": False}),
    "tied": ("bytes", {"tie_embeddings": True, "heads": 2}),
}


@pytest.fixture(scope="module", params=VARIANTS)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    kind, settings = VARIANTS[request.param]
    run = tiny_text(folder, kind, **settings)
    out = export(run, folder / "hf", "hf")
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    return run, model, AutoTokenizer.from_pretrained(out), request.param


@pytest.mark.full
def test_logits_are_equal(exported):
    run, model, _, name = exported
    assert type(model).__name__ == ("LlamaForCausalLM" if name == "llama" else "Qwen3ForCausalLM")
    tokens, logits = own_logits(run, TEXTS)
    with torch.no_grad():
        theirs = model(tokens).logits
    assert torch.allclose(theirs[..., :-1], logits, atol=1e-4)
    # The start, which is left out when drawing, is never the likeliest either.
    assert torch.allclose(theirs[..., -1], logits.mean(-1), atol=1e-4)
    assert logits.std() > 0.1


@pytest.mark.full
def test_greedy_texts_are_equal(exported):
    run, model, tokenizer, _ = exported
    given = tokenizer("The ", return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**given, do_sample=False, top_k=None, top_p=None)[0, 1:]
        # The same, drawn by the run: the prefix is given, and then the likeliest token is taken each time.
        settings = run.sampler.settings({"temperature": 0})
        [own] = run.model.cpu().sample(None, Draws(0, torch.arange(1)), settings, prefix=given["input_ids"][:, 1:])
    assert written.tolist() == own[: len(written)].tolist()
    assert len(written) == len(own) or written[-1] == run.encoding.end


@pytest.mark.full
def test_texts_have_the_same_ids_and_come_back(exported):
    run, _, tokenizer, _ = exported
    for text, ids in zip(TEXTS, run.encoding.tokenizer.tokenize(TEXTS), strict=True):
        found = tokenizer(text)["input_ids"]
        assert found == [tokenizer.bos_token_id, *ids]
        assert tokenizer.decode(found, skip_special_tokens=True) == text
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (run.encoding.end, run.encoding.end + 1)
    assert len(tokenizer) == run.encoding.end + 2


@pytest.mark.full
def test_the_start_is_never_drawn(exported):
    _, model, tokenizer, _ = exported
    torch.manual_seed(0)
    start = torch.full((8, 1), tokenizer.bos_token_id)
    written = model.generate(start, attention_mask=torch.ones_like(start))
    assert written.shape[1] > 2
    assert not (written[:, 1:] == tokenizer.bos_token_id).any()


@pytest.mark.parametrize(
    ("backbone", "settings", "named"), [("gru", {}, "backbone gru"), ("transformer", {"ffn": "relu2"}, "ffn relu2")]
)
def test_what_has_no_known_layout_is_refused(tmp_path, backbone, settings, named):
    run = tiny_text(tmp_path, "bytes", backbone, **settings)
    with pytest.raises(ValueError, match=f"{named}; what can be exported is unconditional text"):
        export(run, tmp_path / "hf", "hf")
    assert not (tmp_path / "hf").exists()


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    run = tiny_text(tmp_path, "bytes")
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "likewise.export.gguf", raising=False)
    with pytest.raises(ValueError, match=r"to=gguf needs gguf; pip install 'likewise\[export\]'"):
        export(run, tmp_path / "m.gguf", "gguf")
