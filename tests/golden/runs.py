"""Runs that were written before the refactoring, with the data they learned: what later code reads, draws and goes on.

`runs-0.tar.xz` holds `data`, `runs`, and `drawn`, samples of each run that its own code drew. Some runs were stopped
before their end. They were made under `PLACE`, which is where their experiments say that the data are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from golden import cases, data
from golden.cases import FEW, Case

PLACE = Path("/tmp/likewise-golden")
ARCHIVE = cases.HERE / "runs-0.tar.xz"
STEPS = 6
#: after how many steps the runs that were not finished were stopped
STOPPED = 3
#: the number of samples that were drawn of each run, and their seed
COUNT, SEED = 4, 5
#: as small as networks can be, as noise is not compressed: of finished runs the optimizer remembers little
NARROW = {"backbone.width": 8}
SHALLOW = {"backbone.width": 8, "backbone.depth": 1}
MAPS = {"backbone.width": 8, "backbone.multipliers": [1]}
LIGHT = {"training.optimizer": "sgd", "training.momentum": 0.0, "training.ema": 0.0}
_TOKEN = {"family": "autoregressive"}
_FLAT = Case("pictures", {"family": "vae", "given": []}, NARROW | {"family.latent": 4})
_MAPPED = Case(
    "pictures", {"family": "vae", "given": [], "backbone": "conv"}, MAPS | {"family.latent": 3, "family.stride": 2}
)
_CODEC = Case("pictures", {"family": "codec", "given": []}, MAPS)
FINISHED = {
    "image-flow-label": Case("pictures", {"family": "flow", "given": ["label"]}, MAPS | FEW),
    "image-flow-small": Case("photos", {"family": "flow", "given": ["small"]}, MAPS | FEW | {"target.size": 8}),
    "image-patches": Case("pictures", _TOKEN | {"given": []}, SHALLOW | {"target.patch": 2, "target.codes": 16}),
    "text-lstm": Case("texts", _TOKEN | {"backbone": "lstm"}, SHALLOW),
    "text-vae-pairs": Case("pairs", {"family": "vae", "given": ["en"]}, SHALLOW),
    "text-ngram": Case("texts", {"family": "ngram"}),
    "dialogue": Case("talks", _TOKEN | {"target": "history", "given": []}, SHALLOW),
    "label-vae": Case("table", {"target": "age", "given": [], "family": "vae"}, SHALLOW),
    "palette-flow": Case("palettes", {"as_": "palette", "family": "flow"}, SHALLOW | FEW),
    "video-flow": Case("clips", {"as_": "video", "family": "flow"}, MAPS | FEW),
    "table-flow": Case("table", {"family": "flow"}, NARROW | FEW),
    "table-gaussian": Case("table", {"family": "gaussian"}),
    "codec": _CODEC,
    "codes-autoregressive": Case("pictures", _TOKEN | {"given": ["label"]}, SHALLOW, _CODEC),
}
INTERRUPTED = {
    "text-bpe": Case("prose", _TOKEN, SHALLOW | {"target.tokenizer": "bpe", "target.vocabulary": 300}),
    "windows": Case("books", _TOKEN | {"unit": "document"}, SHALLOW | {"target.length": 32}),
    "table-autoregressive": Case("table", _TOKEN, SHALLOW),
    "latent-flow": Case("pictures", {"family": "flow", "given": ["label"]}, MAPS | FEW, _MAPPED),
    "image-gan": Case("grey", {"family": "gan", "backbone": "mlp"}, SHALLOW),
    "few-step": Case("grey", {"family": "flow", "backbone": "mlp"}, SHALLOW | FEW | {"family.few_step": True}),
    # What experiments say in so many words, whatever it is called later.
    "settings": Case("pictures", {"family": "flow", "given": ["label"]}, MAPS | {
        "family.path": "edm", "family.weighting": "min_snr", "family.times": "uniform",
        "family.condition_dropout": 0.2, "family.sampling.steps": 3, "family.sampling.sampler": "heun",
        "family.sampling.guidance": 1.2, "family.sampling.guidance_interval": [0.1, 0.9],
        "training.optimizer": "muon", "training.muon_lr": 0.01, "training.betas": [0.8, 0.95],
        "training.schedule": "cosine", "training.accumulate": 2, "training.ema": 0.4, "training.clip": 0.5,
        "training.on_nonfinite": "skip", "data.split": "tail", "target.crop": "random", "target.flip": True,
        "backbone.patch": 2, "backbone.dropout": 0.1,
    }),
    "latent-gan-text": Case("texts", {"family": "gan"}, NARROW, Case("texts", {"family": "vae"}, SHALLOW)),
}  # fmt: skip
NAMES = (*FINISHED, *INTERRUPTED)


def unpack(folder: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def command(*words: object) -> tuple[int, str]:
    """Exit code and all that `python -m likewise WORDS` says, in this process."""
    said, code = io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["likewise", *map(str, words)])
    with argv, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_module("likewise", run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, said.getvalue()


def moved(root: Path, name: str, to: Path) -> Path:
    """A copy of an unpacked run in the folder `to`, whose experiment says where the data are now; sealed again."""
    shutil.copytree(root / "runs" / name, to)
    plan, seal = to / "experiment.toml", to / "manifest.json"
    plan.write_text(
        plan.read_text(encoding="utf-8").replace(f'"{PLACE}/data', f'"{root}/data'), encoding="utf-8", newline="\n"
    )
    manifest = json.loads(seal.read_text(encoding="utf-8"))
    content = plan.read_bytes()
    manifest["files"]["experiment.toml"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal.write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return to


def drawn(run: Path, out: Path) -> str | None:
    """Samples of a run in the folder `out`, and the hash of what they are; None of a codec, which draws none."""
    if run.name == "codec":
        return None
    cases.likewise.load(run).sample(COUNT, seed=SEED).save(out)
    return cases.content(out)


def gone_on(root: Path, name: str, to: Path) -> str:
    """The hash of the weights of an interrupted run that has gone on to its end in the folder `to`."""
    run = moved(root, name, to)
    assert cases.newest(run).name.lstrip("0") == str(STOPPED)
    code, said = command("train", "--resume", run)
    assert code == 0, said
    assert f"from step {STOPPED}" in said, said
    assert cases.newest(run).name.lstrip("0") == str(STEPS)
    return cases.weights(run)


def observed(root: Path, name: str, folder: Path) -> dict[str, Any]:
    """What is kept of a run: its samples, and its weights at the end if it was interrupted. folder: for what is made"""
    found: dict[str, Any] = {"samples": drawn(root / "runs" / name, folder / "drawn")}
    if name in INTERRUPTED:
        found["weights"] = gone_on(root, name, folder / "run")
    return found


def near(folder: Path, other: Path) -> bool:
    """Whether samples are what others are up to rounding: of lines half, as what is drawn by lot may turn over."""
    names = [p.name for p in sorted(folder.iterdir())]
    if names != [p.name for p in sorted(other.iterdir())]:
        return False
    apart, same = [0.0], [True]
    for name in names:
        if Path(name).suffix in (".png", ".gif", ".webp"):
            a, b = (cases.np.asarray(cases.frames(place / name), float) for place in (folder, other))
            apart.append(float(abs(a - b).mean()) if a.shape == b.shape else 255.0)
    rows = [(p / "samples.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n") for p in (folder, other)]
    for a, b in zip(*(map(json.loads, lines) for lines in rows), strict=True):
        pairs = list(zip(cases.leaves(a), cases.leaves(b), strict=False))
        same.append(
            len(list(cases.leaves(a))) == len(list(cases.leaves(b)))
            and all(u == v or (_number(u) and _number(v) and abs(u - v) <= 0.02 * (1 + abs(u))) for u, v in pairs)
        )
    return max(apart) < 3 and sum(same) >= len(same) / 2


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@contextlib.contextmanager
def _stopping(after: int | None) -> Iterator[None]:
    """Send what asks a training to stop when its step number `after` begins. Of today's code: it is not used again."""
    if after is None:
        yield
        return
    from likewise.training.learner import Learner

    original = Learner.step

    def step(self: Any, batches: Any, indices: Any, number: int, total: int) -> Any:
        if number == after - 1 and total == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batches, indices, number, total)

    with mock.patch.object(Learner, "step", step):
        yield


def record() -> None:
    """Write the archive: train every run, stop some, and keep one checkpoint of each."""
    shutil.rmtree(PLACE, ignore_errors=True)
    spare = PLACE / "spare"
    for name, case in {**FINISHED, **INTERRUPTED}.items():
        path = PLACE / "data" / case.data
        made = path if path.exists() else data.MAKERS[case.data](path)
        if made.is_dir() and case.data in ("texts", "prose", "pairs", "talks", "table", "palettes"):
            made = next(made.iterdir())
        light = LIGHT if name in FINISHED and name != "table-flow" else {}
        settings = {"training.evaluate_every": STEPS} | light | case.settings
        plan = Case(case.data, case.options, settings, case.through and replace(case.through, steps=2), STEPS)
        run = PLACE / "runs" / name
        if name in INTERRUPTED:
            straight = cases.train(plan, made, spare / name).path
            with _stopping(STOPPED), contextlib.suppress(SystemExit):
                cases.train(plan, made, run)
            copy = shutil.copytree(run, spare / f"{name}-on")
            assert command("train", "--resume", copy)[0] == 0
            assert cases.weights(copy) == cases.weights(straight), name
        else:
            cases.train(plan, made, run)
        if case.through:
            shutil.rmtree(run.with_name(f"{name}-seen"))
        assert len(list((run / "checkpoints").iterdir())) == 1, name
        (run / ".lock").unlink(missing_ok=True)
        drawn(run, PLACE / "drawn" / name)
        print(name, sum(p.stat().st_size for p in run.rglob("*") if p.is_file()), flush=True)

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for part in ("data", "runs", "drawn"):
            archive.add(PLACE / part, part, filter=plain)
    shutil.rmtree(PLACE)
    print(ARCHIVE, ARCHIVE.stat().st_size)
