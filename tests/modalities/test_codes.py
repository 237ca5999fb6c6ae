"""Pictures seen through a codec, and through a latent with positions: what is learned, drawn, kept and refused."""

import json
import shutil

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from commands import command
from digits import few_digits
from likewise.modalities.latents import Codes, Latents, through
from likewise.report import page
from likewise.runs.run import Run
from likewise.spaces import Continuous, Tokens
from likewise.training import checkpoint
from likewise.verbs.compare import compare
from likewise.verbs.evaluate import evaluate
from likewise.verbs.explain import explain
from likewise.verbs.sample import again, sample
from likewise.verbs.train import resume, train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full

TINY = {"backbone.width": 16, "training.threads": 1, "training.batch": 16, "training.checkpoint_every": 3}
FLAT = {**TINY, "family.sampling.steps": 2, "family.likelihood_steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("codes")


@pytest.fixture(scope="module")
def data(folder):
    return few_digits(folder / "pictures", 600)


def trained(path, data, settings=TINY, **options):
    return train(data, out=path, set_=dict(settings), say=lambda _: None, **{"steps": 4, **options})


@pytest.fixture(scope="module")
def codec(folder, data):
    """Nobody says --unconditional, and the folders are classes: a codec is given nothing by itself."""
    return Run(trained(folder / "codec", data, family="codec").path)


@pytest.fixture(scope="module")
def mapped(folder, data):
    settings = {**TINY, "family.latent": 3, "family.stride": 2}
    return Run(trained(folder / "mapped", data, settings, family="vae", given=[]).path)


@pytest.fixture(scope="module")
def over_codes(folder, data, codec):
    """A Transformer over codes, without a word about it; the codec's own run is then gone."""
    away = shutil.copytree(codec.path, folder / "codec-gone")
    run = trained(folder / "over-codes", data, {**TINY, "backbone.width": 32, "backbone.depth": 1}, through=away)
    shutil.rmtree(away)
    return Run(run.path)


def test_a_codec_draws_nothing_and_says_what_does(codec, monkeypatch, capsys):
    said = command(monkeypatch, capsys, "sample", codec.path, code=2)
    assert "draws none" in said
    assert f"--through {codec.path}" in said
    assert not list((codec.path / "samples").glob("*.jsonl"))
    with Image.open(next((codec.path / "samples").glob("preview-*.png"))) as preview:
        assert preview.width > 6 * 8
    assert "all is bit-identical" in str(verify(codec.path))


def test_the_report_of_a_codec(codec):
    report = evaluate(codec, n=60)
    with open(page.__file__.replace("page.py", "schema.json"), encoding="utf-8") as file:
        jsonschema.validate(json.loads(json.dumps(report)), json.load(file))
    rows = {row["name"]: row for row in report["metrics"]}
    assert {"reconstruction", "psnr", "codes_used", "perplexity", "judge_accuracy", "kid"} <= rows.keys()
    assert not {"copies", "membership", "latent_kl", "bits"} & rows.keys()
    assert not report["drawn"]
    assert report["n"] == report["n_compared"] <= len(codec.reference("held_out").values) // 2
    real = codec.reference("held_out")
    x = real.x
    back = codec.model.from_codes(codec.model.codes(x))
    error = (back - x).square().flatten(1).mean(1)
    assert rows["psnr"]["value"] == pytest.approx(float((10 * torch.log10(4 / error)).mean()), abs=1e-3)
    used = len(codec.model.codes(x).unique())
    assert rows["codes_used"]["value"] == pytest.approx(used / 1000)
    assert "does not generate" in report["verdict"][0]
    html = (codec.path / "report" / "index.html").read_text(encoding="utf-8")
    assert "Reconstructions" in html
    card = (codec.path / "README.md").read_text(encoding="utf-8")
    assert "--through" in card
    assert "likewise sample" not in card


def test_pictures_become_codes_and_come_back(codec, data):
    files = sorted(data.rglob("*.png"))[:70]
    codes, latents = (kind.fit(codec.modality, files, codec.as_autoencoder()) for kind in (Codes, Latents))
    assert through(codec.as_autoencoder()) == [Codes, Latents]
    assert codes.space == Tokens(16, 1000, grid=(4, 4))
    assert latents.space == Continuous((4, 4, 4))
    packed = codes.pack(files)
    assert packed.data.nbytes == 70 * codes.packed_bytes
    x = codes.encode(packed.take(np.arange(9)))
    pixels, _ = codec.field_data(files[:9]).encode(np.arange(9), None, trim=True), None
    assert torch.equal(x, codec.model.codes(pixels))
    values = codes.decode(x)
    expected = codec.encoding.decode(codec.model.from_codes(x))
    assert [v.tobytes() for v in values] == [v.tobytes() for v in expected]
    # The vectors before they were codes become the same codes.
    flat = latents.pack(files)
    assert flat.data.shape == (70, 2, 4, 4, 4)
    z = latents.encode(flat.take(np.arange(9)))
    assert [v.tobytes() for v in latents.decode(z)] == [v.tobytes() for v in expected]
    whole = latents.encode(flat.take(np.arange(70)))
    torch.testing.assert_close(whole.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.square().mean((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    assert "4x4 codes of 1,000" in codes.describe()


def test_a_map_is_scaled_by_channel(mapped, data):
    files = sorted(data.rglob("*.png"))[:50]
    latents = Latents.fit(mapped.modality, files, mapped.as_autoencoder())
    assert through(mapped.as_autoencoder()) == [Latents]
    assert latents.space == Continuous((3, 4, 4))
    assert latents.shift.shape == (3, 1, 1)
    again = Latents(mapped.as_autoencoder(), **json.loads(json.dumps(latents.state())))
    packed = latents.pack(files)
    assert packed.data.nbytes == 50 * latents.packed_bytes
    z = again.encode(packed.take(np.arange(50)))
    mean = torch.from_numpy(packed.data[:, 0])
    torch.testing.assert_close(z * latents.scale + latents.shift, mean, atol=1e-4, rtol=0)
    assert "at each of 4x4 places" in latents.describe()


def test_a_transformer_over_codes(over_codes, tmp_path):
    plan = over_codes.experiment
    assert (plan.family.name, plan.backbone.name, plan.target.encoding) == ("autoregressive", "transformer", "codes")
    assert list(over_codes.conditions) == ["label"]
    assert "all is bit-identical" in str(verify(over_codes.path))
    drawn, written = sample(over_codes, 5, 3, {"label": "7"}, tmp_path / "out")
    assert drawn.x.shape == (5, 16)
    assert drawn.values[0].size == (8, 8)
    again(written / "000002.png", tmp_path / "again")
    assert (tmp_path / "again" / "000002.png").read_bytes() == (written / "000002.png").read_bytes()
    report = evaluate(over_codes, n=24)
    assert report["drawn"]
    rows = {row["name"] for row in report["metrics"]}
    assert {"kid", "agreement:label"} <= rows
    assert not {"bits", "psnr", "codes_used"} & rows
    explain(over_codes, n=2)


def test_codes_resumed_equal_uninterrupted(over_codes, codec, data, folder):
    half = trained(
        folder / "half", data, {**TINY, "backbone.width": 32, "backbone.depth": 1}, through=codec.path, steps=4
    )
    shutil.rmtree(checkpoint.found(half.path / "checkpoints")[-1])  # as if it had been killed after the third step
    half = resume(half.path, say=lambda _: None)
    own, other = (checkpoint.load(run.checkpoint())[0] for run in (half, over_codes))
    assert all(torch.equal(own[k], other[k]) for k in other)


@pytest.mark.parametrize("family", ["flow", "gan"])
def test_a_map_is_learned_by_convolutions(family, mapped, data, folder):
    settings = FLAT if family == "flow" else TINY
    run = trained(folder / f"map-{family}", data, settings, family=family, through=mapped.path, steps=3)
    assert run.experiment.backbone.name == "conv"
    drawn = run.sample(3, given={"label": "3"})
    assert drawn.x.shape == (3, 3, 4, 4)
    assert drawn.values[0].size == (8, 8)


def test_a_flow_over_the_vectors_of_codes(codec, data, folder):
    run = trained(folder / "code-flow", data, FLAT, family="flow", through=codec.path, given=[], steps=3)
    assert (run.experiment.backbone.name, run.experiment.target.encoding) == ("conv", "latents")
    assert run.sample(3).values[0].size == (8, 8)


def test_the_report_of_a_map(mapped):
    rows = {row["name"]: row["value"] for row in evaluate(mapped, n=24)["metrics"]}
    assert rows["latent_kl"] >= 0
    assert {"psnr", "reconstruction", "copies"} <= rows.keys()
    assert "codes_used" not in rows
    explain(mapped, n=2)


def test_refusals(codec, mapped, data, folder, monkeypatch, capsys):
    def refused(*words):
        return command(monkeypatch, capsys, "train", data, *words, "--out", folder / "never", code=2)

    assert "--unconditional" in refused("--family", "codec", "--given", "label")
    assert "positions" in refused("--family", "codec", "--target", "label", "--unconditional")
    assert "a stride is a power of two" in refused("--family", "codec", "--set", "family.stride=3")
    assert "mlp ignores positions" in refused("--family", "codec", "--backbone", "mlp")
    assert "tokens" in refused("--through", mapped.path, "--family", "autoregressive")


def test_a_codec_is_compared_by_what_comes_back(codec, mapped, folder):
    for run in (codec, mapped):
        evaluate(run, n=24)
    compared = compare([codec, mapped], out=folder / "compared.html")
    assert any(row and row["name"] == "psnr" for each in compared.rows for row in each)
    assert (folder / "compared.html").is_file()
