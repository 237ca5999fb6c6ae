"""Texts and pictures seen through a trained VAE: what is learned, drawn, kept, resumed and refused."""

import json
import shutil
from itertools import product
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from commands import SMALL, command
from digits import few_digits
from likewise.draws import Draws
from likewise.modalities.latents import Latents
from likewise.runs.run import Run
from likewise.spaces import Continuous
from likewise.training import checkpoint
from likewise.verbs.evaluate import evaluate
from likewise.verbs.explain import explain
from likewise.verbs.export import export
from likewise.verbs.sample import again, sample
from likewise.verbs.train import resume, train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full

TINY = {"backbone.width": 16, "training.threads": 1, "training.batch": 16, "training.checkpoint_every": 3}
FLAT = {**TINY, "family.sampling.steps": 2, "family.likelihood_steps": 4}
KINDS = tuple(product(("text", "picture"), ("gan", "flow")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("seen-through")


@pytest.fixture(scope="module")
def data(folder):
    lines = [line.strip()[:40] for text in topics.values() for line in text.splitlines() if len(line) > 30]
    (folder / "lines.txt").write_text("\n".join(dict.fromkeys(lines[:400])), encoding="utf-8")
    return {"text": folder / "lines.txt", "picture": few_digits(folder / "pictures", 600)}


def trained(path, data, settings=TINY, **options):
    return train(data, out=path, set_=dict(settings), say=lambda _: None, **{"steps": 6, **options})


@pytest.fixture(scope="module")
def encoders(folder, data):
    settings = {"family.latent": 6}
    texts = trained(folder / "text-vae", data["text"], {**SMALL, **settings, "data.val_fraction": 0.2}, family="vae")
    return {
        "text": texts,
        "picture": trained(folder / "picture-vae", data["picture"], {**TINY, **settings}, family="vae", given=[]),
    }


@pytest.fixture(scope="module")
def runs(folder, data, encoders):
    """Trained through copies of the encoders, which are then gone."""
    found = {}
    for kind, family in KINDS:
        encoder = shutil.copytree(encoders[kind].path, folder / f"gone-{kind}-{family}")
        settings = FLAT if family == "flow" else TINY
        run = trained(folder / f"{kind}-{family}", data[kind], settings, family=family, through=encoder)
        shutil.rmtree(encoder)
        found[kind, family] = Run(run.path)
    return found


def test_items_become_latents_and_come_back(encoders, data):
    run = encoders["text"]
    texts = data["text"].read_text(encoding="utf-8").splitlines()[:150]
    latents = Latents.fit(run.modality, texts, run.as_autoencoder())
    assert latents.space == Continuous((6,))
    packed = latents.pack(texts)
    assert packed.data.shape == (150, 2, 6)
    assert packed.data.nbytes == 150 * latents.packed_bytes
    x, c = run.field_data(texts[:9]).encode(np.arange(9), None, trim=True), None
    mean, scale = run.model.posterior(x, c)
    assert torch.allclose(torch.from_numpy(packed.data[:9, 0]), mean, atol=1e-4)
    assert torch.allclose(torch.from_numpy(packed.data[:9, 1]), scale, atol=1e-4)
    # Drawn from the posteriors they are standardised; without draws they are its means.
    index = np.tile(np.arange(150), 40)
    drawn = latents.encode(packed.take(index), Draws(1, torch.arange(len(index))))
    assert torch.allclose(drawn.mean(0), torch.zeros(6), atol=0.05)
    assert torch.allclose(drawn.std(0), torch.ones(6), atol=0.05)
    still = latents.encode(packed.take(np.arange(9)))
    assert torch.allclose(still * latents.scale + latents.shift, mean, atol=1e-4)
    # What comes back is a pure function of latents, seed and index, whatever else is in the batch.
    index = torch.arange(9)
    whole = latents.decode(still, Draws(5, index))
    assert whole == latents.decode(still, Draws(5, index))
    assert whole[4:6] == latents.decode(still[4:6], Draws(5, index[4:6]))
    assert all(isinstance(text, str) for text in whole)
    assert len(latents.decode(still)) == 9
    again = Latents(run.as_autoencoder(), **json.loads(json.dumps(latents.state())))
    assert torch.equal(again.encode(packed.take(np.arange(9))), still)


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_the_run_stands_alone(runs, kind, family, tmp_path):
    run = Run(shutil.copytree(runs[kind, family].path, tmp_path / "moved"))
    found = verify(run.path)
    assert not found.damaged
    assert "16 stored samples, drawn again bit for bit" in str(found)
    given = {"label": "3"} if kind == "picture" else None
    many = run.sample(20, seed=7, given=given)
    few = run.sample(3, seed=7, given=given, start=5)
    show = run.modality.to_html
    assert [show(v) for v in few.values] == [show(v) for v in many.values[5:8]]
    _, written = sample(run, 4, 9, given, tmp_path / "out")
    name = "000002.png" if kind == "picture" else "samples.jsonl"
    again(written / name, tmp_path / "again")
    assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_evaluated_and_explained(runs, kind, family):
    run = runs[kind, family]
    report = evaluate(run, n=24)
    measured = {row["name"] for row in report["metrics"]}
    assert {"judge_accuracy", "kid", "copies"} <= measured
    assert ("length" in measured) == (kind == "text")
    assert ("own_auc" in measured) == (family == "gan")
    # The density of latents is no likelihood of what they become.
    assert not measured & {"bits", "bits_train", "membership_loss"}
    assert any(s["what"] == "likelihood" and "latents" in s["why"] for s in report["skipped"])
    assert "seen through 6 latents" in report["run"]["what"]
    told = explain(run, n=2)
    assert (run.path / "report" / "explain.html").is_file()
    assert told["subjects"][0]["name"] == "sample 0"


def test_the_decoder_has_settings_of_its_own(runs, tmp_path):
    run = runs["text", "gan"]
    likeliest = {"decoder.temperature": 0.0}
    drawn, written = sample(run, 4, 1, out=tmp_path / "out", settings=likeliest)
    assert drawn.values != run.sample(4, 1).values
    assert torch.equal(drawn.x, run.sample(4, 1).x)
    again(written / "samples.jsonl", tmp_path / "again")
    assert (tmp_path / "again/samples.jsonl").read_bytes() == (written / "samples.jsonl").read_bytes()
    with pytest.raises(ValueError, match="did you mean 'temperature'"):
        run.sample(1, settings={"decoder.temperatur": 0.5})


def test_an_export_has_both_weights(runs, tmp_path):
    run = runs["text", "flow"]
    weights = load_file(export(run, tmp_path / "both.safetensors"))
    inner = {k.removeprefix("autoencoder."): v for k, v in weights.items() if k.startswith("autoencoder.")}
    assert all(torch.equal(v, inner[k]) for k, v in run.autoencoder.model.state_dict().items())
    assert len(inner) < len(weights)


def test_resumed_equals_uninterrupted(encoders, data, folder):
    options = {"through": encoders["text"].path, "family": "gan"}
    straight = trained(folder / "straight", data["text"], **options)
    half = trained(folder / "half", data["text"], **options)
    last = checkpoint.found(half.path / "checkpoints")[-1]
    shutil.rmtree(last)  # as if it had been killed after the third step
    half = resume(half.path, say=lambda _: None)
    assert half.weights_hash == straight.weights_hash
    weights, rest, _ = checkpoint.load(half.checkpoint())
    whole, other, _ = checkpoint.load(straight.checkpoint())
    assert all(torch.equal(weights[k], whole[k]) for k in whole)
    assert all(torch.equal(rest[k], other[k]) for k in other)


def test_a_changed_autoencoder_is_noticed(runs, tmp_path):
    run = Run(shutil.copytree(runs["picture", "gan"].path, tmp_path / "changed"))
    [file] = (run.path / "autoencoder" / "checkpoints").glob("*/weights.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="no checkpoint that verifies"):
        run.sample(1)
    assert "weights.safetensors is not what was written" in verify(run.path).damaged[0]


def test_a_gaussian_of_latents(encoders, data, folder):
    run = train(
        data["picture"], out=folder / "gaussian", through=encoders["picture"].path, family="gaussian", given=[],
        say=lambda _: None,
    )  # fmt: skip
    assert run.sample(3).values[0].size == (8, 8)


def test_refusals(encoders, runs, data, folder, monkeypatch, capsys):
    def refused(*words):
        return command(monkeypatch, capsys, "train", *words, "--out", folder / "never", code=2)

    text, picture = encoders["text"].path, encoders["picture"].path
    assert "not a run" in refused(data["text"], "--through", folder)
    assert "finds no latents" in refused(data["text"], "--through", runs["text", "gan"].path)
    assert "was trained on image" in refused(data["text"], "--through", picture, "--as", "text")
    assert "which was trained on image" in refused(data["text"], "--through", picture)
    assert "vae, gan, flow" in refused(data["text"], "--through", text, "--family", "autoregressive")
    assert "leave it out" in refused(data["text"], "--through", text, "--set", "target.length=9")
    # Other records, or another split of the same ones: held-out figures would be of what the autoencoder has seen.
    other = folder / "other.txt"
    other.write_text("\n".join(f"line {i}, another one" for i in range(200)), encoding="utf-8")
    assert "same records" in refused(other, "--through", text)
    assert "same records" in refused(data["text"], "--through", text, "--set", "data.val_fraction=0.1")
    labelled = trained(folder / "labelled", data["picture"], family="vae", steps=1)
    assert "--unconditional" in refused(data["picture"], "--through", labelled.path)
    assert not (folder / "never").exists()
