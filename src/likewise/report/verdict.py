"""The verdict: a report's numbers summarised in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from likewise.metrics.catalog import metrics
from likewise.report.charts import number

Row = Mapping[str, Any]


def verdict(report: Mapping[str, Any]) -> list[str]:
    """Three to eight sentences, each computed from the rows of `report["metrics"]`."""
    rows = {row["name"]: row for row in report["metrics"]}
    candidates = [
        None if report["drawn"] else _back(rows, report),
        _judge(rows["judge_accuracy"], report["judge"]) if "judge_accuracy" in rows else None,
        _largest_difference(report["judge"]["tells"][0]) if report["judge"] and report["judge"]["tells"] else None,
        *(metric.sentence(rows) for metric in metrics()[0] if metric.measures.keys() & rows.keys()),
        *(_agreement(row) for name, row in rows.items() if name.startswith("agreement:")),
        *(_captions(row) for name, row in rows.items() if name.startswith("r_precision:")),
        *(_missing(row) for name, row in rows.items() if name.partition(":")[0] == "modes"),
        _likelihood(rows["bits"]) if "bits" in rows else None,
        _latent(rows["latent_kl"], rows["latent_active"]) if "latent_kl" in rows else None,
        _copies(rows["copies"], report["copies"]) if "copies" in rows else None,
    ]
    sentences = [sentence for sentence in candidates if sentence]
    if report["judge"] and report["judge"]["floor_p_value"] < 1e-3 and rows["judge_accuracy"]["floor"]["value"] > 0.6:
        sentences.append(
            "Held-out data differ from training data: the judge tells the two apart "
            f"{_percent(rows['judge_accuracy']['floor']['value'])} of the time, so no model can be expected to pass."
        )
    if report["n_compared"] < 200:
        sentences.append(
            f"Only {report['n_compared']} held-out items were available for comparison: the intervals are wide."
        )
    return sentences


def _back(rows: Mapping[str, Row], report: Mapping[str, Any]) -> str:
    """For a model that does not generate: the meaning of its samples, and its reconstruction error."""
    error = f"reconstruction error {_percent(rows['reconstruction']['value'], 1)}"
    if "psnr" in rows:
        error += f", PSNR {rows['psnr']['value']:.1f} dB"
    used, even = rows["codes_used"], rows["perplexity"]
    return (
        "The model reconstructs items and does not generate any: the samples in this report are reconstructions of "
        f"held-out items ({error}). {_percent(used['value'])} of its codes are in use, with a perplexity of "
        f"{even['value']:,.0f}. To generate, train a model through {report['run']['name']}."
    )


def _judge(row: Row, judge: Mapping[str, Any]) -> str:
    share = f"{_percent(row['value'])} of the time"
    between = f"95% interval {_percent(row['low'])} to {_percent(row['high'])}; 50% is chance"
    if judge["p_value"] >= 0.05:
        return f"The judge, a classifier, could not tell real from fake: it was right {share} ({between})."
    if row["value"] < 0.6:
        return f"The judge, a classifier, told real from fake only {share} ({between})."
    if row["value"] < 0.9:
        return f"The judge, a classifier, told real from fake {share} ({between})."
    return f"The judge, a classifier, told real from fake almost always: {share} ({between})."


def _largest_difference(tell: Mapping[str, Any]) -> str:
    shares = f"{number(tell['real'], True)} of the real items, {number(tell['fake'], True)} of the samples"
    return f"The largest difference between samples and real data: {tell['trait']} ({shares})."


def _agreement(row: Row) -> str:
    return (
        f"A classifier recognises the requested {row['field']} in {_percent(row['value'], 1)} of the samples (in real "
        f"items: {_percent(row['floor']['value'], 1)})."
    )


def _captions(row: Row) -> str:
    return (
        f"Of ten held-out values of {row['field']}, a network trained on real pairs picks the requested one for "
        f"{_percent(row['value'])} of the samples (of real items: {_percent(row['floor']['value'])}; 10% is chance)."
    )


def _missing(row: Row) -> str | None:
    """A sentence only if real data in the samples' place reach significantly more modes."""
    if not row["floor"] or row["high"] is None or row["high"] >= row["floor"]["value"]:
        return None
    return f"Some modes of the real data are missing: the samples reach {row['note']}."


def _likelihood(row: Row) -> str:
    if row["value"] is None:
        return "Some held-out data have zero likelihood under the model."
    bound = "at most " if row["bound"] else ""
    text = f"The model needs {bound}{number(row['value'])} {row['title'].lower()} for data it has not seen"
    if not row["baseline"]:
        return f"{text}."
    return f"{text}; {row['baseline']['what']} needs {number(row['baseline']['value'])}."


def _latent(nats: Row, active: Row) -> str | None:
    """A warning if the decoder ignores its latent; otherwise None."""
    if nats["value"] is None or (nats["value"] >= 0.1 and active["value"] > 0):
        return None
    return (
        f"The latent is ignored: it carries {number(nats['value'])} nats per item, and {_percent(active['value'])} of "
        "its units are active (posterior collapse). Train with a smaller family.beta, more family.free_bits, or a "
        "weaker decoder."
    )


def _copies(row: Row, copies: Mapping[str, Any]) -> str:
    count = round(row["value"] * row["n_fake"])
    where = f"{row['n_fake']:,} samples equals or nearly equals one of {copies['n_train']:,} training items"
    where = where if count < 2 else where.replace("equals", "equal")
    share = _percent(row["floor"]["value"], 1)
    real = f"{share} of real held-out items do"
    if copies["reference"] == "training":
        real = f"real data contain duplicates: {share} of the training items equal or nearly equal another"
    if copies["flagged"] and copies["p_value"] < 0.05:
        return f"The model copies training data: {count:,} of {where} ({real})."
    if copies["flagged"]:
        return "The samples are closer to the training data than new real data are: a sign of memorisation."
    if count:
        return f"No more copies than expected by chance: {count:,} of {where} ({real})."
    return f"No sign of copying: none of {where}."


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"
