"""Muon: orthogonalised momentum, for the weight matrices of hidden layers.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with its coefficients. Matrices of the
same shape are updated in one batch: a network has few shapes, and a batched product is far cheaper than many single
ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from likewise.training.distributed import like, whole

#: a, b, c of a x + b x^3 + c x^5; five iterations map singular values from about [0.01, 1] to about [0.7, 1.2]
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Approximate U V^T for each matrix U S V^T by Newton-Schulz iteration.

    matrices: shape (N, rows, columns), not all zero. dtype: number format of the computation; bfloat16 is precise
    enough. Returns the same shape in `dtype`, with singular values of about 0.7 to 1.2.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # so that x x^T is the smaller of the two
    # The Frobenius norm bounds the spectral norm, which must be at most 1.
    x = (x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=1e-7)).to(dtype)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """W <- (1 - lr * weight_decay) W - lr * sqrt(max(1, rows / columns)) * orthogonalize(Nesterov momentum).

    For parameters with two or more dimensions; a convolution kernel is reshaped to one row per output channel. The
    state of each parameter is its momentum, of the same shape. Raises ValueError for parameters with fewer dimensions.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() < 2:
                    raise ValueError(f"muon is for matrices, and a parameter has shape {tuple(p.shape)}; use adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    alike[(len(p), p.numel() // len(p), p.device, p.dtype)].append(p)
            for (rows, columns, *_), parameters in alike.items():
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                self._update(parameters, rate, group["lr"] * group["weight_decay"], group["momentum"])

    def _update(self, parameters: list[Tensor], rate: float, decay: float, momentum: float) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        carried = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_mul_(carried, momentum)
        torch._foreach_add_(carried, gradients)
        steps = torch._foreach_add(gradients, carried, alpha=momentum)  # Nesterov: g + m (m M + g)
        # every process gathers and orthogonalises the whole of a sharded matrix
        along = orthogonalize(torch.stack([whole(s).flatten(1) for s in steps])).float()
        if decay:
            torch._foreach_mul_(parameters, 1 - decay)
        torch._foreach_add_(
            parameters, [like(p, s.view(p.shape)) for s, p in zip(along, parameters, strict=True)], alpha=-rate
        )
