"""Which number format matrix products and convolutions compute in: float32, or bfloat16 where hardware has it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch


def choose_precision(name: str, device: torch.device) -> str:
    """ "float32" or "bfloat16": `name` itself, or for "auto" bfloat16 where the device multiplies it fast."""
    if name != "auto":
        return name
    return "bfloat16" if fast_bfloat16(device) else "float32"


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


@cache
def _cpu_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split(":", 1)[1].split())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """In this context matrix products and convolutions compute in `precision`; weights stay what they are."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
