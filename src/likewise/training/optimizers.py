"""Builds optimizers and the learning rate schedule from settings, and converts their state to tensors and back."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from likewise.config import Training
from likewise.training import distributed
from likewise.training.muon import Muon


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """The parameters for Muon: the weight matrices of hidden layers, without embeddings and the output layer.

    (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.)
    """
    outside = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    outside |= {id(p) for name, p in module.named_parameters() if "head" in name or "embed" in name}
    return [p for p in module.parameters() if p.requires_grad and p.ndim >= 2 and id(p) not in outside]


def build(module: nn.Module, settings: Training) -> list[torch.optim.Optimizer]:
    """The optimizers of one player; each parameter belongs to one of them. AdamW and Muon do not decay vectors."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if settings.optimizer == "muon":
        hidden = matrices(module)
        chosen = {id(p) for p in hidden}
        rest = [p for p in parameters if id(p) not in chosen]
        # The scale of Muon's update does not depend on that of the gradient, so it has its own rate; AdamW uses `lr`.
        muon = Muon(hidden, lr=settings.muon_lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
        return [*([muon] if hidden else []), *([_adamw(rest, settings)] if rest else [])]
    if settings.optimizer == "adamw":
        return [_adamw(parameters, settings)]
    if settings.optimizer == "adam":
        # Adam as published, with L2 regularisation in the gradient; AdamW decouples it.
        kind: type[torch.optim.Optimizer] = torch.optim.Adam
        extra = {"betas": settings.betas, "fused": True}
    elif settings.optimizer == "rmsprop":
        kind, extra = torch.optim.RMSprop, {"momentum": settings.momentum}
    else:
        kind, extra = torch.optim.SGD, {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
    return [kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay, **extra)]  # pyright: ignore


def _adamw(parameters: Iterable[nn.Parameter], settings: Training) -> torch.optim.Optimizer:
    decayed, spared = [], []
    for p in parameters:
        (decayed if p.ndim >= 2 else spared).append(p)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=settings.betas, fused=True)


def schedule(settings: Training, step: int, steps: int) -> float:
    """The factor of the learning rate at `step` of `steps`, in [0, 1]."""
    warmup = settings.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1.0, steps - warmup)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "linear":
        return 1 - done
    if settings.schedule == "wsd":  # warmup-stable-decay (Hu et al., MiniCPM, 2024), here linear to zero
        return min(1.0, (steps - step) / max(1.0, settings.decay * steps))
    return 1.0


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


def to_tensors(optimizers: list[torch.optim.Optimizer], module: nn.Module) -> dict[str, Tensor]:
    """The state of all optimizers as {"parameter name|key": tensor}."""
    names = {id(p): name for name, p in module.named_parameters()}
    tensors: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for p, state in optimizer.state.items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"{names[id(p)]}|{key}"] = torch.as_tensor(value)
    return tensors


def from_tensors(optimizers: list[torch.optim.Optimizer], module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of `to_tensors`; the optimizers must be newly built."""
    owner = {id(p): o for o in optimizers for g in o.param_groups for p in g["params"]}
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        name, _, part = key.rpartition("|")
        p = parameters[name]
        if value.shape == p.shape and distributed.local(p) is not p:
            owner[id(p)].state[p][part] = distributed.like(p, value).to(value.dtype)
            continue
        # The memory layout must equal that of the parameter (channels last), as fused optimizers require.
        like = p if value.shape == p.shape else value
        owner[id(p)].state[p][part] = torch.empty_like(like, dtype=value.dtype, device=p.device).copy_(value)
