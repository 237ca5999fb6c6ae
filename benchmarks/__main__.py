"""`python -m benchmarks lm decode vae unet overhead --nanogpt PATH`: a table each, printed and put in results/."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import decode, lm, overhead, unet, vae


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("tracks", nargs="+", choices=("lm", "decode", "vae", "unet", "overhead"))
    parser.add_argument("--nanogpt", default=os.environ.get("NANOGPT"), help="a checkout of nanoGPT")
    parser.add_argument("--compiled", action="store_true", help="nanoGPT compiled too, and generate")
    parser.add_argument("--families", nargs="+", default=["vae", "gan", "flow", "autoregressive"], help="of overhead")
    parser.add_argument("--turn", type=float, default=40.0, help="seconds of training, of overhead")
    parser.add_argument("--brief", action="store_true", help="overhead of the whole alone")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for track in args.tracks:
        if track == "overhead":
            results = (overhead.run(args.rounds, family, args.turn, args.brief) for family in args.families)
        elif track == "decode":
            results = (decode.run(batch, args.nanogpt, args.compiled, args.rounds) for batch in (1, 16))
        elif track == "unet":
            results = unet.run(args.rounds)
        else:
            results = [lm.run(args.nanogpt, args.compiled, args.rounds) if track == "lm" else vae.run(args.rounds)]
        for result in results:
            print("\n".join(result.lines()), flush=True)
            result.write(Path(__file__).parent / "results")


if __name__ == "__main__":
    main()
