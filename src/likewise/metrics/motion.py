"""Motion of clips compared with real clips: its amount, its smoothness, and the share of frozen clips.

The amount of motion of a clip is the mean absolute difference of consecutive frames. Smoothness is the same difference
for frames two apart, divided by that of consecutive frames: above 1 for motion in a constant direction, about 1 for
flicker, noise and shuffled frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from likewise.metrics.base import Measure, Metric
from likewise.metrics.intervals import Estimate, generator, groups_of, jackknife, mean, proportion

Array = NDArray[np.float64]

#: the quantile of real clips' motion used as reference, and the fraction of it below which a clip counts as frozen
_LEAST, _HALF = 0.02, 0.5


def amounts(clips: Sequence[NDArray[np.uint8]]) -> tuple[Array, Array]:
    """Mean absolute difference of frames one apart and of frames two apart: in [0, 1], shape (N,) each.

    clips: uint8, shape (T, H, W, C) each. With fewer than three frames the second is NaN.
    """
    one, two = [], []
    for clip in clips:
        frames = clip.astype(np.float32) / 255
        one.append(np.abs(frames[1:] - frames[:-1]).mean())
        two.append(np.abs(frames[2:] - frames[:-2]).mean() if len(frames) > 2 else np.nan)
    return np.array(one, np.float64), np.array(two, np.float64)


def threshold(real: Array) -> float:
    """The amount of motion below which a clip counts as frozen; real: the amounts of real clips, shape (N,)."""
    return _HALF * float(np.quantile(real, _LEAST))


def motion(real: Sequence[NDArray[np.uint8]], fake: Sequence[NDArray[np.uint8]], seed: int = 0) -> dict[str, Estimate]:
    """Keys motion, motion_distance, smoothness (if clips have at least three frames) and frozen.

    Raises ValueError if the real clips do not move, because relative measures are then undefined.
    """
    (before, _), (one, two) = amounts(real), amounts(fake)
    if before.mean() <= 0:
        raise ValueError("the real clips do not move")
    low = threshold(before)
    found = {"motion": mean(one, seed), "motion_distance": _distance(before, one, seed)}
    if np.isfinite(two).all() and one.sum() > 0:
        found["smoothness"] = _ratio(two, one, seed)
    found["frozen"] = proportion(float((one <= low).mean()), len(one))
    return found


def _distance(real: Array, fake: Array, seed: int) -> Estimate:
    """Wasserstein-1 between the clips' amounts of motion, divided by the mean of the real ones."""
    groups = groups_of(len(real), seed), groups_of(len(fake), seed)
    parts = [
        wasserstein_distance(real[groups[0] != g], fake[groups[1] != g]) / real[groups[0] != g].mean()
        for g in range(min(int(part.max()) + 1 for part in groups))
    ]
    return jackknife(wasserstein_distance(real, fake) / real.mean(), np.array(parts), (0.0, np.inf))


def _ratio(two: Array, one: Array, seed: int) -> Estimate:
    """The ratio of sums over all clips: a ratio per clip would be undefined for a clip that does not move."""
    groups = groups_of(len(one), seed)
    parts = [
        two[groups != g].sum() / one[groups != g].sum()
        for g in range(int(groups.max()) + 1)
        if one[groups != g].sum() > 0
    ]
    return jackknife(two.sum() / one.sum(), np.array(parts), (0.0, np.inf))


class Motion(Metric):
    """Motion of clips compared with real clips: see `motion`."""

    name = "motion"
    needs = "frames"
    group = "Motion"
    measures = {
        "motion": Measure("Motion", "real", "Mean difference of consecutive frames; 100%: from black to white.", True),
        "motion_distance": Measure(
            "Distance of motions",
            "lower",
            "The Wasserstein distance between the clips' amounts of motion and real ones, divided by the real mean.",
        ),
        "smoothness": Measure(
            "Smoothness",
            "real",
            "The difference of frames two apart over that of consecutive frames: higher in steady motion; 1 in flicker "
            "or disorder.",
        ),
        "frozen": Measure("Frozen clips", "real", "The share of clips that move less than nearly all real ones.", True),
    }
    settings = {"difference": "mean absolute"}

    def __call__(
        self, real: Sequence[NDArray[np.uint8]], fake: Sequence[NDArray[np.uint8]], seed: int
    ) -> dict[str, Estimate]:
        return motion(real, fake, seed)

    def trivial(self, train: Sequence[NDArray[np.uint8]], seed: int) -> tuple[str, Any]:
        rng = generator(seed, "frames")
        return "real clips with their frames shuffled", [frames[rng.permutation(len(frames))] for frames in train]

    def note(self, measure: str, real: Any, value: Estimate, floor: Estimate | None) -> str | None:
        if measure != "motion" or floor is None or floor.value <= 0 or not np.isfinite(value.value):
            return None
        return f"{value.value / floor.value:.2f} times the motion of real clips"

    def sentence(self, rows: Mapping[str, Mapping[str, Any]]) -> str | None:
        if "motion" not in rows or not rows["motion"]["floor"]["value"]:
            return None
        moves, frozen, smooth = rows["motion"], rows["frozen"], rows.get("smoothness")
        said = f"The clips move {moves['value'] / moves['floor']['value']:.2f} times as much as real ones"
        if frozen["low"] > frozen["floor"]["high"]:
            said += (
                f"; {100 * frozen['value']:.0f}% are frozen, compared with {100 * frozen['floor']['value']:.0f}% of "
                "real ones"
            )
        if smooth and smooth["value"] is not None and smooth["floor"] and smooth["baseline"]:
            way = smooth["floor"]["value"] - smooth["baseline"]["value"]
            if way > 0 and smooth["floor"]["value"] - smooth["value"] > 0.5 * way:
                said += "; they flicker: consecutive frames differ nearly as much as in shuffled clips"
        return f"{said}."
