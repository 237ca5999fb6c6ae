"""The report's section on molecules: the shares of samples that are valid, unique and novel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from likewise.metrics.molecules import are_molecules, canonical, measures
from likewise.planning.split import records_again
from likewise.report.evidence import Evidence, Row, numbers
from likewise.report.page import Shown


def molecules(got: Evidence, report: dict[str, Any], shown: Shown) -> Iterator[Row]:
    """Rows for texts that are nearly all molecules according to RDKit; none for other data."""
    if "text" not in got.forms:
        return
    real = got.run.modality.as_form(got.held_out.values, "text")
    try:
        if not are_molecules(real):
            return
        fakes = canonical(got.fake("text"))
    except ValueError as error:
        got.skipped.append({"what": "validity of molecules", "why": str(error)})
        return
    training, note = _training(got)
    known = {m for m in canonical(training) if m is not None}
    ours = measures(fakes, known)
    held_out = canonical([real[i] for i in got.pick_held_out])
    floor = measures(held_out, known)
    trivial = measures(canonical(got.trivial("text")), known) if got.baseline else {}
    for name, estimate in ours.items():
        yield got.row(
            name, estimate, len(held_out), len(fakes), {"canonical": "rdkit"},
            floor=numbers(floor[name]) if name in floor else None,
            baseline={**numbers(trivial[name]), "what": got.baseline_name} if name in trivial else None,
            note=note if name == "novel" else None,
        )  # fmt: skip


def _training(got: Evidence) -> tuple[Sequence[str], str]:
    """All training molecules if the data are still available, else those kept with the run; and a note saying which."""
    run = got.run
    count = run.info.get("train")
    try:
        train, _ = records_again(run.experiment, run.encoding, run.conditions)
        if train.fingerprint() == run.info.get("fingerprint"):
            values = [run.modality.read(value) for value in train.columns[train.target]]
            return run.modality.as_form(values, "text"), f"compared with all {len(train):,} training molecules"
    except ValueError:
        pass  # the data are gone: compare with the items kept with the run, as the note says
    kept = run.modality.as_form(got.train.values, "text")
    note = (
        f"compared with {len(kept):,} of {count or len(kept):,} training molecules: the data are gone or have changed"
    )
    return kept, note
