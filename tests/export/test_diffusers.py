"""`diffusers` loads what is exported, computes the same, and draws the same pictures by its own scheduler's steps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_digits
from torch import Tensor

from likewise.export.diffusers import scheduler_config
from likewise.families.flow import FlowModel
from likewise.families.prob_paths import EDM
from likewise.families.solvers import integrate
from likewise.runs.run import Run
from likewise.training import checkpoint
from likewise.verbs.export import export
from likewise.verbs.train import train

pytestmark = pytest.mark.full

SIZES = {"width": 16, "multipliers": (1, 2), "groups": 4}


def digits(folder: Path, classes: bool) -> Path:
    pixels, labels = load_digits(return_X_y=True)
    for i in range(60):
        file = folder / (str(labels[i]) if classes else "") / f"{i}.png"
        file.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray((pixels[i].reshape(8, 8) * 15).astype(np.uint8)).save(file)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """A function that trains a little, once for each of the settings it is asked for."""
    known: dict[str, Run] = {}

    def made(backbone: str = "unet", classes: bool = False, given: str | None = None, **settings: Any) -> Run:
        key = repr((backbone, classes, given, settings))
        if key not in known:
            sizes = {f"backbone.{k}": v for k, v in SIZES.items()} if backbone == "unet" else {"backbone.width": 16}
            own = {"training.batch": 16, "training.threads": 1, "training.lr": 0.01, **sizes, **settings}
            folder = tmp_path_factory.mktemp("digits")
            known[key] = train(
                digits(folder / "data", classes), out=folder / "run", family="flow", backbone=backbone, steps=3,
                given=[given] if given else None, set_=own, say=lambda _: None,
            )  # fmt: skip
        return known[key]

    return made


def stirred(run: Run) -> FlowModel:
    """The run's model with weights that are nowhere near zero, as three steps leave those that begin so."""
    torch.manual_seed(0)
    model: Any = run.model
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model


def loaded(run: Run, folder: Path) -> Any:
    return DiffusionPipeline.from_pretrained(export(run, folder, "diffusers"))


def level_of(t: Tensor) -> Tensor:
    """What diffusers calls a time."""
    return 1000 * (1 - t) - 1


@pytest.mark.parametrize(
    ("path", "classes", "sizes"),
    [
        ("linear", False, {}),
        ("linear", True, {"backbone.blocks": 2, "backbone.head": 8, "backbone.attention": 2}),
        ("ddpm", False, {"backbone.attention": 0}),
    ],
)
def test_the_network_is_theirs(tmp_path, trained, path, classes, sizes):
    run = trained(classes=classes, **{"family.path": path}, **sizes)
    model = stirred(run)
    unet = loaded(run, tmp_path / "out").unet
    assert type(unet).__name__ == "UNet2DModel"
    assert sum(p.numel() for p in unet.parameters()) == sum(p.numel() for p in model.network.parameters())
    x, t = torch.randn(4, 1, 8, 8), torch.tensor([0.0, 0.1, 0.634, 1.0])
    sign = 1 if path == "ddpm" else -1
    label = torch.tensor([0, 3, 9, 10])  # ten classes, and any of them
    with torch.no_grad():
        given = {"class_labels": label} if classes else {}
        theirs = unet(x, level_of(t), **given).sample
        c = {"label": label.where(label < 10, -1)[:, None]} if classes else None
        own = model.network(x, t, c)
        assert own.std() > 0.05
        torch.testing.assert_close(sign * theirs, own, atol=1e-4, rtol=0)
        if classes:
            none = unet(x, level_of(t), class_labels=torch.full((4,), 10)).sample
            torch.testing.assert_close(sign * none, model.network(x, t, None), atol=1e-4, rtol=0)
            assert not torch.allclose(none, theirs, atol=1e-3)


@pytest.mark.parametrize(("path", "near"), [("linear", 1e-3), ("ddpm", 1e-3), ("edm", 4e-3)])
def test_their_steps_are_eulers(tmp_path, trained, path, near):
    """edm ends at a noise of 0.002, theirs at none."""
    run = trained(**{"family.path": path})
    model = stirred(run)
    pipe = loaded(run, tmp_path / "out")
    assert type(pipe).__name__ == "DDIMPipeline"
    z = torch.randn(3, 1, 8, 8)
    for steps in (5, 20):
        how: Any = run.sampler.settings({"steps": steps, "sampler": "euler"})
        times = model.timesteps(how)
        start = z / model.path.input_scale(*model.path.alpha_sigma(times[0]))
        own = model.integrate(start, times, None, how)
        pipe.scheduler.set_timesteps(steps)
        torch.testing.assert_close(pipe.scheduler.timesteps.float(), level_of(times[:-1]).round())
        x = z
        with torch.no_grad():
            for t in pipe.scheduler.timesteps:
                found = pipe.unet(x, t).sample
                x = pipe.scheduler.step(found, t, x, use_clipped_model_output=model.path.clips).prev_sample
        torch.testing.assert_close(x, own, atol=near, rtol=0)
        assert own.std() > 0.1


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")  # of its own use of numpy
def test_other_schedulers_take_the_settings(trained):
    """Those that divide by the share of the data, too, of which there is none in the noise of straight lines."""
    model = stirred(trained(**{"family.path": "linear"}))
    scheduler: Any = DPMSolverMultistepScheduler.from_config(scheduler_config(model))
    scheduler.set_timesteps(10)
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        for t in scheduler.timesteps:
            found = -model.network(x, 1 - (t.float().expand(3) + 1) / 1000)
            x = scheduler.step(found, t, x).prev_sample
    assert x.isfinite().all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")  # of its own use of numpy
def test_steps_of_the_second_order_are_theirs():
    """DPM-Solver++ on the path edm, whose noise is finite, so that both begin alike; any function is a network."""
    path, steps = EDM(1.0), 20

    def output(x: Tensor, t: Any) -> Tensor:
        return torch.tanh(2 * x + 3 * t)

    def ends(x: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return path.ends(x, output(x * path.input_scale(alpha, sigma), t), alpha, sigma)

    model: Any = SimpleNamespace(path=path, settings=SimpleNamespace(path="edm"))
    scheduler: Any = DPMSolverMultistepScheduler.from_config(scheduler_config(model))
    scheduler.set_timesteps(steps)
    x = z = torch.randn(50)
    for t in scheduler.timesteps:
        x = scheduler.step(-output(x, 1 - (t + 1) / 1000), t, x).prev_sample
    times = torch.linspace(0, 1, steps + 1)
    own = integrate(path, z / path.input_scale(*path.alpha_sigma(times[0])), times, "dpm_solver_pp", ends)
    torch.testing.assert_close(x, own, atol=6e-3, rtol=0)  # edm ends at a noise of 0.002


@pytest.mark.parametrize(("path", "classes"), [("ddpm", False), ("linear", True)])
def test_the_lines_of_the_readme_draw(tmp_path, trained, monkeypatch, path, classes):
    run = trained(classes=classes, **{"family.path": path})
    out = export(run, tmp_path / "my digits", "diffusers")
    text = (out / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    assert [(p.size, p.mode) for p in found["pictures"]] == [((8, 8), "L")] * 16
    with Image.open("picture.png") as picture:
        assert picture.size == (8, 8)
    assert run.weights_hash in text
    if classes:
        labels = json.loads((out / "labels.json").read_text(encoding="utf-8"))
        assert labels == {**{str(i): str(i) for i in range(10)}, "10": "(any)"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")  # of its own use of numpy
def test_a_shifted_flow_says_that_steps_differ(tmp_path, trained):
    """Its network is exported as any other; even steps are not the run's, and more of them end where it ends."""
    run = trained(**{"family.path": "linear", "family.shift": 4})
    model = stirred(run)
    pipe = loaded(run, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "family.shift = 4" in text
    assert "exactly so where" not in text
    z = torch.randn(3, 1, 8, 8)
    how: Any = run.sampler.settings({"steps": 100, "sampler": "euler"})
    own = model.integrate(z, model.timesteps(how), None, how)
    away = []
    for steps in (5, 100):
        pipe.scheduler.set_timesteps(steps)
        x = z
        with torch.no_grad():
            for t in pipe.scheduler.timesteps:
                x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample
        away.append(float((x - own).abs().mean()))
    assert away[1] < 0.2 * away[0]


def test_what_sampled_is_what_is_written(tmp_path, trained):
    """The averaged weights, in float32, with the plan beside them."""
    run = Run(trained(**{"family.path": "linear"}).path)
    out = export(run, tmp_path / "out", "diffusers")
    with safe_open(out / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
        written = file.get_tensor("conv_in.weight")
        assert json.loads(file.metadata()["experiment"])["backbone"]["name"] == "unet"
    averaged = checkpoint.load(run.checkpoint())[0]["network.embed.weight"]
    torch.testing.assert_close(written, averaged)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (
            {"backbone": "conv"},
            "has the backbone conv; what to=diffusers exports is a flow of pictures on the backbone",
        ),
        ({"family.data_scale": 0.5}, "train with family.data_scale=1, or take to=onnx"),
        ({"family.few_step": True}, r"learned to jump \(few_step\).* to=onnx exports any flow"),
        ({"given": "grey"}, "is given grey, and UNet2DModel takes one label; .* to=onnx exports any flow"),
    ],
)
def test_what_has_no_counterpart_is_refused(tmp_path, trained, how, named):
    with pytest.raises(ValueError, match=named):
        export(trained(**how), tmp_path / "out", "diffusers")
    assert not (tmp_path / "out").exists()


def test_other_families_are_refused(tmp_path):
    run = train(digits(tmp_path / "data", False), out=tmp_path / "run", family="resample", say=lambda _: None)
    with pytest.raises(ValueError, match="is of family resample; what to=diffusers exports"):
        export(run, tmp_path / "out", "diffusers")
