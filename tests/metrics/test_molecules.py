"""Validity, uniqueness and novelty of molecules, on some that everybody knows."""

import pytest

from likewise.metrics.molecules import are_molecules, canonical, looks_like_smiles, measures

KNOWN = ["CCO", "c1ccccc1", "CC(=O)O", "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"]


def test_two_spellings_are_one_molecule():
    assert len(set(canonical(["OCC", "CCO", "C(C)O"]))) == 1
    assert canonical(["C1CC", "c1cccc1", "", "C(", "C"]) == [None, None, None, None, "C"]


def test_what_is_measured():
    known = {m for m in canonical(KNOWN) if m}
    fakes = canonical(["OCC", "CCO", "CCN", "CCCl", "C1CC"])  # ethanol twice, two new ones, one that is none
    found = measures(fakes, known)
    assert found["valid"].value == pytest.approx(4 / 5)
    assert found["unique"].value == pytest.approx(3 / 4)
    assert found["novel"].value == pytest.approx(2 / 3)
    assert found["valid"].low < 0.8 < found["valid"].high
    assert list(measures([None, None], known)) == ["valid"]


def test_only_molecules_are_taken_for_molecules():
    assert are_molecules(KNOWN * 10)
    assert not are_molecules(["the cat (sat)", "on [the] mat"])
    assert not looks_like_smiles(["hello", "CONCISE"])
    assert not are_molecules(["f(x)=1", "g[0]=2", "(a+b)"])  # marks enough, but RDKit reads none of them
