"""The precision of matrix products and convolutions: float32, or bfloat16 where the hardware supports it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch


def choose_precision(name: str, device: torch.device) -> str:
    """ "float32" or "bfloat16": `name` itself, or for "auto" bfloat16 where it is fast."""
    if name != "auto":
        return name
    return "bfloat16" if fast_bfloat16(device) else "float32"


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has hardware bfloat16 products: emulated ones are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


@cache
def _cpu_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":", 1)[1].split())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions use `precision`; weights keep their type."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
