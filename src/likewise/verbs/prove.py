"""Prove: tests recovery by killing training at random moments and damaging checkpoints at random positions.

Three properties are tested on this machine (`kills`, `flips`, `elastic`): no acknowledged checkpoint is lost; every
checkpoint can be loaded; and a run that was killed and resumed has bit for bit the weights of an uninterrupted run,
with `--exact-elastic` also if the number of processes changes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess as _Worker
from pathlib import Path
from typing import Any

import numpy as np

from likewise.training import checkpoint
from likewise.training.checkpoint import Damaged

FAMILIES = ("vae", "gan", "autoregressive", "flow")
#: seconds in which all processes must end after one of them was killed
_PATIENCE = 60.0
_STEPS = 200
_SETTINGS: dict[str, Any] = {
    "training.batch": 16,
    "training.ema": 0.9,
    "training.threads": 1,
    "training.evaluate_every": 40,
    "training.checkpoint_every": 8,
    "training.patience": 100,
    "training.precision": "float32",
    "training.wait_minutes": 0.5,
    "backbone.width": 16,
}


@dataclass
class Found:
    """Counts of what was tried, and failures; the test passed if `failures` is empty."""

    tried: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    #: the longest time from a SIGTERM to the end of the process, in seconds
    slowest_stop: float = 0.0

    def count(self, what: str, by: int = 1) -> None:
        self.tried[what] = self.tried.get(what, 0) + by

    def __str__(self) -> str:
        done = ", ".join(f"{n:,} {what}" for what, n in self.tried.items())
        slow = f"; slowest end after SIGTERM {self.slowest_stop:.2f} s" if self.slowest_stop else ""
        return f"{done}{slow}: " + (f"{len(self.failures)} FAILED, {self.failures[0]}" if self.failures else "all well")


def kills(
    count: int = 200,
    families: tuple[str, ...] = FAMILIES[:3],
    processes: int = 1,
    seed: int = 0,
    say: Callable[[str], None] = print,
    folder: Path | None = None,
) -> Found:
    """Kill training `count` times in total, resume it each time, and compare with uninterrupted runs.

    With several processes, either one of them or all are killed. One in five ends by SIGTERM instead of SIGKILL.
    """
    chance, found = random.Random(seed), Found()
    with tempfile.TemporaryDirectory(dir=folder, prefix="prove-") as name:
        home = Path(name)
        for i, family in enumerate(families):
            data = _lay_out(home / f"{family}-data", family)
            whole = home / f"{family}-whole"
            starting = _server().Process(target=_nothing)  # the start of the server is not part of a run
            starting.start()
            starting.join()
            start = time.monotonic()
            codes = _end(_begin(family, data, whole, processes), None)
            takes = time.monotonic() - start
            if codes != [0] * processes:
                raise ValueError(f"{family}: the run that nobody kills ended with {codes}")
            truth = _final(whole)
            share = count // len(families) + (i < count % len(families))
            say(f"{family}: a whole run takes {takes:.1f} s; {share} kills to come")
            done = number = 0
            while done < share:
                run = home / f"{family}-{number}"
                number += 1
                done += _one_run(family, data, run, processes, share - done, takes, chance, found)
                if _final(run) != truth:
                    found.failures.append(f"{family} run {number}: its final weights differ")
                _, trace, why = Path(f"{run}.log").read_text(encoding="utf-8", errors="replace").partition("Traceback")
                if trace:
                    found.failures.append(f"{family} run {number}: a traceback: {_error(why)}")
                found.count("runs compared bit for bit")
                shutil.rmtree(run)
                say(f"{family}: {done} of {share} kills; {found}")
    return found


def _one_run(
    family: str, data: Path, run: Path, processes: int, most: int, takes: float, chance: random.Random, found: Found
) -> int:
    """Train one run to its end with at most `most` kills; returns the number of kills."""
    killed = 0
    while True:
        workers = _begin(family, data, run, processes)
        moment = time.monotonic() + chance.uniform(0, 0.7 * takes)
        while killed < most and time.monotonic() < moment and not _ended(workers):
            time.sleep(0.002)
        if killed >= most or _ended(workers):
            codes = _end(workers, None)
            if codes == [0] * processes:
                return killed
            found.failures.append(f"{family}: ended by itself with {codes}; see {run}.log")
            return killed
        gently = chance.random() < 0.2
        victims = workers if gently or chance.random() < 0.5 else [chance.choice(workers)]
        asked = time.monotonic()
        for worker in victims:
            _send(worker, signal.SIGTERM if gently else signal.SIGKILL)
        codes = _end(workers, _PATIENCE)
        killed += 1
        found.count("SIGTERM" if gently else "SIGKILL")
        if gently:
            found.slowest_stop = max(found.slowest_stop, time.monotonic() - asked)
            # before the handler is installed, SIGTERM ends the process directly: -SIGTERM, or 143 in a shell
            if any(code not in (0, 143, -signal.SIGTERM) for code in codes):
                found.failures.append(f"{family}: SIGTERM ended it with {codes}")
        if None in codes:
            found.failures.append(f"{family}: a process was still there {_PATIENCE:.0f} s after another was killed")
        _check(run, found)


def _error(trace: str) -> str:
    """The exception of a traceback: its first line that is not indented."""
    return next((line for line in trace.splitlines()[1:] if line and not line.startswith(" ")), trace)


def _check(run: Path, found: Found) -> None:
    """Check after a kill that every checkpoint verifies, and that no acknowledged one is lost."""
    folder, good = run / "checkpoints", []
    for path in checkpoint.found(folder):
        try:
            checkpoint.verify(path)
            good.append(int(path.name))
        except Damaged as damage:
            found.failures.append(f"unloadable: {damage}")
    acknowledged = [line["step"] for line in _lines(run) if line.get("split") == "checkpoint"]
    found.count("acknowledged checkpoints", len(acknowledged))
    if acknowledged and max(acknowledged) > max(good, default=-1):
        found.failures.append(f"{run.name}: step {max(acknowledged)} was acknowledged, and {good} are there")


def _lines(run: Path) -> list[dict[str, Any]]:
    log = run / "metrics.jsonl"
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _final(run: Path) -> str:
    path, _ = checkpoint.latest(run / "checkpoints")
    if path is None or int(path.name) != _STEPS:
        return f"no checkpoint of step {_STEPS}"
    files = sorted(path.glob("*.safetensors"))
    return hashlib.sha256("".join(checkpoint.sha256(f) for f in files).encode()).hexdigest()


def elastic(
    worlds: tuple[int, ...] = (4, 2, 1, 4),
    families: tuple[str, ...] = FAMILIES,
    say: Callable[[str], None] = print,
    folder: Path | None = None,
) -> Found:
    """Train one run in parts, each with another number of processes, and compare with a run of one process."""
    found, asked = Found(), {"training.exact_elastic": True}
    with tempfile.TemporaryDirectory(dir=folder, prefix="prove-") as name:
        home = Path(name)
        for family in families:
            data, run = _lay_out(home / f"{family}-data", family), home / family
            codes = _end(_begin(family, data, home / f"{family}-whole", 1, asked), None)
            for i, processes in enumerate(worlds, 1):
                workers = _begin(family, data, run, processes, asked)
                while i < len(worlds) and not _ended(workers) and _reached(run) < i * _STEPS // len(worlds):
                    time.sleep(0.01)
                for worker in workers if i < len(worlds) else ():
                    _send(worker, signal.SIGTERM)
                codes = _end(workers, None)
                if codes != [143 if i < len(worlds) else 0] * processes:
                    found.failures.append(f"{family}: {processes} processes ended with {codes}; see {run}.log")
                say(f"{family}: step {_reached(run)} with {processes} processes")
            if _final(run) != _final(home / f"{family}-whole"):
                found.failures.append(f"{family}: its final weights differ")
            found.count("runs compared bit for bit")
            found.count("changes of the number of processes", len(worlds) - 1)
    return found


def _reached(run: Path) -> int:
    return max((line["step"] for line in _lines(run) if "step" in line), default=0)


def _begin(family: str, data: Path, run: Path, processes: int, more: dict[str, Any] | None = None) -> Sequence[_Worker]:
    """Start or resume training in new processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server, settings = _server(), {**_SETTINGS, **(more or {})}
    workers = [
        server.Process(target=_work, args=(family, data, run, r, processes, port, settings)) for r in range(processes)
    ]
    for worker in workers:
        worker.start()
    return workers


def _server() -> ForkServerContext:
    """A fork server with torch imported, so that a restart takes one second instead of ten.

    It has never computed: OpenMP does not survive a fork of a process that has.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["likewise.verbs.train", "likewise.training.loop"])
    return server


def _nothing() -> None:
    pass


def _work(family: str, data: Path, run: Path, rank: int, processes: int, port: int, settings: dict[str, Any]) -> None:
    from likewise.verbs.train import resume, train

    with Path(f"{run}.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        if (run / "manifest.json").is_file():
            resume(run)
        else:
            shutil.rmtree(run, ignore_errors=True) if rank == 0 else None
            train(data, out=run, family=family, steps=_STEPS, set_=settings)
    except ValueError as error:  # as the command does
        print(f"likewise: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _ended(workers: Sequence[_Worker]) -> bool:
    return all(w.exitcode is not None for w in workers)


def _send(worker: _Worker, number: int) -> None:
    if worker.exitcode is None and worker.pid is not None:
        os.kill(worker.pid, number)


def _end(workers: Sequence[_Worker], within: float | None) -> list[int | None]:
    """Wait for the processes; returns exit codes: negative for a signal, None if killed after `within` seconds."""
    until = time.monotonic() + (within or 3600.0)
    codes: list[int | None] = []
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        codes.append(worker.exitcode)
        if worker.exitcode is None:
            worker.kill()
            worker.join()
    return codes


def _lay_out(folder: Path, family: str) -> Path:
    """Write small data: lines of text for an autoregressive model, small pictures for other families."""
    from PIL import Image

    folder.mkdir()
    chance = np.random.default_rng(0)
    if family == "autoregressive":
        words = ["".join(chance.choice(list("abcdefgh"), 5)) for _ in range(40)]
        text = "\n".join(" ".join(chance.choice(words, 6)) for _ in range(400))
        (folder / "lines.txt").write_text(text, encoding="utf-8")
        return folder / "lines.txt"
    for i in range(96):
        grey = np.add.outer(np.arange(8) * chance.integers(0, 16), np.arange(8) * chance.integers(0, 16))
        Image.fromarray((grey + chance.integers(0, 8, (8, 8))).astype(np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def flips(count: int = 1000, seed: int = 0, say: Callable[[str], None] = print, folder: Path | None = None) -> Found:
    """Change a random byte of a random file of the newest checkpoint, or truncate the file, `count` times.

    The damage must be detected: loading raises Damaged, and the previous checkpoint becomes the latest.
    """
    chance, found = random.Random(seed), Found()
    with tempfile.TemporaryDirectory(dir=folder, prefix="prove-") as name:
        home = Path(name)
        codes = _end(_begin("vae", _lay_out(home / "data", "vae"), home / "run", 1), None)
        if codes != [0]:
            raise ValueError(f"the run to be damaged ended with {codes}")
        where = home / "run" / "checkpoints"
        *_, before, newest = checkpoint.found(where)
        files = sorted(newest.iterdir())
        for i in range(count):
            file = chance.choice(files)
            content = file.read_bytes()
            place = chance.randrange(len(content))
            if chance.random() < 0.1:
                what, damaged = "files cut off", content[:place]
            else:
                what, changed = "bytes flipped", bytearray(content)
                changed[place] ^= chance.randrange(1, 256)
                damaged = bytes(changed)
            file.write_bytes(damaged)
            found.count(what)
            try:
                checkpoint.load(newest)
                found.failures.append(f"{file.name}, byte {place}: not noticed")
            except Damaged:
                if checkpoint.latest(where)[0] != before:
                    found.failures.append(f"{file.name}, byte {place}: noticed, but the older one was not taken")
            file.write_bytes(content)
            if (i + 1) % 250 == 0:
                say(str(found))
        checkpoint.verify(newest)
    return found
