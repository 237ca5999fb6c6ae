"""A model, its optimizers and its averaged weights: one optimizer step at a time, bit for bit repeatable."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from likewise.config import Training
from likewise.draws import Draws, derive_seed
from likewise.families.base import Model
from likewise.training import machine, optimizers
from likewise.training.batches import Batches
from likewise.training.order import Order

_HELD_OUT_ITEMS = 1024


class NonFinite(ArithmeticError):
    """A loss or gradient was not a number; the weights before that step are kept."""


class Learner:
    """A model, its optimizers and averaged weights: one optimizer step at a time."""

    def __init__(self, model: Model, settings: Training, device: torch.device) -> None:
        self.model = model.to(device)
        self.settings = settings
        self.device = device
        self.precision = machine.precision(settings.precision, device)
        if device.type == "cpu" or self.precision == "bfloat16":
            machine.to_channels_last(self.model)
        self.players = self.model.players()
        self.optimizers = {name: optimizers.build(player, settings) for name, player in self.players.items()}
        self.average: dict[str, Tensor] = {}
        if settings.ema:
            self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def step(self, batches: Batches, indices: np.ndarray, number: int, steps: int) -> dict[str, Tensor]:
        """One step of every player on the items `indices`. Returns the loss terms, detached."""
        settings, model = self.settings, self.model
        # Dropout draws from torch's global generator: it is set anew for every step, so that it needs no saving.
        machine.seed(derive_seed(settings.seed, "step", number) >> 1, self.device)
        if not model.training:
            model.train()
        model.set_progress(number, steps)
        factor = optimizers.schedule(settings, number, steps)
        seed = derive_seed(settings.seed, "noise", number)
        rows = np.arange(len(indices))
        parts = [p for p in np.array_split(rows, settings.accumulate) if len(p)]
        # Each player's turn draws its own noise, except that a family may keep what it drew in the turn before.
        taken = [self._take(batches, indices[part], part, number) for part in parts]
        terms: dict[str, Tensor] = {}
        for player, own in self.optimizers.items():
            for optimizer in own:
                optimizer.zero_grad(set_to_none=True)
            for part, (x, c) in zip(parts, taken, strict=True):
                draws = Draws(seed, torch.from_numpy(part), self.device)
                with machine.autocast(self.device, self.precision):
                    losses = model.loss(x, c, player, draws)
                share = len(part) / len(rows)
                total = sum(v for k, v in losses.items() if not k.startswith("_"))
                (total * share).backward()  # pyright: ignore[reportAttributeAccessIssue]
                for name, value in losses.items():
                    terms[name] = terms.get(name, 0) + value.detach() * share  # pyright: ignore
            self._check_and_update(player, own, factor, terms, number, indices)
        self._average(number)
        return terms

    def _take(
        self, batches: Batches, indices: np.ndarray, rows: np.ndarray, number: int
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        draws = Draws(derive_seed(self.settings.seed, "data", number), torch.from_numpy(rows))
        return batches.take(indices, draws, self.device)

    def _check_and_update(
        self,
        player: str,
        own: list[torch.optim.Optimizer],
        factor: float,
        terms: dict[str, Tensor],
        number: int,
        indices: np.ndarray,
    ) -> None:
        parameters = [p for o in own for g in o.param_groups for p in g["params"] if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf)
        if not torch.isfinite(norm):  # before the update: the weights stay what they were
            values = ", ".join(f"{k}={float(v):.4g}" for k, v in terms.items())
            where = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
            raise NonFinite(
                f"step {number}: the gradient of {player} is not finite ({values}; training items {where}); "
                "try a smaller training.lr, or training.precision=float32"
            )
        optimizers.set_rate(own, factor)
        for optimizer in own:
            optimizer.step()

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if not self.average:
            return
        decay = min(self.settings.ema, (1 + number) / (10 + number))
        now = self.model.state_dict()
        floats = [k for k, v in self.average.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in floats], [now[k] for k in floats], 1 - decay)
        for key, value in self.average.items():
            if not value.is_floating_point():
                value.copy_(now[key])

    @contextmanager
    def averaged(self) -> Iterator[Model]:
        """The model in evaluation mode, with the weights that sampling will use."""
        training = self.model.training
        raw = {k: v.detach().clone() for k, v in self.model.state_dict().items()} if self.average else None
        if self.average:
            self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            yield self.model
        finally:
            if raw is not None:
                self.model.load_state_dict(raw)
            self.model.train(training)

    @torch.no_grad()
    def held_out(self, batches: Batches) -> float | None:
        """The held-out loss, with the same noise every time; None where the family has none."""
        total = weight = 0.0
        count, size = min(len(batches), _HELD_OUT_ITEMS), max(1, min(self.settings.batch, 64))
        if count == 0:
            return None
        items = np.arange(count)
        if batches.lengths is not None:
            items = items[np.argsort(batches.lengths[items], kind="stable")]
        with self.averaged() as model:
            for start in range(0, count, size):
                part = items[start : start + size]
                index = torch.from_numpy(part)
                draws = Draws(derive_seed(self.settings.seed, "held out data"), index)
                x, c = batches.take(part, draws, self.device)
                noise = Draws(derive_seed(self.settings.seed, "held out"), index, self.device)
                with machine.autocast(self.device, self.precision):
                    found = model.held_out(x, c, noise)
                if found is None:
                    return None
                total += float(found[0].double().sum())
                weight += float(found[1].double().sum())
        return total / max(weight, 1e-12)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a checkpoint holds: the weights that sample, and the rest."""
        raw = self.model.state_dict()
        rest = {f"raw/{k}": v for k, v in raw.items()} if self.average else {}
        for name, own in self.optimizers.items():
            state = optimizers.to_tensors(own, self.players[name])
            rest |= {f"optimizer/{name}/{k}": v for k, v in state.items()}
        return (self.average or raw), rest

    def restore(self, weights: dict[str, Tensor], rest: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        if self.average:
            for key, value in self.average.items():
                value.copy_(weights[key])
            weights = {k.removeprefix("raw/"): v for k, v in rest.items() if k.startswith("raw/")}
        self.model.load_state_dict(weights)
        for name, own in self.optimizers.items():
            prefix = f"optimizer/{name}/"
            state = {k.removeprefix(prefix): v for k, v in rest.items() if k.startswith(prefix)}
            optimizers.from_tensors(own, self.players[name], state)


def try_compile(learner: Learner, batches: Batches, order: Order) -> str | None:
    """Compile the model's networks and take a real step, which is undone. Returns why it did not work, else None.

    A network that does not compile (one whose gradient is differentiated again, for example) trains as it is.
    """
    networks = list(learner.model.children())
    kept = [{k: v.detach().clone() for k, v in t.items()} for t in learner.tensors()]
    for network in networks:
        network.compile(dynamic=batches.lengths is not None)
    why = None
    try:
        learner.step(batches, order.batch(0), 0, 1000)
    except Exception as error:  # whatever the compiler stumbles over is no reason to fail
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        for network in networks:
            network._compiled_call_impl = None
    learner.optimizers = {k: optimizers.build(p, learner.settings) for k, p in learner.players.items()}
    learner.restore(kept[0], kept[1])
    return why


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
