"""What stands in a GGUF file is the model and its tokenizer; llama.cpp, where installed, writes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from tiny_text import tiny_text
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from likewise.draws import Draws
from likewise.export import layout
from likewise.verbs.export import export

pytestmark = pytest.mark.full


@pytest.fixture(scope="module", params=[True, False], ids=["qwen3", "llama"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    # Dense tensors of 64 channels a head, as llama.cpp has kernels for.
    run = tiny_text(folder, "bpe", width=64, heads=1, qk_norm=request.param)
    return run, export(run, folder / "m.gguf", "gguf"), request.param


def test_the_file_holds_the_model(exported):
    run, out, normed = exported
    read = GGUFReader(out)
    assert read.fields["general.architecture"].contents() == ("qwen3" if normed else "llama")
    found = {t.name: t.data for t in read.tensors}
    weights = layout.tensors(run)
    assert len(found) == len(weights)
    np.testing.assert_array_equal(found["token_embd.weight"], weights["model.embed_tokens.weight"])
    np.testing.assert_array_equal(found["output.weight"], weights["lm_head.weight"])
    q, mine = found["blk.1.attn_q.weight"], weights["model.layers.1.self_attn.q_proj.weight"]
    # Llama's rows 0 and 32 of a head turn together; llama.cpp has them side by side.
    order = np.arange(64) if normed else np.arange(64).reshape(2, 32).T.ravel()
    np.testing.assert_array_equal(q, mine[order])


def test_the_file_holds_the_tokenizer(exported):
    run, out, _ = exported
    fields = GGUFReader(out).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    own = run.encoding.tokenizer._bpe.get_vocab()
    assert tokens[: run.encoding.end] == sorted(own, key=own.__getitem__)
    assert len(tokens) == run.encoding.end + 2
    assert fields["tokenizer.ggml.bos_token_id"].contents() == run.encoding.end + 1
    assert fields["tokenizer.ggml.eos_token_id"].contents() == run.encoding.end


def test_transformers_reads_it_back(exported, tmp_path):
    """Its reader of GGUF undoes the order of rows, so logits show that all of it is where it should be."""
    run, out, _ = exported
    hf = export(run, tmp_path / "hf", "hf")
    # It takes the heads of any Qwen3 to have 128 channels, unless told otherwise.
    config, tokenizer = AutoConfig.from_pretrained(hf), AutoTokenizer.from_pretrained(hf)
    model = AutoModelForCausalLM.from_pretrained(out.parent, gguf_file=out.name, config=config, dtype=torch.float32)
    model = model.eval()
    ids = tokenizer(["The statement is"], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        own = run.model.cpu().predictor(torch.cat((ids[:, 1:], ids[:, :1] * 0), 1))
        theirs = model(ids).logits
    assert torch.allclose(theirs[..., :-1], own, atol=1e-4)


def test_llama_cpp_writes_the_same(exported):
    llama_cpp = pytest.importorskip("llama_cpp")
    run, out, _ = exported
    model = llama_cpp.Llama(str(out), n_ctx=run.encoding.length, n_threads=1, verbose=False)
    ids = model.tokenize(b"The ")
    assert ids == [run.encoding.end + 1, *run.encoding.tokenizer.tokenize(["The "])[0]]
    found = model.create_completion(ids, max_tokens=20, temperature=0.0)["choices"][0]["text"]
    settings = run.sampler.settings({"temperature": 0})
    drawn = run.model.cpu().sample(None, Draws(0, torch.arange(1)), settings, prefix=torch.tensor([ids[1:]]))
    [own] = run.encoding.decode(drawn[:, : len(ids) + 19])
    assert "The " + found == own


def test_other_tokens_are_refused(tmp_path):
    run = tiny_text(tmp_path, "characters")
    with pytest.raises(ValueError, match="is text by characters; GGUF holds byte pairs"):
        export(run, tmp_path / "m.gguf", "gguf")
    assert not (tmp_path / "m.gguf").exists()
