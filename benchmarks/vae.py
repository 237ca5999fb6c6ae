"""A VAE of two-layer MLPs on 28x28 pictures, batch 64: likewise beside pythae, each with its own training step."""

from __future__ import annotations

import importlib.util
import tempfile
import time

import numpy as np
import torch
from sklearn.datasets import load_digits

from benchmarks.rounds import Result, Side, alternate
from likewise.backbones.mlp import MLP
from likewise.config import Training
from likewise.families.vae import VAE
from likewise.modalities.image import Image
from likewise.modalities.image_pixels import ImagePixels
from likewise.modalities.packed import Packed
from likewise.training import hardware
from likewise.training.batches import Batches, FieldData
from likewise.training.data_order import Order
from likewise.training.learner import Learner, parameters

BATCH, LATENT, HIDDEN = 64, 16, 512


def run(rounds: int) -> Result:
    hardware.tune()
    small = load_digits().images / 16  # pyright: ignore
    pictures = np.kron(small, np.ones((3, 3)))
    pictures = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))[:, None]
    sides: dict[str, Side] = {}
    notes: dict[str, str] = {}
    missing: list[str] = []

    pixels = ImagePixels(Image(28, "L"))
    batches = Batches(FieldData(pixels, Packed((pictures * 255).round().astype(np.uint8))))
    torch.manual_seed(0)
    backbone = MLP(encoder_hidden=(HIDDEN,), decoder_hidden=(HIDDEN,), activation="relu")
    model = VAE(latent=LATENT, likelihood="bernoulli").build(pixels.space, {}, backbone)
    learner = Learner(model, Training(batch=BATCH, optimizer="adam"), hardware.choose_device("cpu"))
    order = Order(len(pictures), BATCH, 0)
    counter = iter(range(10**9))

    def ours() -> float:
        start = time.perf_counter()
        steps = 4 * len(pictures) // BATCH
        for _ in range(steps):
            k = next(counter)
            learner.step(batches, order.batch(k), k, 100_000)
        return steps * BATCH / (time.perf_counter() - start)

    sides["likewise"] = ours
    notes["likewise"] = f"{parameters(model) / 1e6:.2f}M, {learner.precision}, Adam, whole training step"
    if importlib.util.find_spec("pythae") is None:
        missing.append("pythae: pip install pythae")
    else:
        sides["pythae"], count = _pythae(pictures)
        notes["pythae"] = f"{count / 1e6:.2f}M, float32, Adam, its BaseTrainer's epochs"
    return Result("vae", "images/s", alternate(sides, rounds), notes, missing)


def _pythae(pictures: np.ndarray) -> tuple[Side, int]:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    data = torch.from_numpy(pictures).float()
    model = PythaeVAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1000,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        no_cuda=True,
    )
    trainer = BaseTrainer(model=model, train_dataset=BaseDataset(data, torch.zeros(len(data))), training_config=config)
    trainer.prepare_training()

    def side() -> float:
        start = time.perf_counter()
        for epoch in range(4):
            trainer.train_step(epoch)
        return 4 * len(data) / (time.perf_counter() - start)

    return side, parameters(model)
