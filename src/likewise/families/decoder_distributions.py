"""Distributions of real values given a decoder's output: p(x | output), its mean, and sampling.

Discretised logistic: Salimans et al., "PixelCNN++" (2017). Gaussian with learned scale: Rybkin et al., "Simple and
effective VAE training with calibrated decoders" (2021). One-hot channels beside Gaussian ones: Xu et al., "Modeling
tabular data using conditional GAN" (2019).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.draws import Draws
from likewise.spaces import Continuous, from_index, to_index

Kind = Literal["gaussian", "bernoulli", "categorical", "discretised_logistic"]

#: Learning rate multiplier of the scales: Adam moves a parameter by about its rate per step, and scales must change a
#: lot.
_HASTE = 10.0


def dequantise(x: Tensor, levels: int, draws: Draws) -> Tensor:
    """Uniform dequantisation of x, shape (B, *shape): a random value within each bin (Theis et al., 2016)."""
    return (to_index(x, levels) + draws.uniform(*x.shape[1:])) * (2 / levels) - 1


class DecoderDistribution(nn.Module):
    """p(x | output) for a Continuous space: one-hot groups are categorical, the other channels are of one kind.

    The scale of Gaussian and logistic is learned, one per channel. All values are independent given the output.
    """

    def __init__(self, target: Continuous, kind: Kind) -> None:
        super().__init__()
        if kind in ("categorical", "discretised_logistic") and not target.levels:
            raise ValueError(
                f"likelihood {kind!r} needs values on levels, and {target} has none; likelihood=gaussian fits"
            )
        self.target = target
        self.kind = kind
        grouped = {channel for start, stop in target.choices for channel in range(start, stop)}
        self.rest = [channel for channel in range(target.channels) if channel not in grouped]
        each = (target.levels or 1) if kind == "categorical" else 1
        self.log_scale = nn.Parameter(torch.full((len(self.rest),), math.log(0.5) / _HASTE))
        if kind not in ("gaussian", "discretised_logistic"):
            self.log_scale.requires_grad_(False)
        self._grouped = sum(stop - start for start, stop in target.choices)
        #: The space of the decoder's outputs: logits of the one-hot groups, then the parameters of the other channels.
        self.output = Continuous((self._grouped + len(self.rest) * each, *target.positions))

    @property
    def proper(self) -> bool:
        """Whether it is normalised: Bernoulli with grey values is a loss, not a likelihood."""
        return self.kind != "bernoulli" or self.target.levels == 2

    def log_prob(self, x: Tensor, output: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x | output) in nats, shape (B,): a density in x's units, and log-probabilities for one-hot groups.

        The mass of a bin is converted to a constant density over its width, 2 / levels. mask: 1 at valid positions,
        shape (B, 1, *positions); x is 0 at the others. None if all are valid.
        """
        logits, output = output.float().split([self._grouped, output.shape[1] - self._grouped], 1)
        total = torch.zeros(len(x), device=x.device)
        offset = 0
        for start, stop in self.target.choices:
            group = logits[:, offset : offset + stop - start]
            offset += stop - start
            total = total + (x[:, start:stop] * group.log_softmax(1)).flatten(1).sum(1)
        if not self.rest:
            return total
        value = x if len(self.rest) == x.shape[1] else x[:, self.rest]
        each = self._elementwise(value.float(), output)
        return total + (each if mask is None else each * mask).flatten(1).sum(1)

    def _elementwise(self, x: Tensor, output: Tensor) -> Tensor:
        levels = self.target.levels or 2
        if self.kind == "gaussian":
            scale = self._scale(x)
            return -0.5 * ((x - output) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
        if self.kind == "bernoulli":
            share = to_index(x, 2).float() if self.target.levels == 2 else (x + 1) / 2
            return -F.binary_cross_entropy_with_logits(output, share, reduction="none")
        index = to_index(x, levels)
        if self.kind == "categorical":
            mass = -F.cross_entropy(output.unflatten(1, (-1, levels)).transpose(1, 2), index, reduction="none")
            return mass + math.log(levels / 2)
        # log(s(b) - s(a)) = log s(b) + log s(-a) + log(1 - e^(a - b)) for the logistic function s: no cancellation.
        scale = self._scale(x)
        low = (index * (2 / levels) - 1 - output) / scale
        width = 2 / levels / scale
        below = torch.where(index == 0, 0.0, F.logsigmoid(-low))
        above = torch.where(index == levels - 1, 0.0, F.logsigmoid(low + width))
        inside = torch.where((index > 0) & (index < levels - 1), torch.log(-torch.expm1(-width)), 0.0)
        return below + above + inside + math.log(levels / 2)

    def mean(self, output: Tensor) -> Tensor:
        """The mean, or for one-hot groups the most likely category; shape (B, *target.shape)."""
        logits, output = output.float().split([self._grouped, output.shape[1] - self._grouped], 1)
        if self.kind == "bernoulli":
            value = output.sigmoid() * 2 - 1
        elif self.kind == "categorical":
            levels = self.target.levels or 2
            middles = from_index(torch.arange(levels, device=output.device), levels)
            value = torch.einsum("bcl...,l->bc...", output.unflatten(1, (-1, levels)).softmax(2), middles)
        else:
            value = output.clamp(-1, 1) if self.target.levels else output
        return self._assemble(logits, value)

    def draw(self, output: Tensor, draws: Draws) -> Tensor:
        """Sample x; shape (B, *target.shape)."""
        logits, output = output.float().split([self._grouped, output.shape[1] - self._grouped], 1)
        if self._grouped:
            logits = logits + gumbel(draws, *logits.shape[1:])
        levels = self.target.levels
        if self.kind == "gaussian":
            value = output + self._scale(output) * draws.normal(*output.shape[1:])
            value = value.clamp(-1, 1) if levels else value
        elif self.kind == "bernoulli":
            value = (draws.uniform(*output.shape[1:]) < output.sigmoid()).float() * 2 - 1
        elif self.kind == "categorical":
            value = output.unflatten(1, (-1, levels or 2))
            value = from_index((value + gumbel(draws, *value.shape[1:])).argmax(2), levels or 2)
        else:
            value = output + self._scale(output) * draws.uniform(*output.shape[1:]).logit()
            value = from_index(to_index(value, levels or 2), levels or 2)
        return self._assemble(logits, value)

    def _scale(self, like: Tensor) -> Tensor:
        return (self.log_scale * _HASTE).exp().view(-1, *[1] * (like.dim() - 2))

    def _assemble(self, logits: Tensor, value: Tensor) -> Tensor:
        if not self._grouped:
            return value
        x = value.new_zeros(len(value), *self.target.shape)
        x[:, self.rest] = value
        offset = 0
        for start, stop in self.target.choices:
            group = logits[:, offset : offset + stop - start]
            x[:, start:stop] = torch.zeros_like(group).scatter_(1, group.argmax(1, keepdim=True), 1.0)
            offset += stop - start
        return x


def gumbel(draws: Draws, *shape: int) -> Tensor:
    """Standard Gumbel noise, shape (B, *shape): argmax(logits + gumbel) is a draw from softmax(logits)."""
    return -(-draws.uniform(*shape).log()).log()
