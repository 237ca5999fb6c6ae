"""Distributed training under torchrun: summed gradients, common decisions of all processes, sharded weights.

Each process computes a share of the rows of every batch; noise is drawn by (seed, step, row), so that the division of
rows changes rounding only. Gradients are summed in fixed buckets, because a floating-point sum depends on its order:
torch's DistributedDataParallel regroups its buckets after the first step, so a resumed run would round differently
from an uninterrupted one.

Exact elastic training (`training.exact_elastic`) fixes the order for every world size: a batch is always computed in
`SHARDS` virtual shards, whose gradients are summed in a binary tree. Each process computes a subtree and exchanges the
levels above it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from likewise.training.data_order import least

#: number of virtual shards in exact elastic training
SHARDS = 8
#: bytes of gradients summed in one message
_BUCKET = 25 * 2**20


@dataclass(frozen=True)
class World:
    """The processes of a distributed training; by default a single process."""

    rank: int = 0
    size: int = 1
    local: int = 0
    #: a gloo process group for small messages on the CPU; None for a single process
    control: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """The maximum of each number over all processes, so that all make the same decision."""
        if self.size == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return tuple(tensor.tolist())

    def sums(self, values: Tensor) -> Tensor:
        """The sum over all processes of a small float64 tensor on the CPU, of any shape; computed in place."""
        if self.size > 1:
            dist.all_reduce(values, group=self.control)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each process, by rank."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value, group=self.control)
        return out

    def share(self, count: int) -> np.ndarray:
        """The rows that this process computes, of 0 to count - 1."""
        return np.array_split(np.arange(count), self.size)[self.rank]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes, in buckets of fixed content and order."""
        if self.size == 1:
            return
        waiting: list[tuple[dist.Work | None, Tensor, list[Tensor]]] = []
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            waiting.append((dist.all_reduce(flat, async_op=True), flat, bucket))
        for work, flat, bucket in waiting:
            if work is not None:
                work.wait()
            _spread(flat, bucket)

    def tree(self, gradients: Sequence[Tensor]) -> None:
        """Sum gradients over all processes in a binary tree (recursive doubling), in place, with equal bits everywhere.

        Floating-point addition is commutative, so both processes of a pair compute the same sum. With `size` a power of
        two, this is the upper part of the tree over the virtual shards.
        """
        distance = 1
        while distance < self.size:
            other = self.rank ^ distance
            for bucket in _buckets(gradients):
                flat = torch.cat([g.reshape(-1) for g in bucket])
                theirs = torch.empty_like(flat)
                for work in dist.batch_isend_irecv(
                    [dist.P2POp(dist.isend, flat, other), dist.P2POp(dist.irecv, theirs, other)]
                ):
                    work.wait()
                _spread(flat + theirs, bucket)
            distance *= 2

    def same_buffers(self, module: nn.Module) -> None:
        """Broadcast the running statistics of the first process, as each process updated them by its own rows."""
        if self.size > 1:
            for buffer in statistics(module):
                dist.broadcast(buffer, 0)


def statistics(module: nn.Module) -> list[Tensor]:
    """The buffers that training changes: those in the state dict, without constant tables and frozen weights."""
    kept = module.state_dict(keep_vars=True)
    return [buffer for name, buffer in module.named_buffers() if name in kept]


def _buckets(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    out: list[list[Tensor]] = []
    room = 0
    for g in gradients:
        size = g.numel() * g.element_size()
        if not out or size > room or g.dtype != out[-1][0].dtype:
            out.append([])
            room = _BUCKET
        out[-1].append(g)
        room -= size
    return out


def _spread(flat: Tensor, into: Sequence[Tensor]) -> None:
    for g, part in zip(into, flat.split([g.numel() for g in into]), strict=True):
        g.copy_(part.view(g.shape))


def join(device: torch.device, minutes: float = 10.0) -> World:
    """Join the process group of torchrun; returns a world of one process without torchrun.

    minutes: timeout for messages between processes. When a process is killed, the others end after this time at the
    latest, usually at once because its connections close.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return World()
    wait = timedelta(minutes=minutes)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=wait)
        _joined.append(True)
    control = dist.new_group(backend="gloo", timeout=wait)
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")), control)


def local_device(name: str) -> str:
    """The device name for this process: "cuda:LOCAL_RANK" for "auto" and "cuda" under torchrun, otherwise `name`."""
    if "LOCAL_RANK" in os.environ and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


#: not empty if `join` created the process group, which `together` then destroys
_joined: list[bool] = []


@contextmanager
def together() -> Iterator[None]:
    """A context manager and decorator that raises ValueError when the connection to another process is lost.

    On success, it destroys the process group: left to the exit of the interpreter, this can crash.
    """
    try:
        yield
    except RuntimeError as error:
        if not lost(error):
            raise
        raise ValueError("another process ended or did not come, and so does this one; start them again") from None
    if _joined and dist.is_initialized():
        _joined.clear()
        dist.destroy_process_group()


def lost(error: RuntimeError) -> bool:
    """Whether an error means that the connection to another process is lost; gloo has no exception class for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def check(world: World, batch: int, exact: bool, parallel: str) -> None:
    """Raises ValueError if the settings do not fit the number of processes."""
    if least(batch) < world.size:
        raise ValueError(
            f"training.batch: {batch} items, or {least(batch)} where they are long, cannot be shared by {world.size} "
            "processes"
        )
    if exact and parallel == "fsdp":
        raise ValueError("training.exact_elastic: sharded weights (fsdp) are exact at one world size only; use ddp")
    if exact and (world.size > SHARDS or SHARDS % world.size):
        raise ValueError(f"training.exact_elastic: {world.size} processes; it can be 1, 2, 4 or {SHARDS}")
    if exact and batch < SHARDS:
        raise ValueError(f"training.batch: exact elastic training needs at least {SHARDS} items")
    if parallel == "fsdp" and world.size == 1:
        raise ValueError("training.parallel: fsdp needs several processes; start it with torchrun")


def blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated blocks of the networks: the units of sharding and of activation checkpointing."""
    return [b for m in module.modules() if isinstance(m, nn.ModuleList) for b in m if any(True for _ in b.parameters())]


def shard(model: nn.Module, device: torch.device, players: int, mesh: DeviceMesh | None = None) -> None:
    """Shard every parameter over all processes (FSDP2: Zhao et al., 2023), and with them gradients and optimizer state.

    A model with one player gathers its weights block by block. With several players, all weights are gathered for the
    update of one player, because the losses need second derivatives.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for p in model.parameters():  # FSDP2 shards contiguous parameters only
        p.data = p.data.contiguous()
    mesh = mesh or init_device_mesh(device.type, (dist.get_world_size(),))
    if players == 1:
        for block in blocks(model):
            fully_shard(block, mesh=mesh)
            for method in ("step", "start", "read"):  # the methods of decoding token by token
                if hasattr(block, method):
                    register_fsdp_forward_method(block, method)
    fully_shard(model, mesh=mesh)
    for method in ("loss", "held_out", "sample", "log_likelihood"):
        register_fsdp_forward_method(model, method)


def local(tensor: Tensor) -> Tensor:
    """The local shard of a sharded tensor; other tensors are returned unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered on every process; other tensors are returned unchanged."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, full: Tensor) -> Tensor:
    """`full`, which every process holds, sharded like `tensor`."""
    if isinstance(tensor, DTensor) and not isinstance(full, DTensor):
        return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
    return full


def checkpoint_activations(module: nn.Module) -> None:
    """Activation checkpointing: recompute the activations of each block in the backward pass (Chen et al., 2016).

    About a third more computation; only the activations of one block are in memory at a time. Values do not change.
    """
    from torch.utils.checkpoint import checkpoint

    for block in blocks(module):
        forward = block.forward

        def again(*given: Any, _forward: Any = forward, _block: nn.Module = block, **named: Any) -> Any:
            if _block.training and torch.is_grad_enabled():
                return checkpoint(_forward, *given, use_reentrant=False, **named)
            return _forward(*given, **named)

        block.forward = again
