"""The report's section on molecules: the shares of samples that are valid, unique and novel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from likewise.metrics.molecules import are_molecules, canonical, measures
from likewise.planning.split import records_again
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown


def molecules(evidence: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Rows for texts that are nearly all molecules according to RDKit; none for other data."""
    if "text" not in evidence.forms:
        return
    real = evidence.run.modality.as_form(evidence.held_out.values, "text")
    try:
        if not are_molecules(real):
            return
        fakes = canonical(evidence.fake("text"))
    except ValueError as error:
        evidence.skipped.append({"what": "validity of molecules", "why": str(error)})
        return
    training, note = _training(evidence)
    known = {m for m in canonical(training) if m is not None}
    ours = measures(fakes, known)
    held_out = canonical([real[i] for i in evidence.pick_held_out])
    floor = measures(held_out, known)
    trivial = measures(canonical(evidence.trivial("text")), known) if evidence.baseline else {}
    for name, estimate in ours.items():
        yield evidence.row(
            name, estimate, len(held_out), len(fakes), {"canonical": "rdkit"},
            floor=numbers(floor[name]) if name in floor else None,
            baseline={**numbers(trivial[name]), "what": evidence.baseline_name} if name in trivial else None,
            note=note if name == "novel" else None,
        )  # fmt: skip


def _training(evidence: Evidence) -> tuple[Sequence[str], str]:
    """All training molecules if the data are still available, else those kept with the run; and a note saying which."""
    run = evidence.run
    count = run.info.get("train")
    try:
        train, _ = records_again(run.experiment, run.encoding, run.conditions)
        if train.fingerprint() == run.info.get("fingerprint"):
            values = [run.modality.read(value) for value in train.columns[train.target]]
            return run.modality.as_form(values, "text"), f"compared with all {len(train):,} training molecules"
    except ValueError:
        pass  # the data are gone: compare with the items kept with the run, as the note says
    kept = run.modality.as_form(evidence.train.values, "text")
    note = (
        f"compared with {len(kept):,} of {count or len(kept):,} training molecules: the data are gone or have changed"
    )
    return kept, note
