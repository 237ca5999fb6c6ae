"""A GAN that collapsed to part of the data: what it draws is good, and it draws little else. The report must say so."""

import shutil

import pytest

from likewise.report.build import build
from likewise.runs.run import Run
from likewise.verbs.demo import lay_out
from likewise.verbs.train import train


def learn(data, out, steps):
    return train(data, out=out, family="gan", given=[], steps=steps, say=lambda _: None)


@pytest.mark.slow
def test_a_collapsed_gan_has_high_precision_and_low_recall(tmp_path):
    data = lay_out("images", tmp_path / "data")
    whole = learn(data, tmp_path / "whole", 1)
    (tmp_path / "part").mkdir()
    for digit in "01":
        shutil.copytree(data / digit, tmp_path / "part" / digit)
    run = learn(tmp_path / "part", tmp_path / "run", 2500)
    shutil.rmtree(run.path / "reference")  # measured beside all digits, as if it had been trained on them
    shutil.copytree(whole.path / "reference", run.path / "reference")
    report = build(Run(run.path), n=400)
    rows = {row["name"]: row for row in report["metrics"]}
    share = {name: rows[name]["value"] / rows[name]["floor"]["value"] for name in ("precision", "recall")}
    assert share["precision"] > 0.85
    assert share["recall"] < 0.4  # two digits of ten, and what is near them
    assert any("collapsed" in sentence for sentence in report["verdict"])
    assert not report["copies"]["flagged"]
