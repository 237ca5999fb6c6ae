"""R-precision: how often a matching network picks a sample's own caption among ten.

Xu et al., AttnGAN (2018), section 4, with a small network trained on the run's own real pairs: a convolutional encoder
of items and a mean of character n-gram embeddings of captions, trained with the contrastive InfoNCE loss (van den Oord
et al., 2018) in both directions, as in CLIP (Radford et al., 2021). Character n-grams need no tokenizer and no spaces.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from likewise.draws import derive_seed

Array = NDArray[np.float64]

#: the number of captions to choose from
AMONG = 10
#: hash buckets for character n-grams; the largest size per axis that items are pooled to
_BUCKETS, _SIDE = 2**14, 32
_WIDTH, _BATCH, _EPOCHS = 128, 128, 30
_STEPS = (150, 800)  #: minimum, maximum


class Matcher:
    """Scores how well items and captions match; trained on real pairs."""

    def __init__(self, items: Tensor, captions: Sequence[str], seed: int = 0) -> None:
        """items: shape (N, C, *positions) with one to three positions, or (N, F) features. captions: one per item.

        Raises ValueError if there are fewer than ten different captions.
        """
        if len(set(captions)) < AMONG:
            raise ValueError(f"{len(set(captions))} different captions: R-precision needs at least {AMONG}")
        self._mean, self._scale = items.float().mean(), items.float().std().clamp(min=1e-6)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "matching") >> 1)
            shape = self._small(items[:1]).shape
            self._see = _see(shape[1], len(shape) - 2)
            self._read = nn.EmbeddingBag(_BUCKETS, _WIDTH, mode="mean")
            nn.init.normal_(self._read.weight, std=0.3)
            self._learn(self._small(items), captions)

    def scores(self, items: Tensor, captions: Sequence[str]) -> Array:
        """Cosine similarities of N items and M captions, shape (N, M)."""
        self._see.eval()
        with torch.no_grad():
            seen = torch.cat([self._see(self._small(part)) for part in items.split(256)])
            return (F.normalize(seen, dim=1) @ self._words(captions).T).double().numpy()

    def _small(self, items: Tensor) -> Tensor:
        x = (items.float() - self._mean) / self._scale
        size = tuple(min(n, _SIDE) for n in x.shape[2:])
        if size == x.shape[2:]:
            return x
        pool: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(size) - 1]
        return pool(x, size)

    def _words(self, captions: Sequence[str]) -> Tensor:
        return self._embed([runs(caption) for caption in captions])

    def _embed(self, found: Sequence[list[int]]) -> Tensor:
        starts = np.cumsum([0, *(len(part) for part in found[:-1])])
        flat = torch.tensor([number for part in found for number in part])
        return F.normalize(self._read(flat, torch.from_numpy(starts)), dim=1)

    def _learn(self, x: Tensor, captions: Sequence[str]) -> None:
        count = len(x)
        least, most = _STEPS
        batch = min(_BATCH, count)
        steps = min(max(least, _EPOCHS * count // batch), most)
        read = [runs(caption) for caption in captions]
        kinds = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        kind = torch.tensor([kinds[caption] for caption in captions])
        sharpness = nn.Parameter(torch.tensor(math.log(10.0)))
        parameters = [*self._see.parameters(), *self._read.parameters(), sharpness]
        optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05)
        order = torch.empty(0, dtype=torch.int64)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
            if len(order) < batch:
                order = torch.cat((order, torch.randperm(count)))
            picked, order = order[:batch], order[batch:]
            seen = F.normalize(self._see(_jitter(x[picked])), dim=1)
            logits = seen @ self._embed([read[i] for i in picked.tolist()]).T * sharpness.exp().clamp(max=50)
            # Another item with the same caption is not a negative.
            same = (kind[picked][:, None] == kind[picked]) & ~torch.eye(batch, dtype=torch.bool)
            logits = logits.masked_fill(same, -1e4)
            answers = torch.arange(batch)
            loss = F.cross_entropy(logits, answers) + F.cross_entropy(logits.T, answers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def r_precision(scores: Array, captions: Sequence[str], among: int = AMONG) -> Array:
    """For each item the probability that its own caption scores best among itself and `among` - 1 random others.

    scores: shape (N, N), of item i with the caption of item j. Others are captions with a different text; ties are
    broken at random. Computed exactly: if r of w others score higher, C(w - r, among - 1) / C(w, among - 1).
    Returns shape (N,). Raises ValueError if there are fewer than `among` different captions.
    """
    kinds = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
    first = np.array([list(captions).index(caption) for caption in kinds])  # one index per distinct text
    kind = np.array([kinds[caption] for caption in captions])
    others = len(first) - 1
    if others < among - 1:
        raise ValueError(f"{others + 1} different captions: R-precision needs at least {among}")
    own = scores[np.arange(len(captions)), first[kind]][:, None]
    wrong = np.arange(len(first))[None] != kind[:, None]
    better = ((scores[:, first] > own) & wrong).sum(1)
    equal = ((scores[:, first] == own) & wrong).sum(1)
    k = np.arange(among - 1)
    # ties: any number of the `equal` ones may rank before it, each number equally likely
    return np.array(
        [
            np.clip((others - b - np.arange(e + 1)[:, None] - k) / (others - k), 0, None).prod(1).mean()
            for b, e in zip(better, equal, strict=True)
        ]
    )


def runs(caption: str) -> list[int]:
    """Hashes of a caption's words and their character n-grams (n = 1 to 4), below `_BUCKETS`; never empty."""
    found = []
    for word in caption.casefold().split() or [""]:
        word = f"<{word}>"
        found += [word, *(word[i : i + n] for n in range(1, 5) for i in range(len(word) - n + 1))]
    return [zlib.crc32(run.encode()) % _BUCKETS for run in found]


def _see(channels: int, dims: int) -> nn.Sequential:
    """An encoder of items to vectors of size `_WIDTH`: strided convolutions, or linear layers without positions."""
    if dims < 1:
        return nn.Sequential(nn.Linear(channels, 256), nn.GELU(), nn.Dropout(0.2), nn.Linear(256, _WIDTH))
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1]
    layers: list[nn.Module] = []
    for before, after in ((channels, 32), (32, 64), (64, 128)):
        layers += [conv(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.GELU()]
    # Keep a 4 x 4 grid: the location of an object carries information about its class.
    layers += [pool(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 4**dims, _WIDTH)]
    return nn.Sequential(*layers)


def _jitter(x: Tensor) -> Tensor:
    """Augment the batch by random shifts of at most one position per axis, to reduce overfitting to single pixels."""
    for axis in range(2, x.dim()):
        x = x.roll(int(torch.randint(-1, 2, ())), axis)
    return x
