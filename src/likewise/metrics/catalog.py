"""The metrics of the catalog, and the measures that the report computes outside of `Metric` classes."""

from __future__ import annotations

from likewise import catalog
from likewise.metrics.base import Measure, Metric


def metrics() -> tuple[list[Metric], list[dict[str, str]]]:
    """All metrics of the catalog that can be loaded, and the others with the reason, as in a report's "skipped"."""
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
            why = f"its measure {min(again)!r} has the same name as another one: rename it"
            skipped.append({"what": name, "why": why})
            continue
        taken |= set(metric.measures)
        found.append(metric)
    return found, skipped


MEASURES: dict[str, Measure] = {
    # twosample
    "judge_accuracy": Measure(
        "Judge's accuracy", "lower", "How often a classifier (the judge) tells real from fake; 50% is chance.", True
    ),
    "judge_auc": Measure(
        "Judge's ROC-AUC", "lower", "The probability that the judge scores a fake above a real item; 50%: chance.", True
    ),
    "judge_precision": Measure("Judge's precision", "lower", "The share of fakes in items classified as fake.", True),
    "judge_recall": Measure("Judge's recall", "lower", "The share of fakes that are classified as fake.", True),
    "judge_f1": Measure("Judge's F1", "lower", "The harmonic mean of the judge's precision and recall.", True),
    "own_accuracy": Measure(
        "Own discriminator's accuracy",
        "lower",
        "How often the model's own discriminator tells real from fake. Biased: the generator was trained to fool it.",
        True,
    ),
    "own_auc": Measure(
        "Own discriminator's ROC-AUC", "lower", "The probability that it scores a fake above a real item.", True
    ),
    # likelihood
    "bits": Measure("Held-out likelihood", "lower", "How many bits the model needs for data it has not seen."),
    "bits_train": Measure(
        "Training likelihood", "real", "The same on training data: a much lower value than held out means overfitting."
    ),
    # of an autoencoder's latent
    "latent_kl": Measure(
        "Nats in the latent", "higher",
        "The KL divergence from the prior on held-out items: an upper bound on the information in an item's latent. "
        "0: the decoder ignores the latent.",
    ),
    "latent_active": Measure(
        "Active units", "higher", "The share of latent dimensions that vary over held-out items; 0: collapse.", True
    ),
    # reconstruction by an autoencoder
    "reconstruction": Measure(
        "Reconstruction error", "lower", "The share of held-out items' variance that reconstructions miss.", True
    ),
    "psnr": Measure("PSNR", "higher", "Of reconstructions of held-out items, in dB; 3 more: half the squared error."),
    "codes_used": Measure("Codes in use", "higher", "The share of codebook entries that held-out items use.", True),
    "perplexity": Measure(
        "Perplexity of codes", "higher", "The number of equally frequent codes with the same entropy."
    ),
    # agreement with the condition
    "agreement": Measure(
        "Agreement", "higher", "The share of samples given the requested label by a real-data classifier.", True
    ),
    "r_precision": Measure(
        "R-precision", "higher",
        "How often a network trained on real pairs picks a sample's own caption among ten; 10% is chance.", True,
    ),
    # modes
    "modes": Measure("Modes reached", "higher", "The share of the modes of real data that occur in samples.", True),
    "modes_kl": Measure(
        "Modes, KL from real", "lower", "The KL divergence of the modes' frequencies from those of real data, in nats."
    ),
    # copies
    "copies_exact": Measure("Exact copies", "real", "The share of samples that equal a training item.", True),
    "copies": Measure(
        "Copies", "real", "The share that equal a training item or are far closer to it than to all others.", True
    ),
    "authenticity": Measure(
        "Authenticity", "real",
        "The share of samples whose distance to the nearest training item exceeds that item's distance to its own "
        "nearest neighbour.", True
    ),
    # membership, usefulness
    "membership": Measure(
        "Membership attack, by distance", "lower",
        "How well the distance to the nearest sample identifies training items (ROC-AUC); 50% is chance.", True,
    ),
    "membership_loss": Measure(
        "Membership attack, by likelihood", "lower",
        "How well the model's likelihood identifies training items (ROC-AUC); 50% is chance.", True,
    ),
    "tstr": Measure(
        "Usefulness (TSTR)", "higher",
        "Train on synthetic, test on real: the accuracy on real data of a classifier trained on samples; the reference "
        "is one trained on real data.", True,
    ),
    # text
    "ended": Measure("Ended by itself", "real", "The share of samples that end before the maximum length.", True),
    "mauve": Measure("MAUVE", "higher", "Similarity of two collections of texts, by clusters of features; 1 at best."),
    "bleu": Measure("BLEU", "higher", "Word n-grams (n up to 4) shared with the reference; 100 at best."),
    "chrf": Measure("chrF", "higher", "Character n-grams (n up to 6) shared with the reference; 100 at best."),
    "ter": Measure("TER", "lower", "Edits, including moves, per 100 words of the reference; 0 at best."),
    "cer": Measure("Character error rate", "lower", "Edits per character of the reference.", True),
    "wer": Measure("Word error rate", "lower", "Edits per word of the reference.", True),
    "valid": Measure("Valid", "higher", "The share of samples that RDKit can parse as molecules.", True),
    "unique": Measure("Unique", "higher", "Distinct molecules over valid samples; falls as their number grows.", True),
    "novel": Measure("Novel", "real", "The share of distinct molecules that are not in the training data.", True),
}  # fmt: skip
