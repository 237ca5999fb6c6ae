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
        "How often the model's own discriminator tells real from fake. Fakes were trained to fool it: no fair judge.",
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
        "The information in an item's latent, at most (KL from the prior, held-out items); at 0 it is ignored.",
    ),
    "latent_active": Measure(
        "Active units", "higher", "The share of latent dimensions that vary over held-out items; 0: collapse.", True
    ),
    # of an autoencoder, there and back
    "reconstruction": Measure(
        "Reconstruction error", "lower", "The share of held-out items' variance that reconstructions lack.", True
    ),
    "psnr": Measure("PSNR", "higher", "Reconstructions against held-out items, in dB; 3 more: half the error."),
    "codes_used": Measure("Codes in use", "higher", "The share of a codec's codes that held-out items use.", True),
    "perplexity": Measure(
        "Perplexity of codes", "higher", "The number of equally frequent codes with the same entropy."
    ),
    # agreement with what was asked for
    "agreement": Measure(
        "Agreement", "higher", "The share of samples that a classifier of real data gives the label asked for.", True
    ),
    "r_precision": Measure(
        "R-precision", "higher",
        "How often a network trained on real pairs picks a sample's own caption among ten; 10% is guessing.", True,
    ),
    # modes
    "modes": Measure("Modes reached", "higher", "The share of the kinds of real data that occur in samples.", True),
    "modes_kl": Measure(
        "Modes, KL from real", "lower", "The divergence of the kinds' shares from those of real data, in nats."
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
        "How well the distance to the nearest sample identifies training items (ROC-AUC); 50% is guessing.", True,
    ),
    "membership_loss": Measure(
        "Membership attack, by likelihood", "lower",
        "How well the model's likelihood identifies training items (ROC-AUC); 50% is guessing.", True,
    ),
    "tstr": Measure(
        "Usefulness (TSTR)", "higher",
        "The accuracy on real data of a learner trained on samples; beside it, of one trained on real data.", True,
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
    "novel": Measure("Novel", "real", "The share of the different molecules that are not in the training data.", True),
}  # fmt: skip
