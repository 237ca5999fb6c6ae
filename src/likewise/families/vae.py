"""The variational autoencoder: a latent variable model, trained by a lower bound on log p(x|c).

Kingma and Welling, "Auto-encoding variational Bayes" (2014); free bits: Kingma et al. (2016); the text VAE with word
dropout and KL warm-up: Bowman et al., "Generating sentences from a continuous space" (2016); the tighter bound for
evaluation: Burda et al., "Importance weighted autoencoders" (2016); a latent with positions, as in latent diffusion:
Rombach et al. (2022).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.families import ragged
from likewise.families.base import Family, Graph, Model, Sampling, drop_some
from likewise.families.decoder_distributions import DecoderDistribution, Kind
from likewise.families.decoding import PER_ROW, TokenRules, TokenSampling, allowed, decode, token_nll
from likewise.families.latent_grid import Stride, latent_positions, unfit_grid
from likewise.families.patch_discriminator import Adversarial, PatchDiscriminator
from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit, add_mask, item_lengths, position_mask


class VAESampling(TokenSampling):
    """Sampling settings of a VAE; temperature and truncation apply to tokens."""

    mean: bool | None = Field(
        default=None, description="output the mean of p(x|z) instead of a sample; by default where x has levels"
    )
    length: int | None = Field(
        default=None, ge=1, description="positions of an item, where items differ in length; by default as in the data"
    )


class VAE(Family):
    """Settings of a variational autoencoder."""

    abilities: ClassVar[frozenset[str]] = frozenset({"latent", "encode", "posterior", "graph"})
    autoencodes: ClassVar[bool] = True
    ragged: ClassVar[bool] = True
    per_row: ClassVar[frozenset[str]] = PER_ROW

    name: Literal["vae"] = "vae"
    latent: int = Field(default=32, ge=1, description="dimension of the latent; with a stride, per position")
    stride: Stride | None = Field(
        default=None,
        description="downsampling factor of a latent with positions, a power of two; by default a single latent vector",
    )
    beta: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the KL term (beta-VAE)")
    free_bits: float | None = Field(
        default=None, ge=0, description="free bits, in nats of each item's total KL; by default 0, and 8 for tokens"
    )
    kl_warmup: float = Field(default=0.2, ge=0, le=1, description="share of the steps over which the KL weight rises")
    likelihood: Literal["auto"] | Kind = Field(default="auto", description="decoder distribution p(x|z) of real values")
    word_dropout: float = Field(default=0.3, ge=0, lt=1, description="probability of hiding a token from the decoder")
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="probability of dropping an item's condition in training"
    )
    importance_samples: int = Field(
        default=64, ge=1, description="importance samples per item for the likelihood bound"
    )
    adversarial: Adversarial = Adversarial()
    sampling: VAESampling = VAESampling()

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if isinstance(target, Continuous) and target.ragged and (self.adversarial.weight or self.stride is not None):
            return (
                f"vae with family.stride or family.adversarial needs items of one length, and those of {target} have "
                "different lengths; leave these settings out"
            )
        if self.adversarial.weight:
            if why := unfit_grid("vae with family.adversarial", target, self.stride):
                return why
            vector: dict[Role, Space] = {} if self.stride is not None else {"encoder": target, "decoder": target}
            return {"mapper": target, **vector}
        if self.stride is not None:
            return unfit_grid("vae with family.stride", target, self.stride) or {"mapper": target}
        if isinstance(target, Tokens):
            return {"encoder": target, "predictor": target}
        return {"encoder": target, "decoder": target}

    def latents(self, target: Space) -> Continuous:
        if isinstance(target, Continuous) and target.ragged:
            raise Unfit(
                f"the latents of a vae do not hold the length of an item, and items of {target} differ in length"
            )
        return self.prior(target)

    def prior(self, target: Space) -> Continuous:
        """The space of the latent z, whose prior is N(0, I)."""
        if self.stride is None:
            return Continuous((self.latent,))
        assert isinstance(target, Continuous)
        return Continuous((self.latent, *latent_positions(target, self.stride)))

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        return VAEModel(self, target, condition, backbone)


class VAEModel(Model):
    """Encoder q(z|x, c), prior N(0, I), and a decoder: a network for real values, a predictor for tokens."""

    likelihood = "bound"
    possible: Tensor | None

    def __init__(self, settings: VAE, target: Space, condition: Condition, backbone: Backbone) -> None:
        super().__init__(target, condition)
        self.settings = settings
        #: The space of z: a vector, or a grid of vectors.
        self.space = settings.prior(target)
        if self.space.positions:
            assert isinstance(target, Continuous)
            self.encoder = backbone.mapper(target, Continuous((2 * settings.latent, *self.space.positions)), condition)
        else:
            self.encoder = backbone.encoder(target, 2 * settings.latent, condition)
        self.free = settings.free_bits
        self._weight = settings.beta
        if isinstance(target, Tokens):
            self.free = 8.0 if self.free is None else self.free
            self.name = "latent" if "latent" not in condition else "latent of the vae"
            self.predictor = backbone.predictor(target, {**condition, self.name: self.space})
            self.register_buffer("possible", allowed(target), persistent=False)
        else:
            values = ragged.values_of(target)
            self.observed = DecoderDistribution(values, _kind(settings, values))
            if self.space.positions:
                self.decoder = backbone.mapper(self.space, self.observed.output, condition)
            else:
                given = ragged.with_length_field(condition) if target.ragged else condition
                self.decoder = backbone.decoder(settings.latent, self.observed.output, given)
            if not self.observed.proper:
                self.likelihood = None
        self.critic: PatchDiscriminator | None = None
        if settings.adversarial.weight:
            assert isinstance(target, Continuous)
            self.critic = PatchDiscriminator(settings.adversarial, backbone, target)
        self.likelihood_how = f"an upper bound by importance sampling with {settings.importance_samples} latents"
        if isinstance(target, Continuous) and target.levels:
            dequantised = self.observed.kind == "gaussian"
            self.likelihood_how += ", uniform dequantisation" if dequantised else ", of the levels' own probabilities"
        if isinstance(target, Continuous) and target.ragged:
            self.likelihood_how += ", given an item's length"

    def players(self) -> dict[str, nn.Module]:
        if self.critic is None:
            return {"model": self}
        return {"discriminator": self.critic, "model": nn.ModuleList([self.encoder, self.decoder, self.observed])}

    def set_progress(self, step: int, steps: int) -> None:
        """Linear KL warm-up (Bowman et al., 2016)."""
        if self.critic is not None:
            self.critic.set_progress(step, steps)
        warmup = self.settings.kl_warmup * steps
        self._weight = self.settings.beta * min(1.0, (step + 1) / max(warmup, 1.0))

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"reconstruction", "kl"} in nats per item, the latter weighted; logged: the unweighted KL, and active units.

        With a patch discriminator also {"adversarial"}; for the discriminator, its own terms.
        """
        c = drop_some(c, self.settings.condition_dropout, draws)
        if player == "discriminator":
            assert self.critic is not None
            with torch.no_grad():
                mean, log_scale = self._posterior(x, c)
                made = self.observed.mean(self.decoder(mean + log_scale.exp() * self.latent(draws), c))
            return self.critic.discriminator_loss(x, made)
        mean, log_scale = self._posterior(x, c)
        z = mean + log_scale.exp() * self.latent(draws)
        seen = x
        if isinstance(self.target, Tokens) and self.settings.word_dropout:
            seen = torch.where(draws.uniform(x.shape[1]) < self.settings.word_dropout, self._unknown(draws, x), x)
        kl = _kl(mean, log_scale).flatten(1).sum(1)
        sharper = {}
        if self.critic is not None and self.critic.counts:
            output = self.decoder(z, c)
            log_prob = self.observed.log_prob(x, output)
            weight = self.settings.adversarial.weight * x[0].numel()
            sharper["adversarial"] = weight * self.critic.adversarial_loss(x, self.observed.mean(output))
        else:
            log_prob = self._log_prob(x, z, c, seen)
        return {
            "reconstruction": -log_prob.mean(),
            **sharper,
            "kl": self._weight * kl.clamp(min=self.free or 0.0).mean(),
            "_kl": kl.detach().mean(),
            # Latent dimensions whose posterior mean varies (Burda et al., 2016): reveals posterior collapse.
            "_active_units": (mean.detach().var(0, unbiased=False) > 0.01).float().sum(),
        }

    @torch.no_grad()
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw z from the prior, then x: shape (B, *shape), or tokens (B, length)."""
        return self.from_latent(self.latent(draws), c, draws, settings)

    def latent(self, draws: Draws) -> Tensor:
        """Draw z from the prior, shape (B, latent), or (B, latent, *grid) with a stride."""
        return draws.normal(*self.space.shape)

    @torch.no_grad()
    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The mean of q(z|x, c), shape as of `latent`."""
        return self._posterior(x, c)[0]

    @torch.no_grad()
    def posterior(self, x: Tensor, c: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z|x, c), shape as of `latent` each."""
        mean, log_scale = self._posterior(x, c)
        return mean, log_scale.exp()

    @torch.no_grad()
    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Decode the latents z, shape as of `latent`, to x, shape as of `sample`."""
        assert isinstance(settings, VAESampling)
        if isinstance(self.target, Tokens):
            c = {**(c or {}), self.name: z}
            if settings.length is not None:
                raise ValueError(f"length={settings.length}: texts of this run end with their end token; leave it out")
            return decode(self.predictor, self.target, c, draws, settings, TokenRules(self.possible))
        if settings.length is not None and not self.target.ragged:
            raise ValueError(f"length={settings.length}: the items of this run all have one length; leave it out")
        lengths = ragged.draw_lengths(self.target, draws, settings.length) if self.target.ragged else None
        given = c if lengths is None else ragged.with_length(c, lengths, self.target)
        output = self.decoder(z, given)
        mean = self.target.levels is not None if settings.mean is None else settings.mean
        x = self.observed.mean(output) if mean else self.observed.draw(output, draws)
        return x if lengths is None else add_mask(x, lengths)

    def graph(self) -> Graph:
        """The decoder, from a latent to the mean of p(x|z)."""
        if isinstance(self.target, Tokens):
            raise ValueError("a vae of tokens samples them one by one, which is no static graph")
        if self.target.ragged:
            raise ValueError("a vae draws the lengths of items outside the graph; items of one length fit")
        inputs = {"latent": self.space.shape}
        return Graph(inputs, ("x",), lambda inputs, c: (self.observed.mean(self.decoder(inputs[0], c)),))

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor]:
        """The negative evidence lower bound in nats per item, with the unweighted KL; weights are 1."""
        mean, log_scale = self._posterior(x, c)
        z = mean + log_scale.exp() * self.latent(draws)
        loss = _kl(mean, log_scale).flatten(1).sum(1) - self._log_prob(x, z, c, x)
        return loss, torch.ones_like(loss)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """A lower bound on log p(x|c) in nats, shape (B,), by importance sampling (Burda et al., 2016, equation 8).

        A density in x's units; for a Gaussian, values on levels are dequantised; otherwise the mass of a bin is divided
        by its width. Raises Unfit for Bernoulli with grey values.
        """
        if self.likelihood is None:
            raise Unfit("Bernoulli of grey values is a loss, not a likelihood; likelihood=gaussian has one")
        if isinstance(self.target, Continuous) and self.target.levels and self.observed.kind == "gaussian":
            x = ragged.dequantised(x, self.target, draws)
        # The bound holds for any q: the encoder reads the end token of a text even where the likelihood excludes it.
        whole = x.masked_fill(x < 0, self.target.end or 0) if isinstance(self.target, Tokens) else x
        mean, log_scale = self._posterior(whole, c)
        total = torch.full((len(x),), -math.inf, device=x.device)
        for _ in range(self.settings.importance_samples):  # one at a time, to bound memory
            noise = self.latent(draws)
            z = mean + log_scale.exp() * noise
            # log p(z) - log q(z|x): the constants cancel.
            ratio = (0.5 * noise.square() + log_scale - 0.5 * z.square()).flatten(1).sum(1)
            total = torch.logaddexp(total, self._log_prob(x, z, c, whole) + ratio)
        return total - math.log(self.settings.importance_samples)

    def _unknown(self, draws: Draws, x: Tensor) -> Tensor:
        """Placeholder for a dropped token: `end`, or a random token where there is none."""
        assert isinstance(self.target, Tokens)
        if self.target.end is not None:
            return torch.full_like(x, self.target.end)
        return draws.integers(self.target.vocabulary, x.shape[1])

    def _posterior(self, x: Tensor, c: dict[str, Tensor] | None) -> tuple[Tensor, Tensor]:
        if isinstance(self.target, Continuous) and self.target.ragged:
            x = ragged.with_mask(x, position_mask(x, self.target).to(x.dtype))
        mean, log_scale = self.encoder(x, c).float().chunk(2, 1)
        return mean, 6 * torch.tanh(log_scale / 6)  # bounded, so that an early step cannot overflow

    def _log_prob(self, x: Tensor, z: Tensor, c: dict[str, Tensor] | None, seen: Tensor) -> Tensor:
        if isinstance(self.target, Tokens):
            logits = self.predictor(seen, {**(c or {}), self.name: z})
            return -token_nll(logits, x, self.target, self.possible).sum(1)
        if not self.target.ragged:
            return self.observed.log_prob(x, self.decoder(z, c))
        output = self.decoder(z, ragged.with_length(c, item_lengths(x, self.target), self.target))[:, :, : x.shape[2]]
        mask = position_mask(x, self.target).float()
        return self.observed.log_prob(x[:, :-1] * mask, output, mask)


def _kind(settings: VAE, target: Continuous) -> Kind:
    if settings.likelihood != "auto":
        return settings.likelihood
    return "discretised_logistic" if target.levels else "gaussian"


def _kl(mean: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, 1)) of each latent dimension (Kingma and Welling, appendix B), shape as of z."""
    return 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
