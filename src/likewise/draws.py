"""Counter-based random numbers: the numbers for item i of seed s do not depend on the batch that it is in.

The generator is Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), written in
tensor operations, so that it gives the same integers on every device. The key is the seed; the counter is (position,
call, item index). Each item of a batch may have its own seed, so that samples of several requests are computed in one
batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MASK = 0xFFFFFFFF
#: Maximum number of calls for one number per item that are computed ahead: a single call costs 0.1 ms.
_AHEAD = 64

#: The two 32-bit words of a seed: integers shared by all items, or int64 tensors of shape (B, 1) with one per item.
Key = tuple[int, int] | tuple[Tensor, Tensor]


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: Key) -> tuple[Tensor, ...]:
    """Ten rounds of Philox-4x32 on four int64 tensors of 32-bit words in [0, 2^32). Returns four such tensors."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The 64-bit products overflow in int64, but shift and mask still give their upper and lower halves exactly.
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def _philox_numpy(counter: tuple[NDArray[np.int64], ...], key: Key, shape: tuple[int, int]) -> NDArray[np.int64]:
    """As `philox`, stacked to shape (*shape, 4). On a CPU these whole-array operations take half the time."""
    even, odd = np.empty((2, *shape), np.uint64), np.empty((2, *shape), np.uint64)
    even[0], odd[0], even[1], odd[1] = counter
    factor = np.array([0xD2511F53, 0xCD9E8D57], np.uint64).reshape(2, 1, 1)
    weyl = np.array([0x9E3779B9, 0xBB67AE85], np.uint64).reshape(2, 1, 1)
    # One row for a shared seed, else one row per item.
    keys = np.stack([np.asarray(word, np.uint64).reshape(-1, 1) for word in key])
    low, half = np.uint64(_MASK), np.uint64(32)
    for _ in range(10):
        product = even * factor
        even = (product >> half)[::-1] ^ odd
        even ^= keys
        odd = (product & low)[::-1]
        keys = (keys + weyl) & low
    return np.stack((even[0], odd[0], even[1], odd[1]), -1).view(np.int64)


def derive_seed(*parts: object) -> int:
    """A 64-bit seed that is a pure function of `parts` (numbers and strings), for example (seed, "noise", step)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def to_uniform(bits: Tensor) -> Tensor:
    """Map integers in [0, 2^32) to the open interval (0, 1), float32."""
    # 23 bits plus a half step: with 24 bits the largest value would be 1 - 2^-25, which float32 rounds to 1; its
    # logarithm made a GAN's Gumbel noise infinite once in 16 million draws.
    return ((bits >> 9).float() + 0.5) * 2.0**-23


def _signed(seed: int) -> int:
    """The low 64 bits of a seed as a signed integer, as stored in an int64 tensor."""
    return (seed + 2**63) % 2**64 - 2**63


class Draws:
    """Random numbers for the items `indices` of `seed`.

    Every call returns new numbers of shape (B, *shape), with B = len(indices). Row b depends only on its seed, on
    indices[b], and on the number of calls before.
    """

    def __init__(
        self, seed: int | Sequence[int] | Tensor, indices: Tensor, device: torch.device | str | None = None
    ) -> None:
        """seed: any integer (its low 64 bits are used), or one for each item: B integers, or int64 of shape (B,).

        indices: item numbers >= 0, shape (B,). Raises ValueError if the numbers of seeds and indices differ.
        """
        self._indices = indices.to(device=device, dtype=torch.int64).view(-1, 1)
        self._key = self._words_of(seed)
        self._calls = 0
        self._ahead, self._first = torch.empty(self.batch, 0, dtype=torch.int64), 0

    def _words_of(self, seed: int | Sequence[int] | Tensor) -> Key:
        if not isinstance(seed, (Tensor, Sequence)):
            return seed & _MASK, (seed >> 32) & _MASK
        seeds = seed if isinstance(seed, Tensor) else torch.tensor([_signed(one) for one in seed])
        seeds = seeds.to(device=self.device, dtype=torch.int64).view(-1, 1)
        if len(seeds) != self.batch:
            raise ValueError(f"{len(seeds)} seeds for {self.batch} items: pass one seed per item, or a single seed")
        return seeds & _MASK, (seeds >> 32) & _MASK

    @property
    def batch(self) -> int:
        return len(self._indices)

    @property
    def device(self) -> torch.device:
        return self._indices.device

    def to(self, device: torch.device | str) -> Draws:
        """The same generator state on another device."""
        low, high = self._key
        other = Draws(low | high << 32, self._indices.flatten(), device)
        other._calls = self._calls
        return other

    def branch(self, *name: object) -> Draws:
        """An independent generator for the same items, derived from `name`; unaffected by the number of calls here."""
        low, high = self._key
        if isinstance(low, Tensor) and isinstance(high, Tensor):
            keys = list(zip(low.flatten().tolist(), high.flatten().tolist(), strict=True))
            seeds = {key: derive_seed(key, *name) for key in set(keys)}
            return Draws([seeds[key] for key in keys], self._indices.flatten(), self.device)
        return Draws(derive_seed(self._key, *name), self._indices.flatten(), self.device)

    def bits(self, *shape: int) -> Tensor:
        """Uniform integers in [0, 2^32) as int64, with shape (B, *shape)."""
        count = int(torch.Size(shape).numel())
        if count == 1:
            return self._one().view(self.batch, *shape)
        self._calls += 1
        return self._words(count, self._calls - 1)[:, :count].reshape(self.batch, *shape)

    def _one(self) -> Tensor:
        """One 32-bit word per item, shape (B,), from a buffer that holds the next calls."""
        at = self._calls - self._first
        if not 0 <= at < self._ahead.shape[1]:
            # The buffer doubles at each refill, so that a single call computes only one number.
            many = min(max(1, 2 * self._ahead.shape[1]), _AHEAD)
            self._first, at = self._calls, 0
            self._ahead = self._words(1, self._calls, many)[:, ::4]
        self._calls += 1
        return self._ahead[:, at]

    def _words(self, count: int, call: int, calls: int = 1) -> Tensor:
        """Random words of `calls` calls starting at `call`, each of at least `count`: shape (B, calls * blocks * 4)."""
        blocks = -(-count // 4)
        if self.device.type == "cpu":
            items = self._indices.numpy()
            position = np.tile(np.arange(blocks, dtype=np.int64), calls)
            number = np.repeat(np.arange(call, call + calls, dtype=np.int64), blocks)
            counter = (position, number, items & _MASK, (items >> 32) & _MASK)
            words = torch.from_numpy(_philox_numpy(counter, self._key, (self.batch, calls * blocks)))
            return words.view(self.batch, -1)
        shape = (self.batch, calls * blocks)
        position = torch.arange(blocks, device=self.device).repeat(calls).expand(shape)
        number = torch.arange(call, call + calls, device=self.device).repeat_interleave(blocks).expand(shape)
        low = (self._indices & _MASK).expand(shape)
        high = ((self._indices >> 32) & _MASK).expand(shape)
        return torch.stack(philox((position, number, low, high), self._key), -1).view(self.batch, -1)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in the open interval (0, 1), float32, shape (B, *shape)."""
        return to_uniform(self.bits(*shape))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32, shape (B, *shape), by the Box-Muller transform (Box and Muller, 1958)."""
        count = int(torch.Size(shape).numel())
        pairs = -(-count // 2)
        u = self.uniform(2, pairs)
        radius = (-2.0 * u[:, 0].log()).sqrt()
        angle = 2.0 * pi * u[:, 1]
        both = torch.stack((radius * angle.cos(), radius * angle.sin()), -1)
        return both.view(self.batch, -1)[:, :count].reshape(self.batch, *shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform integers in [0, high), high <= 2^31, int64, shape (B, *shape)."""
        return (self.bits(*shape) * high) >> 32

    def categorical(self, logits: Tensor) -> Tensor:
        """One draw from softmax(logits) for each row, by inverse transform sampling.

        logits: shape (B, V); -inf excludes an entry. Returns int64, shape (B,).
        """
        weight = logits.double().softmax(-1).cumsum(-1)
        threshold = self.uniform(1).double() * weight[:, -1:]
        chosen = torch.searchsorted(weight, threshold, right=True).squeeze(1)
        last = (logits > float("-inf")).long() * torch.arange(logits.shape[1], device=logits.device)
        return torch.minimum(chosen, last.amax(1))
