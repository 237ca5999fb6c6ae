"""Encodings by a trained autoencoder, for any modality: items become latents or codes, and samples are decoded.

A flow on latents is latent diffusion (Rombach et al., "High-resolution image synthesis with latent diffusion models",
2022). A GAN on the latents of texts generates text (compare Makhzani et al., "Adversarial autoencoders", 2016). A
Gaussian fitted to latents is ex-post density estimation (Ghosh et al., "From variational to deterministic
autoencoders", 2020). A Transformer on the codes of pictures is the second stage of VQ-GAN (Esser et al., "Taming
transformers for high-resolution image synthesis", 2021). These families do not depend on the modality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise import catalog
from likewise.draws import Draws, derive_seed
from likewise.modalities import char_features
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding
from likewise.modalities.packed import Packed
from likewise.spaces import Continuous, Tokens

#: items per chunk of reading, and per batch of encoding
_READ, _ENCODED = 4096, 64
#: items from which the mean and variance of latents are estimated
_MEASURED = 4096


class AutoencoderModel(Protocol):
    """The methods of a trained model that are used here (documented in `families.base.Model`)."""

    @property
    def device(self) -> torch.device: ...

    def posterior(self, x: Tensor, c: None) -> tuple[Tensor, Tensor]: ...

    def from_latent(self, z: Tensor, c: None, draws: Draws, settings: Any) -> Tensor: ...

    def codes(self, x: Tensor) -> Tensor: ...

    def from_codes(self, codes: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Autoencoder:
    """A trained autoencoder and the encoding of its items.

    encoding: that of its items. load: returns the model in eval mode; called when the first item is encoded or decoded.
    sampling: the settings of `from_latent`. latents: the space of its latents. codes: the space of its codes; None if
    it has none.
    """

    encoding: Encoding
    load: Callable[[], AutoencoderModel]
    sampling: Any
    latents: Continuous
    codes: Tokens | None


class Through(Encoding):
    """Base of the encodings by an autoencoder, which is stored with the run; the modality is the autoencoder's."""

    modality_name = catalog.ANY

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__(autoencoder.encoding.modality)
        self.autoencoder = autoencoder

    @classmethod
    def from_state(cls, modality: Modality, state: dict[str, Any]) -> Encoding:
        raise NotImplementedError(f"{cls.name} are opened beside their autoencoder: {cls.__name__}(autoencoder, ...)")

    def of(self, modality: Modality) -> Encoding:
        return self.over(replace(self.autoencoder, encoding=self.autoencoder.encoding.of(modality)))

    def over(self, autoencoder: Autoencoder) -> Encoding:
        """A copy with another autoencoder, for example one with other sampling settings."""
        return type(self)(autoencoder, **self.state())

    def decoded_by(self, model: AutoencoderModel) -> Encoding:
        """A copy that decodes with `model` instead of the autoencoder's own model."""
        return self.over(replace(self.autoencoder, load=lambda: model))

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return self.autoencoder.encoding.unseen(values)

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return char_features.heatmap_html(self.pieces(x), weights.ravel(), titles)

    def uncounted(self) -> str | None:
        return self.autoencoder.encoding.uncounted()

    def view_settings(self, name: str) -> dict[str, Any]:
        """The modality's, but without `flip`: latents are computed once, from items that are not augmented."""
        return {key: value for key, value in self.modality.view_settings(name).items() if key != "flip"}

    def _shown(self, x: Tensor, draws: Draws) -> list[Any]:
        """Decodes the model's output with the autoencoder's own encoding."""
        return self.autoencoder.encoding.decode(x.cpu(), draws.to("cpu"))


class Latents(Through):
    """The latents of an autoencoder, each unit standardised to mean 0 and variance 1.

    The units of a map are its channels, which have the same shift and scale at all positions.
    """

    name = "latents"

    def __init__(self, autoencoder: Autoencoder, shift: Sequence[float], scale: Sequence[float]) -> None:
        """shift, scale: one number per unit; (z - shift) / scale is standardised."""
        super().__init__(autoencoder)
        wide = [1] * len(autoencoder.latents.positions)
        self.shift, self.scale = (torch.tensor(each).view(-1, *wide) for each in (shift, scale))

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Autoencoder, seed: int = 0) -> Latents:
        """Estimate shift and scale from training values. settings: the autoencoder."""
        chosen = range(len(values))
        if len(values) > _MEASURED:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), _MEASURED, replace=False)).tolist()
        found = _each(settings, [values[i] for i in chosen], _posterior)
        mean, spread = found.astype(np.float64).swapaxes(0, 1)
        others = tuple(axis for axis in range(mean.ndim) if axis != 1)
        # Variance of posterior samples: the variance of the means plus the mean of the variances.
        scale = np.sqrt(mean.var(others) + np.square(spread).mean(others))
        return cls(settings, mean.mean(others).tolist(), np.maximum(scale, 1e-6).tolist())

    def state(self) -> dict[str, Any]:
        """Shift and scale, as JSON; the autoencoder is stored separately."""
        return {"shift": self.shift.flatten().tolist(), "scale": self.scale.flatten().tolist()}

    @property
    def space(self) -> Continuous:
        return self.autoencoder.latents

    @property
    def packed_bytes(self) -> int:
        return 8 * self.autoencoder.latents.size

    def pack(self, values: Sequence[Any]) -> Packed:
        """Mean and standard deviation of each posterior, computed once: shape (N, 2, *latents.shape), float32."""
        return Packed(_each(self.autoencoder, values, _posterior))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        """A sample of each item's posterior, as in the decoder's training; without draws, the posterior mean."""
        mean, spread = torch.from_numpy(batch).unbind(1)
        z = mean if draws is None else mean + spread * draws.normal(*self.autoencoder.latents.shape).cpu()
        return (z - self.shift) / self.scale

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """Items decoded from latents; without draws, with fixed noise."""
        model, there = self.autoencoder.load(), _noise(x, draws)
        z = (x.float() * self.scale + self.shift).to(model.device)
        noise = there.to(model.device)
        return self._shown(model.from_latent(z, None, noise, self.autoencoder.sampling), noise)

    def pieces(self, x: Tensor) -> list[str]:
        """Each unit as "index: value"; units are not tied to parts of the item."""
        return [f"{i}: {value:+.1f} " for i, value in enumerate(x.flatten().tolist())]

    def describe(self) -> str:
        latents, within = self.autoencoder.latents, self.autoencoder.encoding.describe()
        grid = f" at each of {'x'.join(map(str, latents.positions))} places" if latents.positions else ""
        return f"{within}, seen through {latents.channels} latents{grid}"


class Codes(Through):
    """The codes of an autoencoder with a discrete latent, as tokens."""

    name = "codes"
    default_family = "autoregressive"

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Autoencoder, seed: int = 0) -> Codes:
        """settings: the autoencoder."""
        return cls(settings)

    @property
    def space(self) -> Tokens:
        assert self.autoencoder.codes is not None
        return self.autoencoder.codes

    @property
    def packed_bytes(self) -> int:
        return 4 * self.space.length

    def pack(self, values: Sequence[Any]) -> Packed:
        """The codes of each value, computed once: shape (N, length), int32."""
        return Packed(_each(self.autoencoder, values, _codes))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch).long()

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """Items decoded from codes; without draws, with fixed noise."""
        model, there = self.autoencoder.load(), _noise(x, draws)
        return self._shown(model.from_codes(x.to(model.device)), there.to(model.device))

    def pieces(self, x: Tensor) -> list[str]:
        return [f"{code} " for code in x.tolist()]

    def describe(self) -> str:
        grid = "x".join(map(str, self.space.grid))
        return f"{self.autoencoder.encoding.describe()}, seen through {grid} codes of {self.space.vocabulary:,}"


def through(autoencoder: Autoencoder) -> list[type[Encoding]]:
    """The encodings by an autoencoder; codes first if it has them."""
    return [Latents] if autoencoder.codes is None else [Codes, Latents]


def opened(name: str, autoencoder: Autoencoder, state: dict[str, Any]) -> Encoding:
    """The encoding `name` by an autoencoder, with its state."""
    return Latents(autoencoder, **state) if name == Latents.name else Codes(autoencoder)


def _noise(x: Tensor, draws: Draws | None) -> Draws:
    return draws or Draws(derive_seed(0, "decode"), torch.arange(len(x)))


def _posterior(model: AutoencoderModel, x: Tensor) -> Tensor:
    """Mean and standard deviation of each item's posterior, shape (B, 2, *latents.shape)."""
    return torch.stack(model.posterior(x, None), 1).float()


def _codes(model: AutoencoderModel, x: Tensor) -> Tensor:
    return model.codes(x).int()


def _each(
    autoencoder: Autoencoder, values: Sequence[Any], find: Callable[[AutoencoderModel, Tensor], Tensor]
) -> NDArray[Any]:
    """Applies `find` to all values in batches; shape (N, ...)."""
    model, inner = autoencoder.load(), autoencoder.encoding
    found: list[NDArray[Any]] = []
    for start in range(0, len(values), _READ):
        packed = inner.pack([values[i] for i in range(start, min(start + _READ, len(values)))])
        # Batches of similar length need less padding.
        order = np.arange(len(packed)) if packed.lengths is None else np.argsort(packed.lengths, kind="stable")
        parts = []
        for first in range(0, len(order), _ENCODED):
            x = inner.encode(packed.take(order[first : first + _ENCODED]))
            with torch.no_grad():
                parts.append(find(model, x.to(model.device)).cpu().numpy())
        whole = np.concatenate(parts)
        back = np.empty_like(whole)
        back[order] = whole
        found.append(back)
    return np.concatenate(found)
