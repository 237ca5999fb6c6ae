"""Molecules as SMILES (Weininger, 1988): the shares of samples that are valid, unique and novel, as defined by MOSES.

Polykovskiy et al., "Molecular Sets (MOSES)" (2020). Molecules are parsed by RDKit (extra `molecules`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from likewise.metrics.intervals import Estimate, proportion

#: how many texts are parsed to decide whether data are molecules, and the share of them that must be valid
_ASKED, _ENOUGH = 200, 0.95
#: characters that are common in SMILES and rare in words: rings, bonds and branches
_MARKS = set("()[]=#@+\\/123456789")


def looks_like_smiles(texts: Sequence[str]) -> bool:
    """Whether texts may be SMILES, without RDKit: single words, most of them with rings, bonds or branches."""
    some = [text.strip() for text in texts[:_ASKED]]
    marked = sum(bool(_MARKS & set(text)) for text in some)
    return bool(some) and not any(" " in text or not text for text in some) and marked > 0.5 * len(some)


def canonical(texts: Sequence[str]) -> list[str | None]:
    """Each text's canonical SMILES; None if it is not a molecule. Raises ValueError if RDKit is not installed."""
    if importlib.util.find_spec("rdkit") is None:
        raise ValueError("RDKit is not installed: pip install 'likewise[molecules]'")
    from rdkit import Chem, rdBase

    def one(text: str) -> str | None:
        # RDKit parses an empty text as an empty molecule; here an empty sample is invalid.
        molecule: Any = Chem.MolFromSmiles(text.strip()) if text.strip() else None
        return None if molecule is None or not molecule.GetNumAtoms() else Chem.MolToSmiles(molecule)

    with rdBase.BlockLogs():  # RDKit would log an error for each invalid sample
        return [one(text) for text in texts]


def are_molecules(texts: Sequence[str]) -> bool:
    """Whether at least 95% of real texts are molecules. Raises ValueError if RDKit is needed and not installed."""
    if not looks_like_smiles(texts):
        return False
    found = canonical(texts[:_ASKED])
    return sum(m is not None for m in found) >= _ENOUGH * len(found)


def measures(fakes: Sequence[str | None], known: set[str]) -> dict[str, Estimate]:
    """Keys valid, unique and novel, with Wilson's intervals.

    fakes: canonical SMILES, None for invalid samples. known: the canonical training molecules. Unique: distinct
    molecules over valid ones. Novel: the share of distinct molecules not in `known`. The last two are left out if no
    sample is valid.
    """
    valid = [m for m in fakes if m is not None]
    found = {"valid": proportion(len(valid) / len(fakes), len(fakes))}
    if valid:
        different = set(valid)
        found["unique"] = proportion(len(different) / len(valid), len(valid))
        found["novel"] = proportion(len(different - known) / len(different), len(different))
    return found
