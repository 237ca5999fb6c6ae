"""Settings of the hardware for speed: memory, threads, device, number format and memory layout.

Each of these was measured and is here because it gained; `docs/guide/speed.md` has the ratios, and what gained nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

import torch
from torch import nn

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune(threads: int | None = None) -> None:
    """Prepare this process for training or sampling; call it before the first large tensor. Repeating it is harmless.

    threads: how many compute; by default `choose_threads`.
    """
    keep_memory()
    count = threads or choose_threads()
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


@cache
def keep_memory() -> bool:
    """Let malloc keep what tensors free, instead of giving it back to the kernel and faulting it in again.

    Returns whether this C library understood (glibc does). Memory freed in training is reused by the next step, so
    the peak is unchanged; what is resident between steps is not returned.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False  # musl has no mallopt
    mallopt = libc.mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    most = 2**31 - 1  # mallopt takes an int
    wanted = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: most, _M_TOP_PAD: 64 * 2**20}
    return all(mallopt(option, value) == 1 for option, value in wanted.items())


def choose_threads() -> int:
    """How many threads to compute with: the physical cores this process may use, or OMP_NUM_THREADS if that is set."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    if not hasattr(os, "sched_getaffinity"):
        return torch.get_num_threads()  # macOS, Windows: torch has asked the system
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    quota = _cgroup_cores()
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def _siblings(cpu: int) -> str:
    """A name for the physical core of a logical one: two hyper-threads share one multiplier."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else str(cpu)


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """The cores' worth of time a container is limited to; None if it is not."""
    limits = []
    places = own.read_text().split() if own.exists() else []
    for place in places:
        _, controllers, path = place.split(":", 2)
        if controllers == "":  # version 2: every level above limits too
            folder = root / path.lstrip("/")
            for level in (folder, *folder.parents):
                if (level / "cpu.max").exists():
                    quota, period = (level / "cpu.max").read_text().split()
                    limits += [] if quota == "max" else [int(quota) / int(period)]
        elif "cpu" in controllers.split(","):
            folder = root / "cpu" / path.lstrip("/")
            folder = folder if folder.exists() else root / "cpu"  # inside a container its own level is the root
            if (folder / "cpu.cfs_quota_us").exists():
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                limits += [] if quota < 0 else [quota / int((folder / "cpu.cfs_period_us").read_text())]
    return min(limits, default=None)


def seed(number: int, device: torch.device) -> None:
    """Set the generators that compute on `device`; torch.manual_seed sets all there are, in 0.3 ms."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first accelerator there is.

    Raises ValueError of one line if it is unknown or absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"training.device: {name!r} is not a device; use auto, cpu, cuda, cuda:1, ... or mps")
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if present <= (device.index or 0):
        found = f"this machine has {present} of its kind" if present else "torch sees none here"
        raise ValueError(f"training.device: {name!r} is not there: {found}; use auto or cpu")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether this is the device or the machine saying that memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "not enough memory", "can't allocate memory", "failed to allocate")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def to_channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions so that the channels of one position are neighbours in memory.

    Activations follow the weights. Values do not change; one position dimension has no such layout.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            part.to(memory_format=torch.channels_last)  # pyright: ignore
        elif isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            part.to(memory_format=torch.channels_last_3d)  # pyright: ignore
