"""Optional loggers: TensorBoard, Weights & Biases or MLflow receive each line of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, float], int], None]
_PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


def require(name: str) -> None:
    """Raises ValueError if the package of a logger is not installed."""
    if find_spec(name) is None:
        raise ValueError(f"training.loggers: {name} is not installed; pip install {name}")


def tracker(name: str, run: Path) -> Send:
    """A function (values by name, step) that sends values to the logger `name`, whose package must be installed."""
    module: Any = import_module(_PACKAGES[name])
    if name == "tensorboard":
        writer = module.SummaryWriter(str(run / "tensorboard"))

        def send(values: dict[str, float], step: int) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()

        return send
    if name == "wandb":
        session = module.init(project="likewise", name=run.name, dir=str(run))
        return lambda values, step: session.log(values, step=step)
    module.set_experiment("likewise")
    module.start_run(run_name=run.name)
    return lambda values, step: module.log_metrics(values, step=step)


def values_of(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a metrics line, with the split as prefix: {"train/loss": ...}."""
    skipped = ("step", "steps", "split", "best_step")
    return {f"{line['split']}/{k.lstrip('_')}": float(v) for k, v in line.items() if k not in skipped}
