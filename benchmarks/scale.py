"""What a large Transformer costs on each of many processes: sharded for real, on a fake process group and no memory.

    python -m benchmarks.scale --width 4096 --depth 32 --processes 1024

The parameters live on the meta device, so that nothing is computed: what is counted is what FSDP2 gives each rank.
"""

from __future__ import annotations

import argparse
import json

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from likewise.assemble import assemble
from likewise.backbones.transformer import Transformer
from likewise.families.autoregressive import Autoregressive
from likewise.spaces import Tokens
from likewise.training import distributed


def cost(width: int, depth: int, processes: int, length: int = 2048, vocabulary: int = 32768) -> dict[str, float]:
    """Parameters in all, and bytes and elements of them on one rank of `processes`."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    try:
        with torch.device("meta"):
            space = Tokens(length, vocabulary, end=vocabulary - 1)
            model = assemble(space, {}, Autoregressive(), Transformer(width=width, depth=depth))
        total = sum(p.numel() for p in model.parameters())
        distributed.shard(model, torch.device("cpu"), len(model.players()))
        own = sum(distributed.local(p).numel() for p in model.parameters())
        units = [sum(p.numel() for p in block.parameters()) for block in distributed.blocks(model)]
    finally:
        dist.destroy_process_group()
    return {
        "parameters": total,
        "parameters per rank": own,
        # weights, gradients and Adam's two moments in fp32
        "GB of state per rank": 16 * own / 1e9,
        # one block's weights gathered in bf16 while the next one's are on their way
        "GB gathered at a time": 2 * 2 * max(units) / 1e9,
        # all-gather of bf16 weights before forward and backward, reduce-scatter of fp32 gradients (Zhao et al., 2023)
        "GB received per rank and step": (2 * 2 + 4) * total * (processes - 1) / processes / 1e9,
        "GB of a checkpoint": 12 * total / 1e9,
    }


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--width", type=int, default=4096)
    p.add_argument("--depth", type=int, default=32)
    p.add_argument("--processes", type=int, default=1024)
    a = p.parse_args()
    print(json.dumps(cost(a.width, a.depth, a.processes), indent=1))
