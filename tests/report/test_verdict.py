"""The sentences follow from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likewise.report.verdict import verdict


def row(name: str, value: float, floor: float | None = None, baseline: float | None = None, **more: Any) -> dict:
    def side(v: float | None) -> dict | None:
        return None if v is None else {"value": v, "low": v - 0.01, "high": v + 0.01, "what": "shuffled data"}

    return {
        "name": name, "title": name.capitalize(), "value": value, "low": value - 0.01, "high": value + 0.01,
        "n_fake": 1000, "floor": side(floor), "baseline": side(baseline), **more,
    }  # fmt: skip


def say(*rows: dict, judged: float = 1e-9, distinguishing_traits: Sequence[dict] = (), **copies: Any) -> str:
    found = {"flagged": False, "p_value": 1.0, "n_train": 5000, "reference": "held-out", **copies}
    return " ".join(
        verdict(
            {
                "drawn": True,
                "metrics": list(rows),
                "judge": {"p_value": judged, "floor_p_value": 0.5, "tells": list(distinguishing_traits)},
                "copies": found,
                "n_compared": 500,
            }
        )
    )


def test_judge() -> None:
    assert "61% of the time" in say(row("judge_accuracy", 0.61))
    assert "could not tell" in say(row("judge_accuracy", 0.52), judged=0.3)
    assert "almost always" in say(row("judge_accuracy", 0.99))


def test_what_gives_them_away_is_said_with_both_shares() -> None:
    told = [{"trait": "age = 7 and wed", "real": 0.0, "fake": 0.25, "z": 9.0}]
    assert "age = 7 and wed (0.0% of the real items, 25% of the samples)" in say(distinguishing_traits=told)
    assert "largest difference" not in say()


def test_distance_runs_from_the_baseline_to_real_data() -> None:
    assert "75.0% of the distance" in say(row("kid", 0.25, 0.0, 1.0))
    assert "farther" in say(row("kid", 1.5, 0.0, 1.0))
    assert "as close" in say(row("kid", 0.005, 0.0, 1.0))


def test_collapse_is_named() -> None:
    assert "collapsed" in say(row("precision", 0.95, 0.9), row("recall", 0.1, 0.9))
    assert "collapsed" not in say(row("precision", 0.85, 0.9), row("recall", 0.8, 0.9))


def test_copies() -> None:
    assert "copies training data: 20 of 1,000" in say(row("copies", 0.02, 0.0), flagged=True, p_value=1e-4)
    assert "memorisation" in say(row("copies", 0.0, 0.0), flagged=True, p_value=0.5)
    assert "none of 1,000" in say(row("copies", 0.0, 0.0))


def test_likelihood_says_whether_it_is_a_bound() -> None:
    bound = say(row("bits", 1.7, None, 2.5, bound=True))
    assert "at most 1.70 bits for" in bound
    assert "shuffled data needs 2.50" in bound
    assert "at most" not in say(row("bits", 1.7, bound=False))
