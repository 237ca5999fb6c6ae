"""The metrics of the catalog, and the measures of the parts of a report that need more than two samples."""

from __future__ import annotations

from likewise import catalog
from likewise.metrics.base import Measure, Metric


def metrics() -> tuple[list[Metric], list[dict[str, str]]]:
    """Every metric of the catalog that can be had; and why others cannot, as a report's "skipped" has it."""
    found: list[Metric] = []
    skipped: list[dict[str, str]] = []
    taken = set(MEASURES)
    for name in catalog.names("metric"):
        try:
            metric: Metric = catalog.find("metric", name)()
        except ValueError as error:
            skipped.append({"what": name, "why": str(error)})
            continue
        if again := taken & set(metric.measures):
            why = f"its measure {min(again)!r} has the name of another one: rename it"
            skipped.append({"what": name, "why": why})
            continue
        taken |= set(metric.measures)
        found.append(metric)
    return found, skipped


MEASURES: dict[str, Measure] = {
    # twosample
    "judge_accuracy": Measure(
        "Judge's accuracy", "lower", "How often a judge tells real from fake; 50% is what guessing gets.", True
    ),
    "judge_auc": Measure(
        "Judge's ROC-AUC", "lower", "The chance that the judge finds a fake more suspect than a real item.", True
    ),
    "judge_precision": Measure("Judge's precision", "lower", "Of the items called fake, the share that are.", True),
    "judge_recall": Measure("Judge's recall", "lower", "Of the fakes, the share that were called fake.", True),
    "judge_f1": Measure("Judge's F1", "lower", "The harmonic mean of the judge's precision and recall.", True),
    "own_accuracy": Measure(
        "Own discriminator's accuracy",
        "lower",
        "How often the model's own discriminator tells real from fake. It helped to make the fakes: no fair judge.",
        True,
    ),
    "own_auc": Measure(
        "Own discriminator's ROC-AUC", "lower", "The chance that it finds a fake more suspect than a real item.", True
    ),
    # likelihood
    "bits": Measure("Held-out likelihood", "lower", "How many bits the model needs for data it has not seen."),
    "bits_train": Measure(
        "Training likelihood", "real", "The same on training data: far below the held-out value is overfitting."
    ),
    # of an autoencoder's latent
    "latent_kl": Measure(
        "Nats in the latent", "higher",
        "How many nats, at most, a held-out item's latent says of it (KL from the prior); at 0 it is ignored.",
    ),
    "latent_active": Measure(
        "Units in use", "higher", "The share of the latent's units that tell held-out items apart; 0: collapse.", True
    ),
    # of an autoencoder, there and back
    "reconstruction": Measure(
        "Lost on the way", "lower", "How much of what tells held-out items apart does not come back.", True
    ),
    "psnr": Measure("PSNR", "higher", "How near what comes back is to held-out items, in dB; 3 more: half the error."),
    "codes_used": Measure("Codes in use", "higher", "The share of a codec's codes that held-out items use.", True),
    "perplexity": Measure(
        "Perplexity of codes", "higher", "As many codes, used evenly, would say as much as those in use do."
    ),
    # agreement with what was asked for
    "agreement": Measure(
        "Agreement", "higher", "The share of samples in which a classifier of real data sees what was asked for.", True
    ),
    "r_precision": Measure(
        "R-precision", "higher",
        "How often a network taught with real pairs picks a sample's own caption among ten; 10% is guessing.", True,
    ),
    # modes
    "modes": Measure("Modes reached", "higher", "The share of the kinds of real data that occur in samples.", True),
    "modes_kl": Measure(
        "Modes, KL from real", "lower", "How unlike the shares of the kinds are, in nats; 0 where they are equal."
    ),
    # copies
    "copies_exact": Measure("Exact copies", "real", "The share of samples that equal a training item.", True),
    "copies": Measure(
        "Copies", "real", "The share that equal a training item or are far nearer to it than to all others.", True
    ),
    "authenticity": Measure(
        "Authenticity", "real", "The share farther from a training item than that item is from its own nearest.", True
    ),
    # membership, usefulness
    "membership": Measure(
        "Membership attack, by distance", "lower",
        "How well an attacker tells training items by how near a sample is (ROC-AUC); 50% is what guessing gets.", True,
    ),
    "membership_loss": Measure(
        "Membership attack, by likelihood", "lower",
        "How well an attacker tells training items by the model's likelihood (ROC-AUC); 50% is guessing.", True,
    ),
    "tstr": Measure(
        "Usefulness (TSTR)", "higher",
        "What a learner trained on samples gets right on real data; beside it, trained on real data.", True,
    ),
    # text
    "ended": Measure("Ended by itself", "real", "The share of samples that end before the greatest length.", True),
    "mauve": Measure("MAUVE", "higher", "How alike two collections of texts are, by clusters of features; 1 at best."),
    "bleu": Measure("BLEU", "higher", "Runs of up to four words shared with the reference; 100 at best."),
    "chrf": Measure("chrF", "higher", "Runs of up to six characters shared with the reference; 100 at best."),
    "ter": Measure("TER", "lower", "Edits, moves among them, per 100 words of the reference; 0 at best."),
    "cer": Measure("Character error rate", "lower", "Edits per character of the reference.", True),
    "wer": Measure("Word error rate", "lower", "Edits per word of the reference.", True),
    "valid": Measure("Valid", "higher", "The share of samples that are molecules, as RDKit reads them.", True),
    "unique": Measure("Unique", "higher", "Different molecules over the valid samples; falls with their number.", True),
    "novel": Measure("Novel", "real", "Of the different molecules, the share that training does not hold.", True),
}  # fmt: skip
