"""onnxruntime draws what the run draws, from the exported generator, decoder and denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from likewise.catalog import find
from likewise.draws import Draws
from likewise.runs.run import Run
from likewise.verbs.export import export
from likewise.verbs.train import train

pytestmark = pytest.mark.full

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def pictures(folder: Path, captions: bool) -> Path:
    """Small digits, by class or with a sentence each."""
    pixels, labels = load_digits(return_X_y=True)
    lines = []
    for i in range(120):
        name = f"{i}.png" if captions else f"{labels[i]}/{i}.png"
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray((pixels[i].reshape(8, 8) * 15).astype(np.uint8)).save(folder / name)
        lines.append(json.dumps({"file_name": name, "text": f"a {WORDS[labels[i]]} by hand"}))
    if captions:
        (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def trained(tmp_path: Path, family: str, backbone: str, captions: bool, **settings: Any) -> Run:
    """A run of the backbone's tiny sizes: the export takes its time by the number of operations."""
    sizes = {f"backbone.{k}": v for k, v in find("backbone", backbone).tiny().model_dump(exclude_unset=True).items()}
    own = {"training.batch": 16, "training.threads": 1, "training.lr": 0.01, **sizes, **settings}
    return train(
        pictures(tmp_path / "data", captions), out=tmp_path / "run", family=family, backbone=backbone, steps=12,
        set_=own, say=lambda _: None,
    )  # fmt: skip


def given(run: Run, count: int) -> tuple[dict[str, torch.Tensor] | None, dict[str, np.ndarray]]:
    """Conditions of real items, the first one missing: as the run takes them, and as the session does."""
    c = run.reference("train").c
    if c is None:
        return None, {}
    c = {name: value[:count].clone() for name, value in c.items()}
    for value in c.values():
        value[0] = -1
    return c, {f"given.{name}": value.numpy() for name, value in c.items()}


@pytest.mark.parametrize(
    ("family", "backbone", "captions"),
    [("gan", "conv", False), ("gan", "dcgan", True), ("gan", "style", False), ("vae", "mlp", True)],
)
def test_a_latent_becomes_the_same_picture_in_any_batch(tmp_path, family, backbone, captions):
    run = trained(tmp_path, family, backbone, captions)
    session = onnxruntime.InferenceSession(export(run, tmp_path / "m.onnx", "onnx"))
    [name, *_] = [i.name for i in session.get_inputs()]
    assert name == "latent"
    for count in (5, 1, 3):
        draws = Draws(0, torch.arange(count))
        z = run.model.latent(draws)
        c, more = given(run, count)
        own = run.model.from_latent(z, c, draws, run.sampler.settings())
        [found] = session.run(None, {"latent": z.numpy(), **more})
        np.testing.assert_allclose(found, own.numpy(), atol=1e-4)
        assert own.std() > 0.05
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["space"])["shape"] == [1, 8, 8]
    assert (about["family"], json.loads(about["given"]).keys()) == (family, run.model.condition.keys())


@pytest.mark.parametrize(("backbone", "path"), [("conv", "linear"), ("transformer", "edm")])
def test_eulers_steps_over_the_denoiser_draw_what_the_run_draws(tmp_path, backbone, path):
    run = trained(tmp_path, "flow", backbone, backbone == "conv", **{"family.path": path})
    session = onnxruntime.InferenceSession(export(run, tmp_path / "m.onnx", "onnx"))
    assert session.get_modelmeta().custom_metadata_map["path"] == path
    count, steps = 3, 4
    draws = Draws(0, torch.arange(count))
    z = run.model.latent(draws)
    c, more = given(run, count)
    how = run.sampler.settings({"steps": steps, "sampler": "euler", "guidance_scale": 1.0})
    own = run.model.from_latent(z, c, draws, how)
    alpha, sigma = (each.numpy() for each in run.model.path.alpha_sigma(torch.linspace(0, 1, steps + 1)))
    x = z.numpy() * np.sqrt(alpha[0] ** 2 * run.model.path.data_scale**2 + sigma[0] ** 2)
    for i in range(steps):
        t = np.full(count, i / steps, np.float32)
        noise, data = session.run(["noise", "data"], {"x_t": x, "t": t, **more})
        x = alpha[i + 1] * data + sigma[i + 1] * noise
    # what is drawn stands in the middle of its level
    np.testing.assert_allclose(x.clip(-1, 1), own.numpy(), atol=1 / 256 + 1e-3)


def test_jumps_over_the_denoiser_draw_what_the_run_draws(tmp_path):
    run = trained(tmp_path, "flow", "conv", False, **{"family.few_step": True})
    session = onnxruntime.InferenceSession(export(run, tmp_path / "m.onnx", "onnx"))
    draws = Draws(0, torch.arange(3))
    x = run.model.latent(draws)
    c, more = given(run, 3)
    own = run.model.from_latent(x, c, draws, run.sampler.settings({"steps": 2}))
    x = x.numpy()
    for t in (0.0, 0.5):
        told = {"t": np.full(3, t, np.float32), "level": np.ones(3, np.float32)}
        noise, data = session.run(["noise", "data"], {"x_t": x, **told, **more})
        x = (t + 0.5) * data + (0.5 - t) * noise
    # what is drawn stands in the middle of its level
    np.testing.assert_allclose(x.clip(-1, 1), own.numpy(), atol=1 / 256 + 1e-3)


def test_what_draws_in_another_way_is_refused(tmp_path):
    rows = [
        ",".join(f"{v:.2f}" for v in row[:3]) + "," + ["red", "white", "rose"][k]
        for row, k in zip(*load_wine(return_X_y=True), strict=True)
    ]
    (tmp_path / "rows.csv").write_text("a,b,c,kind\n" + "\n".join(rows))
    settings = {"training.batch": 16, "training.threads": 1, "backbone.width": 16}
    run = train(tmp_path / "rows.csv", out=tmp_path / "run", family="gan", steps=2, set_=settings, say=lambda _: None)
    with pytest.raises(ValueError, match="run: a generator with one-hot channels draws them with additional noise"):
        export(run, tmp_path / "m.onnx", "onnx")
    assert not (tmp_path / "m.onnx").exists()
