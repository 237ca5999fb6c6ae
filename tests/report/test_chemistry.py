"""A run on molecules is told how many of its samples are molecules; a run on texts is not."""

import numpy as np
import pytest
import tiny

from likewise.report.molecules import molecules
from likewise.runs.run import Run
from likewise.verbs.evaluate import evaluate
from likewise.verbs.train import train

pytestmark = pytest.mark.full


def run_on(folder, count):
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1"]
    rng = np.random.default_rng(0)
    lines = ["C" * int(rng.integers(1, 5)) + "(=O)" * int(rng.integers(2)) + rings[int(rng.integers(3))] + "N" * (i % 2)
             for i in range(count)]  # fmt: skip
    (folder / "m.smi").write_text("\n".join(dict.fromkeys(lines)))
    return folder / "m.smi"


def test_molecules_are_measured(tmp_path):
    path = run_on(tmp_path, 400)
    train(path, out=tmp_path / "run", steps=2, set_=tiny.SMALL, say=lambda _: None)
    report = evaluate(Run(tmp_path / "run"), n=40)
    rows = {row["name"]: row for row in report["metrics"]}
    assert rows["valid"]["floor"]["value"] == 1
    assert rows["valid"]["n_fake"] == 40
    assert 0 <= rows["valid"]["value"] <= 1
    assert rows["valid"]["baseline"]["value"] < 1
    path.unlink()  # the data are gone: novelty is measured beside what the run keeps, and says so
    again = {row["name"]: row for row in evaluate(Run(tmp_path / "run"), n=40)["metrics"]}
    if "novel" in rows:
        assert "all" in rows["novel"]["note"]
        assert "gone" in again["novel"]["note"]


def test_texts_have_no_such_rows(tmp_path):
    from likewise.report.evidence import gather

    path = tiny.lay_out("text", tmp_path / "data")
    train(path, out=tmp_path / "run", steps=1, set_=tiny.SMALL, say=lambda _: None)
    assert list(molecules(gather(Run(tmp_path / "run"), 10, 0), {}, None)) == []
