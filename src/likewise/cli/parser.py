"""The words of the command line: every verb's flags, with their help. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from typing import Any, NoReturn

from likewise.version import __version__

_ABOUT = "Point it at your data and get a generative model you can trust."


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, with the nearest flag; no abbreviations, which would break as flags are added."""

    known: list[str]

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, extra = super().parse_known_args(args, namespace)
        wrong = next((word for word in extra if word.startswith("-")), None)
        if wrong:
            nearest = get_close_matches(wrong.partition("=")[0], list(self._option_string_actions), 1)
            self.error(
                f"unknown flag {wrong}" + (f"; did you mean {nearest[0]}?" if nearest else f"; see {self.prog} --help")
            )
        return found, extra

    def error(self, message: str) -> NoReturn:
        print(f"likewise: {message}", file=sys.stderr)
        raise SystemExit(2)


def _plan_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--as", dest="as_", metavar="MODALITY", help="read the target as image, video, text, table or label")
    p.add_argument("--target", metavar="FIELD", help="the field to learn")
    p.add_argument("--given", metavar="FIELD", action="append", help="a field to condition on; repeatable")
    p.add_argument("--unconditional", action="store_true", help="condition on nothing")
    p.add_argument(
        "--family",
        help="vae, gan, autoregressive, flow, codec (to codes and back, for --through), or a baseline: resample, "
        "marginals, gaussian, copula, ngram",
    )
    p.add_argument("--backbone", help="mlp, conv, dcgan, style, transformer, lstm or gru")
    p.add_argument(
        "--few-step", action="store_true",
        help="of a flow: learn to draw in 1 to 16 steps, too (default 4; short for --set family.few_step=true)",
    )  # fmt: skip
    p.add_argument(
        "--from", dest="from_", metavar="DIR",
        help="start from a pretrained model of text: a folder with config.json, tokenizer.json and model.safetensors",
    )  # fmt: skip
    p.add_argument(
        "--lora", nargs="?", type=int, const=16, metavar="RANK",
        help="with --from: freeze it, and learn updates of this rank (default 16)",
    )  # fmt: skip
    p.add_argument("--preset", help="a shipped preset's name, or a .toml file of yours")
    p.add_argument("--unit", choices=("line", "paragraph", "document"), help="what one record of a text file is")
    p.add_argument("--through", metavar="RUN", help="learn the latents of this run, a vae or codec of the same data")
    p.add_argument("--minutes", type=float, help="how long to train (default 5)")
    p.add_argument("--size", choices=("tiny", "small", "base", "large"), help="of the network (default: by minutes)")
    p.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    p.add_argument("--seed", type=int, help="of the weights, the order and the noise (default 0)")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, as in training.lr=1e-3; repeatable",
    )


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
        help="write the way between -n samples (default 4), as .gif, .webp, .png or .mp4, and nothing else",
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


def build_parser() -> argparse.ArgumentParser:
    top = _Parser("likewise", description=_ABOUT, epilog="start with: likewise demo, or: likewise train PATH")
    top.add_argument("--version", action="version", version=f"likewise {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    def verb(name: str, what: str, *examples: str) -> argparse.ArgumentParser:
        shown = "examples:\n" + "\n".join(f"  likewise {name} {e}".rstrip() for e in examples)
        return verbs.add_parser(name, help=what, description=what[:1].upper() + what[1:] + ".", epilog=shown)

    p = verb(
        "look", "read the data, and say what is wrong with them, and what training would learn and cost",
        "photos/ --out looked", "rows.csv --family gan",
    )  # fmt: skip
    p.add_argument("path")
    p.add_argument("--out", metavar="DIR", help="write look.html, look.json and suspects.csv, the list of suspects")
    _plan_flags(p)
    p = verb(
        "train", "train a model of what is at PATH",
        "photos/ --minutes 10", "poems.txt --backbone gru", "rows.csv --given sex --family flow",
        "digits/ --family flow --few-step",
        "letters.txt --from models/qwen --lora", "poems.txt --through runs/poems-vae --family gan", "--resume runs/a",
    )  # fmt: skip
    p.add_argument("path", nargs="?", help="a folder, or a .txt, .csv, .tsv, .jsonl, .parquet, .yaml, .tmx or .po file")
    p.add_argument("--out", help="the run's folder (default runs/NAME)")
    p.add_argument("--resume", metavar="RUN", help="go on with an interrupted run, instead of PATH")
    p.add_argument("--fsdp", action="store_true", help="under torchrun: shard weights, gradients and optimizer state")
    p.add_argument(
        "--exact-elastic", action="store_true", help="under torchrun: bitwise equal weights with 1, 2, 4 or 8 processes"
    )
    _plan_flags(p)
    p = verb(
        "sample", "draw samples from a run",
        "runs/digits -n 64 --seed 7 --given label=3 --out threes", "runs/poems --set temperature=0.8",
        "runs/en-de --given-file english.txt --set beams=4", "runs/emoji --prompts prompts.txt --each 3 --grid",
        "runs/photos-small --given small=photo.jpg", "runs/flowers --tile", "runs/flowers --walk flowers.gif",
        "--from threes/000005.png --out again",
        '''runs/poems -n 1 --prompt "In the beginning" --stop "."''',
        '''runs/dates --regex "[0-9]{4}-[0-9]{2}-[0-9]{2}"''',
        "runs/photos --from-image cat.png --strength 0.5", "runs/photos --from-image cat.png --keep mask.png",
    )  # fmt: skip
    p.add_argument("run", nargs="?")
    p.add_argument("-n", type=int, help="how many (default 16, or the lines of --given-file)")
    p.add_argument("--seed", type=int, default=0, help="sample i of a seed is always the same (default 0)")
    p.add_argument("--given", action="append", default=[], metavar="FIELD=VALUE", help="what to draw for; repeatable")
    p.add_argument(
        "--given-file", "--prompts", action="append", default=[], metavar="[FIELD=]FILE",
        help="draw one sample for each line of FILE, in its order; repeatable",
    )  # fmt: skip
    p.add_argument(
        "--each", "--size", type=int, metavar="N", help="with --prompts: so many samples for each line (default 1)"
    )
    p.add_argument("--out", help="folder for the samples (default RUN/samples)")
    p.add_argument("--from", dest="from_", metavar="FILE", help="draw a written sample again, from its provenance")
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="how to draw: steps=8, temperature=0.8, ..."
    )
    _picture_flags(p)
    _text_flags(p)
    _edit_flags(p)
    p = verb(
        "chat", "talk with a run that was trained on conversations",
        "runs/talks", "runs/talks --seed 7 --set temperature=0.8 --system 'You are brief.'",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument("--seed", type=int, default=0, help="the same words to the same seed get the same replies")
    p.add_argument("--system", default="", metavar="TEXT", help="what the model is told before you speak")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="how to draw: temperature=0.8, ...")
    p = verb(
        "evaluate",
        "measure a run and write its report",
        "runs/digits",
        "runs/digits -n 4000 --features efficientnet",
        "runs/en-de --set beams=4",
    )
    p.add_argument("run")
    p.add_argument("-n", type=int, default=1000, help="samples to draw (default 1000)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--report", default="all", choices=("all", "surprisal"),
        help="all (default), or surprisal: held-out texts coloured by how expected each token is (-n: of so many)",
    )  # fmt: skip
    p.add_argument(
        "--features", default="pca", metavar="NAME",
        help="what items are compared by: pca (default), efficientnet, minilm, FILE.onnx or MODULE:CALLABLE",
    )  # fmt: skip
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="how to draw, as for sample; repeatable"
    )
    p = verb("compare", "measure several runs side by side", "runs/flow runs/gan")
    p.add_argument("runs", nargs="+")
    p.add_argument("--out", help="the page to write")
    p = verb(
        "explain", "show what a run's samples depend on, on one page",
        "runs/digits", "runs/digits 17 --seed 3", "runs/digits my-three.png --given label=3", "runs/poems line.txt",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument("sample", nargs="?", help="the number of a sample, or a file of yours (default: the first samples)")
    p.add_argument("-n", type=int, default=4, help="how many samples, from that number on (default 4)")
    p.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    p.add_argument("--given", action="append", default=[], metavar="FIELD=VALUE", help="what to draw for; repeatable")
    p = verb("list", "list the runs in a folder", "", "elsewhere/runs")
    p.add_argument("folder", nargs="?", default="runs")
    p = verb(
        "export", "write a run's model for other tools", "runs/digits --out digits.safetensors",
        "runs/books --to hf --out books", "runs/books --to onnx --out books.onnx",
        "runs/faces --to diffusers --out faces",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument(
        "--to", default="safetensors", choices=("safetensors", "hf", "diffusers", "onnx", "gguf"),
        help="all weights as they are (default); or what transformers, diffusers, onnxruntime or llama.cpp load",
    )  # fmt: skip
    p.add_argument("--out", required=True, help="the file to write; a folder for hf and diffusers")
    p = verb("verify", "check every file of a run, and draw its stored samples again", "runs/digits")
    p.add_argument("run")
    p = verb(
        "prove", "kill training and damage checkpoints at random, and see that nothing is lost",
        "kills --count 200 --processes 2", "flips --count 1000", "elastic",
    )  # fmt: skip
    p.add_argument("what", choices=("kills", "flips", "elastic"))
    p.add_argument("--count", type=int, help="how many (default 200 kills, 1000 flips)")
    p.add_argument("--processes", type=int, default=1, help="that train together (kills; default 1)")
    p.add_argument(
        "--family", action="append", help="of the runs; repeatable (default three for kills, all for elastic)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the moments and places (default 0)")
    p = verb("demo", "train on data that a dependency ships, and write samples and a report", "", "text", "table")
    p.add_argument("kind", nargs="?", default="images", choices=("images", "text", "table"))
    p.add_argument("--minutes", type=float, default=1.0)
    p.add_argument("--out", default="demo", help="folder for data, run and report (default demo)")
    return top
