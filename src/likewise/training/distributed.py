"""Many processes, one training: torchrun's world, gradients summed across it, and agreement on everything decided.

Each process takes its share of the rows of every batch; noise is drawn by (seed, step, row), so that who computes a
row changes nothing but rounding. Gradients are summed in buckets that never change, because the sum of more than two
numbers depends on its order: torch's own DistributedDataParallel regroups its buckets after the first step, and a
resumed run would round otherwise than one that was not interrupted.

Exact elastic training fixes the order for every world size: a batch is always computed in `SHARDS` virtual shards,
whose gradients are summed in one pairwise tree. A process computes a subtree; the levels above are exchanged.
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

#: virtual shards of exact elastic training
SHARDS = 8
#: bytes of gradients that are summed in one message
_BUCKET = 25 * 2**20


@dataclass(frozen=True)
class World:
    """The processes that train together; the default is this one alone."""

    rank: int = 0
    size: int = 1
    local: int = 0
    #: small agreements travel here, on the CPU, whatever carries the gradients
    control: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, *numbers: float) -> tuple[float, ...]:
        """The largest of each number over all processes: what is decided by it, all decide alike."""
        if self.size == 1:
            return numbers
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return tuple(tensor.tolist())

    def sums(self, values: Tensor) -> Tensor:
        """The sum over all processes of a small float64 tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values, group=self.control)
        return values

    def gather(self, value: Any) -> list[Any]:
        """What each process passed, by rank."""
        if self.size == 1:
            return [value]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value, group=self.control)
        return out

    def share(self, count: int) -> np.ndarray:
        """Which of the rows 0..count - 1 this process computes."""
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
        """Sum over all processes in a pairwise tree (recursive doubling): every process ends with the same bits.

        Floating-point addition is commutative, so both of a pair get one sum; with `size` a power of two, the tree is
        the upper part of the tree over the virtual shards.
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
        """Give every process the first one's running statistics, as they were updated by different rows."""
        if self.size > 1:
            for buffer in statistics(module):
                dist.broadcast(buffer, 0)


def statistics(module: nn.Module) -> list[Tensor]:
    """The buffers that training changes: those that a checkpoint holds, not tables and frozen weights."""
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
    """The world torchrun started this process in; this process alone if it was not.

    minutes: how long a process waits for another before it gives up; when one is killed, the others end by this time
    at the latest (usually at once, as its connections close).
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
    """The device of this process among those of its machine: "cuda:LOCAL_RANK" for "auto" and "cuda"."""
    if "LOCAL_RANK" in os.environ and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


#: whether `join` made the process group, which is then ours to end
_joined: list[bool] = []


@contextmanager
def together() -> Iterator[None]:
    """Says in one line, as a ValueError, that another process is gone; also a decorator.

    Where all went well, the processes part before they end: what is left to the interpreter's last moments can crash.
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
    """Whether an error says that another process is gone; gloo has no class for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def check(world: World, batch: int, exact: bool, parallel: str) -> None:
    """Raises ValueError of one line if the settings do not go with this many processes."""
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
    """The repeated parts of the networks: what is sharded, and whose activations are recomputed, as one unit."""
    return [b for m in module.modules() if isinstance(m, nn.ModuleList) for b in m if any(True for _ in b.parameters())]


def shard(model: nn.Module, device: torch.device, players: int, mesh: DeviceMesh | None = None) -> None:
    """Shard every parameter over all processes (FSDP2: Zhao et al., 2023), and with them gradients and optimizer state.

    A model of one player gathers its weights block by block. With several players, whose losses differentiate a
    gradient again, all are gathered for the length of a turn.
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
    """This process's part of a sharded tensor; any other tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, on every process; any other tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, full: Tensor) -> Tensor:
    """`full`, which every process has, laid out as `tensor` is."""
    if isinstance(tensor, DTensor) and not isinstance(full, DTensor):
        return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
    return full


def checkpoint_activations(module: nn.Module) -> None:
    """Compute the activations inside each block again when its gradient is wanted, instead of keeping them.

    A third more computing for memory of one block at a time (Chen et al., 2016). Values do not change.
    """
    from torch.utils.checkpoint import checkpoint

    for block in blocks(module):
        forward = block.forward

        def again(*given: Any, _forward: Any = forward, _block: nn.Module = block, **named: Any) -> Any:
            if _block.training and torch.is_grad_enabled():
                return checkpoint(_forward, *given, use_reentrant=False, **named)
            return _forward(*given, **named)

        block.forward = again
