"""A codec: an autoencoder with discrete latents on a grid, which another family learns to generate.

VQ-VAE (van den Oord et al., 2017), by default with finite scalar quantization instead of a codebook (FSQ, Mentzer et
al., 2023; see `quantise`). It has no prior and does not generate by itself: a Transformer over its codes is the second
stage of VQ-GAN (Esser et al., 2021), a flow over its latents is latent diffusion (Rombach et al., 2022); see
`modalities.latents`.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.errors import Message, Setting
from likewise.families.base import Family, Model, Sampling
from likewise.families.latent_grid import Stride, latent_positions, unfit_grid
from likewise.families.patch_discriminator import Adversarial, PatchDiscriminator
from likewise.families.quantise import FSQ, VQ, Quantiser
from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit

#: Variance that squared errors are divided by where values are on levels in [-1, 1].
_VARIANCE = 0.25


class Codec(Family):
    """Settings of a codec."""

    abilities: ClassVar[frozenset[str]] = frozenset({"encode", "posterior", "codes"})
    autoencodes: ClassVar[bool] = True
    generates: ClassVar[bool] = False

    name: Literal["codec"] = "codec"
    quantiser: Literal["fsq", "vq"] = Field(
        default="fsq", description="fsq: rounding to levels; vq: a learned codebook"
    )
    levels: tuple[Annotated[int, Field(ge=3, le=4096)], ...] = Field(
        default=(8, 5, 5, 5), min_length=1, max_length=16,
        description="fsq: levels of each dimension of a code; the number of codes is their product",
    )  # fmt: skip
    codebook_size: int = Field(default=512, ge=2, le=2**16, description="vq: codebook size")
    code_width: int = Field(default=8, ge=1, description="vq: dimension of the code vectors")
    commitment: float = Field(default=0.25, ge=0, allow_inf_nan=False, description="vq: weight of the commitment loss")
    stride: Stride | None = Field(
        default=None,
        description="downsampling factor, a power of two, or one per dimension; by default 4, or 2 below 16 "
        "positions, and more where there would be more than 256 codes",
    )
    adversarial: Adversarial = Adversarial()

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if why := unfit_grid("codec", target, self.stride):
            return why
        assert isinstance(target, Continuous)
        if target.choices:
            return f"codec learns numeric values, and some channels of {target} are categorical"
        return {"mapper": target}

    def unfit_condition(self, condition: Condition) -> str | None:
        if not condition:
            return None
        return Message("codec takes no condition: leave it out (", Setting("unconditional"), ")")

    def latents(self, target: Space) -> Continuous:
        assert isinstance(target, Continuous)
        return Continuous((len(self.levels) if self.quantiser == "fsq" else self.code_width, *self._grid(target)))

    def codebook(self, target: Space) -> Tokens:
        assert isinstance(target, Continuous)
        grid = self._grid(target)
        return Tokens(
            math.prod(grid), math.prod(self.levels) if self.quantiser == "fsq" else self.codebook_size, grid=grid
        )

    def _grid(self, target: Continuous) -> tuple[int, ...]:
        return latent_positions(target, self.stride)

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        assert isinstance(target, Continuous)
        return CodecModel(self, target, backbone)


class CodecModel(Model):
    """An encoder to a grid of vectors, a quantiser, and a decoder."""

    def __init__(self, settings: Codec, target: Continuous, backbone: Backbone) -> None:
        super().__init__(target, {})
        self.settings, self.space = settings, target
        latents = settings.latents(target)
        self.codes_space = settings.codebook(target)
        self.analysis = backbone.mapper(target, latents, {})
        fsq = settings.quantiser == "fsq"
        self.quantiser: Quantiser = FSQ(settings.levels) if fsq else VQ(settings.codebook_size, settings.code_width)
        self.synthesis = backbone.mapper(latents, target, {})
        self.critic = (
            PatchDiscriminator(settings.adversarial, backbone, target) if settings.adversarial.weight else None
        )

    def players(self) -> dict[str, nn.Module]:
        if self.critic is None:
            return {"model": self}
        return {"discriminator": self.critic, "model": nn.ModuleList([self.analysis, self.quantiser, self.synthesis])}

    def set_progress(self, step: int, steps: int) -> None:
        """Delay the adversarial loss until the discriminator is trained, and reset unused codes."""
        if self.critic is not None:
            self.critic.set_progress(step, steps)
        self.quantiser.tidy(step, steps)

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"loss"}: the squared error divided by the variance of values; with VQ {"commitment"}; with a patch
        discriminator {"adversarial"}. For the discriminator, its own terms.

        Logged for the batch: the share of codes used, their perplexity, and the PSNR in dB where values are on levels.
        """
        if player == "discriminator":
            assert self.critic is not None
            with torch.no_grad():
                made = self._reconstructed(x)
            return self.critic.discriminator_loss(x, made)
        values = self._values(x)
        vectors, index = self.quantiser(values)
        made = self.synthesis(vectors)
        error = (made - x).square().mean()
        terms = {"loss": error / self._variance}
        far = self.quantiser.commitment(values, index)
        if far is not None:
            terms["commitment"] = self.settings.commitment * far
        if self.critic is not None and self.critic.counts:
            terms["adversarial"] = self.settings.adversarial.weight * self.critic.adversarial_loss(x, made)
        if self.training:
            self.quantiser.learn(values, index, draws)
        counts = torch.bincount(index.flatten(), minlength=self.quantiser.vocabulary)
        terms["_codes_used"], terms["_perplexity"] = (counts > 0).float().mean(), perplexity(counts)
        if self.space.levels:
            terms["_psnr"] = psnr(error.detach())
        return terms

    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        raise Unfit(
            Message("a codec does not generate items: train another family on its codes, ", Setting("through", "RUN"))
        )

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor]:
        """The squared error of each item divided by the variance of values; weights are 1."""
        error = (self._reconstructed(x) - x).square().flatten(1).mean(1) / self._variance
        return error, torch.ones_like(error)

    @torch.no_grad()
    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The vectors before quantisation, shape (B, width, *grid)."""
        return self._values(x)

    @torch.no_grad()
    def posterior(self, x: Tensor, c: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The vectors before quantisation, with a standard deviation of 0."""
        values = self._values(x)
        return values, torch.zeros_like(values)

    @torch.no_grad()
    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Quantise the vectors z and decode them, shape (B, *shape)."""
        return self._finished(self.synthesis(self.quantiser.vectors(self.quantiser.index(z))))

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """The codes of items, in raster order of the grid: int64, shape (B, length)."""
        return self.quantiser.index(self._values(x)).flatten(1)

    @torch.no_grad()
    def from_codes(self, codes: Tensor) -> Tensor:
        """Decode codes, shape (B, length), to items, shape (B, *shape)."""
        return self._finished(self.synthesis(self.quantiser.vectors(codes.view(len(codes), *self.codes_space.grid))))

    @property
    def _variance(self) -> float:
        return _VARIANCE if self.space.levels else 1.0

    def _values(self, x: Tensor) -> Tensor:
        return self.quantiser.bound(self.analysis(x))

    def _reconstructed(self, x: Tensor) -> Tensor:
        return self.synthesis(self.quantiser(self._values(x))[0])

    def _finished(self, made: Tensor) -> Tensor:
        return made.clamp(-1, 1) if self.space.levels else made


def psnr(error: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB, from a mean squared error of values in [-1, 1]."""
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


def perplexity(counts: Tensor) -> Tensor:
    """The exponential of the entropy of codes, from usage counts, shape (codes,)."""
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()
