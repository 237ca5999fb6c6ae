"""Character (CER) and word error rates (WER) by edit distance (Levenshtein, 1966), as in speech recognition."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from likewise.metrics.intervals import Estimate, ratio_of_sums


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The minimum number of insertions, deletions and replacements that turn one sequence into the other."""
    codes: dict[Hashable, int] = {}
    x, y = (np.array([codes.setdefault(unit, len(codes)) for unit in side], int) for side in (reference, hypothesis))
    place = np.arange(len(y) + 1)
    row = place
    for unit in x:
        # One row of Wagner and Fischer's table at a time: the insertions are a running minimum.
        changed = np.minimum(row[1:] + 1, row[:-1] + (y != unit))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], changed]) - place) + place
    return int(row[-1])


def error_rates(references: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> dict[str, Estimate]:
    """Keys cer and wer: edits divided by the references' length in characters or words; may exceed 1.

    Words are separated by whitespace, and whitespace around a text is ignored, as in jiwer 4. Intervals by the
    bootstrap over texts. Raises ValueError if all references are empty.
    """
    found = {}
    for name, cut in (("cer", str.strip), ("wer", str.split)):
        pairs = [(cut(r), cut(h)) for r, h in zip(references, hypotheses, strict=True)]
        lengths = np.array([len(reference) for reference, _ in pairs], np.float64)
        if not lengths.sum():
            raise ValueError("every reference is empty: an error rate needs at least one reference with text")
        # A resample of empty references alone has no rate; those texts' edits still count in the whole.
        edits = np.array([edit_distance(*pair) for pair in pairs], np.float64)
        found[name] = ratio_of_sums(edits, lengths, seed)
    return found
