"""Reconstructions of held-out items by an autoencoder, and how a codec uses its codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from likewise.metrics.intervals import Estimate, mean, ratio_of_sums
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown
from likewise.spaces import Continuous

#: items that are sent there and back at most
_MOST = 2048


def reconstruction(got: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    family, space = got.run.experiment.family, got.run.model.target
    if not family.autoencodes or got.run.autoencoder is not None or not isinstance(space, Continuous):
        return
    x = got.held_out.x[:_MOST]
    c = None if got.held_out.c is None else {name: value[:_MOST] for name, value in got.held_out.c.items()}
    real, back = (part.flatten(1).double().numpy() for part in (x, got.run.reconstruct(x, c)[1]))
    middle = got.train.x.flatten(1).double().mean(0).numpy()
    off, away = np.square(back - real), np.square(middle - real)
    yield got.row(
        "reconstruction", ratio_of_sums(off.sum(1), away.sum(1), got.seed), len(real), 0, {},
        note="of how far items are from the mean training item, by squares",
    )  # fmt: skip
    if space.levels:
        dB = [10 * np.log10(4 / np.maximum(part.mean(1), 1e-12)) for part in (off, away)]
        yield got.row(
            "psnr", mean(dB[0], got.seed), len(real), 0, {"range": 2},
            baseline={**numbers(mean(dB[1], got.seed)), "what": "the mean training item"},
        )  # fmt: skip
    codes = family.codebook(space)
    if codes is None:
        return
    found = got.run.over(x, None, lambda part, given, index: got.run.model.codes(part)).astype(int)
    counts = np.bincount(found.ravel(), minlength=codes.vocabulary)
    share = counts[counts > 0] / counts.sum()
    used, even = int((counts > 0).sum()), float(np.exp(-(share * np.log(share)).sum()))
    nothing = float("nan")  # how many are seen hangs on how many items are looked at: no interval says that
    yield got.row(
        "codes_used", Estimate(used / codes.vocabulary, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"{used:,} of {codes.vocabulary:,} codes, in {found.size:,} places",
    )  # fmt: skip
    yield got.row(
        "perplexity", Estimate(even, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"{np.log2(even):.1f} bits a code at most, {found.shape[1]} codes an item",
    )  # fmt: skip
