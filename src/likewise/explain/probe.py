"""The inputs of all explanations: the explained items, repeated sampling with the same noise, and distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws, derive_seed
from likewise.metrics.intervals import generator
from likewise.metrics.likelihood import bits
from likewise.runs.run import Reference, Run
from likewise.spaces import Unfit

#: how many items an average is taken over; few, so that a page takes seconds
COUNT = 8
#: items of each split whose latents are compared, at most
FEW = 4000
Given = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One item that is explained.

    x: encoded, shape (1, *shape) or (1, L). index: which noise of the seed it was drawn with, or for a user's own item
    is drawn with beside it.
    """

    name: str
    value: Any
    x: Tensor
    given: Given
    index: int
    drawn: bool


@dataclass
class Probe:
    """A run, the items to explain, and the seed of all noise."""

    run: Run
    subjects: list[Subject]
    seed: int
    #: what could not be shown, and why
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = self.run.model
        self.device = next(self.model.parameters()).device
        self.settings = self.run.sampler.settings()
        for split in ("train", "held_out"):
            kept = self.run.path / "reference" / f"{split}.json"
            if not kept.is_file():
                raise ValueError(f"{kept}: is not there; explain compares with the real data that training left in it")
        for name, part in (("training", self.train), ("held-out", self.held_out)):
            if len(part.values) < 2:
                raise ValueError(f"{self.run.path}: {len(part.values)} {name} items are kept; explain needs two")

    @cached_property
    def train(self) -> Reference:
        return self.run.reference("train")

    @cached_property
    def held_out(self) -> Reference:
        return self.run.reference("held_out")

    def some_held_out(self, count: int) -> list[Subject]:
        """A few held-out items, chosen by the seed, as subjects."""
        values, given = self.held_out.values, self.held_out.given
        chosen = generator(self.seed, "held out").permutation(len(values))[:count].tolist()
        return [
            Subject(
                f"held-out item {i}",
                values[i],
                self.encoded([values[i]]),
                {name: column[i] for name, column in given.items()},
                place,
                False,
            )
            for place, i in enumerate(chosen)
        ]

    def encoded(self, values: Sequence[Any]) -> Tensor:
        """Values as the model sees them, shape (N, *shape), or (N, L) as long as the longest."""
        return self.run.field_data(values).encode(np.arange(len(values)), None, trim=True).to(self.device)

    def condition(self, rows: list[Given]) -> dict[str, Tensor] | None:
        return self.run.sampler.condition(rows, self.device)

    def noise(self, indices: Sequence[int]) -> Draws:
        """The noise that samples `indices` of the seed are drawn with."""
        return Draws(derive_seed(self.seed, "sample"), torch.tensor(indices), self.device)

    def latent(self, indices: Sequence[int]) -> Tensor:
        """The latents that samples `indices` start from. Raises Unfit where there are none."""
        return self.model.latent(self.noise(indices))

    def draw(self, rows: list[Given], indices: Sequence[int], z: Tensor | None = None) -> list[Any]:
        """Sample `indices` of the seed, drawn for what each of the rows gives; from other latents z, if they are given.

        Rows with one index get the same noise, so that what differs is due to the rows or the latents.
        """
        draws, c = self.noise(indices), self.condition(rows)
        with torch.no_grad(), self.run.sampler.autocast(self.settings, self.device):
            if z is None:
                x = self.model.sample(c, draws, self.settings)
            else:
                self.model.latent(draws)  # what follows is then drawn as it is for a sample
                x = self.model.from_latent(z, c, draws, self.settings)
        return self.decoded(x.cpu(), indices)

    def decoded(self, x: Tensor, indices: Sequence[int]) -> list[Any]:
        draws = Draws(derive_seed(self.seed, "decode"), torch.tensor(indices))
        return self.run.encoding.decode(x, draws)

    def bits(self, values: Sequence[Any], rows: list[Given]) -> NDArray[np.float64] | None:
        """-log2 p of each value per unit of its modality (byte, dimension, column), shape (N,); None if there is none.

        Every value is measured with the same noise. A value's own bytes are what it is divided by.
        """
        if self.model.likelihood is None:
            return None
        x, c = self.encoded(values), self.condition(rows)
        noise = Draws(derive_seed(self.seed, "likelihood"), torch.zeros(len(values), dtype=torch.long), self.device)
        with torch.no_grad():
            nats = self.model.log_likelihood(x, c, noise).double().cpu().numpy()
        amounts = np.array([self.run.modality.num_units(value) for value in values])
        return bits(nats, self.model.target) / amounts

    @cached_property
    def known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The latents of training and of held-out items, the first `FEW` of each: shapes (N, units), (M, units).

        None where an item has none, or noise of its own shape, in which no place means anything.
        """
        try:
            if self.latent([0]).dim() != 2:
                return None
            return self._latents(self.train), self._latents(self.held_out)
        except Unfit:
            return None

    def _latents(self, part: Reference) -> NDArray[np.float64]:
        c = None if part.c is None else {name: value[:FEW] for name, value in part.c.items()}
        return self.run.over(part.x[:FEW], c, lambda x, given, _: self.model.encode(x, given, self.settings))

    @cached_property
    def train_places(self) -> NDArray[np.float64]:
        """The plain features of the training items that are kept with the run, shape (N, F)."""
        return self.places(self.train.values)

    @cached_property
    def unit(self) -> float:
        """How far two unrelated training items are from one another: the median distance."""
        places = self.train_places[generator(self.seed, "unit").permutation(len(self.train_places))]
        half = len(places) // 2
        return float(np.median(np.linalg.norm(places[:half] - places[half : 2 * half], axis=1))) or 1.0

    def places(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """The modality's plain features of each value, shape (N, F); distances between them are Euclidean."""
        return np.asarray(self.run.modality.features(values), np.float64).reshape(len(values), -1)

    def moved(self, values: Sequence[Any], base: Any) -> NDArray[np.float64]:
        """How far each value is from `base`, shape (N,): 0 the same, 1 as far as two unrelated training items."""
        places = self.places([base, *values])
        return np.linalg.norm(places[1:] - places[0], axis=1) / self.unit
