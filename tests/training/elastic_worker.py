"""What test_distributed runs under torchrun: a few steps of every family, and a digest of the weights of each."""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from likewise import catalog
from likewise.assemble import assemble
from likewise.config import Training
from likewise.modalities.encoding import fit_encoding
from likewise.training import distributed
from likewise.training.batches import Batches, FieldData
from likewise.training.distributed import whole
from likewise.training.learner import Learner

COUNT, BATCH = 64, 19  # a batch that no world size divides
FAMILIES = {
    "vae": ("conv", {"width": 8, "multipliers": (1, 2)}),
    "gan": ("conv", {"width": 8, "multipliers": (1, 2)}),
    "flow": ("conv", {"width": 8, "multipliers": (1, 2)}),
    "autoregressive": ("transformer", {"width": 16, "depth": 2, "dropout": 0.2}),
}
OWN = {"gan": {"augment": "adaptive"}}


def batches(family: str) -> Batches:
    chance = np.random.default_rng(0)
    if family == "autoregressive":
        cls = catalog.find("modality", "text")
        values = ["".join(chance.choice(list("abcd"), 3 + i % 5)) for i in range(COUNT)]
    else:
        cls = catalog.find("modality", "image")
        values = [Image.fromarray(a) for a in chance.integers(0, 256, (COUNT, 8, 8), np.uint8)]
    encoding = fit_encoding(cls, values)
    return Batches(FieldData(encoding, encoding.pack(values)))


def train(family: str, settings: Training, world: distributed.World, steps: int = 4) -> Learner:
    data = batches(family)
    backbone, sizes = FAMILIES[family]
    torch.manual_seed(0)
    parts = catalog.find("family", family)(**OWN.get(family, {})), catalog.find("backbone", backbone)(**sizes)
    model = assemble(data.target.encoding.space, {}, *parts)
    if family == "gan":  # changes are made from the first step, and how often is agreed upon
        model.augment.get_buffer("p").fill_(0.5)  # pyright: ignore
    learner = Learner(model, settings, torch.device("cpu"), world)
    for step in range(steps):
        learner.step(data, (np.arange(BATCH) + 3 * step) % COUNT, step, 10)
    return learner


def digest(learner: Learner) -> str:
    weights, _ = learner.tensors()
    found = hashlib.sha256()
    for key in sorted(weights):
        found.update(key.encode() + whole(weights[key]).contiguous().numpy().tobytes())
    return found.hexdigest()


def main(out: Path) -> None:
    torch.set_num_threads(1)
    world = distributed.join(torch.device("cpu"))
    found = {}
    for family in FAMILIES:
        common = {"batch": BATCH, "ema": 0.9, "precision": "float32", "optimizer": "adamw"}
        found[f"{family} elastic"] = digest(train(family, Training(**common, exact_elastic=True), world))
        learner = train(family, Training(**common), world)
        weights, _ = learner.tensors()
        found[f"{family} ddp"] = {k: v.double().sum().item() for k, v in weights.items()}
        found[f"{family} ddp everywhere"] = len(set(world.gather(digest(learner)))) == 1
        found[f"{family} held out"] = learner.held_out(batches(family))
        if world.size > 1:
            learner = train(family, Training(**common, parallel="fsdp"), world)
            weights, _ = learner.tensors()
            found[f"{family} fsdp"] = {k: whole(v).double().sum().item() for k, v in weights.items()}
            found[f"{family} fsdp share"] = sum(distributed.local(p).numel() for p in learner.model.parameters()) / sum(
                p.numel() for p in learner.model.parameters()
            )
    if world.first:
        out.write_text(json.dumps(found))
    if world.size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    assert "RANK" in os.environ
    main(Path(sys.argv[1]))
