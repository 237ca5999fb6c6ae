"""Write the golden record of this machine: `python tests/golden/record.py`.

The record says what today's code makes, bit for bit; `tests/test_golden.py` compares with it. It may be written

- for a machine of another kind (another torch or class of CPU) that has none: by a commit of which the tests pass on a
  machine that has one, so that both records are of the same code;
- for a new case: what is known of the others stays as it is;
- after a change that is meant to change what is recorded. The commit then says which cases changed, in which part, and
  why that is right. A refactoring changes nothing but names: of it, `lines` (the keys in samples.jsonl) and `files` may
  differ, and nothing else. `--only lines,files` refuses to write where any other part differs.

Without `--only` nothing is written either where weights, losses, samples or provenance differ from the record, but with
`--all`. Names of cases may be given, to record these alone.

`python tests/golden/record.py --runs` wrote `runs-0.tar.xz`, the runs of the code before the refactoring. Nobody writes
that file again: a newer archive would hold nothing that is old.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden import cases, data, runs


def record(names: list[str]) -> dict[str, dict[str, Any]]:
    """What each case makes on this machine."""
    found, made = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name in names:
            case = cases.CASES[name]
            if case.data not in made:
                made[case.data] = data.MAKERS[case.data](folder / "data" / case.data)
            run = cases.train(case, made[case.data], folder / "runs" / name)
            found[name] = cases.observed(run, folder / "drawn" / name)
            print(name, flush=True)
    return found


def record_runs() -> dict[str, dict[str, Any]]:
    """What this machine makes of each run in the archive."""
    with tempfile.TemporaryDirectory() as name:
        old = runs.unpack(Path(name) / "old")
        return {run: runs.observed(old, run, Path(name) / run) for run in runs.NAMES}


def write(file: Path, **parts: dict[str, Any]) -> None:
    """A line for each case, so that what changes is seen."""
    out = []
    for part, found in {"about": cases.about(), **parts}.items():
        lines = [f"  {json.dumps(k)}: {json.dumps(found[k], ensure_ascii=False)}" for k in sorted(found)]
        out.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
    file.write_text("{\n" + ",\n".join(out) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--only", default="lines,files", help="parts that may differ from the record")
    parser.add_argument("--all", action="store_true", help="any part may differ")
    parser.add_argument("--runs", action="store_true")
    a = parser.parse_args()
    cases.prepare()
    if a.runs:
        runs.record()
        return
    file = cases.HERE / f"{cases.machine()}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    old, old_runs = known.get("cases", {}), known.get("runs", {})
    found, found_runs = record(a.cases or list(cases.CASES)), record_runs()
    refused = False
    for before, now in ((old, found), (old_runs, found_runs)):
        for name, new in now.items():
            parts = [part for part in new if name in before and new[part] != before[name].get(part)]
            if parts:
                print(f"{name}: other {', '.join(parts)}")
            refused |= not a.all and bool(set(parts) - set(a.only.split(",")))
    if refused:
        raise SystemExit("not written: these parts are not to change (--all)")
    kept = {k: v for k, v in old.items() if k in cases.CASES}
    write(file, cases={**kept, **found}, runs=found_runs)
    print(file)


if __name__ == "__main__":
    main()
