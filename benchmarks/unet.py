"""A U-Net on 32x32 pictures: a training step and a drawn picture, likewise beside diffusers, networks of one size.

likewise has its own network (backbone `conv`), and the peer's to the weight (backbone `unet`): what is left between
that and diffusers is the programs around it.

Training: batches of 32; diffusers by its own tutorial's loop (DDPM's noise, mean squared error, AdamW). Drawing:
batches of 16; diffusers by DPM-Solver++ in 20 steps, likewise by its default, 16 steps of the same, and by 4 jumps of a
flow that learned them (weights are random: what they would draw is another table's matter, see pictures.py).
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from benchmarks.rounds import Result, Side, alternate
from likewise.backbones.base import Backbone
from likewise.backbones.conv import Conv
from likewise.backbones.unet import UNet
from likewise.config import Training
from likewise.draws import Draws
from likewise.families.base import Model
from likewise.families.flow import Flow
from likewise.families.precision import autocast
from likewise.families.solvers import FlowSampling
from likewise.modalities.image import Image
from likewise.modalities.image_pixels import ImagePixels
from likewise.modalities.packed import Packed
from likewise.training import hardware
from likewise.training.batches import Batches, FieldData
from likewise.training.data_order import Order
from likewise.training.learner import Learner, parameters

SIDE, TRAINED, DRAWN = 32, 32, 16
#: widths at which both networks have about as many weights
OURS, THEIRS = Conv(width=48), (64, 96, 128)
#: the network that UNet2DModel is with the widths `THEIRS` and its own defaults
SAME = UNet(width=32, multipliers=(2, 3, 4), head=8, groups=32)


def run(rounds: int) -> list[Result]:
    hardware.tune()
    small = np.kron(load_digits().images / 16, np.ones((4, 4)))  # pyright: ignore
    pictures = (small * 255).round().astype(np.uint8)[:, None]
    batches = Batches(FieldData(ImagePixels(Image(SIDE, "L")), Packed(pictures)))
    missing: list[str] = []
    train, train_notes = _ours_training(batches)
    draw, draw_notes = _ours_drawing()
    if importlib.util.find_spec("diffusers") is None:
        missing.append("diffusers: pip install diffusers")
    else:
        data = torch.from_numpy(pictures).float() / 127.5 - 1
        for name, precision in (("diffusers", "float32"), ("diffusers, bfloat16", "bfloat16")):
            net = theirs()
            count = parameters(net)
            note = f"{count / 1e6:.1f}M, {precision}, AdamW, the tutorial's loop"
            train[name], train_notes[name] = _theirs_training(net, data, precision), note
            draw[name] = _theirs_drawing(net, precision)
            draw_notes[name] = f"{count / 1e6:.1f}M, {precision}, DPM-Solver++ in 20 steps"
    return [
        Result("unet-train", "images/s", alternate(train, rounds), train_notes, missing),
        Result("unet-draw", "images/s", alternate(draw, rounds), draw_notes, missing),
    ]


def _build(backbone: Backbone, **settings: object) -> Model:
    torch.manual_seed(0)
    family = Flow.model_validate({"name": "flow", **settings})
    return family.build(ImagePixels(Image(SIDE, "L")).space, {}, backbone)


def _ours_training(batches: Batches) -> tuple[dict[str, Side], dict[str, str]]:
    sides: dict[str, Side] = {}
    notes: dict[str, str] = {}
    plain = {"optimizer": "adamw"}
    for name, backbone, how in (
        ("likewise", OURS, {"optimizer": "muon"}),
        ("likewise, AdamW", OURS, plain),
        ("likewise, AdamW, each pixel a place", OURS.model_copy(update={"patch": 1}), plain),
        ("likewise, AdamW, diffusers' network", SAME, plain),
    ):
        model = _build(backbone)
        settings = Training.model_validate({"batch": TRAINED, "ema": 0.999, **how})
        learner = Learner(model, settings, hardware.choose_device("cpu"))
        sides[name] = _steps(learner, batches)
        notes[name] = f"{parameters(model) / 1e6:.1f}M, {learner.precision}, {how['optimizer']}, whole training step"
    return sides, notes


def _steps(learner: Learner, batches: Batches, steps: int = 8) -> Side:
    order, counter = Order(len(batches), TRAINED, 0), iter(range(10**9))

    def side() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            k = next(counter)
            learner.step(batches, order.batch(k), k, 100_000)
        return steps * TRAINED / (time.perf_counter() - start)

    return side


def _ours_drawing() -> tuple[dict[str, Side], dict[str, str]]:
    flow, jumper, same = _build(OURS), _build(OURS, few_step=True), _build(SAME)
    for model in (flow, jumper, same):
        hardware.to_channels_last(model)
    sides: dict[str, Side] = {}
    notes: dict[str, str] = {}
    for name, model, sampler, steps, precision in (
        ("likewise", flow, "dpm_solver_pp", 16, "float32"),
        ("likewise, bfloat16", flow, "dpm_solver_pp", 16, "bfloat16"),
        ("likewise, 4 jumps", jumper, "jump", 4, "float32"),
        ("likewise, 4 jumps, bfloat16", jumper, "jump", 4, "bfloat16"),
        ("likewise, diffusers' network", same, "dpm_solver_pp", 16, "float32"),
        ("likewise, diffusers' network, bfloat16", same, "dpm_solver_pp", 16, "bfloat16"),
    ):
        settings = FlowSampling.model_validate({"sampler": sampler, "steps": steps, "precision": precision})
        sides[name] = _drawn(model.eval(), settings)
        how = f"{steps} jumps" if sampler == "jump" else "DPM-Solver++ in 16 steps"
        notes[name] = f"{parameters(model) / 1e6:.1f}M, {precision}, {how}"
    return sides, notes


def _drawn(model: Model, settings: FlowSampling) -> Side:
    def draw() -> None:
        with torch.no_grad(), autocast(torch.device("cpu"), settings.precision):
            model.sample(None, Draws(0, torch.arange(DRAWN)), settings)

    return _rate(draw)


def _rate(draw: Callable[[], None]) -> Side:
    def side() -> float:
        start = time.perf_counter()
        draw()
        return DRAWN / (time.perf_counter() - start)

    return side


def theirs(side: int = SIDE, channels: int = 1) -> torch.nn.Module:
    """diffusers' network for pictures of so many pixels a side."""
    from diffusers import UNet2DModel  # pyright: ignore

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=1, block_out_channels=THEIRS,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def _theirs_training(net: torch.nn.Module, data: torch.Tensor, precision: str, steps: int = 8) -> Side:
    from diffusers import DDPMScheduler  # pyright: ignore

    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def side() -> float:
        net.train()
        start = time.perf_counter()
        for _ in range(steps):
            x = data[torch.randint(len(data), (TRAINED,))]
            noise, t = torch.randn_like(x), torch.randint(1000, (TRAINED,))
            with autocast(torch.device("cpu"), precision):
                loss = F.mse_loss(net(scheduler.add_noise(x, noise, t), t).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return steps * TRAINED / (time.perf_counter() - start)

    return side


def _theirs_drawing(net: torch.nn.Module, precision: str) -> Side:
    from diffusers import DPMSolverMultistepScheduler  # pyright: ignore

    def draw() -> None:
        net.eval()
        scheduler = DPMSolverMultistepScheduler(num_train_timesteps=1000)
        scheduler.set_timesteps(20)
        x = torch.randn(DRAWN, 1, SIDE, SIDE)
        with torch.no_grad(), autocast(torch.device("cpu"), precision):
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t).sample, t, x).prev_sample

    return _rate(draw)
