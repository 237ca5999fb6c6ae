"""onnxruntime runs what is exported, and computes the same for any batch and length."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_wine
from tiny_text import STRANGE, own_logits, tiny_text

from likewise.runs.run import Run
from likewise.verbs.export import export
from likewise.verbs.train import train

pytestmark = pytest.mark.full

VARIANTS = {
    "transformer": ("transformer", {}),
    "plain": ("transformer", {"ffn": "relu2", "qk_norm": False, "tie_embeddings": True, "heads": 2}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
}


def session(run: Run, out) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(export(run, out, "onnx"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_equal_for_any_batch_and_length(tmp_path, variant):
    backbone, settings = VARIANTS[variant]
    run = tiny_text(tmp_path, "bpe", backbone, **settings)
    loaded = session(run, tmp_path / "m.onnx")
    tokens, logits = own_logits(run, ["The statement", "a class", STRANGE[:20]])
    assert logits.std() > 0.1
    for x, y in ((tokens, logits), (tokens[:1], logits[:1]), (tokens[:, :1], logits[:, :1])):
        [found] = loaded.run(None, {"tokens": x.numpy()})
        np.testing.assert_allclose(found, y.numpy(), atol=1e-4)


def test_the_file_says_what_its_tokens_are(tmp_path):
    run = tiny_text(tmp_path, "characters")
    about = session(run, tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    assert int(about["start_token"]) == run.encoding.end + 1
    assert json.loads(about["space"])["end"] == run.encoding.end
    assert json.loads(about["modality.json"])["target"]["encoding"]["state"]["known"] == run.encoding.tokenizer.known
    [opset] = onnx.load(tmp_path / "m.onnx").opset_import
    assert opset.version >= 17


def test_rows_of_one_length_are_exported_too(tmp_path):
    rows = load_wine().data[:, :3]
    (tmp_path / "rows.csv").write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows))
    settings = {"backbone.width": 16, "training.batch": 16, "training.threads": 1}
    run = train(
        tmp_path / "rows.csv", out=tmp_path / "run", family="autoregressive", steps=2,
        set_=settings, say=lambda _: None,
    )  # fmt: skip
    x = run.reference("held_out").x[:4]
    with torch.no_grad():
        own = run.model.cpu().predictor(x)
    start = torch.full((len(x), 1), run.space.vocabulary)
    [found] = session(run, tmp_path / "m.onnx").run(None, {"tokens": torch.cat((start, x[:, :-1]), 1).numpy()})
    np.testing.assert_allclose(found, own.numpy(), atol=1e-4)


def test_what_predicts_no_tokens_is_refused(tmp_path):
    data = tmp_path / "lines.txt"
    data.write_text("\n".join(f"line {i} of some text" for i in range(200)))
    run = train(data, out=tmp_path / "run", family="ngram", say=lambda _: None)
    with pytest.raises(ValueError, match="the family has no network to export; vae, gan and flow can"):
        export(run, tmp_path / "m.onnx", "onnx")
    assert not (tmp_path / "m.onnx").exists()
