"""Given texts in front of the target, in one stream: a prefix language model (Liu et al., 2018; Raffel et al., 2020).

Every place of the prefix sees all of it; the target sees the prefix and what stands before itself. The given tokens
stand at the right end of the prefix, next to the target, so that their distance to it, which is all that rotary
positions tell, does not depend on how much padding there is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likewise.spaces import Condition, Space, Tokens, token_mask


def is_text(space: Space) -> bool:
    """Whether a given field can stand in front of the target."""
    return isinstance(space, Tokens) and space.length > 1


class Prefix(nn.Module):
    """Fields of tokens, one behind the other, as vectors. What is missing leaves nothing in the prefix."""

    def __init__(self, fields: Condition, width: int) -> None:
        super().__init__()
        self.names = list(fields)
        self.spaces = [space for space in fields.values() if isinstance(space, Tokens)]
        assert len(self.spaces) == len(fields)
        self.embed = nn.ModuleList(nn.Embedding(space.vocabulary, width) for space in self.spaces)
        for table in self.embed:
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight)

    def forward(self, c: dict[str, Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c: batches by field name, or None. like: any tensor with the batch and device wanted, shape (B, ...).

        Returns vectors, shape (B, S, width); which of them count, (B, S); and from which place of all fields, one
        after another, each came, (B, S). S is at least 1.
        """
        rows, masks = [], []
        for name, space, table in zip(self.names, self.spaces, self.embed, strict=True):
            x = None if c is None else c.get(name)
            if x is None:
                x = torch.full((len(like), 1), -1, device=like.device)
            rows.append(table(x.clamp(min=0)))
            masks.append(token_mask(x, space))
        h, mask = torch.cat(rows, 1), torch.cat(masks, 1)
        order = mask.long().argsort(dim=1, stable=True)  # what counts goes to the right, and keeps its order
        return h.gather(1, order[:, :, None].expand_as(h)), mask.gather(1, order), order

    def places(self, c: dict[str, Tensor] | None) -> list[int]:
        """How many places each field has."""
        return [1 if c is None or c.get(name) is None else c[name].shape[1] for name in self.names]


def visible(mask: Tensor, length: int) -> Tensor:
    """What each place sees, shape (B, S + length, S + length): the prefix itself, and a causal target behind it.

    mask: which places of the prefix count, shape (B, S). Padding sees itself, so that no place sees nothing.
    """
    batch, before = mask.shape
    whole = torch.ones(before + length, before + length, dtype=torch.bool, device=mask.device).tril()
    whole[:before, :before] = True
    columns = torch.cat((mask, mask.new_ones(batch, length)), 1)
    return whole & columns[:, None] | torch.eye(before + length, dtype=torch.bool, device=mask.device)
