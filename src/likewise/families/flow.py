"""Flow matching and diffusion: samples are transported from noise to data by a learned velocity field.

Paths: "linear" is flow matching (Lipman et al., 2023), "ddpm" predicts the noise (Ho et al., 2020), "edm" is Karras et
al. (2022); see `prob_paths`. `solvers` integrate the ODE, with `guidance`; the likelihood is the change of variables
along it (Song et al., 2021b), see `inversion`. Extensions: `shortcut` for few-step sampling, and `editing`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from likewise.backbones.base import Backbone, Role
from likewise.draws import Draws
from likewise.errors import Message, Setting, UserError
from likewise.families import editing, inversion, ragged, shortcut, solvers
from likewise.families.base import Family, Graph, Model, Sampling, drop_some
from likewise.families.guidance import guided, update_guide_model
from likewise.families.prob_paths import PATHS, Linear, Path, PathName
from likewise.families.solvers import FlowSampling
from likewise.spaces import Condition, Continuous, Space, Unfit, from_index, item_lengths, position_mask, to_index

#: Offset beyond [-1, 1] at which the lowest and the highest level are learned. Much of a drawing, logo or scan is a
#: uniform background, where the network's error would be visible as faint noise; beyond the range it is clipped. The
#: map preserves volumes, so the likelihood stays valid.
MARGIN = 0.1


class Flow(Family):
    """Settings of a flow."""

    abilities: ClassVar[frozenset[str]] = frozenset({"latent", "encode", "graph", "editable"})
    ragged: ClassVar[bool] = True
    per_row: ClassVar[frozenset[str]] = frozenset({"guidance_scale", "autoguidance"})
    name: Literal["flow"] = "flow"
    path: PathName = Field(
        default="linear", description="linear: flow matching; ddpm: noise prediction; edm: Karras et al."
    )
    data_scale: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="standard deviation of the data; by default 0.5 for levels, else 1",
    )
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="probability of dropping an item's condition in training"
    )
    likelihood_steps: int = Field(
        default=64, ge=1, description="integration steps from data to noise for the likelihood"
    )
    few_step: bool = Field(
        default=False,
        description="train shortcut steps too, to sample in 1 to 16 steps, with sampling.guidance_scale distilled in",
    )
    time_sampling: Literal["path", "uniform"] = Field(
        default="path", description="distribution of training times; path: (log-)normal as in the path's paper"
    )
    loss_weighting: Literal["plain", "min_snr"] = Field(
        default="plain", description="weighting of the errors over time; min_snr: Hang et al. (2023)"
    )
    shift: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = Field(
        default=1.0,
        description="noise multiplier of the training times, path=linear (Esser et al., 2024): large images "
        "need more noise; auto: by their size",
    )
    guide_model: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the training, such as 0.1, after which the guide model of sampling.autoguidance is kept",
    )
    sampling: FlowSampling = FlowSampling()

    @model_validator(mode="before")
    @classmethod
    def _in_few_steps(cls, values: Any) -> Any:
        """With few_step, sampling uses shortcut steps unless set otherwise."""
        if not isinstance(values, dict) or values.get("few_step") is not True:
            return values
        given = values.get("sampling", {})
        if isinstance(given, FlowSampling):
            given = given.model_dump(exclude_unset=True)
        defaults = {"sampler": "jump"} | ({"steps": 4} if given.get("sampler", "jump") == "jump" else {})
        return {**values, "sampling": {**defaults, **given}}

    @model_validator(mode="after")
    def _can_jump(self) -> Flow:
        if self.few_step and self.path == "ddpm":
            raise ValueError(
                "few_step: ddpm predicts the noise, and shortcut steps need the data; set path to linear or edm"
            )
        if self.sampling.sampler == "jump" and not self.few_step:
            raise ValueError("sampling.sampler=jump needs a flow trained with few_step=true")
        if self.path != "linear" and self.shift not in (1, "auto"):
            raise ValueError(
                f"shift={self.shift:g}: the path {self.path} has its own time distribution; only linear is shifted"
            )
        if self.sampling.autoguidance != 1 and not self.guide_model:
            raise ValueError("sampling.autoguidance needs a guide model; keep one, with guide_model=0.1")
        return self

    def roles(self, target: Space) -> dict[Role, Space] | str:
        if not isinstance(target, Continuous):
            return "flow learns real values, and these are tokens"
        return {"denoiser": target}

    def build(self, target: Space, condition: Condition, backbone: Backbone) -> Model:
        assert isinstance(target, Continuous)
        return FlowModel(self, target, condition, backbone)


class FlowModel(Model):
    """A denoiser of x_t at time t, its loss, sampling and likelihood."""

    likelihood = "exact"

    def __init__(self, settings: Flow, target: Continuous, condition: Condition, backbone: Backbone) -> None:
        super().__init__(target, condition)
        self.settings = settings
        self.space = target
        scale = settings.data_scale or (0.5 if target.levels else 1.0)
        self.path = (
            Linear(scale, _shift(settings, target)) if settings.path == "linear" else PATHS[settings.path](scale)
        )
        self.shortcut: shortcut.Shortcut | None = None
        if settings.few_step:
            drawing = settings.sampling
            bound = 1 + MARGIN if target.levels else None
            self.shortcut = shortcut.Shortcut(self.path, drawing.guidance_scale, drawing.guidance_interval, bound)
        self.network = backbone.denoiser(target, shortcut.with_level_field(condition) if self.shortcut else condition)
        #: The guide model of autoguidance.
        self.weak: nn.Module | None = None
        if settings.guide_model:
            self.weak = copy.deepcopy(self.network).requires_grad_(False)
        #: The share of the training steps that are done.
        self._done = 1.0
        self.editable = bool(target.positions) and not target.ragged
        # The validation loss is dominated by noisy times, which overfit, and rises, long before uniform areas become
        # clean: these improve as the learning rate falls. The report detects memorised samples.
        self.draws_last = bool(target.positions)
        # One-hot channels are learned as -1 and 1, the same scale as the others.
        one_hot = torch.zeros(target.shape[0], *[1] * len(target.positions))
        for start, stop in target.choices:
            one_hot[start:stop] = 1
        self.register_buffer("one_hot", one_hot, persistent=False)
        self.likelihood_how = (
            f"by the ODE in {settings.likelihood_steps} steps, {inversion.describe_divergence(target)}"
        )
        if target.levels:
            self.likelihood_how = f"an upper bound by uniform dequantisation, {self.likelihood_how}"
        if self.shortcut:
            self.likelihood_how += "; of the flow without shortcut steps or guidance"
        if target.choices or target.ragged:
            self.likelihood = None  # a density over one-hot channels or a mask is meaningless

    @property
    def likelihood_passes(self) -> int:
        return 2 * self.settings.likelihood_steps

    def set_progress(self, step: int, steps: int) -> None:
        """Record the training progress, which schedules shortcut training, and update the guide model."""
        self._done = step / steps
        if self.weak is not None and self._done < self.settings.guide_model:
            update_guide_model(self.weak, self.network)

    def loss(self, x: Tensor, c: dict[str, Tensor] | None, player: str, draws: Draws) -> dict[str, Tensor]:
        """{"loss": the mean squared error of the network's prediction, per value}.

        With shortcut steps it is the sum of the flow's and the shortcut loss; the latter is logged as "_jump".
        """
        c = drop_some(c, self.settings.condition_dropout, draws)
        t = self._times(draws.uniform())
        if self.shortcut is None:
            return {"loss": self._errors(x, c, t, draws).mean()}
        t, level, learned = self.shortcut.draw(t, draws, self._done)
        errors = self._errors(x, c, t, draws, level, learned)
        if self._done < shortcut.BEGIN:
            return {"loss": errors.mean()}
        jump = (errors * learned).mean() / shortcut.SHARE
        return {"loss": (errors * ~learned).mean() / (1 - shortcut.SHARE) + jump, "_jump": jump.detach()}

    @torch.no_grad()
    def held_out(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> tuple[Tensor, Tensor] | None:
        """The loss of each item averaged over four times spread over the path, plus that of one shortcut step.

        None before shortcut training begins: a checkpoint without shortcut steps must not become the best.
        """
        if self.shortcut and self._done < shortcut.BEGIN:
            return None
        share = draws.uniform()
        errors = torch.stack([self._errors(x, c, self._times((share + i) / 4), draws) for i in range(4)]).mean(0)
        if self.shortcut:
            t, level, learned = self.shortcut.draw(share, draws, 1.0, 1.0)
            errors = errors + self._errors(x, c, t, draws, level, learned)
        return errors, torch.ones_like(share)

    def _times(self, share: Tensor) -> Tensor:
        return self.path.times(share) if self.settings.time_sampling == "path" else self.path.placed(share)

    def _errors(
        self,
        x: Tensor,
        c: dict[str, Tensor] | None,
        t: Tensor,
        draws: Draws,
        level: Tensor | None = None,
        learned: Tensor | None = None,
    ) -> Tensor:
        """The error of each item at its time, shape (B,). level, learned: from `Shortcut.draw`."""
        if self.space.levels:
            x = ragged.dequantised(x, self.space, draws)
        x_1 = self._to_path(x)
        x_0 = self._noise(draws, x)
        alpha, sigma = (_wide(s, x) for s in self.path.alpha_sigma(t))
        x_t = alpha * x_1 + sigma * x_0
        target = self.path.target(x_0, x_1, alpha, sigma)
        weight = (
            self.path.min_snr(alpha, sigma) if self.settings.loss_weighting == "min_snr" else torch.ones_like(alpha)
        )
        if level is not None and learned is not None:
            assert self.shortcut is not None
            rows = learned.nonzero()[:, 0]
            if len(rows):
                given = None if c is None else {name: value[rows] for name, value in c.items()}
                target[rows] = self.shortcut.target(self._network, x_t[rows], t[rows], level[rows], given)
                weight[rows] = 1.0
            c = shortcut.with_level(c, level)
        output = self._network(x_t, t, c)
        errors = (output - target).square() * weight
        if self.space.ragged:
            return ragged.mean_error(errors, position_mask(x, self.space).to(errors.dtype))
        return errors.flatten(1).mean(1)

    def _noise(self, draws: Draws, x: Tensor) -> Tensor:
        """Noise with the shape of the items x; for a ragged space with their mask, and 0 beyond their ends."""
        if not self.space.ragged:
            return draws.normal(*self.space.shape)
        return ragged.noise(self.space, draws, item_lengths(x, self.space))[:, :, : x.shape[2]]

    @torch.no_grad()
    def sample(
        self,
        c: dict[str, Tensor] | None,
        draws: Draws,
        settings: Sampling,
        *,
        edited: editing.Edited | None = None,
    ) -> Tensor:
        """Draw items, shape (B, *shape): rounded to levels where the space has them; one-hot channels only
        approximately.

        edited: items to edit, instead of starting from noise.
        """
        assert isinstance(settings, FlowSampling)
        if edited is None:
            return self.from_latent(self._start(draws, settings.length), c, draws, settings)
        start = self._to_path(edited.start)
        x = self._from_path(editing.draw(self, start, edited, c, draws, settings, settings.resample))
        return x if edited.keep is None else torch.where(edited.keep, edited.start, x)

    def latent(self, draws: Draws) -> Tensor:
        """Initial noise of unit scale, shape (B, *shape); in a ragged space with a mask."""
        return self._start(draws)

    def _start(self, draws: Draws, length: int | None = None) -> Tensor:
        """As `latent`. length: length of ragged items; by default drawn from those of the training data."""
        if not self.space.ragged:
            return draws.normal(*self.space.shape)
        return ragged.noise(self.space, draws, ragged.draw_lengths(self.space, draws, length))

    @torch.no_grad()
    def from_latent(self, z: Tensor, c: dict[str, Tensor] | None, draws: Draws, settings: Sampling) -> Tensor:
        """Integrate from the noise z to items, shape (B, *shape)."""
        assert isinstance(settings, FlowSampling)
        times = self.timesteps(settings, device=draws.device)
        alpha, sigma = self.path.alpha_sigma(times[0])
        x = z / self.path.input_scale(alpha, sigma)
        if self.space.ragged:
            mask = position_mask(z, self.space).to(z.dtype)
            x = ragged.with_mask(x, mask, (alpha + sigma) * mask)
        return self._from_path(self.integrate(x, times, c, settings))

    def timesteps(self, settings: FlowSampling, start: float = 0.0, device: torch.device | None = None) -> Tensor:
        """The times from `start` to 1, both included; a later start uses proportionally fewer steps."""
        for own, _ in settings.groups():
            self._check_guidance(own)
        if settings.sampler != "jump":
            count = max(1, round(settings.steps * (1 - start))) if start < 1 else 0
            way = self._stepped(settings)
            return way.placed(torch.linspace(way.share(start), 1, count + 1, device=device))
        return torch.tensor(shortcut.timesteps(start, settings.steps), device=device)

    def _check_guidance(self, settings: FlowSampling) -> None:
        """Raises ValueError where this flow has no guide model or shortcut steps for the settings."""
        if settings.autoguidance != 1 and self.weak is None:
            raise UserError(
                f"autoguidance={settings.autoguidance:g}: it needs a guide model, and this run kept none",
                fix=Message("train one with ", Setting("family.guide_model", "0.1")),
            )
        if settings.sampler != "jump":
            return
        if self.shortcut is None:
            raise UserError(
                "sampler=jump: this flow has no shortcut steps",
                fix=Message("train one with ", Setting("few_step"), ", or set sampler=heun"),
            )
        if settings.autoguidance != 1:
            raise ValueError("autoguidance: shortcut steps have none; set sampler=heun steps=16")
        if settings.guidance_scale != self.shortcut.guidance:
            raise ValueError(
                f"guidance_scale={settings.guidance_scale:g}: this run's few-step sampler was trained with "
                f"{self.shortcut.guidance:g}; for another scale set sampler=heun steps=16"
            )

    def _stepped(self, settings: FlowSampling) -> Path:
        """The path as used by samplers: with a larger shift than in training, where late times are rare."""
        if not isinstance(self.path, Linear):
            if settings.shift is not None:
                raise ValueError(
                    f"shift={settings.shift:g}: {self.settings.path} has its own times; only linear is shifted"
                )
            return self.path
        shift = self.path.shift
        return replace(self.path, shift=settings.shift or (2 * shift if shift > 1 else shift))

    @torch.no_grad()
    def integrate(self, x: Tensor, times: Tensor, c: dict[str, Tensor] | None, settings: FlowSampling) -> Tensor:
        """Integrate x from the first to the last of the times; shape (B, *shape), one-hot channels as -1 and 1."""
        if settings.sampler != "jump":
            return solvers.integrate(self.path, x, times, settings.sampler, self._guided_ends(c, settings))
        assert self.shortcut is not None
        alphas, sigmas = self.path.alpha_sigma(times)
        for i in range(len(times) - 1):
            level = shortcut.level_of(float(times[i + 1] - times[i]))
            given = shortcut.with_level(c, torch.full((len(x),), level, device=x.device))
            output = self._network(x, times[i].expand(len(x)), given)
            x = self.shortcut.step(x, output, (alphas[i], sigmas[i]), (alphas[i + 1], sigmas[i + 1]))
        return x

    @torch.no_grad()
    def encode(self, x: Tensor, c: dict[str, Tensor] | None, settings: Sampling) -> Tensor:
        """The noise of items, by integrating backwards with the trapezoid rule in `likelihood_steps` steps."""
        assert isinstance(settings, FlowSampling)
        return inversion.noise_of(self.path, self._reverse_times(x), self._to_path(x), self._guided_ends(c, settings))

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, draws: Draws) -> Tensor:
        """log p(x|c) in nats, shape (B,), a density in x's units; values on levels are dequantised.

        The ODE is integrated in `likelihood_steps` steps of second order. The divergence is exact up to 16 values per
        item, and above estimated without bias by one probe (Hutchinson, 1989). Otherwise exact up to discretisation.
        Raises Unfit for one-hot channels and ragged items.
        """
        if self.likelihood is None:
            what = "items that have lengths of their own" if self.space.ragged else "one-hot channels"
            raise Unfit(f"a flow has no likelihood of {what}")
        if self.space.levels:
            x = ragged.dequantised(x, self.space, draws)
        x = self._to_path(x).detach()

        def output(x: Tensor, t: Tensor) -> Tensor:
            return self._network(x, t.expand(len(x)), c)

        return inversion.log_density(self.path, self._reverse_times(x), x, output, inversion.probes(self.space, draws))

    def _reverse_times(self, x: Tensor) -> Tensor:
        """The `likelihood_steps` + 1 times from data to noise."""
        # Finer at both ends, where the trajectory is curved: near the data, for details.
        share = torch.linspace(1, 0, self.settings.likelihood_steps + 1, device=x.device)
        return (share * math.pi / 2).sin().square() if self.settings.path == "linear" else share

    def _guided_ends(self, c: dict[str, Tensor] | None, settings: FlowSampling) -> solvers.Ends:
        """Noise and data at both ends of the path, as predicted by the guided network."""
        weak = None if self.weak is None else partial(self._scaled, self.weak)

        def ends(x: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            x_0, x_1 = self.path.ends(x, guided(self._network, weak, x, t, c, settings), alpha, sigma)
            if self.space.levels and self.path.clips:
                x_1 = x_1.clamp(-1 - MARGIN, 1 + MARGIN)
                x_0 = (x - alpha * x_1) / sigma
            return x_0, x_1

        return ends

    def graph(self) -> Graph:
        """The denoiser, from x_t at time t to both ends of the path: the only network call of samplers."""
        if self.space.choices:
            raise ValueError("a flow with one-hot channels cannot be exported")
        if self.space.ragged:
            raise ValueError("a flow draws the lengths of items outside the graph; items of one length fit")

        def ends(inputs: Sequence[Tensor], c: dict[str, Tensor] | None) -> tuple[Tensor, ...]:
            x_t, t, *level = inputs
            alpha, sigma = (_wide(s, x_t) for s in self.path.alpha_sigma(t))
            given = shortcut.with_level(c, level[0].long()) if level else c
            output = self._network(x_t, t, given)
            found = self.path.ends(x_t, output, alpha, sigma)
            if self.shortcut is None:
                return found
            jumping = _wide(level[0] >= 0, x_t)
            jump = self.shortcut.ends(x_t, output, (alpha, sigma))
            return tuple(torch.where(jumping, a, b) for a, b in zip(jump, found, strict=True))

        # level: a shortcut step covers 2^-level of the path; -1 for none
        shapes = {"x_t": self.space.shape, "t": (), **({"level": ()} if self.shortcut else {})}
        return Graph(shapes, ("noise", "data"), ends)

    def _network(self, x_t: Tensor, t: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        return self._scaled(self.network, x_t, t, c)

    def _scaled(self, network: nn.Module, x_t: Tensor, t: Tensor, c: dict[str, Tensor] | None) -> Tensor:
        alpha, sigma = self.path.alpha_sigma(t)
        scale = _wide(self.path.input_scale(alpha, sigma), x_t)
        if not self.space.ragged:
            return network(x_t * scale, t, c).float()
        # The mask is equal at both ends of the path, so the prediction for it keeps it constant.
        mask = position_mask(x_t, self.space).to(x_t.dtype)
        output = network(ragged.with_mask(x_t * scale, mask), t, c).float()
        return ragged.with_mask(output, mask, self.path.target(mask, mask, _wide(alpha, x_t), _wide(sigma, x_t)))

    def _to_path(self, x: Tensor) -> Tensor:
        """Items in the path's representation: one-hot channels as -1 and 1, outer levels moved out by MARGIN."""
        entered = torch.lerp(x, 2 * x - 1, self.get_buffer("one_hot"))
        if self.space.levels:
            edge = 1 - 2 / self.space.levels
            entered = entered + MARGIN * ((entered >= edge).to(x.dtype) - (entered < -edge).to(x.dtype))
        return self._masked(entered, x)

    def _masked(self, values: Tensor, x: Tensor) -> Tensor:
        """The values with the mask of x; unchanged where the space is not ragged."""
        return ragged.with_mask(values, position_mask(x, self.space).to(x.dtype)) if self.space.ragged else values

    def _from_path(self, x: Tensor) -> Tensor:
        """The inverse of `_to_path`; values are rounded to the nearest level."""
        left = torch.lerp(x, (x + 1) / 2, self.get_buffer("one_hot"))
        if self.space.levels:
            left = from_index(to_index(left, self.space.levels), self.space.levels)
        return self._masked(left, x)


def _shift(settings: Flow, target: Continuous) -> float:
    """The shift; "auto": 1 up to 32 x 32 positions, then growing with the side (Esser et al., 2024, section 5.3.2)."""
    if settings.shift != "auto":
        return settings.shift
    return max(1.0, math.sqrt(math.prod(target.positions) / 32**2))


def _wide(scalars: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ..., 1), to broadcast against `like`."""
    return scalars.view(-1, *[1] * (like.dim() - 1))
