"""The sections of a report that apply to some data only: labels, texts, translations, rows.

Each requests the form of values that it measures (`Modality.forms`), so that it applies to any modality with that form;
for other data it returns no rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from likewise.classical.ibm1 import IBM1
from likewise.metrics import table
from likewise.metrics.agreement import Classifier, unlearnable
from likewise.metrics.edit_distance import error_rates
from likewise.metrics.intervals import generator, proportion
from likewise.metrics.mauve import ENOUGH, mauve
from likewise.metrics.translation import chrf_of, nearest, scores, tokenizer_for
from likewise.metrics.usefulness import ColumnPrediction
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown
from likewise.spaces import Tokens

#: the maximum number of items that a classifier is trained on, and of translations that are scored
MOST_TAUGHT, MOST_TRANSLATED = 2000, 1000
_DEALT = "the samples assigned to other sources"


def usefulness(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Train on synthetic, test on real (TSTR): rows by their columns, other modalities by their labels."""
    m = min(evidence.compared, MOST_TAUGHT)
    if "row" in evidence.forms:
        real = evidence.real("train", "row", m)
        try:
            task = ColumnPrediction(real, evidence.real("held_out", "row", m))
        except ValueError as error:
            evidence.skipped.append({"what": "usefulness", "why": str(error)})
            return
        sides = [
            task.score(rows, evidence.seed) for rows in (evidence.fake("row", m), real, evidence.trivial("row") or real)
        ]
        yield evidence.row(
            "tstr", sides[0], m, m, {"learner": "40 trees", "asked": "each column, numbers by quarters"},
            floor=numbers(sides[1]), baseline={**numbers(sides[2]), "what": evidence.baseline_name},
            note="the share of held-out cells predicted correctly from the other cells of their row",
        )  # fmt: skip
        return
    for name, labels in evidence.train.given.items():
        asked = [str(given[name]) for given in evidence.samples.given[:MOST_TAUGHT]]
        labels = [str(label) for label in labels]
        if unlearnable(labels) or unlearnable(asked):
            continue  # `agreement` reports the reason
        truth = [str(evidence.held_out.given[name][i]) for i in evidence.pick_held_out]
        fakes, tests = (
            (evidence.x_fake[: len(asked)], evidence.plain[2][: len(asked)]),
            (evidence.x_held_out, evidence.plain[1]),
        )
        # As many real items as there are samples, or all that are kept with the run.
        picked = generator(evidence.seed, "tstr").permutation(len(labels))[: len(asked)]
        taught = [labels[i] for i in picked]
        reals = (evidence.x_train[picked], evidence.plain[0][picked])
        dealt = [asked[i] for i in generator(evidence.seed, "dealt").permutation(len(asked))]
        ours, floor, trivial = (
            Classifier(views, told).agreement(tests, truth)
            for views, told in ((fakes, asked), (reals, taught), (fakes, dealt))
            if len(set(told)) > 1
        )
        yield evidence.row(
            f"tstr:{name}", ours, len(truth), len(asked), {"learner": "svm", "C": 10.0, "taught": len(taught)},
            title=f"Usefulness for {name}", field=name, floor=numbers(floor),
            baseline={**numbers(trivial), "what": "the labels randomly permuted"},
        )  # fmt: skip


def endings(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """The share of texts that end before the maximum length, and MAUVE."""
    m = evidence.compared
    if "text" not in evidence.forms:
        return
    space = evidence.run.model.target
    if isinstance(space, Tokens) and space.end is not None:
        ended, real_ended = (
            proportion(float((x == space.end).any(1).double().mean()), len(x))
            for x in (evidence.samples.x, evidence.held_out.x)
        )
        yield evidence.row(
            "ended", ended, len(evidence.held_out.x), len(evidence.samples.x), {}, floor=numbers(real_ended)
        )
    try:
        sides = [
            mauve(evidence.x_held_out, x, evidence.seed)
            for x in (evidence.x_fake[:m], evidence.x_train[evidence.pick_train], evidence.x_baseline)
        ]
    except ValueError as error:
        evidence.skipped.append({"what": "MAUVE", "why": str(error)})
        return
    few = f"; computed on {m:,} texts of each, fewer than the recommended {ENOUGH:,}" if m < ENOUGH else ""
    yield evidence.row(
        "mauve", sides[0], m, m, {"clusters": "n / 10, at most 500", "scaling": 5}, floor=numbers(sides[1]),
        baseline={**numbers(sides[2]), "what": evidence.baseline_name}, note=f"comparable only at equal stamps{few}",
    )  # fmt: skip


def translation(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Text given text: each sample is compared with the target of its held-out source."""
    # Texts, not messages: a source has about one translation, but a dialogue has many possible replies.
    from_text = [name for name, e in evidence.run.conditions.items() if "text" in e.modality.forms]
    if not from_text or "text" not in evidence.forms:
        return
    m = min(evidence.compared, MOST_TRANSLATED)
    picked, references, fakes = (
        evidence.pick_held_out[:m],
        evidence.real("held_out", "text", m),
        evidence.fake("text", m),
    )
    dealt = [fakes[i] for i in generator(evidence.seed, "dealt").permutation(m)]
    sides = {"value": fakes, "baseline": dealt}
    tokenizer = tokenizer_for(references)
    try:
        found = {"value": scores(fakes, [references], tokenizer)}
        trivial = {_DEALT: dealt, **_without_a_network(evidence, from_text, picked.tolist())}
        chrf = {name: chrf_of(each, references) for name, each in trivial.items()}
        best = max(chrf, key=lambda name: chrf[name])
        found["baseline"] = scores(trivial[best], [references], tokenizer)
    except ValueError as error:
        evidence.skipped.append({"what": "BLEU, chrF and TER", "why": str(error)})
    else:
        each = ", ".join(f"{name} {value:.1f}" for name, value in chrf.items())
        kept = f"{len(evidence.train.values):,} training pairs kept with the run"
        text = f"chrF of the baselines: {each}; they use the {kept}"
        for name, (estimate, signature) in found["value"].items():
            yield evidence.row(
                name, estimate, m, m, {"signature": signature},
                baseline={**numbers(found["baseline"][name][0]), "what": best},
                note=f"{text}; {signature}" if name == "chrf" else signature,
            )  # fmt: skip
    try:
        rates = {side: error_rates(references, each, evidence.seed) for side, each in sides.items()}
    except ValueError as error:
        evidence.skipped.append({"what": "error rates", "why": str(error)})
        return
    for name, estimate in rates["value"].items():
        yield evidence.row(name, estimate, m, m, {}, baseline={**numbers(rates["baseline"][name]), "what": _DEALT})


def _without_a_network(evidence: Evidence, from_text: Sequence[str], picked: Sequence[int]) -> dict[str, list[str]]:
    """Translations by simple baselines, keyed by description; they use the training pairs kept with the run."""
    if len(from_text) != 1:
        return {}
    known, sources = evidence.train.given[from_text[0]], evidence.held_out.given[from_text[0]]
    targets = evidence.run.modality.as_form(evidence.train.values, "text")
    pairs = [(str(a), b) for a, b in zip(known, targets, strict=True) if a is not None]
    asked = ["" if sources[i] is None else str(sources[i]) for i in picked]
    found = {"the source itself": asked}
    if pairs:
        before, after = [a for a, _ in pairs], [b for _, b in pairs]
        found["the target of the nearest source"] = [after[i] for i in nearest(asked, before)]
        model = IBM1(before, after)
        found["word for word (IBM model 1)"] = [model.translate(text) for text in asked]
    return found


def columns(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Yields no rows: stores the columns' distributions, which the page shows as histograms."""
    if "row" in evidence.forms:
        report["columns"] = [
            {"name": column.name, "measure": column.measure, "distance": column.distance, "bins": column.bins}
            for column in table.columns(evidence.real("held_out", "row"), evidence.fake("row", evidence.compared))
        ]
    yield from ()
