"""Modes of stacked digits: three digits as the channels of one picture make 1,000 kinds, and how many does a GAN draw?

    python -m benchmarks.modes --data DIGITS --minutes 30
    python -m benchmarks.modes --data DIGITS --minutes 2 --samples 2000 --set family.loss=non_saturating

DIGITS is a folder with a folder of pictures for each of the ten digits. The stacked pictures are made beside the run
(60,000 by default, as 28x28 PNGs), the GAN is trained on them by the command a user types, without labels, and a
small classifier of real digits names each channel of its samples (Metz et al., "Unrolled generative adversarial
networks", 2017; 26,000 samples as in Lin et al., PacGAN, 2018). Beside it stands what as many real stacked pictures
reach, made of digits that neither the GAN nor the classifier has seen. Results are written to results/modes.json and
results/modes.md. A quiet machine is assumed: nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.table import keep, trained
from likewise.metrics.modes import modes
from likewise.runs.run import Run
from likewise.training import hardware

#: every so manieth digit is kept from GAN and classifier
_ASIDE = 10
#: samples that are drawn and looked at together
_TOGETHER = 2000

Pixels = NDArray[np.uint8]


def digits(folder: Path, side: int = 28) -> tuple[Pixels, NDArray[np.int64]]:
    """All digits, shape (N, side, side), and which they are, shape (N,)."""
    pictures, labels = [], []
    for label in range(10):
        files = sorted(p for p in (folder / str(label)).glob("*") if p.is_file())
        if not files:
            raise SystemExit(
                f"{folder / str(label)}: no pictures; give a folder with one folder for each digit, 0 to 9"
            )
        for file in files:
            with Image.open(file) as picture:
                pictures.append(np.asarray(picture.convert("L").resize((side, side), Image.Resampling.LANCZOS)))
            labels.append(label)
    return np.stack(pictures), np.array(labels)


def stacks(count: int, labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which three digits make each picture, shape (count, 3), and its mode in [0, 1000)."""
    picked = np.random.default_rng(seed).integers(0, len(labels), (count, 3))
    return picked, labels[picked] @ np.array([100, 10, 1])


def write_stacks(folder: Path, pictures: Pixels, picked: NDArray[np.int64]) -> None:
    """A PNG for each picture."""
    folder.mkdir(parents=True)
    for i, three in enumerate(picked):
        Image.fromarray(pictures[three].transpose(1, 2, 0).copy()).save(folder / f"{i:06}.png", compress_level=1)


class Reader:
    """A small convolutional classifier of digits."""

    def __init__(self, pictures: Pixels, labels: NDArray[np.int64], steps: int) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.GroupNorm(4, 32), nn.GELU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.GroupNorm(4, 64), nn.GELU(),
            nn.Conv2d(64, 128, 3, 2, 1), nn.GroupNorm(4, 128), nn.GELU(),
            nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(10),
        )  # fmt: skip
        self.net(self._ready(pictures[:1]))
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
        x, y = self._ready(pictures), torch.from_numpy(labels)
        for _ in range(steps):
            picked = torch.randint(len(x), (128,))
            moved = x[picked].roll([int(n) for n in torch.randint(-2, 3, (2,))], (2, 3))
            loss = F.cross_entropy(self.net(moved), y[picked], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.net.eval()

    @torch.no_grad()
    def __call__(self, pictures: Pixels) -> NDArray[np.int64]:
        """The digit in each picture; pictures: shape (N, side, side)."""
        return np.concatenate([self.net(self._ready(part)).argmax(1).numpy() for part in _parts(pictures)])

    def modes(self, stacked: Pixels) -> NDArray[np.int64]:
        """The mode of each stacked picture, shape (N, 3, side, side)."""
        return np.stack([self(stacked[:, i]) for i in range(3)], 1) @ np.array([100, 10, 1])

    def _ready(self, pictures: Pixels) -> torch.Tensor:
        return torch.from_numpy(pictures).float()[:, None] / 127.5 - 1


def _parts(pictures: Pixels) -> list[Pixels]:
    return np.array_split(pictures, max(1, -(-len(pictures) // 512)))


def drawn(run: Run, count: int) -> Pixels:
    """Samples, shape (count, 3, side, side)."""
    found = []
    for start in range(0, count, _TOGETHER):
        values = run.sample(min(_TOGETHER, count - start), seed=start).values
        found.append(np.stack([np.asarray(value.convert("RGB")) for value in values]).transpose(0, 3, 1, 2))
        print(f"{min(start + _TOGETHER, count):,} of {count:,} samples drawn", flush=True)
    return np.concatenate(found)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the data, train, draw, count."""
    hardware.tune()
    pictures, labels = digits(args.data)
    aside = np.arange(len(labels)) % _ASIDE == 0
    picked, real = stacks(args.pictures, labels[~aside], 0)
    write_stacks(folder / "stacked", pictures[~aside], picked)
    given = ["--family", "gan", *(["--backbone", args.backbone] if args.backbone else [])]
    given += [word for each in args.set for word in ("--set", each)]
    run, command = trained(folder / "stacked", folder / "run", args.minutes, *given)
    reader = Reader(pictures[~aside], labels[~aside], args.reader_steps)
    right = float((reader(pictures[aside]) == labels[aside]).mean())
    chosen, _ = stacks(args.samples, labels[aside], 1)
    floor = modes(real.tolist(), reader.modes(pictures[aside][chosen]).tolist())
    found = modes(real.tolist(), reader.modes(drawn(run, args.samples)).tolist())
    kinds = len(set(real.tolist()))
    return {
        "command": command,
        "modes": round(found["modes"].value * kinds),
        "of": kinds,
        "KL, nats": round(found["modes_kl"].value, 4),
        "modes of as many real pictures": round(floor["modes"].value * kinds),
        "KL of real pictures": round(floor["modes_kl"].value, 4),
        "samples": args.samples,
        "classifier, right on digits kept aside": round(right, 4),
        "steps": max((line.get("step", 0) for line in run.metrics()), default=0),
        "parameters": run.info.get("parameters"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.modes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder of pictures for each digit")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--samples", type=int, default=26_000)
    parser.add_argument("--pictures", type=int, default=60_000, help="stacked pictures that are made to train on")
    parser.add_argument("--backbone", choices=("conv", "dcgan", "style"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of likewise train")
    parser.add_argument("--reader-steps", type=int, default=1500, help="training steps of the classifier")
    parser.add_argument("--name", default="gan", help="of the row in the results")
    parser.add_argument("--work", type=Path, help="where data and run are kept; else they are deleted")
    args = parser.parse_args()
    folder = args.work or Path(tempfile.mkdtemp())
    try:
        row = measure(args, folder)
    finally:
        if args.work is None:
            shutil.rmtree(folder)
    keep("modes", args.name, row)


if __name__ == "__main__":
    main()
