"""Pictures, end to end: the command a user types, minutes on this machine, and what its report says.

    python -m benchmarks.pictures --data DATA digits-flow digits-gan digits-few-step emoji-flow

DATA holds digits/ (a folder of pictures for each digit), emoji/ (pictures with metadata.jsonl, whose fields "text" and
"text_zh" are captions) and clips/ (animated GIFs with such a file). A row is written to results/pictures.json as soon
as it is there, and the table to results/pictures.md; rows that were not run again stay. Each figure has beside it what
as many real pictures reach, and its interval. digits-diffusers (after digits-flow) is what diffusers draws after the
same minutes, see peer_pictures.py. A quiet machine is assumed: nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.peer_pictures import diffusers_ddpm
from benchmarks.table import keep, trained
from likewise.runs.run import Run
from likewise.verbs.evaluate import evaluate

#: metrics of a report that are in the table, without what they are of
_SHOWN = (
    "kid", "precision", "recall", "coverage", "judge_accuracy", "agreement", "modes", "r_precision", "copies",
    "motion", "motion_distance", "smoothness", "frozen",
)  # fmt: skip

#: data, minutes and further arguments of `likewise train`, and what the samples of each column are drawn with
_ROWS: dict[str, tuple[str, float, list[str], list[dict[str, Any]]]] = {
    "digits-flow": ("digits", 10, ["--family", "flow", "--unconditional"], [{}]),
    "digits-gan": ("digits", 10, ["--family", "gan", "--unconditional"], [{}]),
    "digits-flow-given": ("digits", 10, ["--family", "flow"], [{"steps": 8}]),
    "digits-gan-given": ("digits", 10, ["--family", "gan"], [{}]),
    "digits-few-step": (
        "digits", 10, ["--family", "flow", "--few-step"],
        [{"steps": 1}, {"steps": 2}, {"steps": 4}, {"sampler": "dpm_solver_pp", "steps": 16}],
    ),
    "emoji-flow": ("emoji", 40, ["--family", "flow", "--given", "text"], [{}]),
    "emoji-flow-sentence": (
        "emoji", 40, ["--family", "flow", "--given", "text", "--set", "condition.text.modality=sentence"],
        [{"guidance_scale": 4}],
    ),
    "emoji-flow-zh": ("emoji", 40, ["--family", "flow", "--given", "text_zh"], [{"guidance_scale": 4}]),
    "clips-flow": ("clips", 40, ["--family", "flow", "--set", "target.size=32"], [{}]),
    "emoji-gan": ("emoji", 40, ["--family", "gan", "--given", "text"], [{}]),
}  # fmt: skip

#: another program's pictures: the row whose data it has, and how fast it learns at the most (its example: 1e-4)
_PEERS = {
    "digits-diffusers": ("digits-flow", 1e-4),
    "digits-diffusers-faster": ("digits-flow", 5e-4),
}


def measured(run: Any, count: int, features: str, settings: dict[str, Any]) -> dict[str, str]:
    """What the report of a run says, each with the same of real pictures and its interval, and pictures a second."""
    report = evaluate(run, count, features=features, settings=settings or None)
    found = {}
    for metric in report["metrics"]:
        if metric["name"].split(":")[0] not in _SHOWN or metric["value"] is None:
            continue
        floor = metric["floor"] or {}
        beside = "" if floor.get("value") is None else f" (real {floor['value']:.3g}"
        if beside and floor.get("low") is not None:
            beside += f", {floor['low']:.3g} to {floor['high']:.3g}"
        found[metric["name"]] = f"{metric['value']:.3g}" + (f"{beside})" if beside else "")
    start = time.perf_counter()
    run.sample(200, seed=1, settings=settings or None)
    return {**found, "drawn a second": f"{200 / (time.perf_counter() - start):.3g}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="+", choices=sorted({**_ROWS, **_PEERS}))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/benchmarks"),
        help="where the runs are kept; one that is there is not trained again",
    )
    parser.add_argument("--minutes", type=float, help="other than the row's own")
    parser.add_argument("-n", type=int, default=1000, help="pictures that are drawn and compared")
    parser.add_argument("--features", default="pca", help="as of likewise evaluate: pca or efficientnet")
    parser.add_argument("--note", help="what else is to be known of these rows, such as what ran beside them")
    args = parser.parse_args()
    for name in args.rows:
        if name in _PEERS:
            like, rate = _PEERS[name]
            minutes, drawn = args.minutes or _ROWS[like][1], [{}]
            run, steps = diffusers_ddpm(Run(args.runs / like), minutes, rate, args.runs / name)
            command = f"diffusers' DDPM, {minutes:g} minutes, rate {rate:g}"
        else:
            data, minutes, arguments, drawn = _ROWS[name]
            run, command = trained(args.data / data, args.runs / name, args.minutes or minutes, *arguments)
            steps = max((line.get("step", 0) for line in run.metrics()), default=0)
        for settings in drawn:
            how = " ".join(f"{k}={v}" for k, v in settings.items())
            row = {"command": command, "features": args.features, "steps": steps}
            row |= measured(run, args.n, args.features, settings)
            by = "" if args.features == "pca" else f" by {args.features}"
            keep("pictures", f"{name} {how}".strip() + by, row | ({"note": args.note} if args.note else {}))


if __name__ == "__main__":
    main()
