"""`likewise export`: write a run's model in a format of other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    p = verbs.add(
        "export", _run, "write a run's model for other tools", "runs/digits --out digits.safetensors",
        "runs/books --to hf --out books", "runs/books --to onnx --out books.onnx",
        "runs/faces --to diffusers --out faces",
    )  # fmt: skip
    p.add_argument("run")
    p.add_argument(
        "--to", default="safetensors", choices=("safetensors", "hf", "diffusers", "onnx", "gguf"),
        help="all weights as they are (default); or what transformers, diffusers, onnxruntime or llama.cpp load",
    )  # fmt: skip
    p.add_argument("--out", required=True, help="the file to write; a folder for hf and diffusers")


def _run(a: argparse.Namespace) -> None:
    from likewise.runs.run import Run
    from likewise.verbs.export import export

    print(export(Run(Path(a.run)), Path(a.out), a.to))
