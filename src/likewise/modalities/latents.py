"""Any modality seen through a trained autoencoder: its items become latents or codes, and what is drawn, items again.

A flow over the latents of texts is latent diffusion (Rombach et al., "High-resolution image synthesis with latent
diffusion models", 2022), a GAN over them a GAN for text (Makhzani et al., "Adversarial autoencoders", 2016, the other
way around), a Gaussian over them ex-post density estimation (Ghosh et al., "From variational to deterministic
autoencoders", 2020), a Transformer over the codes of pictures the second stage of VQ-GAN (Esser et al., "Taming
transformers for high-resolution image synthesis", 2021). None of them needs to know what its values were.
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

#: items that are read at once, and encoded at once
_READ, _ENCODED = 4096, 64
#: items that say where latents lie
_MEASURED = 4096


class AutoencoderModel(Protocol):
    """What is needed of a trained model (see `families.base.Model`, which says what each of these does)."""

    @property
    def device(self) -> torch.device: ...

    def posterior(self, x: Tensor, c: None) -> tuple[Tensor, Tensor]: ...

    def from_latent(self, z: Tensor, c: None, draws: Draws, settings: Any) -> Tensor: ...

    def codes(self, x: Tensor) -> Tensor: ...

    def from_codes(self, codes: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Autoencoder:
    """A trained model of p(x), as far as it is needed here, and how its items are read.

    encoding: of its items. load: the model, in eval mode, with a `posterior`; asked for when the first item is encoded
    or decoded. sampling: the settings of `from_latent`. latents: what it finds of an item. codes: what it makes of one;
    None where it has no codes.
    """

    encoding: Encoding
    load: Callable[[], AutoencoderModel]
    sampling: Any
    latents: Continuous
    codes: Tokens | None


class Through(Encoding):
    """An encoding over an autoencoder, which is kept beside the run; its modality is that of the autoencoder."""

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
        """The same over another autoencoder, such as one that draws otherwise."""
        return type(self)(autoencoder, **self.state())

    def decoded_by(self, model: AutoencoderModel) -> Encoding:
        """The same, of which `model` makes items instead of the autoencoder's own."""
        return self.over(replace(self.autoencoder, load=lambda: model))

    def unseen(self, values: Sequence[Any]) -> dict[int, str]:
        return self.autoencoder.encoding.unseen(values)

    def heatmap_html(self, x: Tensor, weights: NDArray[np.float64], titles: Sequence[str] = ()) -> str:
        return char_features.heatmap_html(self.pieces(x), weights.ravel(), titles)

    def uncounted(self) -> str | None:
        return self.autoencoder.encoding.uncounted()

    def view_settings(self, name: str) -> dict[str, Any]:
        """As the modality's, but never mirrored: latents are found once, of items as they are."""
        return {key: value for key, value in self.modality.view_settings(name).items() if key != "flip"}

    def _shown(self, x: Tensor, draws: Draws) -> list[Any]:
        """What the autoencoder's encoding decodes, of what its model made."""
        return self.autoencoder.encoding.decode(x.cpu(), draws.to("cpu"))


class Latents(Through):
    """The latents of an autoencoder, each unit shifted and scaled to mean 0 and variance 1.

    The units of a map are its channels: what lies at one place may lie at another.
    """

    name = "latents"

    def __init__(self, autoencoder: Autoencoder, shift: Sequence[float], scale: Sequence[float]) -> None:
        """shift, scale: of each unit, so that (z - shift) / scale is standardised."""
        super().__init__(autoencoder)
        wide = [1] * len(autoencoder.latents.positions)
        self.shift, self.scale = (torch.tensor(each).view(-1, *wide) for each in (shift, scale))

    @classmethod
    def fit(cls, modality: Modality, values: Sequence[Any], settings: Autoencoder, seed: int = 0) -> Latents:
        """Where the latents of training values lie. settings: the autoencoder."""
        chosen = range(len(values))
        if len(values) > _MEASURED:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), _MEASURED, replace=False)).tolist()
        found = _each(settings, [values[i] for i in chosen], _posterior)
        mean, spread = found.astype(np.float64).swapaxes(0, 1)
        others = tuple(axis for axis in range(mean.ndim) if axis != 1)
        # of draws from the posterior: the variance of its means, and the mean of its variances
        scale = np.sqrt(mean.var(others) + np.square(spread).mean(others))
        return cls(settings, mean.mean(others).tolist(), np.maximum(scale, 1e-6).tolist())

    def state(self) -> dict[str, Any]:
        """As JSON; the autoencoder is kept beside it."""
        return {"shift": self.shift.flatten().tolist(), "scale": self.scale.flatten().tolist()}

    @property
    def space(self) -> Continuous:
        return self.autoencoder.latents

    @property
    def packed_bytes(self) -> int:
        return 8 * self.autoencoder.latents.size

    def pack(self, values: Sequence[Any]) -> Packed:
        """The mean and the scale of each one's posterior, found once: shape (N, 2, *latents.shape), float32."""
        return Packed(_each(self.autoencoder, values, _posterior))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        """A draw from each item's posterior, as the decoder was trained on; without draws, its mean."""
        mean, spread = torch.from_numpy(batch).unbind(1)
        z = mean if draws is None else mean + spread * draws.normal(*self.autoencoder.latents.shape).cpu()
        return (z - self.shift) / self.scale

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """What the autoencoder makes of latents; without draws, with noise of its own, always the same."""
        model, there = self.autoencoder.load(), _noise(x, draws)
        z = (x.float() * self.scale + self.shift).to(model.device)
        noise = there.to(model.device)
        return self._shown(model.from_latent(z, None, noise, self.autoencoder.sampling), noise)

    def pieces(self, x: Tensor) -> list[str]:
        """Each unit with its value: what is at a place is not what the item has there alone."""
        return [f"{i}: {value:+.1f} " for i, value in enumerate(x.flatten().tolist())]

    def describe(self) -> str:
        latents, within = self.autoencoder.latents, self.autoencoder.encoding.describe()
        grid = f" at each of {'x'.join(map(str, latents.positions))} places" if latents.positions else ""
        return f"{within}, seen through {latents.channels} latents{grid}"


class Codes(Through):
    """The codes of an autoencoder that has them, as tokens."""

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
        """The codes of each value, found once: shape (N, length), int32."""
        return Packed(_each(self.autoencoder, values, _codes))

    def encode(self, batch: NDArray[Any], draws: Draws | None = None) -> Tensor:
        return torch.from_numpy(batch).long()

    def decode(self, x: Tensor, draws: Draws | None = None) -> list[Any]:
        """What the autoencoder makes of codes; without draws, with noise of its own, always the same."""
        model, there = self.autoencoder.load(), _noise(x, draws)
        return self._shown(model.from_codes(x.to(model.device)), there.to(model.device))

    def pieces(self, x: Tensor) -> list[str]:
        return [f"{code} " for code in x.tolist()]

    def describe(self) -> str:
        grid = "x".join(map(str, self.space.grid))
        return f"{self.autoencoder.encoding.describe()}, seen through {grid} codes of {self.space.vocabulary:,}"


def through(autoencoder: Autoencoder) -> list[type[Encoding]]:
    """The encodings over an autoencoder: codes first where it has them."""
    return [Latents] if autoencoder.codes is None else [Codes, Latents]


def opened(name: str, autoencoder: Autoencoder, state: dict[str, Any]) -> Encoding:
    """The encoding over an autoencoder that is called `name`, with its state."""
    return Latents(autoencoder, **state) if name == Latents.name else Codes(autoencoder)


def _noise(x: Tensor, draws: Draws | None) -> Draws:
    return draws or Draws(derive_seed(0, "decode"), torch.arange(len(x)))


def _posterior(model: AutoencoderModel, x: Tensor) -> Tensor:
    """The mean and the scale of each item's posterior, shape (B, 2, *latents.shape)."""
    return torch.stack(model.posterior(x, None), 1).float()


def _codes(model: AutoencoderModel, x: Tensor) -> Tensor:
    return model.codes(x).int()


def _each(
    autoencoder: Autoencoder, values: Sequence[Any], find: Callable[[AutoencoderModel, Tensor], Tensor]
) -> NDArray[Any]:
    """What the model finds of each value, shape (N, ...)."""
    model, inner = autoencoder.load(), autoencoder.encoding
    found: list[NDArray[Any]] = []
    for start in range(0, len(values), _READ):
        packed = inner.pack([values[i] for i in range(start, min(start + _READ, len(values)))])
        # by length, as short items would wait for long ones
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
