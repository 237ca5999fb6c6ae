"""The command line from a folder to samples; interrupted runs; one line for each mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from commands import likewise
from likewise.runs.run import Run
from likewise.training import checkpoint
from likewise.verbs.demo import lay_out

pytestmark = pytest.mark.full

SMALL = [
    "--set",
    "backbone.width=16",
    "--set",
    "training.threads=1",
    "--set",
    "training.batch=16",
    "--set",
    "training.checkpoint_every=2",
]


#: `likewise train …`, which ends as by `kill -9` when the sixth step begins
KILLED = """
import os, signal
from likewise import cli
from likewise.training.learner import Learner

step = Learner.step

def killed(self, batches, indices, number, steps):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batches, indices, number, steps)

Learner.step = killed
cli.main()
"""


def process(*words, code=0):
    """What `python` prints in a process of its own: stdout, or with a code stderr."""
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return lay_out("images", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a run"
    likewise("train", digits, "--steps", 6, "--out", path, *SMALL)
    return path


def test_first_samples_are_the_same_however_many(run, tmp_path):
    likewise("sample", run, "-n", 3, "--seed", 7, "--given", "label=3", "--out", tmp_path / "few")
    likewise("sample", run, "-n", 20, "--seed", 7, "--given", "label=3", "--out", tmp_path / "many")
    for i in range(3):
        assert (tmp_path / f"few/{i:06d}.png").read_bytes() == (tmp_path / f"many/{i:06d}.png").read_bytes()
    line = json.loads((tmp_path / "many/samples.jsonl").read_text().splitlines()[19])
    assert line == {"index": 19, "seed": 7, "given": {"label": "3"}, "file": "000019.png"}
    likewise("sample", "--from", tmp_path / "many/000017.png", "--out", tmp_path / "again")
    assert (tmp_path / "again/000017.png").read_bytes() == (tmp_path / "many/000017.png").read_bytes()


def test_samples_in_bfloat16_are_near_and_repeat(run):
    drawn = Run(run)
    exact = drawn.sample(3, seed=7, settings={"precision": "float32"})
    low = drawn.sample(3, seed=7, settings={"precision": "bfloat16"})
    assert low.provenance["settings"] == {"precision": "bfloat16"}
    assert torch.equal(low.x, drawn.sample(20, seed=7, settings={"precision": "bfloat16"}).x[:3])
    assert not torch.equal(low.x, exact.x)
    assert (low.x - exact.x).abs().mean() < 0.05


def test_killed_and_resumed_equals_uninterrupted(digits, run, tmp_path):
    """kill -9 after the first checkpoint, then --resume, in processes of their own: the same weights, bit for bit."""
    path = tmp_path / "killed"
    process("-c", KILLED, "train", digits, "--steps", 6, "--out", path, *SMALL, code=-signal.SIGKILL)
    assert checkpoint.found(path / "checkpoints")
    process("-m", "likewise", "train", "--resume", path)
    weights = [p / "checkpoints/0000006/weights.safetensors" for p in (path, run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_damaged_checkpoint_is_passed_over(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    newest = checkpoint.found(copy / "checkpoints")[-1] / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert "damaged" in likewise("train", "--resume", copy)
    assert newest.read_bytes() != bytes(data)


def test_text_and_table(tmp_path):
    (tmp_path / "t.txt").write_text(
        "\n".join(f"the {a} is {b}" for a in ("cat", "dog", "sky") for b in ("old", "new", "red"))
    )
    likewise("train", "t.txt", "--steps", 4, "--set", "backbone.width=32", "--set", "backbone.depth=1", cwd=tmp_path)
    likewise("sample", "runs/t", "-n", 2, cwd=tmp_path)
    assert "text" in json.loads((tmp_path / "runs/t/samples/samples.jsonl").read_text().splitlines()[1])
    table = lay_out("table", tmp_path)
    likewise("train", table, "--steps", 4, "--out", tmp_path / "w", "--set", "backbone.width=32")
    likewise("sample", tmp_path / "w", "-n", 5)
    assert len((tmp_path / "w/samples/samples.csv").read_text().splitlines()) == 6
    likewise("sample", "--from", tmp_path / "w/samples/samples.csv", "--out", tmp_path / "again")
    for name in ("samples.csv", "samples.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "w/samples" / name).read_bytes()
    assert "t" in likewise("list", "runs", cwd=tmp_path)


def test_one_record_and_equal_records(tmp_path):
    (tmp_path / "one.txt").write_text("only this\n")
    (tmp_path / "same.txt").write_text("this again\n" * 5)
    for name in ("one", "same"):
        words = ["--steps", 2, "--set", "backbone.width=32", "--set", "backbone.depth=1"]
        likewise("train", f"{name}.txt", *words, cwd=tmp_path)
        likewise("sample", f"runs/{name}", "-n", 2, cwd=tmp_path)


def test_look(digits):
    (digits / "3" / "broken.png").write_bytes(b"not a picture")
    try:
        said = likewise("look", digits, "--steps", 2, *SMALL)
    finally:
        (digits / "3" / "broken.png").unlink()
    assert "1,798 records" in said
    assert "broken.png" in said
    assert "parameters" in said


def test_evaluate(run):
    likewise("evaluate", run, "-n", 64)
    assert (run / "report/index.html").stat().st_size > 10_000
    assert json.loads((run / "report/report.json").read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "{digits}", "--set", "training.ler=1"], "did you mean 'lr'"),
        (["train", "{digits}", "--set", "training.lr=nan"], "training.lr"),
        (["train", "{digits}", "--set", "training.lr=-1"], "training.lr"),
        (["train", "{digits}", "--set", "backbone.widht=32"], "did you mean 'width'"),
        (["train", "{digits}", "--family", "gna"], "did you mean 'gan'"),
        (["train", "{digits}", "--family", "flow", "--backbone", "lstm"], "what fits"),
        (["train", "{digits}", "--given", "colour"], "its fields are image, label"),
        (["train", "nowhere"], "no such file"),
        (["train", "{digits}", "--familly", "gan"], "did you mean --family"),
        (["train", "{digits}", "--preset", "image-flo"], "no preset"),
        (["sample", "{run}", "-n", "0"], "at least one"),
        (["sample", "nowhere"], "not a run"),
        (["sample", "{run}", "--given", "label=11"], "no label '11'"),
        (["sample", "{run}", "--given", "size=3"], "this run is given label"),
        (["sample", "{run}", "--set", "stepz=3"], "did you mean 'steps'"),
        (["train", "{digits}", "--out", "{run}"], "already holds a run"),
        (["train", "{digits}", "--out", "{digits}"], "not a run"),
        (["train", "{digits}", "--minutes", "nan"], "training.minutes"),
        (["train", "{digits}", "--set", "training.device=cuda:7"], "is not there"),
        (["train", "{digits}", "--set", 'training.loggers=["mlflow"]'], "pip install mlflow"),
    ],
)
def test_mistakes_get_one_line(words, said, digits, run, tmp_path):
    before = sorted(os.listdir(run))
    error = likewise(*[w.format(digits=digits, run=run) for w in words], code=2, cwd=tmp_path)
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
    assert sorted(os.listdir(run)) == before


def test_a_process_ends_with_code_2_and_one_line(tmp_path):
    error = process("-m", "likewise", "train", tmp_path / "nowhere", code=2)
    assert "no such file" in error
    assert len(error.strip().splitlines()) == 1


def test_a_run_without_its_real_data_samples_what_it_is_told(run, tmp_path):
    shutil.copytree(run, tmp_path / "shared", ignore=shutil.ignore_patterns("reference"))
    likewise("sample", tmp_path / "shared", "-n", 2, "--given", "label=3", "--out", tmp_path / "threes")
    assert (tmp_path / "threes/000001.png").is_file()
    assert "so does a sample of which nobody says" in likewise("sample", tmp_path / "shared", "-n", 2, code=2)
