"""Molecules as SMILES (Weininger, 1988): the shares of samples that are valid, unique and novel, as MOSES has them.

Polykovskiy et al., "Molecular Sets (MOSES)" (2020). RDKit (extra `molecules`) says what is a molecule.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from likewise.metrics.intervals import Estimate, proportion

#: texts that are asked about to know whether data are molecules, and the share of them that must be
_ASKED, _ENOUGH = 200, 0.95
#: characters of SMILES that hardly any words hold: rings, bonds and branches
_MARKS = set("()[]=#@+\\/123456789")


def looks_like_smiles(texts: Sequence[str]) -> bool:
    """Whether texts may be molecules, without asking RDKit: single words, most of them with rings, bonds, branches."""
    some = [text.strip() for text in texts[:_ASKED]]
    marked = sum(bool(_MARKS & set(text)) for text in some)
    return bool(some) and not any(" " in text or not text for text in some) and marked > 0.5 * len(some)


def canonical(texts: Sequence[str]) -> list[str | None]:
    """Each text's canonical SMILES; None where it is no molecule. Raises ValueError where RDKit is not installed."""
    if importlib.util.find_spec("rdkit") is None:
        raise ValueError("RDKit is not installed: pip install 'likewise[molecules]'")
    from rdkit import Chem, rdBase

    def one(text: str) -> str | None:
        # An empty text is an empty molecule to RDKit, and an empty sample is no molecule to a chemist.
        molecule: Any = Chem.MolFromSmiles(text.strip()) if text.strip() else None
        return None if molecule is None or not molecule.GetNumAtoms() else Chem.MolToSmiles(molecule)

    with rdBase.BlockLogs():  # what is wrong with each of thousands of samples is nobody's reading
        return [one(text) for text in texts]


def are_molecules(texts: Sequence[str]) -> bool:
    """Whether nearly all of some real texts are molecules. Raises ValueError where RDKit is needed and not there."""
    if not looks_like_smiles(texts):
        return False
    found = canonical(texts[:_ASKED])
    return sum(m is not None for m in found) >= _ENOUGH * len(found)


def measures(fakes: Sequence[str | None], known: set[str]) -> dict[str, Estimate]:
    """Keys valid, unique and novel, with Wilson's intervals.

    fakes: canonical SMILES, None for what is no molecule. known: the training molecules, canonical. Unique: different
    molecules over valid ones. Novel: of the different ones, those not in training. The last two are left out where
    nothing is valid.
    """
    valid = [m for m in fakes if m is not None]
    found = {"valid": proportion(len(valid) / len(fakes), len(fakes))}
    if valid:
        different = set(valid)
        found["unique"] = proportion(len(different) / len(valid), len(valid))
        found["novel"] = proportion(len(different - known) / len(different), len(different))
    return found
