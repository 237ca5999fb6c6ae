"""Which weights draw: of the least held-out loss, or, of a flow of what has positions, the last."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from likewise.verbs.train import train

#: a rate by which the held-out loss soon rises
SMALL = {
    "training.batch": 8, "training.threads": 1, "backbone.width": 8, "training.patience": 1,
    "training.evaluate_every": 1, "training.lr": 1.0, "training.optimizer": "adamw", "training.schedule": "constant",
    "training.on_nonfinite": "skip", "training.warmup": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(("family", "last"), [("flow", True), ("vae", False)])
def test_a_flow_of_pictures_is_trained_to_its_end_and_draws_by_its_last_weights(family, last, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).save(tmp_path / f"{i}.png")
    run = train(tmp_path, out=tmp_path / "run", family=family, steps=12, set_=SMALL, say=lambda _: None)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "val"]
    assert any(loss > losses[0] for loss in losses)
    assert (max(line["step"] for line in lines) == 12) == last
    steps = sorted(int(p.name) for p in (run.path / "checkpoints").iterdir())
    assert (int(run.checkpoint().name) == steps[-1]) == last
