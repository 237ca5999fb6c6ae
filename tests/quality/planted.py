"""Data with faults that are known: digits as features or as files, Gaussians, and sentences with their translation."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from likewise.quality.items import Items, components, neighbours, standardise

IMAGES, LABELS = load_digits(return_X_y=True)


def items_of(x, raw=False):
    """Items of features x, with shape (N, F), each taken to be a record of its own."""
    standard = standardise(np.asarray(x, np.float32))
    x = np.asarray(x, np.float32) if raw else components(standard)
    return Items(np.arange(len(x)), len(x), [], standard, x, *neighbours(x))


def gaussian(n, dimensions, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dimensions))


def flipped(share, seed=0):
    """The digits' labels as words, with a share of them wrong; and which."""
    rng = np.random.default_rng(seed)
    labels = LABELS.copy()
    where = np.sort(rng.choice(len(labels), round(share * len(labels)), replace=False))
    labels[where] = (labels[where] + rng.integers(1, 10, len(where))) % 10
    return [str(label) for label in labels], where


def rates(found, planted):
    """Precision and recall."""
    hits = len(set(found) & set(planted))
    return hits / max(1, len(found)), hits / len(planted)


def sentences(n, seed=0):
    """Sentences of made-up words, and each word by word in another made-up language."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(120)]
    other = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(120)]
    rows = [rng.integers(0, 120, rng.integers(3, 14)) for _ in range(n)]
    return [" ".join(words[i] for i in row) for row in rows], [" ".join(other[i] for i in row) for row in rows]


def picture(pixels):
    """A digit, with shape (64,) in [0, 16], as a picture."""
    return Image.fromarray((np.asarray(pixels).reshape(8, 8) * 15.9).clip(0, 255).astype(np.uint8))


def lay_out(folder, images, labels):
    """Digits as an image folder with classes; file names are their numbers."""
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        picture(pixels).save(folder / str(label) / f"{i:05d}.png")
    return folder
