"""Condition texts as a prefix of the target sequence: a prefix language model (Liu et al., 2018; Raffel et al., 2020).

Attention is bidirectional within the prefix, and causal in the target. The prefix is padded on the left, next to the
target, so that the relative positions, which rotary embeddings encode, do not depend on the amount of padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from likewise.spaces import Condition, Space, Tokens, token_mask


def is_text(space: Space) -> bool:
    """Whether a condition field can be read as a prefix: several tokens."""
    return isinstance(space, Tokens) and space.length > 1


class Prefix(nn.Module):
    """Embeds condition fields of tokens, concatenated. Missing fields leave nothing in the prefix."""

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
        """c: batches by field name, or None. like: any tensor of the same batch size and device, shape (B, ...).

        Returns embeddings, shape (B, S, width); True at valid positions, (B, S); and each position's index in the
        concatenated fields, (B, S). S is at least 1.
        """
        rows, masks = [], []
        for name, space, table in zip(self.names, self.spaces, self.embed, strict=True):
            x = None if c is None else c.get(name)
            if x is None:
                x = torch.full((len(like), 1), -1, device=like.device)
            rows.append(table(x.clamp(min=0)))
            masks.append(token_mask(x, space))
        h, mask = torch.cat(rows, 1), torch.cat(masks, 1)
        order = mask.long().argsort(dim=1, stable=True)  # valid tokens move to the right, in order
        return h.gather(1, order[:, :, None].expand_as(h)), mask.gather(1, order), order

    def places(self, c: dict[str, Tensor] | None) -> list[int]:
        """The number of positions of each field."""
        return [1 if c is None or c.get(name) is None else c[name].shape[1] for name in self.names]


def visible(mask: Tensor, length: int) -> Tensor:
    """The attention mask, shape (B, S + length, S + length): a bidirectional prefix, then a causal target.

    mask: True at valid positions of the prefix, shape (B, S). Padding attends to itself, so that no row is empty.
    """
    batch, before = mask.shape
    whole = torch.ones(before + length, before + length, dtype=torch.bool, device=mask.device).tril()
    whole[:before, :before] = True
    columns = torch.cat((mask, mask.new_ones(batch, length)), 1)
    return whole & columns[:, None] | torch.eye(before + length, dtype=torch.bool, device=mask.device)
