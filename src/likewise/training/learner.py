"""One reproducible optimizer step of a model, with its optimizers and averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from likewise.config import Training
from likewise.draws import Draws, derive_seed
from likewise.families.base import Model
from likewise.families.precision import autocast, choose_precision
from likewise.training import checkpoint, distributed, hardware, optimizers
from likewise.training.batches import Batches, scored_together
from likewise.training.data_order import Order
from likewise.training.distributed import World

_HELD_OUT_ITEMS = 1024
#: the number of a shard, and its parts: row numbers in the batch, x and c
_Shard = tuple[int, list[tuple[np.ndarray, Tensor, dict[str, Tensor] | None]]]


class NonFinite(ArithmeticError):
    """A loss or gradient was not finite; the update of `player` was skipped.

    items: indices of the items that cause it, if known. clean: whether no player was updated in this step, so that the
    state is still that of the previous step.
    """

    def __init__(self, message: str, step: int, player: str, items: list[int], clean: bool) -> None:
        super().__init__(message)
        self.step, self.player, self.items, self.clean = step, player, items, clean


class Learner:
    """A model with its optimizers and averaged weights, which computes one optimizer step at a time."""

    def __init__(self, model: Model, settings: Training, device: torch.device, world: World | None = None) -> None:
        self.model = model.to(device)
        self.settings = settings
        self.device = device
        self.world = world or World()
        #: parts in which each process computes its rows (gradient accumulation); doubled when memory runs out
        self.accumulate = settings.accumulate
        #: whether the model has no trainable weights and reads the data by `observe`
        self.observing = not self.model.players()
        self.precision = "float32" if self.observing else choose_precision(settings.precision, device)
        self.sharded = settings.parallel == "fsdp" and self.world.size > 1 and not self.observing
        if (device.type == "cpu" or self.precision == "bfloat16") and not self.sharded:
            hardware.to_channels_last(self.model)
        if settings.checkpoint_activations:
            distributed.checkpoint_activations(self.model)
        if self.sharded:
            distributed.shard(self.model, device, len(self.model.players()))
        self.players = self.model.players()
        self.optimizers = {name: optimizers.build(player, settings) for name, player in self.players.items()}
        self.average: dict[str, Tensor] = {}
        if settings.ema and not self.observing:
            self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self._tree: list[Tensor] = []

    def step(self, batches: Batches, indices: np.ndarray, number: int, steps: int) -> dict[str, Tensor]:
        """Update every player once on the items `indices`, shape (B,), in step `number` of `steps`.

        Returns the loss terms, detached scalars. Raises NonFinite before an update that is not finite. When memory runs
        out, the gradients are computed again in twice as many parts, as are those of later steps; raises MemoryError if
        a single item does not fit.
        """
        if not self.model.training:
            self.model.train()
        if self.observing:
            self._observe(batches, indices, number)
            return {}
        self.model.set_progress(number, steps)
        factor = optimizers.schedule(self.settings, number, steps)
        terms: dict[str, Tensor] = {}
        taken: list[_Shard] | None = None
        # Batches of short items have more items; dividing by the mean batch size gives all items the same weight.
        items = len(indices) if batches.lengths is None else self.settings.batch
        for turn, (player, own) in enumerate(self.optimizers.items()):
            while True:
                try:
                    taken = taken or self._take(batches, indices, number)
                    found = self._gradients(player, turn, taken, number, items)
                    short = 0.0
                except Exception as error:
                    if not hardware.out_of_memory(error):
                        raise
                    short = 1.0
                # If memory ran out in one process, all compute again, before the gradients are summed.
                if self.world.size > 1:
                    (short,) = self.world.agree(short)
                if not short:
                    break
                taken = None
                self._less_memory(own, len(indices))
            terms |= found
            self._sum(player)
            self._check_and_update(player, own, factor, terms, number, indices, batches, turn)
        self._average(number)
        return terms

    @torch.no_grad()
    def _observe(self, batches: Batches, indices: np.ndarray, number: int) -> None:
        """Let the model observe a batch. Each process observes the full data; this is cheaper than synchronising."""
        draws = Draws(derive_seed(self.settings.seed, "data", number), torch.arange(len(indices)))
        x, c = batches.take(indices, draws, self.device)
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            bad = indices[(~torch.isfinite(x).flatten(1).all(1)).cpu().numpy()].tolist()
            raise NonFinite(f"step {number}: items are not finite", number, "model", bad, True)
        self.model.observe(x, c)

    def _less_memory(self, own: list[torch.optim.Optimizer], items: int) -> None:
        for optimizer in own:
            optimizer.zero_grad(set_to_none=True)
        if self.accumulate * self.world.size >= items:
            raise MemoryError(
                "out of memory with one item at a time; use a smaller network (size, backbone.width), or "
                "shorter items; the last checkpoint is intact"
            )
        self.accumulate *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _take(self, batches: Batches, indices: np.ndarray, number: int) -> list[_Shard]:
        """The rows of this process, by shard and by part of a shard."""
        rows, shards = np.arange(len(indices)), range(self.world.rank, self.world.rank + 1)
        split = np.array_split(rows, self.world.size)
        if self.settings.exact_elastic:
            own = distributed.SHARDS // self.world.size
            split = np.array_split(rows, distributed.SHARDS)
            shards = range(self.world.rank * own, (self.world.rank + 1) * own)
        seed = derive_seed(self.settings.seed, "data", number)
        out = []
        for shard in shards:
            parts = []
            for part in np.array_split(split[shard], min(self.accumulate, len(split[shard]))):
                draws = Draws(seed, torch.from_numpy(part))
                parts.append((part, *batches.take(indices[part], draws, self.device)))
            out.append((shard, parts))
        return out

    def _gradients(self, player: str, turn: int, taken: list[_Shard], number: int, items: int) -> dict[str, Tensor]:
        """Compute the gradients of a player's loss over the rows of this process. Returns the loss terms.

        turn: the position of the player in the step. items: divisor of the sum over the rows.
        """
        module, own = self.players[player], self.optimizers[player]
        exact = self.settings.exact_elastic
        parameters = [p for p in module.parameters() if p.requires_grad] if exact else []
        buffers = [b.clone() for b in distributed.statistics(self.model)] if exact else []
        stack: list[tuple[int, list[Tensor]]] = []
        terms: dict[str, Tensor] = {}
        for shard, parts in taken:
            for optimizer in own:
                optimizer.zero_grad(set_to_none=True)
            if exact:  # running statistics start from the same state in every shard, too
                for buffer, before in zip(distributed.statistics(self.model), buffers, strict=True):
                    buffer.copy_(before)
            for part, (rows, x, c) in enumerate(parts):
                # Dropout uses torch's global generator: seeding it each time keeps its state out of checkpoints.
                hardware.seed(derive_seed(self.settings.seed, "step", number, turn, shard, part) >> 1, self.device)
                draws = Draws(derive_seed(self.settings.seed, "noise", number), torch.from_numpy(rows), self.device)
                if self.sharded or exact:
                    # A new view of x keeps a family from reusing the graph of another player's update: its gathered
                    # weights are freed, and whether the graph still exists depends on the shards of a process.
                    x = x.view_as(x)
                with autocast(self.device, self.precision):
                    losses = self.model.loss(x, c, player, draws)
                share = len(rows) / items
                total = sum(v for k, v in losses.items() if not k.startswith("_"))
                # FSDP averages gradients over the processes; here they are summed
                (total * share * (self.world.size if self.sharded else 1)).backward()  # pyright: ignore
                for name, value in losses.items():
                    terms[name] = terms.get(name, 0) + value.detach() * share  # pyright: ignore
            if exact:
                summed = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
                stack.append(
                    (1, [*summed, *[b.clone() for b in distributed.statistics(self.model) if b.is_floating_point()]])
                )
                while len(stack) > 1 and stack[-1][0] == stack[-2][0]:  # two subtrees of equal height
                    (height, left), (_, right) = stack[-2], stack[-1]
                    stack[-2:] = [(height + 1, [*torch._foreach_add(left, right)])]
        if exact:
            self._tree = stack[0][1]
        return terms

    def _sum(self, player: str) -> None:
        """Sum the gradients over all processes and synchronise the running statistics."""
        module = self.players[player]
        if self.settings.exact_elastic:
            parameters = [p for p in module.parameters() if p.requires_grad]
            gradients, self._tree = [t.contiguous() for t in self._tree], []
            self.world.tree(gradients)
            for p, g in zip(parameters, gradients, strict=False):
                p.grad = g
            floating = [b for b in distributed.statistics(self.model) if b.is_floating_point()]
            for buffer, total in zip(floating, gradients[len(parameters) :], strict=True):
                buffer.copy_(total / distributed.SHARDS)
        elif self.world.size > 1:
            if not self.sharded:
                self.world.sum_gradients(p for p in module.parameters())
            self.world.same_buffers(self.model)

    def _check_and_update(
        self,
        player: str,
        own: list[torch.optim.Optimizer],
        factor: float,
        terms: dict[str, Tensor],
        number: int,
        indices: np.ndarray,
        batches: Batches,
        turn: int,
    ) -> None:
        parameters = [p for o in own for g in o.param_groups for p in g["params"] if p.grad is not None]
        norm = distributed.whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        if not torch.isfinite(norm):  # checked before the update, so the weights are unchanged
            values = ", ".join(f"{k}={float(v):.4g}" for k, v in terms.items())
            named = sorted(
                {i for part in self.world.gather(self._culprits(batches, indices, number, player)) for i in part}
            )
            raise NonFinite(
                f"step {number}: the gradient of {player} is not finite ({values})", number, player, named, turn == 0
            )
        if self.settings.grad_clip:
            nn.utils.clip_grads_with_norm_(parameters, self.settings.grad_clip, norm)
        optimizers.set_rate(own, factor)
        for optimizer in own:
            optimizer.step()

    def _culprits(self, batches: Batches, indices: np.ndarray, number: int, player: str) -> list[int]:
        """The items of this process that, alone in a batch, are not finite or have a loss or gradient that is not.

        Empty if this holds for all items: then the weights are the cause.
        """
        own = self.world.share(len(indices))
        found = []
        self.model.eval()  # statistics of a batch are meaningless for one item
        try:
            for row in own if not self.sharded else ():
                x, c = batches.take(indices[[row]], None, self.device)
                bad = x.is_floating_point() and not bool(torch.isfinite(x).all())
                if not bad:
                    noise = Draws(derive_seed(self.settings.seed, "noise", number), torch.tensor([row]), self.device)
                    for p in self.players[player].parameters():
                        p.grad = None
                    losses = self.model.loss(x, c, player, noise)
                    total = sum(v for k, v in losses.items() if not k.startswith("_"))
                    total.backward()  # pyright: ignore
                    grads = [p.grad for p in self.players[player].parameters() if p.grad is not None]
                    bad = not bool(torch.isfinite(nn.utils.get_total_norm(grads)))
                if bad:
                    found.append(int(indices[row]))
        finally:
            self.model.train()
        return found if len(found) < len(own) or len(own) == 1 else []

    @torch.no_grad()
    def _average(self, number: int) -> None:
        if not self.average:
            return
        decay = min(self.settings.ema, (1 + number) / (10 + number))
        now = self.model.state_dict()
        floats = [k for k, v in self.average.items() if v.is_floating_point()]
        here = [distributed.local(self.average[k]) for k in floats]
        torch._foreach_lerp_(here, [distributed.local(now[k]) for k in floats], 1 - decay)
        for key, value in self.average.items():
            if not value.is_floating_point():
                value.copy_(now[key])

    @contextmanager
    def averaged(self) -> Iterator[Model]:
        """The model in evaluation mode with the weights for sampling: the averaged ones, if there are any."""
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
        """The mean validation loss, with the same noise at every call; None if the family has none."""
        items = batches.some(_HELD_OUT_ITEMS)
        count = len(items)
        size = scored_together(self.model.target, max(1, min(self.settings.batch, 64)))
        if count == 0:
            return None
        if batches.lengths is not None:
            items = items[np.argsort(batches.lengths[items], kind="stable")]
        starts = range(0, count, size)
        # Each block is computed by one process and is zero in the others, so that the sum does not depend on their
        # number. With sharded weights, all processes compute all blocks, because gathering involves every process.
        sums = torch.zeros(len(starts), 3, dtype=torch.float64)
        with self.averaged() as model:
            for place, start in enumerate(starts):
                if not self.sharded and place % self.world.size != self.world.rank:
                    continue
                part = items[start : start + size]
                index = torch.from_numpy(part)
                draws = Draws(derive_seed(self.settings.seed, "held out data"), index)
                x, c = batches.take(part, draws, self.device)
                noise = Draws(derive_seed(self.settings.seed, "held out"), index, self.device)
                with autocast(self.device, self.precision):
                    found = model.held_out(x, c, noise)
                if found is None:  # summed below, as a process without a block cannot know
                    sums[place, 2] = 1
                    break
                sums[place, 0] = found[0].double().sum()
                sums[place, 1] = found[1].double().sum()
        if not self.sharded:
            sums = self.world.sums(sums)
        total, weight, none = sums.sum(0).tolist()
        if none:
            return None
        return total / max(weight, 1e-12)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors of a checkpoint by name: the weights for sampling, and all others."""
        raw = self.model.state_dict()
        rest = {f"raw/{k}": v for k, v in raw.items()} if self.average else {}
        for name, own in self.optimizers.items():
            state = optimizers.to_tensors(own, self.players[name])
            rest |= {f"optimizer/{name}/{k}": v for k, v in state.items()}
        return (self.average or raw), rest

    def restore(self, weights: dict[str, Tensor], rest: dict[str, Tensor]) -> None:
        """The inverse of `tensors`. Raises ValueError if names or shapes differ from those of the model."""
        raw = {k.removeprefix("raw/"): v for k, v in rest.items() if k.startswith("raw/")} if self.average else weights
        self.model.make_room(raw)
        checkpoint.compare_keys(self.model.state_dict(), raw, "resume")
        if self.average:
            for key, value in self.average.items():
                value.copy_(distributed.like(value, weights[key]))
        now = self.model.state_dict()
        self.model.load_state_dict({k: distributed.like(now[k], v) if k in now else v for k, v in raw.items()})
        for name, own in self.optimizers.items():
            prefix = f"optimizer/{name}/"
            state = {k.removeprefix(prefix): v for k, v in rest.items() if k.startswith(prefix)}
            optimizers.from_tensors(own, self.players[name], state)


def try_compile(learner: Learner, batches: Batches, order: Order) -> str | None:
    """Compile the networks and try them with one step, which is undone. Returns the reason of a failure, else None.

    After a failure (second derivatives, for example, cannot be compiled), the networks are used uncompiled.
    """
    networks = list(learner.model.children())
    kept = [{k: v.detach().clone() for k, v in t.items()} for t in learner.tensors()]
    for network in networks:
        network.compile(dynamic=batches.lengths is not None)
    why = None
    try:
        learner.step(batches, order.batch(0), 0, 1000)
    except Exception as error:  # any error of the compiler: training works without it
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        for network in networks:
            network._compiled_call_impl = None
    learner.optimizers = {k: optimizers.build(p, learner.settings) for k, p in learner.players.items()}
    learner.restore(kept[0], kept[1])
    return why


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
