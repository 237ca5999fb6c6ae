"""Equal to the reference packages: on the vectors they agree on, and run beside them on other data."""

from __future__ import annotations

import logging
import warnings

import jiwer
import numpy as np
import prdc
import pytest
import torch
from sacrebleu.metrics import BLEU
from vectors import X, Y

from likewise.metrics.edit_distance import edit_distance, error_rates
from likewise.metrics.frechet import frechet, frechet_distance, kernel_distance, kid
from likewise.metrics.neighbours import neighbours
from likewise.metrics.quality import quality
from likewise.metrics.text import self_bleu
from likewise.metrics.translation import scores

NEIGHBOURS = ("precision", "recall", "density", "coverage")
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def clouds(seed: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(300, width)), rng.normal(size=(280, width)) * 0.9 + 0.1


def test_vectors_are_the_published_ones() -> None:
    assert X.sum() == pytest.approx(-0.83535701, abs=1e-8)
    assert Y.sum() == pytest.approx(65.80732723, abs=1e-8)


def test_distances_on_the_vectors() -> None:
    """Agreed by torch-fidelity, torchmetrics 1.9.0 and (Frechet) pytorch-fid 0.3.0; printed to twelve digits."""
    assert frechet_distance(X, Y) == pytest.approx(0.498568453079, rel=1e-9)
    assert kernel_distance(X[:48], Y) == pytest.approx(0.368013187789, rel=1e-9)
    assert kernel_distance(X, Y) == pytest.approx(0.389906814322, rel=1e-9)
    assert kid(X, Y)["kid"].value == kernel_distance(X, Y)
    assert frechet(X, Y)["frechet"].value == frechet_distance(X, Y)
    single = X.astype(np.float32), Y.astype(np.float32)
    assert frechet_distance(*single) == pytest.approx(0.498568453079, rel=1e-5)
    assert kernel_distance(*single) == pytest.approx(0.389906814322, rel=1e-5)


@pytest.mark.parametrize(
    ("k", "expected"),
    [(3, (0.5625, 0.234375, 1 / 3, 0.1875)), (5, (5 / 6, 0.34375, 0.525, 0.28125))],
)
def test_neighbours_on_the_vectors(k: int, expected: tuple[float, ...]) -> None:
    found = neighbours(X, Y, k, k)
    assert [found[name].value for name in NEIGHBOURS] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("width", [4, 20])
def test_neighbours_beside_prdc(width: int) -> None:
    real, fake = clouds(0, width)
    ours, theirs = neighbours(real, fake, 3, 5), {k: prdc.compute_prdc(real, fake, k) for k in (3, 5)}
    for name, k in zip(NEIGHBOURS, (3, 3, 5, 5), strict=True):
        assert ours[name].value == pytest.approx(theirs[k][name], rel=1e-9)


@pytest.mark.parametrize("width", [4, 20])
def test_distances_beside_torchmetrics(width: int) -> None:
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import poly_mmd

    real, fake = clouds(1, width)
    x, y = torch.from_numpy(real), torch.from_numpy(fake)
    theirs = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    assert frechet_distance(real, fake) == pytest.approx(float(theirs), rel=1e-9)
    assert kernel_distance(real[:280], fake) == pytest.approx(float(poly_mmd(x[:280], y)), rel=1e-9)


def test_translation_on_sacrebleus_example() -> None:
    found = scores(HYPOTHESES, REFERENCES, replicates=100)
    assert [round(found[name][0].value, 2) for name in ("bleu", "chrf", "ter")] == [48.53, 59.73, 40.0]
    assert "tok:13a" in found["bleu"][1]
    assert "version:" in found["ter"][1]
    for estimate, _ in found.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_self_bleu_beside_sacrebleu() -> None:
    texts = [
        "the cat sat on the mat", "the dog sat on the mat", "a", "hello there world", "", "the the the the the",
        "the cat sat on the log today", "the cat sat on the mat",
    ]  # fmt: skip
    metric = BLEU(tokenize="none", effective_order=True)
    theirs = [metric.sentence_score(t, texts[:i] + texts[i + 1 :]).score / 100 for i, t in enumerate(texts)]
    assert self_bleu(texts, False) == pytest.approx(theirs, rel=1e-9)


def test_error_rates_beside_jiwer() -> None:
    found = error_rates(["the cat sat"], ["the bat sat on"])
    assert found["cer"].value == pytest.approx(4 / 11, rel=1e-9)
    assert found["wer"].value == pytest.approx(2 / 3, rel=1e-9)
    assert (edit_distance("kitten", "sitting"), edit_distance("", "abc"), edit_distance("abc", "")) == (3, 3, 3)
    rng = np.random.default_rng(2)
    said, heard = ([" ".join(rng.choice([*list("abcd"), "ef"], rng.integers(1, 9))) for _ in range(40)] for _ in "12")
    ours = error_rates(said, heard)
    assert ours["wer"].value == pytest.approx(jiwer.wer(said, heard), rel=1e-9)
    assert ours["cer"].value == pytest.approx(jiwer.cer(said, heard), rel=1e-9)
    assert ours["wer"].low < ours["wer"].value < ours["wer"].high


def placements() -> tuple[list[dict], list[dict], dict]:
    """SDMetrics' demo: dates as numbers, and what is missing as None."""
    import pandas
    from sdmetrics.demos import load_single_table_demo

    real, fake, about = load_single_table_demo()
    about = about["tables"]["student_placements"] if "tables" in about else about
    real, fake = (t["student_placements"] if isinstance(t, dict) else t for t in (real, fake))

    def rows(data: pandas.DataFrame) -> list[dict]:
        columns = {}
        for name, column in about["columns"].items():
            values = data[name]
            if column["sdtype"] == "datetime":
                days = pandas.to_datetime(values, format=column["datetime_format"])
                values = (days - pandas.Timestamp(0)).dt.total_seconds()
            if column["sdtype"] != "id":
                columns[name] = [None if pandas.isna(v) else v for v in values.tolist()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    return rows(real), rows(fake), {"real": real, "fake": fake, "about": about}


def test_quality_on_sdmetrics_example() -> None:
    real, fake, given = placements()
    found = quality(real, fake)
    assert found["quality"].value == pytest.approx(0.776727075, abs=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas and plotly have deprecations of their own
        logging.disable(logging.WARNING)
        from sdmetrics.reports.single_table import QualityReport

        report = QualityReport()
        report.generate(given["real"], given["fake"], given["about"], verbose=False)
        parts = report.get_properties().set_index("Property")["Score"]
        logging.disable(logging.NOTSET)
    assert found["quality"].value == pytest.approx(report.get_score(), rel=1e-9)
    assert found["quality_shapes"].value == pytest.approx(parts["Column Shapes"], rel=1e-9)
    assert found["quality_pairs"].value == pytest.approx(parts["Column Pair Trends"], rel=1e-9)
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high
