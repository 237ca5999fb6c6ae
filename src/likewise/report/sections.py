"""The sections of a report that apply to any data, each a function from the evidence to rows: judge, distances,
likelihood, agreement with the condition, copies and membership. `report.tasks` has the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise import catalog
from likewise.metrics.agreement import Classifier, unlearnable
from likewise.metrics.base import Metric, Needs
from likewise.metrics.catalog import metrics
from likewise.metrics.copies import copy_check
from likewise.metrics.features import shuffled
from likewise.metrics.intervals import generator
from likewise.metrics.likelihood import bits, bits_per_unit, independent_bits, ngram_bits
from likewise.metrics.membership import attack_score, distance_attack
from likewise.metrics.twosample import Verdict, own_judge, two_sample_test
from likewise.report.conditioning import captions, clusters, mode_rows
from likewise.report.evidence import Array, Evidence, Row, most_shown, numbers, shown_items
from likewise.report.judge_examples import judge_examples
from likewise.report.latent import latent
from likewise.report.molecules import molecules
from likewise.report.page import Shown
from likewise.report.reconstruction import reconstruction
from likewise.report.tasks import columns, endings, translation, usefulness
from likewise.runs.reference import Reference
from likewise.spaces import Continuous, Tokens, without_end

#: the maximum number of items whose likelihood is computed, and of network passes (an exact flow needs many per item)
MOST_SCORED, MOST_PASSES = 512, 2**14
#: the maximum number of units (bytes) of long texts that are scored; the last text may exceed it
MOST_UNITS = 2**21


Section = Callable[[Evidence, dict[str, Any], Shown], Iterator[Row]]


def judge(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    m = evidence.compared
    sides = {
        "value": evidence.x_fake[:m],
        "floor": evidence.x_train[evidence.pick_train],
        "baseline": evidence.x_baseline,
    }
    found: dict[str, Verdict] = {}
    try:
        for side, x in sides.items():
            found[side] = two_sample_test(evidence.x_held_out, x, evidence.seed)
    except ValueError as error:
        evidence.skipped.append({"what": "judge", "why": str(error)})
        return
    ours = found["value"]
    examples = judge_examples(evidence, ours, shown)
    report["judge"] = {"judge": ours.judge, "p_value": ours.p_value, "floor_p_value": found["floor"].p_value,
                       "tested": ours.tested, **examples}  # fmt: skip
    note = f"{ours.judge} classifier, p = {ours.p_value:.2g}; tested on {ours.tested} items"
    for name, estimate in ours.measures.items():
        yield evidence.row(
            f"judge_{name}", estimate, m, m, {"test": "half", "judges": 3},
            floor=numbers(found["floor"].measures[name]),
            baseline={**numbers(found["baseline"].measures[name]), "what": evidence.baseline_name},
            note=note if name == "accuracy" else None,
        )  # fmt: skip


def own_discriminator(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """A GAN's own discriminator, tested on the same items as the judge."""
    m = evidence.compared
    held_out, c = _rows(
        evidence.held_out, evidence.pick_held_out
    )  # the samples had the same conditions, in the same order
    real = evidence.run.discriminate(held_out, c)
    if real is None:
        return

    def discriminate(x: Tensor, c: dict[str, Tensor] | None) -> Array:
        logits = evidence.run.discriminate(x, c)
        assert logits is not None  # the model has a discriminator, as `real` shows
        return logits

    order = generator(evidence.seed, "own baseline")
    sides = {
        "value": (evidence.samples.x[:m], c),
        "floor": _rows(evidence.train, evidence.pick_train),
        # each position shuffled independently: the judge's baseline exists as features only
        "baseline": (torch.from_numpy(shuffled(held_out.flatten(1).numpy(), order)).view_as(held_out), c),
    }
    try:
        found = {side: own_judge(real, discriminate(*parts), evidence.seed) for side, parts in sides.items()}
    except ValueError as error:
        evidence.skipped.append({"what": "own discriminator", "why": str(error)})
        return
    for name, estimate in found["value"].items():
        yield evidence.row(
            f"own_{name}", estimate, m, m, {"test": "half", "cut": "best of the other half"},
            floor=numbers(found["floor"][name]),
            baseline={**numbers(found["baseline"][name]), "what": "held-out items, each number shuffled independently"},
            note="the real reference is training data: below 50% they look more real to it than held-out data do"
            if name == "auc" else None,
        )  # fmt: skip


def compared(*needs: Needs) -> Section:
    """The section with the catalog's metrics whose input is one of `needs`."""

    def section(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
        found, missing = metrics()
        if "features" in needs:
            evidence.skipped.extend(missing)
        for metric in found:
            if metric.needs in needs and (metric.needs == "features" or metric.needs in evidence.forms):
                yield from _measured(metric, evidence)

    return section


def _measured(metric: Metric, evidence: Evidence) -> Iterator[Row]:
    """The rows of a metric: for the samples, for real items in their place, and for the trivial baseline."""
    m = evidence.compared
    source = catalog.part("metric", metric.name)
    try:
        real, fake, floor, what, trivial = _sides(metric, evidence)
        if not metric.applies(real):
            return
        ours, floors, baselines = (
            metric(real, side, evidence.seed) if len(side) else {} for side in (fake, floor, trivial)
        )
        if unknown := ours.keys() - metric.measures.keys():
            raise ValueError(f"it returns {min(unknown)!r}, which is not in its measures: add it to them")
        protocol = metric.protocol(real)
        notes = {name: metric.note(name, real, value, floors.get(name)) for name, value in ours.items()}
    except ValueError as error:
        evidence.skipped.append({"what": metric.name, "why": str(error)})
        return
    except Exception as error:
        if source.own:
            raise
        why = f"the metric of {source.source} failed: {type(error).__name__}: {error}"
        evidence.skipped.append({"what": metric.name, "why": why})
        return
    for name, estimate in ours.items():
        yield evidence.row(
            name, estimate, m, m, protocol, metric.measures[name],
            floor=numbers(floors[name]) if name in floors else None,
            baseline={**numbers(baselines[name]), "what": what} if name in baselines else None,
            note=notes[name],
        )  # fmt: skip


def _sides(metric: Metric, evidence: Evidence) -> tuple[Any, Any, Any, str, Any]:
    """Real items, samples, real items in their place, the baseline's description and its items, in the needed form."""
    form, m = metric.needs, evidence.compared
    if form == "features":
        real, fake, train, trivial = (
            evidence.x_held_out,
            evidence.x_fake[:m],
            evidence.x_train[evidence.pick_train],
            evidence.x_baseline,
        )
    else:
        real, train = evidence.real("held_out", form), evidence.real("train", form)
        fake, trivial = evidence.fake(form, m), evidence.trivial(form)
    what, trivial = metric.trivial(train, evidence.seed) or (evidence.baseline_name, trivial)
    return real, fake, real if metric.floor == "held_out" else train, what, trivial


def likelihood(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    kind = evidence.run.model.likelihood
    if kind is None:
        family = evidence.run.experiment.to_dict()["family"]["name"]
        why = f"the {family} family defines no likelihood"
        if evidence.run.autoencoder is not None:
            why = "it would be the density of an autoencoder's latents, not a probability of the decoded data"
        evidence.skipped.append({"what": "likelihood", "why": why})
        return
    space, unit = evidence.run.model.target, evidence.run.modality.likelihood_unit
    title = f"Bits per {unit}"
    levels = space.levels if isinstance(space, Continuous) else None
    bound = kind == "bound" or levels is not None
    how, density = evidence.run.model.likelihood_how, None
    if isinstance(space, Continuous) and not levels:
        density = "of a density in standardised units: comparable only between runs on the same data; may be negative"
    note = "; ".join(filter(None, (how, density, evidence.run.encoding.uncounted()))) or None
    passes = evidence.run.model.likelihood_passes
    scored = max(64, min(MOST_SCORED, MOST_PASSES // passes))
    if scored < min(MOST_SCORED, evidence.compared):
        note = "; ".join(filter(None, (note, f"on {scored} items, because each needs {passes} passes of the network")))
    long = isinstance(space, Tokens) and space.windows
    for name, part, picked in (
        ("bits", evidence.held_out, evidence.pick_held_out[:scored]),
        ("bits_train", evidence.train, evidence.pick_train[:scored]),
    ):
        if long:
            sizes = np.cumsum([evidence.run.modality.num_units(part.values[i]) for i in picked])
            picked = picked[: max(2, 1 + int(np.searchsorted(sizes, MOST_UNITS)))]
        x, c = _rows(part, picked)
        values = [part.values[i] for i in picked]
        # Bits per byte count the bytes only: the end token is in neither sum.
        if long:
            nats = evidence.run.log_likelihood_of(values, c)
        else:
            counted = without_end(x, space) if isinstance(space, Tokens) else x
            nats = evidence.run.log_likelihood(counted, c, evidence.seed)  # the family dequantises discrete data
        if nats is None:
            evidence.skipped.append({"what": "likelihood", "why": "the model returned none"})
            return
        if isinstance(space, Tokens) and space.end is not None and not long:
            for i in (x != space.end).all(1).nonzero().flatten().tolist():  # truncated: count what the model read
                values[i] = evidence.run.encoding.decode(x[i : i + 1])[0]
        amounts = np.array([evidence.run.modality.num_units(value) for value in values], np.float64)
        baseline = None
        if name == "bits":
            baseline = _likelihood_baseline(evidence, values, x, amounts)
        evidence.costs[name] = bits(nats, space) / amounts
        yield evidence.row(
            name, bits_per_unit(bits(nats, space), amounts, evidence.seed), len(picked), 0, {"unit": unit, "how": how},
            title=title if name == "bits" else f"{title}, training data", baseline=baseline, note=note,
            bound=bound, unit=unit,
        )  # fmt: skip


def _likelihood_baseline(evidence: Evidence, values: list[Any], x: Tensor, amounts: Array) -> dict[str, Any]:
    if "text" in evidence.forms:
        known, texts = (evidence.run.modality.as_form(part, "text") for part in (evidence.train.values, values))
        cost, what = ngram_bits(known, texts), "a Kneser-Ney 6-gram model of bytes"
    else:
        every = evidence.train.x.cpu().numpy()
        cost, what = (
            independent_bits(every, x.cpu().numpy(), evidence.run.model.target),
            "a model of independent positions",
        )
    return {**numbers(bits_per_unit(cost, amounts, evidence.seed)), "what": what}


def agreement(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    for name, labels in evidence.train.given.items():
        labels = [str(label) for label in labels]
        why = unlearnable(labels)
        if why:
            evidence.skipped.append({"what": f"agreement with {name}", "why": why})
            continue
        views, real_views, fake_views = zip(
            (evidence.x_train, evidence.x_held_out, evidence.x_fake), evidence.plain, strict=True
        )
        classifier = Classifier(views, labels)
        real = [str(evidence.held_out.given[name][i]) for i in evidence.pick_held_out]
        asked = [str(given[name]) for given in evidence.samples.given]
        dealt = [asked[i] for i in generator(evidence.seed, "dealt").permutation(len(asked))]
        yield evidence.row(
            f"agreement:{name}", classifier.agreement(fake_views, asked), len(labels), len(asked),
            {"classifier": "svm", "C": 10.0},
            title=f"Agreement with {name}", field=name,
            floor=numbers(classifier.agreement(real_views, real)),
            baseline={**numbers(classifier.agreement(fake_views, dealt)), "what": "the labels randomly permuted"},
        )  # fmt: skip
        seen = {"value": classifier.predict(fake_views), "floor": classifier.predict(real_views)}
        what = "values, as recognised by a classifier of real data"
        yield from mode_rows(evidence, f":{name}", f" of {name}", what, labels, seen)


def copies(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    try:
        alike = report["judge"] is None or report["judge"]["floor_p_value"] > 1e-3
        check = copy_check(evidence.x_train, evidence.x_held_out, evidence.x_fake, alike)
        trivial = copy_check(evidence.x_train, evidence.x_held_out, evidence.x_baseline)
    except ValueError as error:
        evidence.skipped.append({"what": "copy check", "why": str(error)})
        return
    # Copies first, then the samples that the page shows, in order.
    count = min(len(evidence.fakes), most_shown(evidence.run.modality))
    first = list(dict.fromkeys([*check.copied[:4].tolist(), *range(count)]))
    report["copies"] = {
        "flagged": check.flagged,
        "p_value": check.p_value,
        "z": check.z,
        "n_train": check.n_train,
        "reference": check.reference,
        "copied": check.copied[:100].tolist(),
        "shown": [
            {"sample": i, "train": check.neighbours[i].tolist(), "distance": check.distances[i].tolist()} for i in first
        ],
    }
    for i in first:
        near, distances = check.neighbours[i], check.distances[i]
        _, _, items = shown_items(evidence.run.modality, [evidence.fakes[i], *(evidence.train.values[j] for j in near)])
        shown.neighbours.append((i, items[0], list(zip(items[1:], map(float, distances), strict=True))))
    for name, ours, real, theirs in (
        ("copies_exact", check.exact, check.exact_real, trivial.exact),
        ("copies", check.near, check.near_real, trivial.near),
        ("authenticity", check.authenticity, check.authenticity_real, trivial.authenticity),
    ):
        yield evidence.row(
            name, ours, check.n_train, len(evidence.fakes), {"ratio": "1/3"},
            floor=numbers(real), baseline={**numbers(theirs), "what": evidence.baseline_name},
        )  # fmt: skip


def membership(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    m = evidence.compared
    members, others = evidence.x_train[evidence.pick_train], evidence.x_held_out
    note = None
    if report["judge"] and report["judge"]["floor_p_value"] < 1e-3:
        note = "training and held-out data differ in distribution, which an attack may detect instead of membership"
    # The reference: samples independent of the training items, here one half of the held-out items.
    half = m // 2
    if half < 2:
        evidence.skipped.append({"what": "membership attack", "why": f"{m} held-out items are too few"})
        return
    floor = distance_attack(members[:half], others[:half], others[half:], evidence.seed)
    trivial = distance_attack(members, others, evidence.x_train[evidence.pick_train], evidence.seed)
    yield evidence.row(
        "membership", distance_attack(members, others, evidence.x_fake, evidence.seed), m, len(evidence.fakes),
        {"attack": "distance to the nearest sample"}, floor=numbers(floor),
        baseline={**numbers(trivial), "what": "the training items themselves as samples"}, note=note,
    )  # fmt: skip
    if {"bits", "bits_train"} <= evidence.costs.keys():
        inside, outside = (-np.minimum(evidence.costs[name], 1e300) for name in ("bits_train", "bits"))
        yield evidence.row(
            "membership_loss", attack_score(inside, outside, evidence.seed), len(inside), 0, {"attack": "likelihood"},
            floor={"value": 0.5, "low": None, "high": None}, note=note,
        )  # fmt: skip


def _rows(part: Reference, picked: NDArray[np.int64]) -> tuple[Tensor, dict[str, Tensor] | None]:
    return part.x[picked], None if part.c is None else {name: value[picked] for name, value in part.c.items()}


two_sample = compared("features")

#: the sections with their progress messages, in the order of the report
_OWN = "computing measures of this form of data"
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("training a judge", judge),
    ("testing the model's own discriminator", own_discriminator),
    ("comparing with held-out data", two_sample),
    ("computing likelihoods", likelihood),
    ("probing latents", latent),
    ("reconstructing held-out items", reconstruction),
    ("checking agreement with the conditions", agreement),
    ("checking agreement with the conditions", captions),
    ("counting modes", clusters),
    ("searching for copies of training data", copies),
    ("testing membership attacks", membership),
    ("training on samples, testing on real data", usefulness),
    (_OWN, compared("text")),
    (_OWN, endings),
    (_OWN, translation),
    (_OWN, molecules),
    (_OWN, compared("frames")),
    (_OWN, columns),
    (_OWN, compared("row")),
    (_OWN, compared("picture", "messages")),
)

#: the sections of a model that does not generate: its samples are reconstructions, without a condition to agree with
OF_RECONSTRUCTIONS = tuple((doing, each) for doing, each in SECTIONS if each in (judge, two_sample, reconstruction))
