"""Data larger than memory: peak memory, the time to the first step, and the time to go on, as the data grow.

    python -m benchmarks.large text --sizes 0.01 5 --to /tmp/large          # GB of text
    python -m benchmarks.large pictures --sizes 10000 200000 --to /tmp/large

The data are made here. Each size is trained on from scratch, with no index of it on disk, stopped by SIGTERM, and gone
on with; memory is the largest resident set of the training process, counted by the system.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_STEPS = 100_000  # more than it gets to
_KINDS = {
    "text": ["--set", "backbone.width=128", "--set", "backbone.depth=2"],
    "pictures": ["--set", "backbone.width=16"],
}


def make_text(path: Path, gigabytes: float) -> None:
    """Lines of about 120 characters: three phrases of words, and a number that no other line has."""
    chance = np.random.default_rng(0)
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgk", np.uint8)
    words = [bytes(chance.choice(letters, chance.integers(2, 10))) for _ in range(5000)]
    phrases = [b" ".join(words[w] for w in chance.zipf(1.4, 7) % 5000) for _ in range(20_000)]
    left, number = int(gigabytes * 1e9), 0
    with path.open("wb") as file:
        while left > 0:
            picked = chance.integers(0, len(phrases), (20_000, 3)).tolist()
            lines = [
                b"%s %d %s %s" % (phrases[a], number + i, phrases[b], phrases[c]) for i, (a, b, c) in enumerate(picked)
            ]
            number += len(lines)
            left -= file.write(b"\n".join(lines) + b"\n")


def make_pictures(folder: Path, count: int) -> None:
    """Grey pictures of 16x16 points in ten folders: a bright disc somewhere on a slope."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for i in range(count):
        y, x, radius, slope, light = chance.uniform([3, 3, 2, -6, 120], [13, 13, 5, 6, 250])
        ground = 60 + slope * (rows - 8) + chance.integers(0, 8, (16, 16))
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        drawn = io.BytesIO()
        Image.fromarray(np.where(disc, light, ground).clip(0, 255).astype(np.uint8)).save(drawn, "png")
        (folder / str(i % 10) / f"{i:07d}.png").write_bytes(drawn.getvalue())


def train(words: list[str], log: Path, cache: Path, after: float) -> dict[str, float]:
    """Train until `after` seconds after the first line of losses; when that came, and the peak memory."""
    seen = log.stat().st_size if log.exists() else 0
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise", "train", *words],
        env={**os.environ, "LIKEWISE_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    while not (log.exists() and log.stat().st_size > seen):
        if process.poll() is not None:
            raise RuntimeError(f"training ended with {process.returncode}")
        time.sleep(0.05)
    first = time.perf_counter() - began
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 143:
        raise RuntimeError(f"training ended with {process.returncode}")
    return {"first step, s": round(first, 1), "peak memory, MB": round(usage.ru_maxrss * 1024 / 1e6)}


def measure(kind: str, size: float, home: Path, after: float = 20.0) -> dict[str, Any]:
    data = home / (f"{size:g}GB.txt" if kind == "text" else f"{size:g}")
    if not data.exists():
        make: Callable[[Path, Any], None] = make_text if kind == "text" else make_pictures
        aside = data.with_name(f"{data.name}.part")
        shutil.rmtree(aside, ignore_errors=True)
        make(aside, size if kind == "text" else int(size))
        aside.rename(data)
    with tempfile.TemporaryDirectory(dir=home) as name:
        run, cache = Path(name) / "run", Path(name) / "cache"
        log = run / "metrics.jsonl"
        steps = ["--steps", str(_STEPS), "--set", "training.checkpoint_every=1000000"]
        fresh = train([str(data), "--out", str(run), *steps, *_KINDS[kind]], log, cache, after)
        again = train(["--resume", str(run)], log, cache, 2.0)
    found = {"data": f"{size:g} GB" if kind == "text" else f"{size:,.0f} pictures", **fresh}
    return {**found, **{f"resumed: {k}": v for k, v in again.items()}}


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.large", description=__doc__)
    parser.add_argument("kind", choices=tuple(_KINDS))
    parser.add_argument("--sizes", type=float, nargs="+", required=True)
    parser.add_argument("--to", type=Path, required=True, help="where the data are made, and kept")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in args.sizes:
        rows.append(measure(args.kind, size, args.to))
        print(json.dumps(rows[-1]), flush=True)
    lines = [f"## large {args.kind}", "", f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    lines += ["", f"{platform.machine()}, {os.cpu_count()} cores", ""]
    (Path(__file__).parent / "results" / f"large-{args.kind}.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
