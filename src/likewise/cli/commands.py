"""The command line: parses, calls a verb, prints. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from likewise.cli.parser import build_parser
from likewise.cli.wording import explain

#: samples above which they are written block by block, and not shown
_BULK = 4096
_PLAN = (
    "as_", "given", "target", "family", "backbone", "from_", "lora", "preset", "unit", "through", "minutes", "steps",
    "seed", "size",
)  # fmt: skip


def _pairs(items: list[str], flag: str) -> dict[str, Any]:
    from likewise.config import parse_value

    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{flag} {item}: expected key=value")
        out[key] = value if flag == "--given" else parse_value(value)
    return out


def _plan_options(a: argparse.Namespace) -> dict[str, Any]:
    options = {name: getattr(a, name) for name in _PLAN}
    if a.unconditional:
        options["given"] = []
    set_ = _pairs(a.set, "--set")
    if a.few_step:
        set_["family.few_step"] = True
    return {**options, "set_": set_}


def _look(a: argparse.Namespace) -> None:
    from likewise.verbs.look import look

    def tell(done: int, count: int) -> None:
        if sys.stderr.isatty():
            print(f"\rread {done:,} of {count:,}", end="", file=sys.stderr)

    print(look(a.path, tell, out=a.out, **_plan_options(a)))


def _train(a: argparse.Namespace) -> None:
    from likewise.verbs.train import resume, train

    if a.resume:
        resume(a.resume)
    elif a.path is None:
        raise ValueError("train what? give a path, or --resume RUN")
    else:
        options = _plan_options(a)
        if a.fsdp:
            options["set_"]["training.parallel"] = "fsdp"
        if a.exact_elastic:
            options["set_"]["training.exact_elastic"] = True
        run = train(a.path, out=a.out, **options)
        if os.environ.get("RANK", "0") == "0":
            then = f"sample {run.path}" if run.experiment.family.generates else f"train {a.path} --through {run.path}"
            print(f"next: likewise {then}; likewise evaluate {run.path}")


def _steering(a: argparse.Namespace) -> Any:
    from likewise.data.tables import read_text
    from likewise.sampling.grammar import read_schema
    from likewise.sampling.prompting import Prompting

    prompt = read_text(Path(a.prompt_file))[0].removesuffix("\n") if a.prompt_file else a.prompt or ""
    schema = read_schema(read_text(Path(a.json_schema))[0], a.json_schema) if a.json_schema else None
    return Prompting(prompt, tuple(a.stop), a.regex, schema)


def _sample(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.sampling.editing import Edit
    from likewise.verbs.sample import again, cut_note, in_bulk, read_given, sample, sheet

    if a.from_:
        asked = [a.run, a.n, a.seed, a.given, a.given_file, a.set, a.each, a.grid, a.font, a.tile, a.walk]
        steered = [a.prompt, a.prompt_file, a.stop, a.regex, a.json_schema, a.stream]
        if any([*asked, *steered, a.from_image, a.keep, a.strength is not None]):
            raise ValueError("--from draws a sample again as it was drawn: give nothing beside it but --out")
        print(again(Path(a.from_), Path(a.out or "again")))
        return
    if a.run is None:
        raise ValueError("sample what? give a run, or --from FILE")
    out = Path(a.out) if a.out else None
    given, settings = _pairs(a.given, "--given"), _pairs(a.set, "--set")
    prompting = _steering(a)
    run, n, lines = Run(Path(a.run)), 16 if a.n is None else a.n, []
    if a.walk:
        _walk(run, a, given, settings)
        return
    if a.each is not None and not (a.given_file and a.each > 0):
        raise ValueError(f"--each {a.each}: how many samples, 1 or more, each line of --prompts FILE has")
    if a.given_file:
        given, lines = read_given(run, a.given_file, given)
        if a.n not in (None, len(given)):
            raise ValueError(f"-n {a.n}: --given-file has {len(given):,} lines, and each has a sample; leave out -n")
        if a.each:
            given, lines = [row for row in given for _ in range(a.each)], []
        n = len(given)
    edit = Edit.read(run.modality, run.encoding, a.from_image, a.keep, a.strength)
    if a.font and not a.grid:
        raise ValueError(f"--font {a.font}: it is of the letters of a sheet; give --grid too")
    folder, values, live = out or run.path / "samples", [], None
    if n > _BULK or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from likewise.training import distributed, hardware

        if a.grid or a.tile:
            raise ValueError(f"--grid and --tile: of at most {_BULK:,} samples, drawn by one process")
        device = hardware.choose_device(distributed.local_device("auto"))
        with distributed.together():
            world = distributed.join(device)
            in_bulk(run, n, a.seed, given, folder, settings, world, prompting=prompting, edit=edit, lines=lines)
        if os.environ.get("RANK", "0") != "0":
            return
    else:
        stream = a.stream
        if stream is None:  # only where it can be, as nobody asked for it
            one = sys.stdout.isatty() and n == 1 and not lines and not settings.get("beams")
            stream = one and "text" in run.modality.forms and run.model.steerable
        live = (lambda text: print(text, end="", flush=True)) if stream else None
        drawn, folder = sample(
            run,
            n,
            a.seed,
            given,
            out,
            settings=settings,
            prompting=prompting,
            edit=edit,
            live=live,
            lines=lines,
            tile=a.tile,
        )
        print(sheet(run, drawn, folder, a.font) if a.grid else "", end="", file=sys.stderr)
        values = drawn.values if drawn.modality.suffix is None else []
    if live:
        print()
        values = []
    if lines and (folder / "samples.txt").is_file():
        values = (folder / "samples.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for value in values:
        print(value)
    print((cut_note(folder) if prompting.constrained else "") + str(folder), file=sys.stderr)


def _walk(run: Any, a: argparse.Namespace, given: dict[str, Any], settings: dict[str, Any]) -> None:
    from likewise.sampling.interpolation import walk

    if any([a.given_file, a.each, a.grid, a.out, a.prompt, a.prompt_file, a.stop, a.regex, a.json_schema, a.stream]):
        raise ValueError("--walk is a file of its own: beside it are -n, --seed, --given, --set and --tile")
    print(walk(run.sampler, Path(a.walk), 4 if a.n is None else a.n, a.seed, given, settings, tile=a.tile))


def _chat(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.chat import Chat, chat, typed

    talk = Chat(Run(Path(a.run)), a.seed, _pairs(a.set, "--set"), a.system)
    if sys.stdin.isatty():
        print("end with /exit; /reset forgets, /seed N draws other replies", file=sys.stderr)
    try:
        chat(talk, typed(), lambda text: print(text, flush=True), lambda text: print(text, file=sys.stderr))
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _evaluate(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.evaluate import evaluate

    if a.report == "surprisal":
        if a.set:
            raise ValueError("--set: it says how samples are drawn, and a page of surprisal draws none; leave it out")
        from likewise.explain.surprisal import write_surprisal

        print(write_surprisal(Run(Path(a.run)), a.n, a.seed, progress=print))
        return
    settings = _pairs(a.set, "--set")
    report = evaluate(Run(Path(a.run)), n=a.n, seed=a.seed, progress=print, features=a.features, settings=settings)
    for sentence in report.get("verdict", []):
        print(sentence)
    print(Path(a.run) / "report" / "index.html")


def _explain(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.explain import explain as explain_run

    explain_run(Run(Path(a.run)), a.sample, a.n, a.seed, _pairs(a.given, "--given"), progress=print)
    print(Path(a.run) / "report" / "explain.html")


def _compare(a: argparse.Namespace) -> None:
    from rich import print as show

    from likewise.runs.run import Run
    from likewise.verbs.compare import compare

    show(compare([Run(Path(r)) for r in a.runs], out=a.out, progress=print))


def _list(a: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from likewise.runs.run import list_runs

    runs = list_runs(Path(a.folder))
    if not runs:
        raise ValueError(f"{a.folder}: no runs in it; likewise train PATH makes one")
    table = Table("run", "what", "family", "backbone", "steps", "minutes", "val loss")
    for run in runs:
        info, settings = run.info, run.experiment
        held_out = [line["best"] for line in run.metrics() if line["split"] == "val"]
        table.add_row(
            str(run.path), run.modality.describe(), getattr(settings.family, "name", ""),
            getattr(settings.backbone, "name", ""), str(info.get("steps", "unfinished")),
            f"{info.get('seconds', 0) / 60:.1f}", f"{held_out[-1]:.4f}" if held_out else "-",
        )  # fmt: skip
    Console().print(table)


def _demo(a: argparse.Namespace) -> None:
    from likewise.verbs.demo import demo

    print(demo(a.kind, Path(a.out), a.minutes))


def _export(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.export import export

    print(export(Run(Path(a.run)), Path(a.out), a.to))


def _verify(a: argparse.Namespace) -> None:
    from likewise.verbs.verify import verify

    found = verify(Path(a.run))
    print(found)
    if found.damaged:
        raise SystemExit(1)


def _prove(a: argparse.Namespace) -> None:
    from likewise.verbs.prove import FAMILIES, elastic, flips, kills

    def say(text: str) -> None:
        print(text, flush=True)

    for family in a.family or ():
        if family not in FAMILIES:
            raise ValueError(f"--family {family}: there are {', '.join(FAMILIES)}")
    if a.what == "flips":
        found = flips(a.count or 1000, a.seed, say)
    elif a.what == "elastic":
        found = elastic(families=tuple(a.family or FAMILIES), say=say)
    else:
        found = kills(a.count or 200, tuple(a.family or FAMILIES[:3]), a.processes, a.seed, say)
    print("\n".join([str(found), *found.failures[1:]]))
    if found.failures:
        raise SystemExit(1)


_VERBS = {
    "export": _export,
    "verify": _verify,
    "prove": _prove,
    "look": _look,
    "train": _train,
    "sample": _sample,
    "chat": _chat,
    "evaluate": _evaluate,
    "explain": _explain,
    "compare": _compare,
    "list": _list,
    "demo": _demo,
}


def main() -> None:
    args = build_parser().parse_args()
    try:
        _VERBS[args.verb](args)
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        print("likewise: " + explain(error), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
