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

#: number of items in an average; small, so that a page takes seconds
COUNT = 8
#: largest number of items of each split whose latents are compared
FEW = 4000
Given = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One item that is explained.

    x: encoded, shape (1, *shape) or (1, L). index: the index of its noise if it was drawn, else of the noise of samples
    compared with it. drawn: whether it is a sample of the run.
    """

    name: str
    value: Any
    x: Tensor
    given: Given
    index: int
    drawn: bool


@dataclass
class Probe:
    """A run, the items to explain, and the seed of all noise.

    Raises ValueError if the run keeps fewer than two training or held-out items.
    """

    run: Run
    subjects: list[Subject]
    seed: int
    #: parts of the page that could not be shown, with the reason
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
        """Encoded values, shape (N, *shape), or (N, L) with the length L of the longest."""
        return self.run.field_data(values).encode(np.arange(len(values)), None, trim=True).to(self.device)

    def condition(self, rows: list[Given]) -> dict[str, Tensor] | None:
        return self.run.sampler.condition(rows, self.device)

    def noise(self, indices: Sequence[int]) -> Draws:
        """The noise of samples `indices` of the seed."""
        return Draws(derive_seed(self.seed, "sample"), torch.tensor(indices), self.device)

    def latent(self, indices: Sequence[int]) -> Tensor:
        """The latents of samples `indices`, shape (N, *shape). Raises Unfit if the model has none."""
        return self.model.latent(self.noise(indices))

    def draw(self, rows: list[Given], indices: Sequence[int], z: Tensor | None = None) -> list[Any]:
        """Draw samples `indices` with the conditions `rows`, from latents z, shape (N, *shape), if given.

        Rows with equal indices have equal noise, so that differences are due to the conditions or the latents.
        """
        draws, c = self.noise(indices), self.condition(rows)
        with torch.no_grad(), self.run.sampler.autocast(self.settings, self.device):
            if z is None:
                x = self.model.sample(c, draws, self.settings)
            else:
                self.model.latent(draws)  # consumes the same draws as for a sample, so that later noise is equal
                x = self.model.from_latent(z, c, draws, self.settings)
        return self.decoded(x.cpu(), indices)

    def decoded(self, x: Tensor, indices: Sequence[int]) -> list[Any]:
        draws = Draws(derive_seed(self.seed, "decode"), torch.tensor(indices))
        return self.run.encoding.decode(x, draws)

    def bits(self, values: Sequence[Any], rows: list[Given]) -> NDArray[np.float64] | None:
        """-log2 p of each value per unit of its modality (byte, dimension, column), shape (N,).

        None if the model has no likelihood. All values use the same noise. Each is divided by its own number of units.
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

        None if the model has no latent, or a latent with positions, such as noise of the item's shape, whose single
        numbers have no meaning.
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
        """The median distance between random pairs of training items, the unit of `moved`."""
        places = self.train_places[generator(self.seed, "unit").permutation(len(self.train_places))]
        half = len(places) // 2
        return float(np.median(np.linalg.norm(places[:half] - places[half : 2 * half], axis=1))) or 1.0

    def places(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """The modality's plain features of each value, shape (N, F); distances between them are Euclidean."""
        return np.asarray(self.run.modality.features(values), np.float64).reshape(len(values), -1)

    def moved(self, values: Sequence[Any], base: Any) -> NDArray[np.float64]:
        """The distance of each value from `base`, shape (N,): 0 if equal, 1 for two unrelated training items."""
        places = self.places([base, *values])
        return np.linalg.norm(places[1:] - places[0], axis=1) / self.unit
