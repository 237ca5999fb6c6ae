"""Settings of the hardware for speed: memory, threads, device, number format and memory layout.

`docs/guide/speed.md` has the measured gain of each, and settings that gained nothing.
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

    threads: number of threads of torch; by default `choose_threads`.
    """
    keep_memory()
    count = threads or choose_threads()
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


@cache
def keep_memory() -> bool:
    """Let malloc keep freed memory for the next step, which avoids page faults, instead of returning it to the kernel.

    Returns whether the C library supports it (glibc does). Peak memory is unchanged; resident memory between steps is
    higher.
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
    """The number of threads: OMP_NUM_THREADS if set, otherwise the physical cores available to this process."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    if not hasattr(os, "sched_getaffinity"):
        return torch.get_num_threads()  # macOS, Windows: torch's own choice
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    quota = _cgroup_cores()
    return max(1, len(cores) if quota is None else min(len(cores), int(quota)))


def _siblings(cpu: int) -> str:
    """An identifier of the physical core of a logical core, as hyper-threads share arithmetic units."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else str(cpu)


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPU limit of the container in cores; None without a limit."""
    limits = []
    places = own.read_text().split() if own.exists() else []
    for place in places:
        _, controllers, path = place.split(":", 2)
        if controllers == "":  # cgroup version 2: the limits of all parents apply too
            folder = root / path.lstrip("/")
            for level in (folder, *folder.parents):
                if (level / "cpu.max").exists():
                    quota, period = (level / "cpu.max").read_text().split()
                    limits += [] if quota == "max" else [int(quota) / int(period)]
        elif "cpu" in controllers.split(","):
            folder = root / "cpu" / path.lstrip("/")
            folder = folder if folder.exists() else root / "cpu"  # inside a container, its own cgroup is the root
            if (folder / "cpu.cfs_quota_us").exists():
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                limits += [] if quota < 0 else [quota / int((folder / "cpu.cfs_period_us").read_text())]
    return min(limits, default=None)


def seed(number: int, device: torch.device) -> None:
    """Seed the generators for `device`; torch.manual_seed seeds those of all devices, which takes 0.3 ms."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def choose_device(name: str = "auto") -> torch.device:
    """The device `name`: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first available accelerator, else the CPU.

    Raises ValueError if the device is unknown or not available.
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
    """Whether the error means that the memory of the device or the machine is exhausted."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("out of memory", "not enough memory", "can't allocate memory", "failed to allocate")
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words)


def to_channels_last(module: nn.Module) -> None:
    """Convert the weights of 2-d and 3-d convolutions to the channels-last layout; activations follow the weights.

    Values do not change. torch has no such layout for 1-d convolutions.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            part.to(memory_format=torch.channels_last)  # pyright: ignore
        elif isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            part.to(memory_format=torch.channels_last_3d)  # pyright: ignore
