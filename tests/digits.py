"""A few of scikit-learn's digits as a folder of pictures: enough for runs of a few steps, and read in no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def few_digits(folder: Path, count: int = 240) -> Path:
    """The first `count` digits, 8x8, as `folder`/LABEL/NUMBER.png; returns the folder."""
    pixels, labels = load_digits(return_X_y=True)
    for i, (values, label) in enumerate(zip(pixels[:count], labels[:count], strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        picture = (values.reshape(8, 8) * 255 / 16).round().astype(np.uint8)
        Image.fromarray(picture).save(folder / str(label) / f"{i:04d}.png")
    return folder
