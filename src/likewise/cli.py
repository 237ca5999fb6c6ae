"""The command line: parses, calls a verb, prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "likewise", description="Point it at your data and get a generative model you can trust."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, what: str, examples: str) -> argparse.ArgumentParser:
        shape = argparse.RawDescriptionHelpFormatter
        return verbs.add_parser(
            name, help=what, description=what, epilog=f"examples:\n{examples}", formatter_class=shape
        )

    p = verb(
        "train", "train a model of what is at PATH", "  likewise train photos/ --minutes 5\n  likewise train poems.txt"
    )
    p.add_argument("path", nargs="?")
    p.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    p.add_argument("--as", dest="as_", help="read the target as this modality")
    p.add_argument("--given", action="append", help="a field to condition on (repeatable)")
    for name in ("target", "family", "backbone", "out"):
        p.add_argument(f"--{name}")
    p.add_argument("--unit", choices=("line", "paragraph", "document"))
    p.add_argument("--minutes", type=float)
    p.add_argument("--steps", type=int)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="training.lr=1e-3, backbone.width=64"
    )
    p = verb(
        "sample", "draw samples from a run", "  likewise sample runs/digits -n 64 --seed 7 --given label=3 --out drawn"
    )
    p.add_argument("run", nargs="?")
    p.add_argument("-n", type=int, default=16)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--given", action="append", default=[], metavar="FIELD=VALUE")
    p.add_argument("--out")
    p.add_argument("--from", dest="from_", metavar="FILE", help="draw a written picture again")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="steps=8, temperature=0.8")
    p = verb("evaluate", "write the report of a run", "  likewise evaluate runs/digits -n 1000")
    p.add_argument("run")
    p.add_argument("-n", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0)
    p = verb("compare", "one table over several runs", "  likewise compare runs/a runs/b")
    p.add_argument("runs", nargs="+")
    p = verb("list", "list runs", "  likewise list runs")
    p.add_argument("folder", nargs="?", default="runs")
    p = verb(
        "demo", "train on data that a dependency ships", "  likewise demo\n  likewise demo text\n  likewise demo table"
    )
    p.add_argument("kind", nargs="?", default="images", choices=("images", "text", "table"))
    p.add_argument("--minutes", type=float, default=1.0)
    p.add_argument("--out", default="demo")
    return parser


def _pairs(items: list[str], flag: str) -> dict[str, Any]:
    from likewise.config import parse_value

    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{flag} {item}: expected key=value")
        out[key] = value if flag == "--given" else parse_value(value)
    return out


def _do(a: argparse.Namespace) -> None:
    from likewise.run import Run, list_runs

    if a.verb == "train":
        from likewise.verbs.train import resume, train

        if a.resume:
            resume(a.resume)
        elif a.path is None:
            raise ValueError("train what? give a path, or --resume RUN")
        else:
            keys = ("as_", "given", "target", "family", "backbone", "out", "unit", "minutes", "steps", "seed")
            train(a.path, **{k: getattr(a, k) for k in keys}, set_=_pairs(a.set, "--set"))
    elif a.verb == "sample":
        from likewise.verbs.sample import again, sample

        if a.from_:
            print(again(Path(a.from_), Path(a.out or "again")))
            return
        if a.run is None:
            raise ValueError("sample what? give a run, or --from FILE")
        out = Path(a.out) if a.out else None
        given, settings = _pairs(a.given, "--given"), _pairs(a.set, "--set")
        drawn, folder = sample(Run(Path(a.run)), a.n, a.seed, given, out, settings=settings)
        for value in drawn.values if drawn.modality.suffix is None else []:
            print(value)
        print(folder)
    elif a.verb == "evaluate":
        from likewise.verbs.evaluate import evaluate

        evaluate(Run(Path(a.run)), n=a.n, seed=a.seed, progress=print)
        print(Path(a.run) / "report" / "index.html")
    elif a.verb == "compare":
        from rich import print as show

        from likewise.verbs.compare import compare

        show(compare([Run(Path(r)) for r in a.runs]))
    elif a.verb == "list":
        for run in list_runs(Path(a.folder)):
            print(run.path, run.modality.describe(), run.experiment.family.name, run.info.get("steps", "unfinished"))  # pyright: ignore
    else:
        _demo(a)


def _demo(a: argparse.Namespace) -> None:
    import shutil

    from likewise.verbs.demo import lay_out
    from likewise.verbs.evaluate import evaluate
    from likewise.verbs.sample import sample
    from likewise.verbs.train import train

    where = Path(a.out)
    run_path = where / f"run-{a.kind}"
    shutil.rmtree(run_path, ignore_errors=True)
    run = train(lay_out(a.kind, where / "data"), out=run_path, minutes=a.minutes)
    _, folder = sample(run, 32)
    evaluate(run, n=200, progress=print)
    print(f"samples: {folder}\nreport: {run.path / 'report' / 'index.html'}")


def main() -> None:
    args = _parser().parse_args()
    try:
        _do(args)
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"likewise: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
