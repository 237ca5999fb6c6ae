"""Monitors that raise alarms during training: loss spikes, overfitting, collapse, copies of training items.

A loss is compared with its own recent values, previews with the same number of real items. The state follows from
metrics.jsonl, from which a resumed run restores it (`Watch.replay`).
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.metrics.neighbours import nearest

Array = NDArray[np.float64]

#: consecutive lines with a problem before an alarm, for terms of which a single line is noisy
_LONG = 5
#: recent lines that define the normal range of a loss
_WINDOW = 40
#: minimum number of samples for an alarm about previews
_ENOUGH = 24
#: a sample is nearly a copy if the distance to its nearest training item is less than this multiple of the distance to
#: the second nearest (Yoon et al., 2023)
_RATIO = 1 / 3


@dataclass(frozen=True)
class Alarm:
    """A problem reported at `step`, first observed at `since`: the observation (`saw`) and advice."""

    kind: str
    step: int
    since: int
    saw: str
    advice: str

    def __str__(self) -> str:
        return f"alarm: {self.kind} since step {self.since}: {self.saw}; try {self.advice}"

    def line(self) -> dict[str, Any]:
        """The alarm as a line of metrics.jsonl."""
        return {"step": self.step, "split": "alarm", "kind": self.kind, "since": self.since, "saw": self.saw,
                "try": self.advice}  # fmt: skip


class Watch:
    """Monitors losses and previews; each method returns the new alarms."""

    def __init__(self) -> None:
        self._history: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))
        self._since: dict[str, int] = {}
        self._count: dict[str, int] = defaultdict(int)
        self._told: set[str] = set()
        self._pool: deque[Array] = deque(maxlen=4)

    def replay(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Restore the state of an interrupted run from the lines of its metrics.jsonl."""
        for line in lines:
            if line.get("split") == "train":
                self.losses(line["step"], line)
            elif line.get("split") == "val":
                self.held_out(line["step"], line["loss"], line["best"])
            elif line.get("split") == "alarm":
                self._told.add(line["kind"])
                self._since[line["kind"]] = line["since"]

    def losses(self, step: int, line: Mapping[str, Any]) -> list[Alarm]:
        """Check the loss terms. line: a metrics line of split "train", with means since the previous line."""
        terms = {k: float(v) for k, v in line.items() if k not in _NOT_TERMS and isinstance(v, (int, float))}
        # the losses of two players oscillate in normal training: a higher threshold for spikes
        far = 1000.0 if "discriminator" in terms else 20.0
        found = [self._spike(step, k, v, far) for k, v in terms.items() if not k.startswith("_")]
        if "discriminator" in terms and "_real" in terms:
            apart = terms["_real"] - terms["_generated"]
            found.append(
                self._judge(
                    "discriminator overpowering", step, 0 <= terms["discriminator"] < 0.02 and apart > 4, _LONG,
                    f"the discriminator's loss is {terms['discriminator']:.2g}, its logits of real and generated items "
                    f"are {apart:.3g} apart, so the generator's gradient says little",
                    "a larger family.gamma, a smaller training.lr, or a smaller discriminator",
                )
            )  # fmt: skip
        if "_active_units" in terms:
            found.append(
                self._judge(
                    "posterior collapse", step, terms["_active_units"] < 1 or terms.get("_kl", 1.0) < 0.1, _LONG,
                    f"{terms['_active_units']:.0f} units of the latent vary, its KL is {terms.get('_kl', 0):.2g} nats: "
                    "the decoder ignores it",
                    "a smaller family.beta, free bits (family.free_bits), or a weaker decoder",
                )
            )  # fmt: skip
        if "_perplexity" in terms:
            found.append(
                self._judge(
                    "codebook collapse", step, terms["_perplexity"] < 2, _LONG,
                    f"the codes in use say no more than {terms['_perplexity']:.2g} codes by turns would",
                    "family.quantiser=fsq, or a smaller training.lr",
                )
            )  # fmt: skip
        return [a for a in found if a]

    def held_out(self, step: int, loss: float, best: float) -> list[Alarm]:
        """Check a validation loss. best: the lowest so far."""
        if not math.isfinite(loss):
            alarm = self._judge("val loss", step, True, 1, f"it is {loss}", "a smaller training.lr")
        else:
            worse = loss > best + 0.1 * abs(best)
            alarm = self._judge(
                "overfitting", step, worse, 3, f"val loss {loss:.4g}, was {best:.4g} at best",
                "more data, a smaller network, dropout, or fewer minutes; the best checkpoint draws, "
                "or of a flow of pictures the last",
            )  # fmt: skip
        return [alarm] if alarm else []

    def preview(self, step: int, drawn: Array, train: Array, held_out: Array) -> list[Alarm]:
        """Check samples for mode collapse and copies; the samples of the last four previews are pooled.

        drawn: features of new samples, shape (n, F). train, held_out: features of real items, shapes (N, F), (M, F).
        """
        self._pool.append(drawn)
        pool = np.concatenate(self._pool)
        if len(pool) < _ENOUGH or len(train) < _ENOUGH:
            return []
        # the same number of real items, with columns scaled to unit variance; constant columns are dropped
        scale = train.std(0)
        keep = scale > 1e-9
        pool, real, other = ((a[:, keep] / scale[keep]) for a in (pool, train, held_out))
        few = real[np.linspace(0, len(real) - 1, min(len(pool), len(real))).astype(int)]
        spread, normal = (np.median(nearest(a, a, 1, skip_self=True)[0]) for a in (pool, few))
        same, usual = (_same(a) for a in (pool, few))
        found = [
            self._judge(
                "mode collapse", step,
                bool(same > usual + 0.3 or (normal > 0 and spread < 0.2 * normal)), 2,
                f"{same:.0%} of {len(pool)} samples equal another ({usual:.0%} of real items do), and their nearest "
                f"neighbours are {spread:.2g} away (real items': {normal:.2g})",
                "another seed, a larger batch, a larger family.gamma of a GAN, or the family flow",
            )
        ]  # fmt: skip
        copies = _near(pool, real)
        # the rate by chance: of held-out items, or of training items among all others, as records may repeat
        chance = max(_near(other, real) if len(other) else 0.0, _near(few, real, own=True))
        found.append(
            self._judge(
                "copying", step, copies > chance + 0.2, 2,
                f"{copies:.0%} of {len(pool)} samples are copies of training items or nearly so ({chance:.0%} of real "
                "items are)",
                "more data, fewer minutes, a smaller network, or more dropout",
            )
        )  # fmt: skip
        return [a for a in found if a]

    def _spike(self, step: int, name: str, value: float, far: float) -> Alarm | None:
        past = self._history[name]
        alarm = None
        if len(past) >= 8:
            middle = float(np.median(past))
            spread = max(1.5 * float(np.median(np.abs(np.array(past) - middle))), 0.05 * abs(middle), 1e-3)
            alarm = self._judge(
                f"loss spike ({name})", step, not value < middle + far * spread, 1,
                f"{name} is {value:.4g}, and was {middle:.4g} until now",
                "a smaller training.lr, a smaller training.grad_clip, or training.precision=float32",
            )  # fmt: skip
        past.append(value)
        return alarm

    def _judge(self, kind: str, step: int, wrong: bool, long: int, saw: str, advice: str) -> Alarm | None:
        """An alarm after `long` consecutive checks with `wrong`; repeated only after a check without."""
        if not wrong:
            self._count[kind] = 0
            self._since.pop(kind, None)
            self._told.discard(kind)
            return None
        self._count[kind] += 1
        since = self._since.setdefault(kind, step)
        if self._count[kind] < long or kind in self._told:
            return None
        self._told.add(kind)
        return Alarm(kind, step, since, saw, advice)


_NOT_TERMS = {"step", "steps", "seconds", "split", "items_per_second", "tokens_per_second"}


def _same(x: Array) -> float:
    """The share of rows that equal another row."""
    return float((nearest(x, x, 1, skip_self=True)[0][:, 0] < 1e-6).mean())


def _near(x: Array, train: Array, own: bool = False) -> float:
    """The share of rows of x that are copies of a training item or nearly so. own: whether x are training items."""
    distance = nearest(x, train, 3 if own else 2)[0]
    if own:  # the nearest is the item itself
        distance = distance[:, 1:]
    return float(((distance[:, 0] < 1e-6) | (distance[:, 0] < _RATIO * distance[:, 1])).mean())
