"""The plug to trackers: each gets the numbers of a line under the names of their split."""

import sys
import types

import pytest

from likewise.training import loggers

LINE = {"step": 3, "steps": 9, "split": "train", "nll": 1.5, "_kl": 2, "best_step": 1}


def test_values_are_named_by_their_split():
    assert loggers.values_of(LINE) == {"train/nll": 1.5, "train/kl": 2.0}


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="mlflow is not installed; pip install mlflow"):
        loggers.require("mlflow")


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_what_is_sent_arrives(monkeypatch, tmp_path, name):
    got = []

    class Writer:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, key, value, step):
            got.append(({key: value}, step))

        def flush(self):
            pass

    def log(values, step):
        got.append((values, step))

    stand_in = types.ModuleType("stand_in")
    vars(stand_in).update(
        SummaryWriter=Writer,
        init=lambda **named: types.SimpleNamespace(log=log),
        set_experiment=lambda name: None,
        start_run=lambda run_name: None,
        log_metrics=log,
    )
    monkeypatch.setitem(sys.modules, loggers._PACKAGES[name], stand_in)
    loggers.tracker(name, tmp_path)({"train/nll": 1.5}, 3)
    assert got == [({"train/nll": 1.5}, 3)]
