"""Layouts of sequences: proteins, DNA and RNA in FASTA files, molecules in SMILES files, one text for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from likewise.data.layouts.base import Layout, Source
from likewise.data.records import Records
from likewise.data.sequences import FASTA, SMILES, read_fasta, read_smiles


class Fasta(Layout):
    """Proteins, DNA or RNA."""

    rank = 4

    def detect(self, source: Source) -> int:
        return source.count(FASTA)

    def read(self, source: Source) -> Records:
        return _records(source, FASTA, read_fasta, "sequences (FASTA)")


class Smiles(Layout):
    """Molecules."""

    rank = 4

    def detect(self, source: Source) -> int:
        return source.count(SMILES)

    def read(self, source: Source) -> Records:
        return _records(source, SMILES, read_smiles, "molecules (SMILES)")


def _records(
    source: Source, suffixes: set[str], read: Callable[[Path], tuple[list[str], list[str]]], layout: str
) -> Records:
    values: list[str] = []
    notes: list[str] = []
    for file in source.files(source.having(suffixes)):
        found, said = read(file)
        values += found
        notes += said
    return Records(source.path, layout, {"text": "text"}, {"text": values}, "text", (), notes)
