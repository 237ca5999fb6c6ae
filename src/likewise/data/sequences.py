"""Readers of sequences: proteins, DNA and RNA in FASTA files, molecules in SMILES files, one text for each."""

from __future__ import annotations

from pathlib import Path

from likewise.data.tables import read_text

#: the usual suffixes of FASTA files: any, nucleic, amino acids, coding regions, non-coding RNA
FASTA = {".fasta", ".fa", ".fas", ".fna", ".faa", ".ffn", ".frn"}
SMILES = {".smi", ".smiles"}


def read_fasta(path: Path) -> tuple[list[str], list[str]]:
    """The sequences of a FASTA file in upper case (lower case marks repeats), and notes for the user.

    Lines of a sequence are joined; final gaps and the stop `*` of a translated protein are removed.
    Raises ValueError, with the line, if the file is not FASTA.
    """
    text, notes = read_text(path)
    sequences: list[list[str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith(">"):
            sequences.append([])
            continue
        if not sequences:
            raise ValueError(f"{path}, line {number}: a FASTA file begins with a line '>name', then its sequence")
        if not all(c.isalpha() or c in "*-" for c in line):
            bad = next(c for c in line if not (c.isalpha() or c in "*-"))
            raise ValueError(f"{path}, line {number}: {bad!r} is no residue; a sequence is letters, * and -")
        sequences[-1].append(line.upper())
    found = ["".join(parts).rstrip("*-") for parts in sequences]
    whole = [sequence for sequence in found if sequence]
    if len(whole) < len(found):
        notes.append(f"{path}: {len(found) - len(whole)} names without a sequence are left out")
    if not whole:
        raise ValueError(f"{path}: no sequence in it; a FASTA file is lines '>name', each followed by its sequence")
    return whole, notes


def read_smiles(path: Path) -> tuple[list[str], list[str]]:
    """The first word of each line of a SMILES file (a name may follow), without a header line, and notes."""
    text, notes = read_text(path)
    words = [line.split()[0] for line in text.split("\n") if line.strip()]
    if words and words[0].lower() in ("smiles", "smile", "canonical_smiles"):
        words = words[1:]
    if not words:
        raise ValueError(f"{path}: the file holds no SMILES")
    return words, notes
