"""A backbone: a recipe of sizes that builds networks by role, between spaces.

The five roles, with c the condition (a dict of tensors by field name, or None for "any"):

    encoder(source, features, condition)     net(x, c) -> (B, features)
    decoder(features, target, condition)     net(z, c) -> (B, *target.shape), target Continuous
    denoiser(space, condition)               net(x_t, t, c) -> (B, *space.shape), space Continuous, t (B,) in [0, 1]
    predictor(space, condition)              net(x, c) -> (B, L, V) logits, space Tokens; see `Predictor`
    mapper(source, target, condition)        net(x, c) -> (B, *target.shape), both Continuous with as many positions
                                             dimensions, one of them finer or as fine: each place from what is near it

x is a tensor of the space: (B, *shape) float for Continuous, (B, L) int64 for Tokens, where L may be smaller than
`space.length` when the space has an `end` (a batch is cut to its longest item). Of a ragged space, the first position
dimension of x may be shorter in the same way, for an encoder and a denoiser; a decoder makes all positions.
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
    """The sizes of a network, and how to build one for each role. Subclasses add fields and a literal `name`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    part_kind: ClassVar[str] = "backbone"
    #: whether it builds networks at all
    builds: ClassVar[bool] = True
    #: whether its networks read items of a ragged space (see `Continuous`) without seeing what lies beyond their ends
    ragged: ClassVar[bool] = False

    @classmethod
    def tiny(cls) -> Self:
        """The smallest useful sizes, which build in milliseconds: what the contract tests and examples train."""
        return cls()

    @abstractmethod
    def unfit(self, role: Role, space: Space) -> str | None:
        """Why this backbone cannot fill `role` for `space`, as a clause such as "mlp sees no order"; None if it can."""

    def no_tiles(self, space: Continuous) -> str | None:
        """Why what it draws cannot go on with itself at its edges (see `tile`), as a clause; None if it can."""
        return f"{getattr(self, 'name', 'this backbone')} has no convolutions that could go round the edge; conv has"

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
    """Attention weights as a predictor's blocks had them: how much each place weighed, in [0, 1].

    own: between the item's own places, shape (B, blocks, heads, L, L); None where the network has no such attention.
        The logits of token i were made at place i, which holds token i - 1 (place 0 holds a learned start).
    given: for each field that is read as a sequence, shape (B, blocks, heads, L, S). In a field of tokens, place 0 is
        a learned "any", and place 1 + j is token j. The weights of all fields together sum to 1.
    """

    own: Tensor | None
    given: dict[str, Tensor]


class Predictor(nn.Module, ABC):
    """A causal network over tokens: the logits at position i depend only on the tokens before i, and on c.

    Position 0 is predicted from a learned start, so that the logits have the length of x; or, where x goes on with an
    item, from the token before it: so a network knows a beginning from any other place.
    """

    #: whether its state can go on for ever, and holds what it needs of all that was read; see `carry`
    endless: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor, c: dict[str, Tensor] | None = None, before: Tensor | None = None) -> Tensor:
        """x: tokens, shape (B, L), L <= space.length. Returns logits, shape (B, L, V).

        before: the token before each row, shape (B,), MISSING_TOKEN for a beginning; None if all are beginnings. It is
        given only where `space.windows`.
        """

    @abstractmethod
    def start(self, batch: int, c: dict[str, Tensor] | None = None) -> Any:
        """The state before the first token, for `batch` items; what `step` reads and returns."""

    @abstractmethod
    def step(self, token: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """One step of cached decoding, equal to the full pass.

        token: the tokens just drawn, shape (B,), or None for the first step. Returns the next position's logits,
        shape (B, V), and the new state (which may reuse the old one's memory).
        """

    def carry(self, read: Tensor, c: dict[str, Tensor] | None, state: Any = None) -> tuple[Tensor, Any]:
        """What `forward` would give at so many places more, whatever came before: for items of any length.

        read: what is read at these places, shape (B, L); the first of all is MISSING_TOKEN, the learned start. state:
        what the call before returned. Only where `endless`. Returns logits, shape (B, L, V), and the new state.
        """
        raise NotImplementedError("this predictor's state does not go on")

    @torch.no_grad()
    def independent(self, vocabulary: int, block: int, steps: int = 3) -> bool:
        """Whether the bits of a row's logits are the same in any batch of up to `block` rows: tried, not assumed.

        False on an accelerator, whose products of few rows are computed in other ways than those of many.
        """
        if any(p.device.type != "cpu" for p in self.parameters()):
            return False
        tokens = torch.arange(steps * block).view(steps, block) * 7919 % vocabulary
        sizes = (block, *(2**k for k in range((block - 1).bit_length())))
        whole = self.start(block)  # made ready once
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
        """The state of the items `index` of those in `state`, in that order: shape (B',), items may come again.

        What `step` then does to it leaves `state` as it was.
        """
        raise Unfit("this predictor's state cannot be reordered, which beam search needs")

    def attention(self, x: Tensor, c: dict[str, Tensor] | None = None) -> Attention:
        """Where each block looks as it predicts x, shape (B, L); see `Attention`."""
        raise Unfit("this backbone has no attention to show; transformer has")
