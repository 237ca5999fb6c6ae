"""Any modality seen through a trained autoencoder: its items become latents, and what is drawn becomes items again.

A flow over the latents of texts is latent diffusion (Rombach et al., "High-resolution image synthesis with latent
diffusion models", 2022), a GAN over them a GAN for text (Makhzani et al., "Adversarial autoencoders", 2016, the other
way around), a Gaussian over them ex-post density estimation (Ghosh et al., "From variational to deterministic
autoencoders", 2020). None of them needs to know that its real values were texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.draws import Draws, derive_seed
from likewise.families.base import Model, Sampling
from likewise.modalities import letters
from likewise.modalities.base import Encoding, Modality, ModalitySettings, Packed
from likewise.spaces import Continuous, Space

#: items that are read at once, and encoded at once
_READ, _ENCODED = 4096, 64
#: items that say where latents lie
_MEASURED = 4096


@dataclass(frozen=True)
class Autoencoder:
    """A trained model of p(x), as far as it is needed here, and how its items are read.

    load: the model, in eval mode, with a `posterior`; asked for when the first item is encoded or decoded.
    """

    modality: Modality
    encoding: Encoding
    load: Callable[[], Model]
    sampling: Sampling


class Latents(Modality):
    """The latents of an autoencoder, shifted and scaled to mean 0 and variance 1 in each unit.

    Everything that concerns values, how they are read, shown, written and described, is the inner modality's.
    """

    Settings = ModalitySettings
    encodings = ("continuous",)

    def __init__(self, autoencoder: Autoencoder, shift: Sequence[float], scale: Sequence[float]) -> None:
        """shift, scale: of each unit, so that (z - shift) / scale is standardised."""
        inner = autoencoder.modality
        self.autoencoder, self.inner = autoencoder, inner
        self.shift, self.scale = torch.tensor(shift), torch.tensor(scale)
        self.name, self.suffix, self.unit, self.notes = inner.name, inner.suffix, inner.unit, inner.notes

    @classmethod
    def fit(cls, values: Sequence[Any], settings: Autoencoder, seed: int = 0) -> Latents:
        """Where the latents of training values lie. settings: the autoencoder."""
        chosen = range(len(values))
        if len(values) > _MEASURED:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), _MEASURED, replace=False)).tolist()
        mean, spread = _posteriors(settings, [values[i] for i in chosen]).astype(np.float64).transpose(1, 0, 2)
        # of draws from the posterior: the variance of its means, and the mean of its variances
        scale = np.sqrt(mean.var(0) + np.square(spread).mean(0))
        return cls(settings, mean.mean(0).tolist(), np.maximum(scale, 1e-6).tolist())

    def state(self) -> dict[str, Any]:
        """As JSON; the autoencoder is kept beside it."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Latents:
        raise NotImplementedError("latents are opened beside their autoencoder: Latents(autoencoder, **state)")

    def space(self, encoding: Encoding) -> Space:
        return Continuous((len(self.shift),))

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """Encode the values, once: the mean and the scale of each one's posterior, shape (N, 2, units), float32."""
        return Packed(_posteriors(self.autoencoder, values))

    def packed_bytes(self, encoding: Encoding) -> int:
        return 8 * len(self.shift)

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        """A draw from each item's posterior, as the decoder was trained on; without draws, its mean."""
        mean, spread = torch.from_numpy(batch).unbind(1)
        z = mean if draws is None else mean + spread * draws.normal(len(self.shift)).cpu()
        return (z - self.shift) / self.scale

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        """What the autoencoder makes of latents; without draws, with noise of its own that is always the same."""
        model = self.autoencoder.load()
        noise = draws or Draws(derive_seed(0, "decode"), torch.arange(len(x)))
        z = (x.float() * self.scale + self.shift).to(model.device)
        there = noise.to(model.device)
        drawn = model.from_latent(z, None, there, self.autoencoder.sampling).cpu()
        return self.inner.decode(drawn, self.autoencoder.encoding, there.to("cpu"))

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        """Each unit with its value: an item's parts have no latents of their own."""
        return [f"{i}: {value:+.1f} " for i, value in enumerate(x.tolist())]

    def shade(self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()) -> str:
        return letters.shade(self.pieces(x, encoding), weights, titles)

    def describe(self) -> str:
        return f"{self.inner.describe()}, seen through {len(self.shift)} latents"

    # What concerns values alone.

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return self.inner.unseen(values)

    def view(self, value: Any, name: str) -> Any:
        return self.inner.view(value, name)

    def view_settings(self, name: str) -> dict[str, Any]:
        """As the inner modality's, but never mirrored: latents are found once, of items as they are."""
        return {key: value for key, value in self.inner.view_settings(name).items() if key != "flip"}

    def to_given(self, value: Any) -> Any:
        return self.inner.to_given(value)

    def read(self, value: Any) -> Any:
        return self.inner.read(value)

    def parse(self, text: str) -> Any:
        return self.inner.parse(text)

    def write(self, value: Any, path: Path, provenance: dict[str, Any]) -> None:
        self.inner.write(value, path, provenance)

    def to_json(self, value: Any) -> Any:
        return self.inner.to_json(value)

    def words(self, value: Any) -> str:
        return self.inner.words(value)

    def show(self, value: Any) -> str:
        return self.inner.show(value)

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        return self.inner.sheet(values)

    def read_file(self, path: Path) -> Any:
        return self.inner.read_file(path)

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        return self.inner.read_mask(path)

    def slips(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        return self.inner.slips(value, rng)

    def properties(self, values: Sequence[Any]) -> dict[str, Callable[[Any], bool]]:
        return self.inner.properties(values)

    def features(self, values: Sequence[Any]) -> NDArray[np.float64]:
        return self.inner.features(values)

    @property
    def resize(self) -> str:
        return self.inner.resize

    def labels(self, values: Sequence[Any]) -> dict[str, list[str | None]]:
        return self.inner.labels(values)

    def without(self, values: Sequence[Any], name: str) -> list[Any]:
        return self.inner.without(values, name)

    def amount(self, value: Any) -> int:
        return self.inner.amount(value)

    def uncounted(self, encoding: Encoding) -> str | None:
        return self.inner.uncounted(self.autoencoder.encoding)

    def task(self, given: Sequence[str]) -> str | None:
        return self.inner.task(given)


def _posteriors(autoencoder: Autoencoder, values: Sequence[Any]) -> NDArray[np.float32]:
    """The mean and the scale of each value's posterior, shape (N, 2, units)."""
    model, inner, encoding = autoencoder.load(), autoencoder.modality, autoencoder.encoding
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(values), _READ):
        packed = inner.pack([values[i] for i in range(start, min(start + _READ, len(values)))], encoding)
        # by length, as short items would wait for long ones
        order = np.arange(len(packed)) if packed.lengths is None else np.argsort(packed.lengths, kind="stable")
        parts = []
        for first in range(0, len(order), _ENCODED):
            x = inner.encode(packed.take(order[first : first + _ENCODED]), encoding)
            with torch.no_grad():
                parts.append(torch.stack(model.posterior(x.to(model.device), None), 1).float().cpu().numpy())
        whole = np.concatenate(parts)
        back = np.empty_like(whole)
        back[order] = whole
        found.append(back)
    return np.concatenate(found)
