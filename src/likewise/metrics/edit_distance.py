"""Error rates by edit distance (Levenshtein, 1966): of characters (CER) and of words (WER), as speech is scored."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from likewise.metrics.intervals import Estimate, ratio_of_sums


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """How many units must be inserted, deleted or replaced to make one sequence of the other."""
    codes: dict[Hashable, int] = {}
    x, y = (np.array([codes.setdefault(unit, len(codes)) for unit in side], int) for side in (reference, hypothesis))
    place = np.arange(len(y) + 1)
    row = place
    for unit in x:
        # A whole row of Wagner and Fischer's table at once: the insertions are a running minimum.
        changed = np.minimum(row[1:] + 1, row[:-1] + (y != unit))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], changed]) - place) + place
    return int(row[-1])


def error_rates(references: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> dict[str, Estimate]:
    """Keys cer and wer: edits over the references' characters or words; above 1 where too much was said.

    Words are what stands between spaces, and spaces around a text do not count, as in jiwer 4. Raises ValueError where
    all references are empty. Intervals by the bootstrap over texts.
    """
    found = {}
    for name, cut in (("cer", str.strip), ("wer", str.split)):
        pairs = [(cut(r), cut(h)) for r, h in zip(references, hypotheses, strict=True)]
        lengths = np.array([len(reference) for reference, _ in pairs], np.float64)
        if not lengths.sum():
            raise ValueError("every reference is empty: an error rate needs something to be wrong about")
        # A resample of empty references alone has no rate; those texts' edits still count in the whole.
        edits = np.array([edit_distance(*pair) for pair in pairs], np.float64)
        found[name] = ratio_of_sums(edits, lengths, seed)
    return found
