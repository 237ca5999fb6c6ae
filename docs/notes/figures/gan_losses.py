"""What two common mistakes in the classic GAN loss do: `python docs/notes/figures/gan_losses.py`.

Trains the preset gan-dense on scikit-learn's digits three times, with the right loss and with each mistake, and prints
the table of docs/notes/gan-losses.md and draws its picture.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image as PILImage
from torch import Tensor

import likewise
from likewise.families import gan
from likewise.verbs.demo import lay_out
from likewise.verbs.evaluate import evaluate

STEPS = 3000
right_d, right_g = gan.discriminator_loss, gan.generator_loss


def wrong_sign(loss: str, real: Tensor, generated: Tensor) -> Tensor:
    """-E log D(x) + E log(1 - D(G(z)))"""
    return F.softplus(-real).mean() - F.softplus(generated).mean()


def twice_squashed_d(loss: gan.Loss, real: Tensor, generated: Tensor) -> Tensor:
    return right_d(loss, real.sigmoid(), generated.sigmoid())


def twice_squashed_g(loss: gan.Loss, generated: Tensor, real: Tensor | None = None) -> Tensor:
    return right_g(loss, generated.sigmoid())


VARIANTS = {
    "right": (right_d, right_g),
    "wrong sign": (wrong_sign, right_g),
    "sigmoid into logits": (twice_squashed_d, twice_squashed_g),
}


def main() -> None:
    sheets = []
    print("| loss | L_D | L_G | logit of real, of generated | judge's accuracy | precision | recall |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = lay_out("images", Path(folder))
        for name, (d, g) in VARIANTS.items():
            gan.discriminator_loss, gan.generator_loss = d, g
            out = Path(folder) / name.replace(" ", "-")
            try:
                run = likewise.train(data, out=out, preset="gan-dense", given=(), steps=STEPS, say=lambda text: None)
            except ArithmeticError as error:
                print(f"| {name} | {error} ||||||")
                continue
            last = [line for line in run.metrics() if line["split"] == "train"][-1]
            report = {row["name"]: row["value"] for row in evaluate(run, 500)["metrics"]}
            print(
                f"| {name} | {last['discriminator']:.3f} | {last['generator']:.3f} "
                f"| {last['_real']:.1f}, {last['_generated']:.1f} "
                f"| {report['judge_accuracy']:.0%} | {report['precision']:.0%} | {report['recall']:.0%} |",
                flush=True,
            )
            sheets.append(torch.from_numpy(_sheet(run)))
    gap = torch.full((sheets[0].shape[0], 16), 255, dtype=torch.uint8)
    joined = torch.cat([part for sheet in sheets for part in (sheet, gap)][:-1], 1)
    PILImage.fromarray(joined.numpy()).save(Path(__file__).parents[2] / "images" / "gan-losses.png", optimize=True)


def _sheet(run: likewise.runs.run.Run):  # pyright: ignore
    import numpy as np

    drawn = run.sample(36, seed=1).values
    return np.concatenate([np.concatenate([np.asarray(v) for v in drawn[r : r + 6]], 1) for r in range(0, 36, 6)], 0)


if __name__ == "__main__":
    main()
