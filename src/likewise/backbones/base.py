"""Backbones: settings of a network architecture that build networks by role, between spaces.

The five roles, where c is the condition (a dict of tensors by field name, or None for "any"):

    encoder(source, features, condition)     net(x, c) -> (B, features)
    decoder(features, target, condition)     net(z, c) -> (B, *target.shape), target Continuous
    denoiser(space, condition)               net(x_t, t, c) -> (B, *space.shape), space Continuous, t (B,) in [0, 1]
    predictor(space, condition)              net(x, c) -> (B, L, V) logits, space Tokens; see `Predictor`
    mapper(source, target, condition)        net(x, c) -> (B, *target.shape), both Continuous with the same number of
                                             position dimensions; downsamples or upsamples locally

x is a tensor of the space: (B, *shape) float for Continuous, (B, L) int64 for Tokens, where L may be smaller than
`space.length` if the space has an `end` (a batch is truncated to its longest item). In a ragged space, the first
position dimension of x may be shorter in the same way, for an encoder and a denoiser; a decoder outputs all positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from likewise.spaces import Condition, Continuous, Space, Tokens, Unfit

Role = Literal["encoder", "decoder", "denoiser", "predictor", "mapper"]


class Backbone(BaseModel, ABC):
    """The settings of a network, and its constructor for each role. Subclasses add fields and a literal `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    part_kind: ClassVar[str] = "backbone"
    #: Whether it builds networks.
    builds: ClassVar[bool] = True
    #: Whether its networks accept items of a ragged space (see `Continuous`) and mask the positions beyond their ends.
    ragged: ClassVar[bool] = False

    @classmethod
    def tiny(cls) -> Self:
        """The smallest useful sizes, which build in milliseconds; used by the contract tests and the examples."""
        return cls()

    @abstractmethod
    def unfit(self, role: Role, space: Space) -> str | None:
        """Why this backbone cannot fill `role` for `space`, as a clause; None if it can."""

    def no_tiles(self, space: Continuous) -> str | None:
        """Why its samples cannot tile seamlessly (see `sampling.tiling`), as a clause; None if they can."""
        return f"{getattr(self, 'name', 'this backbone')} cannot tile: that needs convolutions"

    def encoder(self, source: Space, features: int, condition: Condition) -> nn.Module:
        raise Unfit(self.unfit("encoder", source) or "no encoder")

    def decoder(self, features: int, target: Continuous, condition: Condition) -> nn.Module:
        raise Unfit(self.unfit("decoder", target) or "no decoder")

    def denoiser(self, space: Continuous, condition: Condition) -> nn.Module:
        raise Unfit(self.unfit("denoiser", space) or "no denoiser")

    def predictor(self, space: Tokens, condition: Condition) -> Predictor:
        raise Unfit(self.unfit("predictor", space) or "no predictor")

    def mapper(self, source: Continuous, target: Continuous, condition: Condition) -> nn.Module:
        raise Unfit(self.unfit("mapper", target) or "no mapper")


class Attention(NamedTuple):
    """Attention weights of a predictor's blocks, in [0, 1].

    own: self-attention, shape (B, blocks, heads, L, L); None where the network has none. The logits of token i are
        computed at position i, which reads token i - 1 (position 0 reads a learned start embedding).
    given: cross-attention to each condition field that is read as a sequence, shape (B, blocks, heads, L, S). For a
        field of tokens, position 0 is a learned "any" embedding and position 1 + j is token j. The weights of all
        fields together sum to 1.
    """

    own: Tensor | None
    given: dict[str, Tensor]


class Predictor(nn.Module, ABC):
    """A causal network over tokens: the logits at position i depend only on the tokens before i, and on c.

    The input is shifted by one: position 0 reads a learned start embedding, or, in a window that continues an item, the
    token before the window. The logits have the length of x.
    """

    #: Whether its state summarises all tokens read, for items of any length; see `carry`.
    endless: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None, before: Tensor | None = None) -> Tensor:
        """Teacher-forced logits. x: tokens, shape (B, L), L <= space.length. Returns logits, shape (B, L, V).

        before: the token before each row, shape (B,), MISSING_TOKEN where the row begins its item; None if all rows do.
        Passed only where `space.windows`.
        """

    @abstractmethod
    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        """The initial decoding state of `batch` items, before the first token, for `step`."""

    @abstractmethod
    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """One step of cached decoding, equal to the full forward pass.

        token: the tokens just drawn, shape (B,), or None for the first step. Returns the next position's logits, shape
        (B, V), and the new state (which may share memory with the old one).
        """

    def carry(self, read: Tensor, c: dict[str, Tensor] | None, state: Any = None) -> tuple[Tensor, Any]:
        """The logits of `forward` for the next L positions of items of any length, from the state of the previous call.

        read: input tokens, shape (B, L); the first token of an item is MISSING_TOKEN, the learned start. state: from
        the previous call. Only where `endless`. Returns logits, shape (B, L, V), and the new state. Raises
        NotImplementedError elsewhere.
        """
        raise NotImplementedError("this predictor cannot carry its state beyond its context length")

    @torch.no_grad()
    def independent(self, vocabulary: int, block: int, steps: int = 3) -> bool:
        """Whether a row's logits are bit-identical in any batch of up to `block` rows; tested by running `steps` steps.

        False on an accelerator, where matrix products of few rows use other kernels than those of many.
        """
        if any(p.device.type != "cpu" for p in self.parameters()):
            return False
        tokens = torch.arange(steps * block).view(steps, block) * 7919 % vocabulary
        sizes = (block, *(2**k for k in range((block - 1).bit_length())))
        whole = self.start(block)  # built once
        states = {size: self.reorder(whole, torch.arange(size)) for size in sizes}
        for step in range(steps):
            found = {}
            for size in sizes:
                token = tokens[step - 1, :size] if step else None
                found[size], states[size] = self.step(token, states[size])
            if not all(torch.equal(found[size], found[block][:size]) for size in sizes):
                return False
        return True

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state of the items `index` of `state`, in that order; index: int64, shape (B',), repeats allowed.

        Later steps do not modify `state`. Raises Unfit where beam search is not supported.
        """
        raise Unfit("this predictor's state cannot be reordered, which beam search needs")

    def attention(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Attention:
        """The attention weights when predicting x, shape (B, L); see `Attention`. Raises Unfit without attention."""
        raise Unfit("this backbone has no attention to show")
