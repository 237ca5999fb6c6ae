"""Reconstruction error of held-out items by an autoencoder, and a codec's use of its codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from likewise.metrics.intervals import Estimate, mean, ratio_of_sums
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown
from likewise.spaces import Continuous

#: the maximum number of items that are reconstructed
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
        note="squared error, as a share of the squared distance from the mean training item",
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
    nothing = float("nan")  # both depend on the number of items, so that an interval would be misleading
    yield got.row(
        "codes_used", Estimate(used / codes.vocabulary, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"{used:,} of {codes.vocabulary:,} codes, in {found.size:,} positions",
    )  # fmt: skip
    yield got.row(
        "perplexity", Estimate(even, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"at most {np.log2(even):.1f} bits per code, {found.shape[1]} codes per item",
    )  # fmt: skip
