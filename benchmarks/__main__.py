"""`python -m benchmarks lm vae --nanogpt PATH`: prints a table for each track and writes benchmarks/results."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import lm, vae


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("tracks", nargs="+", choices=("lm", "vae"))
    parser.add_argument("--nanogpt", default=os.environ.get("NANOGPT"), help="a checkout of nanoGPT")
    parser.add_argument("--compiled", action="store_true", help="nanoGPT compiled too")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for track in args.tracks:
        result = lm.run(args.nanogpt, args.compiled, args.rounds) if track == "lm" else vae.run(args.rounds)
        print("\n".join(result.lines()), flush=True)
        result.write(Path(__file__).parent / "results")


if __name__ == "__main__":
    main()
