"""A report's numbers as a few plain sentences: what a reader should take away before any table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from likewise.metrics.catalog import metrics
from likewise.report.charts import number

Row = Mapping[str, Any]


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Three to eight sentences, each computed from the rows of `report["metrics"]`."""
    rows = {row["name"]: row for row in report["metrics"]}
    said = [
        None if report["drawn"] else _back(rows, report),
        _judge(rows["judge_accuracy"], report["judge"]) if "judge_accuracy" in rows else None,
        _tell(report["judge"]["tells"][0]) if report["judge"] and report["judge"]["tells"] else None,
        *(metric.sentence(rows) for metric in metrics()[0] if metric.measures.keys() & rows.keys()),
        *(_agreement(row) for name, row in rows.items() if name.startswith("agreement:")),
        *(_captions(row) for name, row in rows.items() if name.startswith("r_precision:")),
        *(_missing(row) for name, row in rows.items() if name.partition(":")[0] == "modes"),
        _likelihood(rows["bits"]) if "bits" in rows else None,
        _latent(rows["latent_kl"], rows["latent_active"]) if "latent_kl" in rows else None,
        _copies(rows["copies"], report["copies"]) if "copies" in rows else None,
    ]
    sentences = [sentence for sentence in said if sentence]
    if report["judge"] and report["judge"]["floor_p_value"] < 1e-3 and rows["judge_accuracy"]["floor"]["value"] > 0.6:
        sentences.append(
            "Held-out data differ from training data by themselves: a judge tells the two apart "
            f"{_percent(rows['judge_accuracy']['floor']['value'])} of the time, so no model can be expected to pass."
        )
    if report["n_compared"] < 200:
        sentences.append(
            f"Only {report['n_compared']} held-out items were there to compare with: the intervals are wide."
        )
    return sentences


def _back(rows: Mapping[str, Row], report: Mapping[str, Any]) -> str:
    """Of what draws nothing: what its samples are, and how much of an item comes back."""
    text = (
        "It makes codes of items and draws none: what stands for samples here is what comes back of the held-out items "
        f"beside them, {_percent(rows['reconstruction']['value'], 1)} off"
    )
    if "psnr" in rows:
        text += f" (PSNR {rows['psnr']['value']:.1f} dB)"
    used, even = rows["codes_used"], rows["perplexity"]
    return (
        f"{text}; {_percent(used['value'])} of its codes are in use, as evenly as {even['value']:,.0f} codes by turns. "
        f"What draws is trained through it: likewise train DATA --through {report['run']['name']}."
    )


def _judge(row: Row, judge: Mapping[str, Any]) -> str:
    share = f"{_percent(row['value'])} of the time"
    between = f"95% interval {_percent(row['low'])} to {_percent(row['high'])}; 50% is guessing"
    if judge["p_value"] >= 0.05:
        return f"A judge could not tell real from fake: it was right {share} ({between})."
    if row["value"] < 0.6:
        return f"A judge told real from fake only {share} ({between})."
    if row["value"] < 0.9:
        return f"A judge told real from fake {share} ({between})."
    return f"A judge tells real from fake almost always: {share} ({between})."


def _tell(tell: Mapping[str, Any]) -> str:
    shares = f"{number(tell['real'], True)} of the real items, {number(tell['fake'], True)} of the samples"
    return f"What gives them away most, of what has a name: {tell['trait']} ({shares})."


def _agreement(row: Row) -> str:
    text = (
        f"Asked for a {row['field']}, it draws one that a classifier recognises {_percent(row['value'], 1)} of the time"
    )
    return f"{text} (on real data the classifier is right {_percent(row['floor']['value'], 1)})."


def _captions(row: Row) -> str:
    return (
        f"Of ten held-out values of {row['field']}, a network taught with real pairs picks the one that was asked for "
        f"{_percent(row['value'])} of the time (of real items {_percent(row['floor']['value'])}; 10% is guessing)."
    )


def _missing(row: Row) -> str | None:
    """Worth a sentence only where real data in the samples' place reach more, by more than chance."""
    if not row["floor"] or row["high"] is None or row["high"] >= row["floor"]["value"]:
        return None
    return f"Some kinds of real data are missing: it reaches {row['note']}."


def _likelihood(row: Row) -> str:
    if row["value"] is None:
        return "It finds some held-out data impossible: their likelihood is zero."
    bound = "at most " if row["bound"] else ""
    text = f"It needs {bound}{number(row['value'])} {row['title'].lower()} for data it has not seen"
    if not row["baseline"]:
        return f"{text}."
    return f"{text}; {row['baseline']['what']} needs {number(row['baseline']['value'])}."


def _latent(nats: Row, active: Row) -> str | None:
    """What nobody may overlook: that the decoder goes on without its latent."""
    if nats["value"] is None or (nats["value"] >= 0.1 and active["value"] > 0):
        return None
    return (
        f"Its latent is ignored: it says {number(nats['value'])} nats of an item, and {_percent(active['value'])} of "
        "its units are in use (posterior collapse). Train with a smaller family.beta, more family.free_bits, or a "
        "weaker decoder."
    )


def _copies(row: Row, copies: Mapping[str, Any]) -> str:
    count = round(row["value"] * row["n_fake"])
    where = f"{row['n_fake']:,} samples equals or nearly equals one of {copies['n_train']:,} training items"
    where = where if count < 2 else where.replace("equals", "equal")
    share = _percent(row["floor"]["value"], 1)
    real = f"{share} of real held-out items do"
    if copies["reference"] == "training":
        real = f"real data repeat themselves: {share} of the training items equal or nearly equal another"
    if copies["flagged"] and copies["p_value"] < 0.05:
        return f"It copies: {count:,} of {where} ({real})."
    if copies["flagged"]:
        return "The samples are closer to the training data than fresh real data are: a sign of memorising."
    if count:
        return f"No more copies than chance makes: {count:,} of {where} ({real})."
    return f"No sign of copying: none of {where}."


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"
