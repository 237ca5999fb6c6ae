"""What was made before is made again, bit for bit: weights, losses, samples, provenance and files of many small runs.

Bits depend on the version of torch, on the CPU and on the libraries of linear algebra, so a record counts only where
all of these are as they were when it was made. Elsewhere, each run is made twice and must be the same both times, and
runs of earlier code must give nearly the recorded values. `tests/golden/record.py` says when a record may be written.
"""

from __future__ import annotations

import os

import pytest
import torch

from golden import cases, data, runs

pytestmark = pytest.mark.full

RECORDED = cases.recorded()
OWN = cases.own(RECORDED)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Where a run chooses by itself how many threads compute, it is one; and nothing waits for the disk."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "fsync", lambda _: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The path of a set of data by its name, made when it is first asked for."""
    root, known = tmp_path_factory.mktemp("golden"), {}

    def make(name):
        if name not in known:
            known[name] = data.MAKERS[name](root / name)
        return known[name]

    return make


def run_of(name, made, folder):
    case = cases.CASES[name]
    return cases.observed(cases.train(case, made(case.data), folder / "run"), folder / "drawn")


@pytest.mark.parametrize("name", cases.CASES)
def test_a_run_is_what_it_was(name, made, tmp_path):
    found = run_of(name, made, tmp_path / "one")
    if OWN is None:
        assert found == run_of(name, made, tmp_path / "two")
        assert found["files"] in [record["cases"][name]["files"] for record in RECORDED.values()]
        return
    assert name in OWN["cases"], "a new case: python tests/golden/record.py NAME"
    assert found == OWN["cases"][name], f"recorded with {OWN['about']}, now with {cases.about()}"


def test_every_case_is_recorded():
    assert RECORDED
    for machine, record in RECORDED.items():
        assert record["cases"].keys() == cases.CASES.keys(), machine
        assert record["runs"].keys() == set(runs.NAMES), machine


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """The folder with the runs of earlier code, their data, and what was drawn of them."""
    return runs.unpack(tmp_path_factory.mktemp("old"))


@pytest.mark.parametrize("name", runs.NAMES)
def test_a_run_of_earlier_code_draws_what_it_did(name, old, tmp_path):
    found = runs.drawn(old / "runs" / name, tmp_path / "drawn")
    if OWN is not None:
        assert found == OWN["runs"][name]["samples"], f"recorded with {OWN['about']}, now with {cases.about()}"
    assert found is None or runs.near(old / "drawn" / name, tmp_path / "drawn")


@pytest.mark.parametrize("name", runs.NAMES)
def test_a_run_of_earlier_code_verifies(name, old):
    code, said = runs.command("verify", old / "runs" / name)
    assert "Traceback" not in said
    if OWN is not None:
        assert code == 0, said
        assert "all is bit-identical" in said
        assert ("stored samples, drawn again bit for bit" in said) == (name in runs.FINISHED and name != "codec")


@pytest.mark.parametrize("name", runs.INTERRUPTED)
def test_an_interrupted_run_of_earlier_code_goes_on(name, old, tmp_path):
    found = runs.gone_on(old, name, tmp_path / "run")
    if OWN is not None:
        assert found == OWN["runs"][name]["weights"], f"recorded with {OWN['about']}, now with {cases.about()}"
        code, said = runs.command("verify", tmp_path / "run")
        assert code == 0, said
        assert "bit for bit" in said
