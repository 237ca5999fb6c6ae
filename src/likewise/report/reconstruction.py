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


def reconstruction(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    family, space = evidence.run.experiment.family, evidence.run.model.target
    if not family.autoencodes or evidence.run.autoencoder is not None or not isinstance(space, Continuous):
        return
    x = evidence.held_out.x[:_MOST]
    c = None if evidence.held_out.c is None else {name: value[:_MOST] for name, value in evidence.held_out.c.items()}
    real, back = (part.flatten(1).double().numpy() for part in (x, evidence.run.reconstruct(x, c)[1]))
    middle = evidence.train.x.flatten(1).double().mean(0).numpy()
    off, away = np.square(back - real), np.square(middle - real)
    yield evidence.row(
        "reconstruction", ratio_of_sums(off.sum(1), away.sum(1), evidence.seed), len(real), 0, {},
        note="squared error, as a share of the squared distance from the mean training item",
    )  # fmt: skip
    if space.levels:
        dB = [10 * np.log10(4 / np.maximum(part.mean(1), 1e-12)) for part in (off, away)]
        yield evidence.row(
            "psnr", mean(dB[0], evidence.seed), len(real), 0, {"range": 2},
            baseline={**numbers(mean(dB[1], evidence.seed)), "what": "the mean training item"},
        )  # fmt: skip
    codes = family.codebook(space)
    if codes is None:
        return
    found = evidence.run.over(x, None, lambda part, given, index: evidence.run.model.codes(part)).astype(int)
    counts = np.bincount(found.ravel(), minlength=codes.vocabulary)
    share = counts[counts > 0] / counts.sum()
    used, even = int((counts > 0).sum()), float(np.exp(-(share * np.log(share)).sum()))
    nothing = float("nan")  # both depend on the number of items, so that an interval would be misleading
    yield evidence.row(
        "codes_used", Estimate(used / codes.vocabulary, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"{used:,} of {codes.vocabulary:,} codes, in {found.size:,} positions",
    )  # fmt: skip
    yield evidence.row(
        "perplexity", Estimate(even, nothing, nothing), len(real), 0, {"codes": codes.vocabulary},
        note=f"at most {np.log2(even):.1f} bits per code, {found.shape[1]} codes per item",
    )  # fmt: skip
