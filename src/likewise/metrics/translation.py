"""Translation metrics: BLEU (Papineni et al., 2002), chrF (Popovic, 2015) and TER (Snover et al., 2006), computed by
sacrebleu (Post, 2018) on raw texts, so that they are comparable with values published under its signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likewise.metrics.intervals import Estimate


def scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str = "13a", replicates: int = 1000
) -> dict[str, tuple[Estimate, str]]:
    """Keys bleu, chrf and ter, each with sacrebleu's signature; values in percent, as in sacrebleu.

    references: one or more lists, each with a reference for every hypothesis. tokenizer: BLEU's, by sacrebleu's name.
    Intervals by sacrebleu's bootstrap over texts (its seed 12345). Raises ValueError if sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError:
        raise ValueError("sacrebleu is not installed: pip install 'likewise[metrics]'") from None
    found = {}
    metrics: dict[str, Any] = {"bleu": BLEU(tokenize=tokenizer), "chrf": CHRF(), "ter": TER()}
    for name, metric in metrics.items():
        value = metric.corpus_score(list(hypotheses), [list(part) for part in references]).score
        spread = metric.corpus_score(list(hypotheses), [list(part) for part in references], n_bootstrap=replicates)
        low, high = spread._mean - spread._ci, spread._mean + spread._ci
        found[name] = Estimate(value, min(value, low), max(value, high)), str(metric.get_signature())
    return found


def chrf_of(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """chrF alone, without an interval, as in `scores`."""
    from sacrebleu.metrics import CHRF

    return CHRF().corpus_score(list(hypotheses), [list(references)]).score


def nearest(texts: Sequence[str], known: Sequence[str]) -> list[int]:
    """The index in `known` of each text's nearest neighbour, by cosine of TF-IDF character n-grams (n = 2 to 4)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    seen = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    try:
        table = seen.fit_transform(known)
    except ValueError:  # no characters in any of them
        return [0] * len(texts)
    asked = seen.transform(texts)
    found: list[int] = []
    for start in range(0, len(texts), 256):  # in blocks: the full product could be large
        found += (asked[start : start + 256] @ table.T).toarray().argmax(1).tolist()
    return found


def tokenizer_for(texts: Sequence[str]) -> str:
    """BLEU's tokenizer: sacrebleu's default, or "char" for scripts without spaces (as it advises for Chinese)."""
    with_spaces = sum(any(c.isspace() for c in text.strip()) for text in texts)
    return "13a" if with_spaces > len(texts) / 2 else "char"
