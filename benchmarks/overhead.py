"""What never losing work costs: items per second of a whole `likewise train` beside its bare training step in a loop.

    python -m benchmarks overhead --families flow --turn 300 --brief

Both sides train the same model on the same batches. The whole run writes checkpoints, watches for alarms, measures the
held-out loss and draws previews as it does by default; "without measuring" leaves the held-out losses and previews out.
"""

from __future__ import annotations

import pydoc_data.topics
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.rounds import Result, Side, alternate
from likewise.draws import derive_seed
from likewise.planning.split import records_again
from likewise.runs.run import Run
from likewise.training import hardware
from likewise.training.batches import Batches
from likewise.training.data_order import Order
from likewise.training.learner import Learner
from likewise.verbs.train import train


def run(rounds: int, family: str, turn: float, brief: bool = False) -> Result:
    """turn: seconds a side trains for. A run's checkpoints, losses and previews are so many, however long it is.

    brief: leave the side without measuring out.
    """
    home = Path(tempfile.mkdtemp(prefix="overhead-"))
    data = _text(home) if family == "autoregressive" else _pictures(home)
    learner, batches, order = _bare(home / "probe", data, family)
    start = time.perf_counter()
    for k in range(30):
        learner.step(batches, order.batch(k), k, 100_000)
    steps = int(30 * turn / (time.perf_counter() - start))
    number = iter(range(10**9))

    def bare() -> float:
        learner, batches, order = _bare(home / "probe", data, family)
        learner.step(batches, order.batch(0), 0, steps)
        start = time.perf_counter()
        for k in range(steps):
            learner.step(batches, order.batch(k), k, steps)
        return steps * order.size / (time.perf_counter() - start)

    def whole(**more: int) -> float:
        folder = home / f"run-{next(number)}"
        done = train(
            data, out=folder, family=family, steps=steps, set_={"training.patience": 100, **_dotted(more)},
            say=lambda _: None,
        )  # fmt: skip
        seconds = float(done.info["seconds"])
        shutil.rmtree(folder)
        return steps * done.experiment.training.batch / seconds

    sides: dict[str, Side] = {
        "likewise train": whole,
        "without measuring": lambda: whole(evaluate_every=10**6),
        "bare steps": bare,
    }
    if brief:
        del sides["without measuring"]
    notes = {
        "likewise train": f"{steps:,} steps in {turn:.0f} s: checkpoints, alarms, held-out losses, previews",
        "without measuring": "checkpoints and alarms alone",
        "bare steps": "the same step in a plain loop",
    }
    try:
        return Result(f"overhead-{family}-{turn:.0f}s", "items/s", alternate(sides, rounds, warm=False), notes, [])
    finally:
        shutil.rmtree(home)


def _dotted(settings: dict[str, int]) -> dict[str, int]:
    return {f"training.{name}": value for name, value in settings.items()}


def _bare(folder: Path, data: Path, family: str) -> tuple[Learner, Batches, Order]:
    if not folder.exists():
        train(data, out=folder, family=family, steps=1, say=lambda _: None)
    run = Run(folder)
    settings = run.experiment.training
    hardware.tune(settings.threads)
    part, _ = records_again(run.experiment, run.modality, run.conditions)
    conditions = {k: run.channel(part.columns[k], k) for k in run.conditions}
    batches = Batches(run.channel(part.columns[part.target]), conditions)
    order = Order(len(batches), settings.batch, derive_seed(settings.seed, "order"), batches.lengths)
    return Learner(run.untrained(), settings, hardware.choose_device("cpu")), batches, order


def _pictures(home: Path) -> Path:
    digits = load_digits()
    for i, (picture, label) in enumerate(zip(digits.images, digits.target, strict=True)):  # pyright: ignore
        folder = home / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray((picture * 255 / 16).astype("uint8"))
        drawn.resize((16, 16), Image.Resampling.BILINEAR).save(folder / f"{i:04d}.png")
    return home / "digits"


def _text(home: Path) -> Path:
    path = home / "topics.txt"
    path.write_text("\n".join(pydoc_data.topics.topics.values()), encoding="utf-8")
    return path
