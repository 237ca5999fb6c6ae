"""A package with parts of every kind, by the command line of a process of its own."""

import json
import os
import subprocess
import sys

import pytest

import extensions

pytestmark = pytest.mark.full

SMALL = "--backbone shallow --steps 4 --set backbone.width=8 --set data.val_fraction=0.4"
_SCRIPT = """
import sys
import likewise.cli
for words in {commands!r}:
    sys.argv = ["likewise", *words]
    try:
        likewise.cli.main()
    except SystemExit as end:
        print("code", end.code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "site").mkdir()
    extensions.install(folder / "site")
    extensions.bearings(folder / "wind.deg")
    extensions.bearings(folder / "bearings.txt")
    return folder


def commands(place, *lines, plugins=True):
    """Runs commands in one new process; returns what it prints to stdout and stderr."""
    path = os.pathsep.join([*([str(place / "site")] if plugins else []), *sys.path])
    script = _SCRIPT.format(commands=[line.split() for line in lines])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_a_table_is_learned_by_a_family_and_a_backbone_of_a_package(place):
    rows = "".join(f"{i % 7},{i % 5 / 2}\n" for i in range(120))
    (place / "rows.csv").write_text(f"x,y\n{rows}")
    _, err = commands(place, f"train rows.csv --family normal {SMALL} --out table", "evaluate table -n 40")
    assert not err
    report = json.loads((place / "table" / "report" / "report.json").read_text())
    assert "spread" in {row["name"] for row in report["metrics"]}


@pytest.fixture(scope="module")
def finished(place):
    """What the verbs print of a run of the package's parts, from training to an export that is refused."""
    return commands(
        place,
        f"train wind.deg --family normal {SMALL} --out run",
        "sample run -n 4 --out drawn",
        "evaluate run -n 40",
        "export run --to onnx --out run.onnx",
        "verify run",
    )


def test_every_verb_takes_the_parts_of_a_package(place, finished):
    out, err = finished
    samples = [json.loads(line) for line in (place / "drawn" / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 4
    report = json.loads((place / "run" / "report" / "report.json").read_text())
    rows = {row["name"]: row for row in report["metrics"]}
    assert rows["spread"]["low"] <= rows["spread"]["value"] <= rows["spread"]["high"]
    assert rows["spread"]["floor"]
    assert rows["spread"]["baseline"]
    assert "Spread" in (place / "run" / "report" / "index.html").read_text()
    assert json.loads((place / "run" / "run.json").read_text())["parts"] == {
        f"{part}": {"package": "likewise-bearings", "version": "0.1"}
        for part in ("modality.bearing", "encoding.bearing.circle", "family.normal", "backbone.shallow")
    }
    refusals = [line for line in err.splitlines() if line.startswith("likewise: ")]
    assert len(refusals) == 1, err
    assert "no network to export" in refusals[0]
    assert out.count("code 2") == 1
    assert not (place / "run.onnx").exists()


def test_the_other_encoding_is_chosen_by_name_and_by_what_the_family_takes(place):
    out, err = commands(
        place,
        "train bearings.txt --as bearing --family marginals --set target.encoding=sector --out tokens",
        "sample tokens -n 4 --out sectors",
        "train bearings.txt --as bearing --family normal --set target.encoding=sector --out none",
    )
    samples = (place / "sectors" / "samples.jsonl").read_text().splitlines()
    assert len(samples) == 4
    assert out.count("code 2") == 1
    assert "normal needs continuous values, not tokens" in err


@pytest.mark.usefixtures("finished")
def test_a_run_says_which_package_it_misses(place):
    out, err = commands(place, "sample run -n 1", plugins=False)
    assert "code 2" in out
    assert err == (
        "likewise: run: its modality 'bearing' is of the package likewise-bearings 0.1, which is not installed\n"
    )
