"""`likewise sample`: draw samples from a run, or draw written samples again."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from likewise.cli.parser import Verbs, given_flag, pairs, set_flag
from likewise.cli.wording import say

if TYPE_CHECKING:
    from likewise.runs.run import Run
    from likewise.sampling.editing import Edit
    from likewise.sampling.prompting import Prompting

#: number of samples above which they are written block by block and not printed
BULK = 4096
_SAMPLES, _WALKED = 16, 4


class _Dropped(argparse.Action):
    """A removed flag, which reports its replacement."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.error("sample has no --size; --each N says how many samples each line has")


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "sample", _run, "draw samples from a run",
        "runs/digits -n 64 --seed 7 --given label=3 --out threes", "runs/poems --set temperature=0.8",
        "runs/en-de --given-file english.txt --set beams=4", "runs/emoji --prompts prompts.txt --each 3 --grid",
        "runs/photos-small --given small=photo.jpg", "runs/flowers --tile", "runs/flowers --walk flowers.gif",
        "--from threes/000005.png --out again",
        '''runs/poems -n 1 --prompt "In the beginning" --stop "."''',
        '''runs/dates --regex "[0-9]{4}-[0-9]{2}-[0-9]{2}"''',
        "runs/photos --from-image cat.png --strength 0.5", "runs/photos --from-image cat.png --keep mask.png",
    )  # fmt: skip
    p.add_argument("run", nargs="?")
    p.add_argument("-n", type=int, help=f"how many (default {_SAMPLES}, or the lines of --given-file)")
    p.add_argument("--seed", type=int, default=0, help="sample i of a seed is always the same (default 0)")
    given_flag(p)
    p.add_argument(
        "--given-file", "--prompts", action="append", default=[], metavar="[FIELD=]FILE",
        help="draw one sample for each line of FILE, in its order; repeatable",
    )  # fmt: skip
    p.add_argument("--each", type=int, metavar="N", help="with --prompts: so many samples for each line (default 1)")
    p.add_argument("--size", action=_Dropped, help=argparse.SUPPRESS)
    p.add_argument("--out", help="folder for the samples (default RUN/samples)")
    p.add_argument("--from", dest="from_", metavar="FILE", help="draw a written sample again, from its provenance")
    set_flag(p, "how to draw: steps=8, temperature=0.8, ...")
    _picture_flags(p)
    _text_flags(p)
    _edit_flags(p)


def _picture_flags(p: argparse.ArgumentParser) -> None:
    pictures = p.add_argument_group("of a run of pictures")
    pictures.add_argument(
        "--grid", action="store_true", help="write sheet.png too: a row for each that was asked for, with its words"
    )
    pictures.add_argument("--font", metavar="FILE", help="the sheet's letters (default: what has them on this system)")
    pictures.add_argument(
        "--tile", action="store_true", help="draw patterns that go on with themselves at all edges (backbone conv)"
    )
    pictures.add_argument(
        "--walk", metavar="FILE",
        help=f"write the way between -n samples (default {_WALKED}), as .gif, .webp, .png or .mp4, and nothing else",
    )  # fmt: skip


def _text_flags(p: argparse.ArgumentParser) -> None:
    texts = p.add_argument_group("of an autoregressive text run")
    begin = texts.add_mutually_exclusive_group()
    begin.add_argument("--prompt", metavar="TEXT", help="how each text begins")
    begin.add_argument("--prompt-file", metavar="FILE", help="the same, from a file, without its last line break")
    texts.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; repeatable")
    match = texts.add_mutually_exclusive_group()
    match.add_argument("--regex", metavar="PATTERN", help="what follows the prompt matches this regular expression")
    match.add_argument("--json-schema", metavar="FILE", help="what follows the prompt is JSON by this schema")
    texts.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="show a text as it is drawn (default: on a terminal, -n 1)",
    )


def _edit_flags(p: argparse.ArgumentParser) -> None:
    edits = p.add_argument_group("of a flow of pictures")
    edits.add_argument(
        "--from-image", metavar="FILE", help="make each sample of this picture: variations of it, unless it is kept"
    )
    edits.add_argument(
        "--keep",
        metavar="FILE",
        help="a picture that is white where the other is kept, and black where it is drawn anew",
    )
    edits.add_argument(
        "--strength", type=float, metavar="SHARE",
        help="how much is drawn anew: 0 gives the picture back, 1 nothing of it (default 0.6; with --keep 1)",
    )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """The request in the flags. lines: the fields whose values are the lines of files."""

    n: int
    given: Any
    lines: Sequence[str]
    settings: dict[str, Any]
    prompting: Prompting
    edit: Edit | None


def _run(a: argparse.Namespace) -> None:
    if a.from_:
        _again(a)
        return
    if a.run is None:
        raise ValueError("sample what? give a run, or --from FILE")
    from likewise.runs.run import Run

    run = Run(Path(a.run))
    if a.walk:
        _walk(run, a)
        return
    asked = _asked(run, a)
    if a.font and not a.grid:
        raise ValueError(f"--font {a.font}: it is of the letters of a sheet; give --grid too")
    if asked.n > BULK or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _in_bulk(run, a, asked)
    else:
        _at_once(run, a, asked)


def _again(a: argparse.Namespace) -> None:
    from likewise.verbs.sample import again

    others = [a.run, a.n, a.seed, a.given, a.given_file, a.set, a.each, a.grid, a.font, a.tile, a.walk, *_edits(a)]
    if any([*others, *_prompts(a)]):
        raise ValueError("--from draws a sample again as it was drawn: give nothing beside it but --out")
    print(again(Path(a.from_), Path(a.out or "again")))


def _walk(run: Run, a: argparse.Namespace) -> None:
    from likewise.sampling.interpolation import walk

    if any([a.given_file, a.each, a.grid, a.out, *_prompts(a)]):
        raise ValueError("--walk is a file of its own: beside it are -n, --seed, --given, --set and --tile")
    given, settings = pairs(a.given, "--given"), pairs(a.set, "--set")
    print(walk(run.sampler, Path(a.walk), _WALKED if a.n is None else a.n, a.seed, given, settings, tile=a.tile))


def _prompts(a: argparse.Namespace) -> list[Any]:
    return [a.prompt, a.prompt_file, a.stop, a.regex, a.json_schema, a.stream]


def _edits(a: argparse.Namespace) -> list[Any]:
    return [a.from_image, a.keep, a.strength is not None]


def _asked(run: Run, a: argparse.Namespace) -> _Asked:
    from likewise.sampling.editing import Edit

    settings, prompting = pairs(a.set, "--set"), _prompting(a)
    n, given, lines = _given(run, a)
    edit = Edit.read(run.encoding, a.from_image, a.keep, a.strength)
    return _Asked(n, given, lines, settings, prompting, edit)


def _prompting(a: argparse.Namespace) -> Prompting:
    from likewise.data.tables import read_text
    from likewise.sampling.grammar import read_schema
    from likewise.sampling.prompting import Prompting

    prompt = read_text(Path(a.prompt_file))[0].removesuffix("\n") if a.prompt_file else a.prompt or ""
    schema = read_schema(read_text(Path(a.json_schema))[0], a.json_schema) if a.json_schema else None
    return Prompting(prompt, tuple(a.stop), a.regex, schema)


def _given(run: Run, a: argparse.Namespace) -> tuple[int, Any, Sequence[str]]:
    """The number of samples, their conditions, and the fields that are given line by line."""
    from likewise.verbs.sample import read_given

    given: Any = pairs(a.given, "--given")
    if a.each is not None and not (a.given_file and a.each > 0):
        raise ValueError(f"--each {a.each}: how many samples, 1 or more, each line of --prompts FILE has")
    if not a.given_file:
        return _SAMPLES if a.n is None else a.n, given, []
    given, lines = read_given(run, a.given_file, given)
    if a.n not in (None, len(given)):
        raise ValueError(f"-n {a.n}: --given-file has {len(given):,} lines, and each has a sample; leave out -n")
    if a.each:
        given, lines = [row for row in given for _ in range(a.each)], []
    return len(given), given, lines


def _in_bulk(run: Run, a: argparse.Namespace, asked: _Asked) -> None:
    """Draw block by block, together with other processes of torchrun if there are any."""
    from likewise.training import distributed, hardware
    from likewise.verbs.sample import in_bulk

    if a.grid or a.tile:
        raise ValueError(f"--grid and --tile: of at most {BULK:,} samples, drawn by one process")
    folder = _folder(run, a)
    device = hardware.choose_device(distributed.local_device("auto"))
    with distributed.together():
        world = distributed.join(device)
        in_bulk(
            run, asked.n, a.seed, asked.given, folder, asked.settings, world,
            prompting=asked.prompting, edit=asked.edit, lines=asked.lines,
        )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":
        _tell(folder, asked, [])


def _at_once(run: Run, a: argparse.Namespace, asked: _Asked) -> None:
    """Draw and print samples; a single text is streamed."""
    from likewise.verbs.sample import sample, sheet

    live = (lambda text: print(text, end="", flush=True)) if _streams(run, a, asked) else None
    drawn, folder = sample(
        run, asked.n, a.seed, asked.given, Path(a.out) if a.out else None, settings=asked.settings,
        prompting=asked.prompting, edit=asked.edit, live=live, lines=asked.lines, tile=a.tile,
    )  # fmt: skip
    if a.grid:
        print(say(sheet(run, drawn, folder, a.font)), end="", file=sys.stderr)
    if live:
        print()
    _tell(folder, asked, [] if live or drawn.modality.suffix else drawn.values)


def _streams(run: Run, a: argparse.Namespace, asked: _Asked) -> bool:
    """Whether to stream a text: as requested by flag, else on a terminal if the run can."""
    if a.stream is not None:
        return a.stream
    one = sys.stdout.isatty() and asked.n == 1 and not asked.lines and not asked.settings.get("beams")
    return one and "text" in run.modality.forms and run.model.steerable


def _tell(folder: Path, asked: _Asked, values: Sequence[Any]) -> None:
    """Print samples that have no files, and the folder of all."""
    from likewise.verbs.sample import cut_note

    if asked.lines and (folder / "samples.txt").is_file():
        values = (folder / "samples.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for value in values:
        print(value)
    print((say(cut_note(folder)) if asked.prompting.constrained else "") + str(folder), file=sys.stderr)


def _folder(run: Run, a: argparse.Namespace) -> Path:
    return Path(a.out) if a.out else run.path / "samples"
