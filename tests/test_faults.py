"""Faults and bad input, one row each: what is done, and what must be said.

A row makes its fault in a folder of its own and gives the command; `said` must stand in what the command prints. With
code 2 that is one line, without a traceback, and nothing is written.
"""

import errno
import json
import os
import pickle
import shutil
import signal
import struct
import sys
import time
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.cli import main
from likewise.training import checkpoint, learner, loop, time_budget
from likewise.training.signals import Stop
from likewise.verbs import prove

pytestmark = pytest.mark.full

SMALL = ["--set", "backbone.width=16", "--set", "training.threads=1", "--set", "training.batch=16"]
LINES = "\n".join(f"the {a} is {b}" for a in "abcdefghijklmnopqrst" for b in ("old", "new", "red", "far"))


def command(capsys, *words):
    """Exit code, standard output and standard error of a command, run in this process."""
    old, sys.argv = sys.argv, ["likewise", *map(str, words)]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = old
    out, err = capsys.readouterr()
    return code, out, err


def pictures(folder, count=24, size=8):
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(chance.integers(0, 256, (size, size), np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def text(folder, content=LINES, name="t.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def bomb(folder):
    """A small file that says it has 60,000 x 60,000 points."""
    pictures(folder)
    data = bytearray((folder / "000.png").read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (folder / "bomb.png").write_bytes(data)
    return folder


def archive(folder):
    folder.mkdir()
    with zipfile.ZipFile(folder / "data.zip", "w") as file:
        file.writestr("../outside.txt", "no")
    return folder / "data.zip"


def odd_pictures(folder):
    """CMYK, 16 bit, a palette, a rotated photograph, another size."""
    pictures(folder)
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    grey.convert("CMYK").save(folder / "a.jpg")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(folder / "b.png")
    grey.convert("P").save(folder / "c.png")
    exif = Image.Exif()
    exif[274] = 6
    grey.resize((8, 12)).save(folder / "d.jpg", exif=exif)
    return folder


def strange(folder):
    path = folder / "a b\nü"
    return pictures(path)


def double(folder):
    pictures(folder)
    for i in range(6):
        shutil.copy(folder / "001.png", folder / f"again-{i}.png")
    return folder


def truncated(folder, count=1):
    pictures(folder)
    for i in range(count):
        data = (folder / f"{i:03d}.png").read_bytes()
        (folder / f"{i:03d}.png").write_bytes(data[: len(data) // 2])
    return folder


def train(*more):
    return lambda data, tmp: ["train", data, "--out", tmp / "run", "--steps", "2", *SMALL, *more]


#: number in the list of faults, what is wrong, the data, the command, exit code, what is said
TABLE = [
    ("1 flag", text, lambda d, t: ["train", d, "--familly", "flow"], 2, "did you mean --family"),
    ("1 key", text, train("--set", "training.lrr=1"), 2, "did you mean 'lr'"),
    ("2 nan", text, train("--set", "training.lr=nan"), 2, "training.lr"),
    ("2 negative", text, train("--set", "training.lr=-1"), 2, "training.lr"),
    ("2 no number", text, train("--set", "training.lr=1e-3x"), 2, "training.lr"),
    ("3 unwritable", text, lambda d, t: ["train", d, "--out", "/proc/run", "--steps", "2"], 2, "cannot be written to"),
    ("6 device", text, train("--set", "training.device=cuda:9"), 2, "is not there"),
    ("7 odd path", strange, train(), 0, "2 of 2 steps"),
    ("9 empty folder", lambda f: f.mkdir() or f, train(), 2, "it is empty"),
    ("9 empty file", lambda f: text(f, ""), train(), 2, "the file is empty"),
    ("10 one sample", lambda f: text(f, "only this\n"), train(), 0, "2 of 2 steps"),
    ("11 one truncated", truncated, train(), 0, "1 unreadable files are left out, the first is"),
    ("11 many truncated", lambda f: truncated(f, 12), train(), 2, "mend or remove them"),
    ("12 bomb", bomb, train(), 0, "bomb.png"),
    ("13 archive", archive, train(), 2, "unpack the archive first"),
    ("14 ragged", lambda f: text(f, "a,b\n1,2\n3\n4,5,6\n", "t.csv"), train(), 2, "line 3"),
    ("14 nan and inf", lambda f: text(f, "a,b\n" + "1,x\nNaN,y\ninf,z\n" * 20, "t.csv"), train(), 0, "2 of 2"),
    ("14 mark and latin-1", lambda f: text(f, LINES.encode() + "\n\xe9t\xe9".encode("latin-1")), train(), 0, "latin-1"),
    ("16 constant column", lambda f: text(f, "a,b\n" + "1,7\n2,7\n3,7\n" * 9, "t.csv"), train(), 0, "b"),
    ("16 equal records", lambda f: text(f, "again\n" * 30), train(), 0, "all records are equal"),
    ("17 odd pictures", odd_pictures, train(), 0, "2 of 2 steps"),
    ("18 sound", lambda f: text(f, b"RIFF", "a.wav"), train(), 2, ".wav files are not known"),
    ("19 NUL and bad UTF-8", lambda f: text(f, LINES.encode() + b"\n\x00\xff\xfe"), train(), 0, "not UTF-8 at byte"),
    ("21 duplicates", double, train(), 0, "copies stay on one side of the split"),
    ("24 device unknown", text, train("--set", "training.device=tpu"), 2, "is not a device"),
    ("28 processes", text, train("--fsdp"), 2, "torchrun"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "data", "words", "code", "said"), TABLE, ids=[row[0] for row in TABLE])
def test_fault(fault, data, words, code, said, tmp_path, capsys):
    found, out, err = command(capsys, *words(data(tmp_path / "data"), tmp_path))
    assert found == code, out + err
    assert said in out + err
    assert "Traceback" not in err
    if code == 2:
        assert len(err.strip().splitlines()) == 1
        assert {p.name for p in tmp_path.iterdir()} <= {"data"}


def begun(tmp_path, capsys, *more):
    """A finished little run of pictures."""
    words = ["train", pictures(tmp_path / "data"), "--out", tmp_path / "run", "--family", "vae", "--steps", "6", *SMALL]
    code, out, err = command(capsys, *words, "--set", "training.checkpoint_every=2", *more)
    assert code == 0, out + err
    return tmp_path / "run"


def resumed(run, capsys, code=2):
    found, out, err = command(capsys, "train", "--resume", run)
    assert found == code, out + err
    return out + err


def test_4_another_experiment_is_not_overwritten(tmp_path, capsys):
    run = begun(tmp_path, capsys)
    words = ["train", tmp_path / "data", "--out", run, "--family", "gan", "--steps", "6", *SMALL]
    code, _, err = command(capsys, *words)
    assert code == 2
    assert "already holds a run (" in err
    assert "vae, now gan" in err


def test_5_one_process_at_a_time_and_a_stale_lock_is_none(tmp_path, capsys):
    import fcntl

    run = begun(tmp_path, capsys)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is training this run" in resumed(run, capsys)
    assert (run / ".lock").exists()
    assert "resumed from step 6" in resumed(run, capsys, 0)


def test_8_and_26_the_first_signal_asks_and_the_second_ends():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert stop.code == 143
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
        assert end.value.code == 143


@pytest.mark.parametrize("moment", ["measuring", "evaluating", "a preview", "saving"])
def test_26_sigterm_at_any_moment_leaves_a_run_that_goes_on(moment, tmp_path, capsys, monkeypatch):
    place = {
        "measuring": (time_budget, "plan_steps"),
        "evaluating": (learner.Learner, "held_out"),
        "a preview": (loop, "_preview"),
        "saving": (checkpoint, "commit"),
    }[moment]
    original, sent = getattr(*place), []

    def interrupted(*given, **named):
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*given, **named)

    monkeypatch.setattr(*place, interrupted)
    run = tmp_path / "run"
    words = ["train", pictures(tmp_path / "data"), "--out", run, "--family", "vae", *SMALL]
    if moment != "measuring":
        words += ["--steps", "6", "--set", "training.checkpoint_every=2", "--set", "training.evaluate_every=2"]
    else:
        words += ["--minutes", "0.02"]
    code, _, _ = command(capsys, *words)
    assert sent
    assert code in (143, 0 if moment in ("a preview", "saving", "evaluating") else 143)
    assert command(capsys, "verify", run)[0] == 0
    resumed(run, capsys, 0)
    assert checkpoint.latest(run / "checkpoints")[0] is not None


def test_12_a_bomb_takes_no_memory(tmp_path, capsys):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, out, _ = command(capsys, "look", bomb(tmp_path / "data"), "--steps", "1", *SMALL)
    assert code == 0
    assert "bomb.png" in out
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000


def test_15_a_category_seen_only_later(tmp_path, capsys):
    rows = "".join(f"{'xy'[i % 2]},{i}\n" for i in range(80))
    words = [text(tmp_path / "data", "kind,n\n" + rows, "t.csv"), "--given", "kind", "--out", tmp_path / "run"]
    assert command(capsys, "train", *words, "--steps", "2", *SMALL)[0] == 0
    code, _, err = command(capsys, "sample", tmp_path / "run", "--given", "kind=z")
    assert code == 2
    assert "z" in err


def test_20_changed_data_are_refused(tmp_path, capsys):
    run = begun(tmp_path, capsys)
    (tmp_path / "data/000.png").unlink()
    assert "the data changed since this run began" in resumed(run, capsys)


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_22_an_item_that_is_not_a_number_is_named(policy, tmp_path, capsys, monkeypatch):
    """One picture decodes to NaN from step 3 on."""
    original = learner.Batches.take

    def poisoned(self, indices, draws=None, device="cpu"):
        x, c = original(self, indices, draws, device)
        x[torch.from_numpy(np.asarray(indices) == 5)] = float("nan")
        return x, c

    monkeypatch.setattr(learner.Batches, "take", poisoned)
    words = ["train", pictures(tmp_path / "data"), "--out", tmp_path / "run", "--family", "vae", "--steps", "6", *SMALL]
    words += [
        "--set",
        "training.batch=4",
        "--set",
        "training.checkpoint_every=1",
        "--set",
        f"training.on_nonfinite={policy}",
    ]
    code, out, err = command(capsys, *words)
    run = tmp_path / "run"
    weights = checkpoint.load(checkpoint.latest(run / "checkpoints")[0])[0]
    assert all(torch.isfinite(v).all() for v in weights.values())
    if policy == "stop":
        assert code == 2
        assert ".png: mend or remove it" in err
        assert len(err.strip().splitlines()) == 1
    else:
        assert code == 0, err
        lines = [json.loads(t) for t in (run / "metrics.jsonl").read_text().splitlines()]
        assert [5] in [x["items"] for x in lines if x["split"] == "nonfinite"]
        assert ("left out" if policy == "skip" else "going back") in out
        assert "6 of 6 steps" in out


def test_24_out_of_memory_halves_the_parts_and_goes_on(tmp_path, capsys, monkeypatch):
    original = learner.Learner._gradients

    def short(self, player, turn, taken, number, items):
        if any(len(rows) > 4 for _, parts in taken for rows, _, _ in parts):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, player, turn, taken, number, items)

    monkeypatch.setattr(learner.Learner, "_gradients", short)
    words = ["train", pictures(tmp_path / "data"), "--out", tmp_path / "run", "--family", "gan", "--steps", "2", *SMALL]
    code, out, err = command(capsys, *words)
    assert code == 0, err
    assert "batches in 4 parts" in out


def test_24_out_of_memory_with_one_item_keeps_the_checkpoint(tmp_path, capsys, monkeypatch):
    run = begun(tmp_path, capsys)
    state = json.loads((run / "checkpoints/0000006/state.json").read_text())

    def short(*_):
        raise MemoryError("no")

    monkeypatch.setattr(learner.Learner, "_gradients", short)
    words = ["train", tmp_path / "data", "--out", tmp_path / "more", "--family", "vae", "--steps", "6", *SMALL]
    code, _, err = command(capsys, *words)
    assert code == 2
    assert "use a smaller network" in err
    assert state["step"] == 6
    assert command(capsys, "verify", run)[0] == 0


def test_25_28_a_killed_process_ends_the_others_and_the_run_goes_on():
    found = prove.kills(2, ("vae",), processes=2, seed=3, say=lambda _: None)
    assert not found.failures
    assert found.tried["runs compared bit for bit"]


def test_29_a_clock_that_jumps_changes_no_weights(tmp_path, capsys, monkeypatch):
    run = begun(tmp_path, capsys)
    clock = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 10.0**9 - 3600.0 * next(clock))
    words = ["train", tmp_path / "data", "--out", tmp_path / "other", "--family", "vae", "--steps", "6", *SMALL]
    assert command(capsys, *words, "--set", "training.checkpoint_every=2")[0] == 0
    pair = [p / "checkpoints/0000006/weights.safetensors" for p in (run, tmp_path / "other")]
    assert pair[0].read_bytes() == pair[1].read_bytes()


@pytest.mark.parametrize("when", ["before", "while"])
def test_30_a_full_disk_leaves_the_old_checkpoint(when, tmp_path, capsys, monkeypatch):
    if when == "before":
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    else:
        original, calls = checkpoint.put, []

        def put(aside, name, tensors, about=None):
            calls.append(name)
            original(aside, name, tensors, about)
            if len(calls) > 3:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(checkpoint, "put", put)
    words = ["train", pictures(tmp_path / "data"), "--out", tmp_path / "run", "--family", "vae", "--steps", "6", *SMALL]
    code, _, err = command(capsys, *words, "--set", "training.checkpoint_every=2")
    assert code == 2
    assert "intact" in err
    assert len(err.strip().splitlines()) == 1
    folder = tmp_path / "run/checkpoints"
    assert not list(folder.glob(".*"))
    if when == "while":
        assert int(checkpoint.latest(folder)[0].name) == 1
    monkeypatch.undo()
    resumed(tmp_path / "run", capsys, 0)
    assert int(checkpoint.latest(folder)[0].name) == 6


def test_31_flips_and_cuts_are_all_noticed():
    found = prove.flips(60, say=lambda _: None)
    assert not found.failures
    assert sum(found.tried.values()) == 60


@pytest.mark.parametrize("lost", ["manifest.json", "weights.safetensors", "state.json"])
def test_32_a_checkpoint_with_a_file_missing_is_never_taken(lost, tmp_path, capsys):
    run = begun(tmp_path, capsys)
    *_, before, newest = checkpoint.found(run / "checkpoints")
    (newest / lost).unlink()
    path, complaints = checkpoint.latest(run / "checkpoints")
    assert path == before
    assert "missing" in complaints[0]
    assert command(capsys, "verify", run)[0] == 1


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["weights.safetensors", "extra.pt", ".metadata"])
def test_33_a_pickle_is_refused_and_nothing_is_executed(name, tmp_path, capsys):
    run = begun(tmp_path, capsys)
    newest = checkpoint.found(run / "checkpoints")[-1]
    (newest / name).write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    if name == "weights.safetensors":  # a stranger would write a manifest that fits
        checkpoint.write_text(newest / "manifest.json", json.dumps(checkpoint._manifest(newest, 6), indent=1))
    with pytest.raises(checkpoint.Damaged):
        checkpoint.load(newest)
    assert not (tmp_path / "executed").exists()


def safetensors(header, body=b""):
    text_ = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text_)) + text_ + body


def entry(start, stop, shape, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),  # overlap
        safetensors({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, bytes(20)),  # a gap
        safetensors({"a": entry(0, 8, [2**62, 4])}, bytes(8)),  # more than there is
        safetensors({"a": entry(0, 8, [-2, -1])}, bytes(8)),
        safetensors({"a": entry(0, 8, [2], "F99")}, bytes(8)),
        safetensors({str(i): entry(0, 0, [0]) for i in range(100_000)}),
        struct.pack("<Q", 100 * 2**20) + bytes(1000),  # says its header has 100 MB
        struct.pack("<Q", 2**63) + b"{}",
        b"",
        safetensors(b"[" * 100_000),
    ],
    ids=[
        "overlap",
        "gap",
        "overflow",
        "negative",
        "type",
        "100k tensors",
        "big header",
        "huge header",
        "empty",
        "deep",
    ],
)
def test_34_a_header_that_lies_is_refused(content, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(checkpoint.Damaged, match=r"weights\.safetensors"):
        checkpoint.check_file(path)


def test_35_another_architecture_and_a_newer_format_are_refused(tmp_path, capsys):
    run = begun(tmp_path, capsys)
    plan = (run / "experiment.toml").read_text()
    (run / "experiment.toml").write_text(plan.replace("width = 16", "width = 24"))
    said = resumed(run, capsys)
    assert "another architecture" in said
    assert "should be" in said
    (run / "experiment.toml").write_text(plan)
    for path in checkpoint.found(run / "checkpoints"):
        manifest = json.loads((path / "manifest.json").read_text())
        checkpoint.write_text(path / "manifest.json", json.dumps({**manifest, "format": 2}, indent=1))
    assert "update likewise" in command(capsys, "verify", run)[1]


def test_19_a_text_that_is_one_endless_line_is_refused_before_it_is_read(tmp_path, capsys):
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)  # zeros, that take no disk
    code, _, err = command(capsys, "train", path, "--out", tmp_path / "run")
    assert code == 2
    assert "too long for one record" in err


def test_everything_is_here():
    """Which of the thirty-five have a row or a test; loader workers (27) there are none to be killed."""
    here = {int(row[0].split()[0]) for row in TABLE}
    for name in list(globals()):
        if name.startswith("test_"):
            here |= {int(n) for n in name.split("_")[1:3] if n.isdigit()}
    assert set(range(1, 36)) - here == {23, 27}  # 23, a spike: tests/training/test_watch.py


def test_a_streamed_run_that_is_stopped_and_resumed_is_the_one_in_memory(tmp_path, capsys, monkeypatch):
    """The same weights, bit for bit: held in memory, read as needed, and read as needed with a stop in between."""
    data = text(tmp_path / "data", "\n".join(f"{a} and {b}" for a in range(40) for b in "abcdefgh"))
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    original = learner.Learner.step

    def train(name, memory, code):
        words = ["train", data, "--out", tmp_path / name, "--steps", "40", *SMALL, "--set", f"data.memory={memory}"]
        found, out, err = command(capsys, *words)
        assert found == code, out + err
        assert ("the data are large" in out) == (memory == 0)

    train("whole", 128, 0)
    train("streamed", 0, 0)

    def stopped(self, batches, indices, number, steps):
        if number == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batches, indices, number, steps)

    monkeypatch.setattr(learner.Learner, "step", stopped)
    train("stopped", 0, 143)
    monkeypatch.undo()
    assert "resumed from step 14" in resumed(tmp_path / "stopped", capsys, 0)
    files = [tmp_path / name / "checkpoints/0000040/weights.safetensors" for name in ("whole", "streamed", "stopped")]
    assert len({file.read_bytes() for file in files}) == 1
