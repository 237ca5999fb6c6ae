"""Generative adversarial networks: a generator trained against a discriminator.

Goodfellow et al. (2014); losses after Mao et al. (least squares, 2017), Lim and Ye (hinge, 2017), Gulrajani et al.
(Wasserstein with gradient penalty, 2017) and, the default, Huang et al. ("The GAN is dead; long live the GAN!", 2024,
arXiv:2501.05441): a relativistic pairing loss with zero-centred gradient penalties on real and generated items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.families.augment import Augment
from likewise.families.base import Family, Graph, Model, Sampling, drop_some
from likewise.families.decoder_distributions import gumbel
from likewise.spaces import Condition, Continuous, Space, Tokens

#: Below this number of items a discriminator overfits soon, and `augment = "auto"` becomes "adaptive".
FEW = 20_000

Loss = Literal["relativistic", "non_saturating", "minimax", "least_squares", "hinge", "wasserstein_gp"]


class GAN(Family):
    """Settings of a generative adversarial network."""

    abilities: ClassVar[frozenset[str]] = frozenset({"latent", "graph", "discriminate"})
    name: Literal["gan"] = "gan"
    latent: int = Field(default=64, ge=1, description="dimension of the generator's latent noise")
    loss: Loss = Field(default="relativistic", description="loss of generator and discriminator")
    gamma: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="weight of the gradient penalty; the default depends on the loss",
    )
    penalty_every: int = Field(
        default=1,
        ge=1,
        description="steps between gradient penalties, whose weight is scaled by it (lazy regularisation)",
    )
    spectral_norm: bool = Field(default=False, description="spectral normalisation of the discriminator's layers")
    temperature: float = Field(
        default=0.3, gt=0, allow_inf_nan=False, description="Gumbel-softmax temperature of one-hot groups in training"
    )
    condition_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="probability of dropping an item's condition in training"
    )

    augment: Literal["auto", "none", "diff", "adaptive"] = Field(
        default="auto",
        description="augmentation of the discriminator's inputs, which does not leak into samples: diff (always), "
        "adaptive (by the measured overfitting), or none; auto: adaptive for small data with positions",
    )
    matching: bool | None = Field(
        default=None,
        description="matching-aware loss: real items with mismatched conditions count as generated; by default for "
        "conditions other than labels and maps, such as texts",
    )

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if not isinstance(target, Continuous):
            return "gan needs a gradient from item to generator, and tokens have none"
        if self.augment in ("diff", "adaptive") and not target.positions:
            return f'family.augment = "{self.augment}" needs items with positions and {target} has none; "none" fits'
        return {"encoder": target, "decoder": target}

    def unfit_condition(self, condition: Condition) -> str | None:
        if self.matching and not condition:
            return "family.matching needs a condition, and none is given; leave it out"
        return None

    def settled(self, target: Space, condition: Condition, items: int) -> GAN:
        few = isinstance(target, Continuous) and bool(target.positions) and items < FEW
        augment = self.augment if self.augment != "auto" else "adaptive" if few else "none"
        return self.model_copy(update={"augment": augment, "matching": self.matches(condition)})

    def matches(self, condition: Condition) -> bool:
        """Whether the discriminator is trained with mismatched conditions."""
        if self.matching is not None:
            return self.matching
        return any(
            space.length > 1 if isinstance(space, Tokens) else not space.positions for space in condition.values()
        )

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        assert isinstance(target, Continuous)
        return GANModel(self, target, condition, backbone)


#: Default of `gamma`; the losses that are not listed have no penalty.
_DEFAULT_GAMMA: dict[Loss, float] = {"relativistic": 1.0, "wasserstein_gp": 10.0}


def discriminator_loss(loss: Loss, real: Tensor, generated: Tensor) -> Tensor:
    """The discriminator's loss, a scalar, from logits of equally many real and generated items, shape (B,)."""
    match loss:
        case "minimax" | "non_saturating":
            # -E log D(x) - E log(1 - D(G(z))), D = sigmoid(logit) (Goodfellow et al., equation 1)
            return F.softplus(-real).mean() + F.softplus(generated).mean()
        case "relativistic":  # R3GAN, equation 2: f(t) = -log(1 + e^-t) of the difference of a pair
            return F.softplus(generated - real).mean()
        case "least_squares":  # Mao et al., equation 2, with labels 1 and 0
            return 0.5 * (real - 1).square().mean() + 0.5 * generated.square().mean()
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + generated).mean()
        case "wasserstein_gp":
            return generated.mean() - real.mean()


def generator_loss(loss: Loss, generated: Tensor, real: Tensor | None = None) -> Tensor:
    """The generator's loss, a scalar, from logits, shape (B,); `real` is used by the relativistic loss only."""
    match loss:
        case "minimax":  # E log(1 - D(G(z))), whose gradient vanishes where the discriminator is confident
            return -F.softplus(generated).mean()
        case "non_saturating":  # -E log D(G(z)) (Goodfellow et al., section 3)
            return F.softplus(-generated).mean()
        case "relativistic":
            assert real is not None
            return F.softplus(real - generated).mean()
        case "least_squares":
            return 0.5 * (generated - 1).square().mean()
        case "hinge" | "wasserstein_gp":
            return -generated.mean()


class GANModel(Model):
    """Generator and discriminator; each training step updates the discriminator, then the generator."""

    def __init__(self, settings: GAN, target: Continuous, condition: Condition, backbone: Backbone) -> None:
        super().__init__(target, condition)
        self.settings = settings
        self.space = target
        self.generator = backbone.decoder(settings.latent, target, condition)
        self.discriminator = backbone.encoder(target, 1, condition)
        if settings.spectral_norm:
            _normalise(self.discriminator)
        self.gamma = _DEFAULT_GAMMA.get(settings.loss, 0.0) if settings.gamma is None else settings.gamma
        self.augment = None
        if settings.augment in ("diff", "adaptive"):
            self.augment = Augment(target, settings.augment == "adaptive")
        self.matching = settings.matches(condition)
        self._batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.discriminator.modules())
        self._penalise = True
        # The discriminator step's generated batch (x, fake, c), reused by the generator step. Only one, to bound
        # memory.
        self._generated: tuple[Tensor, Tensor, Any] | None = None

    def players(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator, "generator": self.generator}

    def set_progress(self, step: int, steps: int) -> None:
        """Decide whether this step has a gradient penalty (lazy regularisation, Karras et al., 2020)."""
        self._penalise = step % self.settings.penalty_every == 0
        self._generated = None

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"discriminator", "penalty"} or {"generator"}; mean logits and the augmentation probability are logged.

        The generator step reuses the items that the discriminator step generated for the same batch, with their graph.
        """
        kept, self._generated = self._generated, None
        if kept is not None and kept[0] is x and player == "generator":
            _, fake, c = kept
        else:  # the discriminator step, or gradient accumulation: the same draws give the same items
            c = drop_some(c, self.settings.condition_dropout, draws)
            fake = self._generate(self.latent(draws), c, draws)
        if player == "generator":
            return self._generator_loss(x, fake, c, draws)
        self._generated = (x, fake, c)
        return self._discriminator_loss(x, fake.detach(), c, draws)

    def _discriminator_loss(
        self, x: Tensor, fake: Tensor, c: dict[str, Tensor] | None, draws: Draws
    ) -> dict[str, Tensor]:
        between = self.settings.loss == "wasserstein_gp"
        penalised = self.gamma > 0 and self._penalise
        # Penalties use the gradient with respect to the items before augmentation (as in ADA).
        both = torch.cat((x.to(fake.dtype), fake)).requires_grad_(penalised and not between)
        sides = zip(both.chunk(2), ("real", "generated"), strict=True)
        seen_real, seen_fake = (self._seen(part, draws, side) for part, side in sides)
        if self._batch_norm:  # separate batch statistics of real and generated items, as in DCGAN
            real, generated = self._logits(seen_real, c), self._logits(seen_fake, c)
        else:
            seen = both if self.augment is None else torch.cat((seen_real, seen_fake))
            real, generated = self._logits(seen, _doubled(c)).chunk(2)
        loss = discriminator_loss(self.settings.loss, real, generated)
        logged = {"_real": real.detach().mean(), "_generated": generated.detach().mean()}
        if self.matching and c:
            # GAN-CLS (Reed et al., 2016, algorithm 1): real items with wrong conditions count like generated ones, and
            # the two share one weight; in a relativistic loss both are paired with the same real item.
            other, differs = mismatched(c)
            wrong = self._logits(seen_real.detach(), other)
            wrong = torch.where(
                differs, wrong, generated
            )  # items without a wrong condition use the generated item twice
            loss = (loss + discriminator_loss(self.settings.loss, real, wrong)) / 2
            logged["_wrong"] = wrong.detach().mean()
        terms = {"discriminator": loss}
        if penalised:
            weight = self.gamma * self.settings.penalty_every
            if between:
                terms["penalty"] = weight * self._slope_penalty(seen_real, seen_fake, c, draws)
            else:
                # gamma / 2 (R1 + R2): squared gradient norms at real and at generated items (R3GAN, section 2.2)
                r1, r2 = _squared_slope(torch.cat((real, generated)), both).chunk(2)
                terms["penalty"] = weight / 2 * (r1.mean() + r2.mean())
        if self.augment is not None and self.augment.adaptive:
            logged["_augment"] = self.augment.get_buffer("p").clone()
            if self.training:
                self.augment.observe(real.detach(), generated.detach())
        return {**terms, **logged}

    def _generator_loss(self, x: Tensor, fake: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> dict[str, Tensor]:
        weights = [p for p in self.discriminator.parameters() if p.requires_grad]
        for p in weights:  # the discriminator's own gradients are not needed, which saves a third of the backward pass
            p.requires_grad_(False)
        try:
            generated = self._logits(self._seen(fake, draws, "generator's"), c)
            real = None
            if self.settings.loss == "relativistic":
                with torch.no_grad():
                    real = self._logits(self._seen(x, draws, "generator's real"), c)
        finally:
            for p in weights:
                p.requires_grad_(True)
        return {"generator": generator_loss(self.settings.loss, generated, real)}

    def _seen(self, x: Tensor, draws: Draws, side: str) -> Tensor:
        """The discriminator's input in training: augmented, with separate draws for each side."""
        return x if self.augment is None else self.augment(x, draws.branch("augment", side))

    def _slope_penalty(self, x: Tensor, fake: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """(|gradient| - 1)^2 between real and generated items (Gulrajani et al., 2017, equation 3)."""
        share = draws.uniform(*[1] * (x.dim() - 1))
        between = (share * x + (1 - share) * fake).requires_grad_()
        slope = _squared_slope(self._logits(between, c), between)
        return ((slope + 1e-12).sqrt() - 1).square().mean()

    @torch.no_grad()
    def sample(self, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Draw items, shape (B, *shape); in [-1, 1] where the space has levels."""
        return self.from_latent(self.latent(draws), c, draws, settings)

    def latent(self, draws: Draws) -> Tensor:
        """The generator's latent noise, shape (B, latent)."""
        return draws.normal(self.settings.latent)

    @torch.no_grad()
    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """The generator's output for z, shape (B, *shape)."""
        return self._generate(z, c, draws)

    def graph(self) -> Graph:
        """The generator, from latent noise to items."""
        if self.space.choices:
            raise ValueError("a generator with one-hot channels draws them with additional noise")

        def generated(inputs: Sequence[Tensor], c: dict[str, Tensor] | None) -> tuple[Tensor, ...]:
            x = self.generator(inputs[0], c).float()
            return (_squashed(x) if self.space.levels else x,)

        return Graph({"latent": (self.settings.latent,)}, ("x",), generated)

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        """The discriminator's logits, shape (B,), higher for more realistic items."""
        return self._logits(x, c)

    def _logits(self, x: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        return self.discriminator(x, c).float().squeeze(1)

    def _generate(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        x = self.generator(z, c).float()
        if self.space.levels:
            x = _squashed(x)
        if not self.space.choices:
            return x
        noise = gumbel(draws, *x.shape[1:])
        parts, done = [], 0
        for start, stop in sorted(self.space.choices):
            parts.append(x[:, done:start])
            # Straight-through Gumbel-softmax (Jang et al., 2017): one-hot forward, soft gradient backward.
            soft = ((x[:, start:stop] + noise[:, start:stop]) / self.settings.temperature).softmax(1)
            choice = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
            parts.append(choice + soft - soft.detach() if soft.requires_grad else choice)
            done = stop
        return torch.cat([*parts, x[:, done:]], 1)


def _squashed(x: Tensor) -> Tensor:
    """Map to [-1, 1], both ends included: tanh alone never reaches pure black or white."""
    return (1.1 * x.tanh()).clamp(-1, 1)


def mismatched(c: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Each item's condition replaced by its neighbour's in the batch, and whether that differs, shape (B,).

    It differs where any field known in both differs; a missing value ("any") matches everything.
    """
    other = {name: value.roll(1, 0) for name, value in c.items()}
    differs = torch.zeros(len(next(iter(c.values()))), dtype=torch.bool, device=next(iter(c.values())).device)
    for name, own in c.items():
        theirs = other[name]
        known = ~(own.isnan() | theirs.isnan()) if own.is_floating_point() else (own >= 0) & (theirs >= 0)
        differs |= (known & (own != theirs)).flatten(1).any(1)
    return other, differs


def _doubled(c: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    return None if c is None else {name: torch.cat((value, value)) for name, value in c.items()}


def _squared_slope(logits: Tensor, x: Tensor) -> Tensor:
    """The squared norm of each logit's gradient with respect to its item, shape (B,), float32, differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.float().square().flatten(1).sum(1)


def _normalise(net: nn.Module) -> None:
    """Spectral normalisation of every layer (Miyato et al., 2018)."""
    for layer in [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]:
        spectral_norm(layer)
