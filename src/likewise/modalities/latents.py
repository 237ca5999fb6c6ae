"""Any modality seen through a trained autoencoder: its items become latents or codes, and what is drawn, items again.

A flow over the latents of texts is latent diffusion (Rombach et al., "High-resolution image synthesis with latent
diffusion models", 2022), a GAN over them a GAN for text (Makhzani et al., "Adversarial autoencoders", 2016, the other
way around), a Gaussian over them ex-post density estimation (Ghosh et al., "From variational to deterministic
autoencoders", 2020), a Transformer over the codes of pictures the second stage of VQ-GAN (Esser et al., "Taming
transformers for high-resolution image synthesis", 2021). None of them needs to know what its values were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from likewise.draws import Draws, derive_seed
from likewise.families.base import Model, Sampling
from likewise.modalities import char_features
from likewise.modalities.base import Encoding, Modality, ModalitySettings, Packed
from likewise.spaces import Continuous, Space, Tokens

#: items that are read at once, and encoded at once
_READ, _ENCODED = 4096, 64
#: items that say where latents lie
_MEASURED = 4096


@dataclass(frozen=True)
class Autoencoder:
    """A trained model of p(x), as far as it is needed here, and how its items are read.

    load: the model, in eval mode, with a `posterior`; asked for when the first item is encoded or decoded.
    latents: what it finds of an item. codes: what it makes of one; None where it has no codes.
    """

    modality: Modality
    encoding: Encoding
    load: Callable[[], Model]
    sampling: Sampling
    latents: Continuous
    codes: Tokens | None


class Latents(Modality):
    """The latents of an autoencoder, each unit shifted and scaled to mean 0 and variance 1, or its codes, as tokens.

    The units of a map are its channels: what lies at one place may lie at another. Codes come first where there are.
    Everything that concerns values, how they are read, shown, written and described, is the inner modality's.
    """

    Settings = ModalitySettings

    def __init__(self, autoencoder: Autoencoder, shift: Sequence[float], scale: Sequence[float]) -> None:
        """shift, scale: of each unit, so that (z - shift) / scale is standardised."""
        self.encodings = ("continuous",) if autoencoder.codes is None else ("tokens", "continuous")
        inner = autoencoder.modality
        self.autoencoder, self.inner = autoencoder, inner
        wide = [1] * len(autoencoder.latents.positions)
        self.shift, self.scale = (torch.tensor(each).view(-1, *wide) for each in (shift, scale))
        self.name, self.suffix, self.likelihood_unit, self.notes = (
            inner.name,
            inner.suffix,
            inner.likelihood_unit,
            inner.notes,
        )
        self.suffixes, self.forms, self.page_style = inner.suffixes, inner.forms, inner.page_style

    @classmethod
    def fit(cls, values: Sequence[Any], settings: Autoencoder, seed: int = 0) -> Latents:
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

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Latents:
        raise NotImplementedError("latents are opened beside their autoencoder: Latents(autoencoder, **state)")

    def space(self, encoding: Encoding) -> Space:
        return self._tokens if encoding == "tokens" else self.autoencoder.latents

    @property
    def _tokens(self) -> Tokens:
        assert self.autoencoder.codes is not None
        return self.autoencoder.codes

    def pack(self, values: Sequence[Any], encoding: Encoding) -> Packed:
        """Encode the values, once: codes, shape (N, length), int32; or the mean and the scale of each one's posterior,
        shape (N, 2, *latents.shape), float32."""
        return Packed(_each(self.autoencoder, values, _codes if encoding == "tokens" else _posterior))

    def packed_bytes(self, encoding: Encoding) -> int:
        return 4 * self._tokens.length if encoding == "tokens" else 8 * self.autoencoder.latents.size

    def encode(self, batch: NDArray[Any], encoding: Encoding, draws: Draws | None = None) -> Tensor:
        """A draw from each item's posterior, as the decoder was trained on; without draws, its mean. Or its codes."""
        if encoding == "tokens":
            return torch.from_numpy(batch).long()
        mean, spread = torch.from_numpy(batch).unbind(1)
        z = mean if draws is None else mean + spread * draws.normal(*self.autoencoder.latents.shape).cpu()
        return (z - self.shift) / self.scale

    def decode(self, x: Tensor, encoding: Encoding, draws: Draws | None = None) -> list[Any]:
        """What the autoencoder makes of latents or codes; without draws, with noise of its own, always the same."""
        model = self.autoencoder.load()
        noise = draws or Draws(derive_seed(0, "decode"), torch.arange(len(x)))
        there = noise.to(model.device)
        if encoding == "tokens":
            drawn = model.from_codes(x.to(model.device)).cpu()
        else:
            z = (x.float() * self.scale + self.shift).to(model.device)
            drawn = model.from_latent(z, None, there, self.autoencoder.sampling).cpu()
        return self.inner.decode(drawn, self.autoencoder.encoding, there.to("cpu"))

    def decoded_by(self, model: Model) -> Latents:
        """The same latents, of which `model` makes items instead of the autoencoder's own."""
        return Latents(replace(self.autoencoder, load=lambda: model), **self.state())

    def pieces(self, x: Tensor, encoding: Encoding) -> list[str]:
        """Each unit with its value, or each code: what is at a place is not what the item has there alone."""
        if encoding == "tokens":
            return [f"{code} " for code in x.tolist()]
        return [f"{i}: {value:+.1f} " for i, value in enumerate(x.flatten().tolist())]

    def heatmap_html(
        self, x: Tensor, weights: NDArray[np.float64], encoding: Encoding, titles: Sequence[str] = ()
    ) -> str:
        return char_features.heatmap_html(self.pieces(x, encoding), weights.ravel(), titles)

    def describe(self) -> str:
        latents, codes = self.autoencoder.latents, self.autoencoder.codes
        if codes is not None:
            grid = "x".join(map(str, codes.grid))
            return f"{self.inner.describe()}, seen through {grid} codes of {codes.vocabulary:,}"
        grid = f" at each of {'x'.join(map(str, latents.positions))} places" if latents.positions else ""
        return f"{self.inner.describe()}, seen through {latents.channels} latents{grid}"

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

    def written(self, changes: Mapping[str, Any]) -> Latents:
        changed = replace(self.autoencoder, modality=self.inner.written(changes))
        return Latents(changed, self.shift.tolist(), self.scale.tolist())

    def to_json(self, value: Any) -> Any:
        return self.inner.to_json(value)

    def caption(self, value: Any) -> str:
        return self.inner.caption(value)

    def to_html(self, value: Any) -> str:
        return self.inner.to_html(value)

    def text_of(self, value: Any) -> str:
        return self.inner.text_of(value)

    def row_of(self, value: Any) -> Mapping[str, Any]:
        return self.inner.row_of(value)

    def picture_of(self, value: Any) -> PILImage.Image:
        return self.inner.picture_of(value)

    def frames_of(self, value: Any) -> NDArray[np.uint8]:
        return self.inner.frames_of(value)

    def still(self, value: Any) -> PILImage.Image | None:
        return self.inner.still(value)

    def content(self, value: Any) -> bytes:
        return self.inner.content(value)

    def sheet(self, values: Sequence[Any]) -> bytes | None:
        return self.inner.sheet(values)

    def moving_sheet(self, values: Sequence[Any]) -> bytes | None:
        return self.inner.moving_sheet(values)

    def read_file(self, path: Path) -> Any:
        return self.inner.read_file(path)

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        return self.inner.read_mask(path)

    def perturbations(self, value: Any, rng: np.random.Generator) -> list[tuple[str, Any]]:
        return self.inner.perturbations(value, rng)

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

    def num_units(self, value: Any) -> int:
        return self.inner.num_units(value)

    def uncounted(self, encoding: Encoding) -> str | None:
        return self.inner.uncounted(self.autoencoder.encoding)

    def task(self, given: Sequence[str]) -> str | None:
        return self.inner.task(given)


def _posterior(model: Model, x: Tensor) -> Tensor:
    """The mean and the scale of each item's posterior, shape (B, 2, *latents.shape)."""
    return torch.stack(model.posterior(x, None), 1).float()


def _codes(model: Model, x: Tensor) -> Tensor:
    return model.codes(x).int()


def _each(autoencoder: Autoencoder, values: Sequence[Any], find: Callable[[Model, Tensor], Tensor]) -> NDArray[Any]:
    """What the model finds of each value, shape (N, ...)."""
    model, inner, encoding = autoencoder.load(), autoencoder.modality, autoencoder.encoding
    found: list[NDArray[Any]] = []
    for start in range(0, len(values), _READ):
        packed = inner.pack([values[i] for i in range(start, min(start + _READ, len(values)))], encoding)
        # by length, as short items would wait for long ones
        order = np.arange(len(packed)) if packed.lengths is None else np.argsort(packed.lengths, kind="stable")
        parts = []
        for first in range(0, len(order), _ENCODED):
            x = inner.encode(packed.take(order[first : first + _ENCODED]), encoding)
            with torch.no_grad():
                parts.append(find(model, x.to(model.device)).cpu().numpy())
        whole = np.concatenate(parts)
        back = np.empty_like(whole)
        back[order] = whole
        found.append(back)
    return np.concatenate(found)
