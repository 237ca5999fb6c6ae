"""The command line: what its help says, and what it does not import."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from commands import command
from likewise import catalog
from likewise.cli.entry import build_parser


def verbs() -> dict[str, argparse.ArgumentParser]:
    found = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


@pytest.mark.parametrize("name", verbs())
def test_each_verb_has_examples(name):
    assert f"examples:\n  likewise {name}" in verbs()[name].format_help()


@pytest.mark.parametrize("kind", ["modality", "family", "backbone"])
@pytest.mark.parametrize("verb", ["look", "train"])
def test_help_lists_every_part_with_its_summary(verb, kind):
    shown = " ".join(verbs()[verb].format_help().split())
    for name, summary in catalog.summaries(kind).items():
        assert " ".join(f"{name} ({summary})".split()) in shown


def test_size_of_sample_is_refused_with_the_flag_to_use(monkeypatch, capsys):
    said = command(monkeypatch, capsys, "sample", "run", "--size", 3, code=2)
    assert said == "likewise: sample has no --size; --each N says how many samples each line has\n"


def test_list_reads_no_networks(tmp_path):
    run = tmp_path / "digits"
    run.mkdir()
    (run / "experiment.toml").write_text('[family]\nname = "flow"\n[backbone]\nname = "unet"\n')
    (run / "modality.json").write_text(
        json.dumps({"encoding": "continuous", "target": ["image", {}], "condition": {"label": ["label", {}]}})
    )
    (run / "run.json").write_text(json.dumps({"steps": 10, "seconds": 90}))
    (run / "metrics.jsonl").write_text('{"split": "held_out", "best": 0.25, "step": 5}\n')
    code = (
        "import sys\nfrom likewise.cli import main\n"
        "sys.argv = ['likewise', 'list', '.']\nmain()\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    for word in ("digits", "flow", "unet", "10", "1.5", "0.2500"):
        assert word in done.stdout
