"""Sample: draw samples from a run and write them with their provenance."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from likewise import catalog
from likewise.data.tables import read_text
from likewise.errors import Message, UserError
from likewise.runs.run import Run
from likewise.sampling import interpolation
from likewise.sampling.contact_sheets import write_sheet
from likewise.sampling.editing import Edit
from likewise.sampling.prompting import Prompting
from likewise.sampling.sampler import HowDrawn, SampleRequest
from likewise.sampling.samples import Samples, finish, json_lines
from likewise.training import checkpoint
from likewise.training.distributed import World


def sample(
    run: Run, n: int = 16, seed: int = 0, given: Any = None, out: Path | None = None, start: int = 0,
    settings: dict[str, Any] | None = None, *, lines: Sequence[str] = (), **how: Unpack[HowDrawn],
) -> tuple[Samples, Path]:  # fmt: skip
    """Draw and write samples start..start + n - 1; returns them and their folder (default: samples/ in the run).

    lines: fields whose values are the lines of a file; texts are then also written to samples.txt, one per line.
    how: prompting, edit, live and tile, as in `SampleRequest`.
    """
    drawn = run.sampler.draw(SampleRequest(n, seed, given, start, settings or {}, **how))
    drawn = _in_step(drawn, lines)
    folder = out or run.path / "samples"
    drawn.save(folder)
    return drawn, folder


def sheet(run: Run, drawn: Samples, folder: Path, font: str | None = None) -> str:
    """Write sheet.png, the samples with their conditions; returns a note on missing characters, or ""."""
    note = write_sheet(drawn, run.conditions, folder / "sheet.png", font)
    return Message("note: ", note, "\n") if note else ""


def cut_note(folder: Path) -> str:
    """A note on written texts that ended before they matched the regex or schema; "" if there are none."""
    with (folder / "samples.jsonl").open(encoding="utf-8") as file:
        cut = [bool(json.loads(line).get("cut")) for line in file]
    if not any(cut):
        return ""
    return (
        f"{sum(cut):,} of {len(cut):,} texts ended before they matched, at a stop or at the run's length "
        '(marked "cut" in samples.jsonl)\n'
    )


def _in_step(drawn: Samples, lines: Sequence[str]) -> Samples:
    return dataclasses.replace(drawn, provenance={**drawn.provenance, "lines": list(lines)}) if lines else drawn


def read_given(run: Run, files: Sequence[str], given: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The conditions of samples, one for each line of the files, combined with `given`; and the fields of the files.

    files: each FIELD=FILE, or FILE if the run has one text field, or one field. Raises UserError if a field is given
    twice or the files differ in the number of lines.
    """
    columns: dict[str, list[str]] = {}
    for item in files:
        name, equals, file = item.partition("=")
        if not equals or name not in run.conditions:
            name, file = _only_field(run, item), item
        if name in columns or name in given:
            raise UserError(f"{name} is given twice", setting="given_file", value=item)
        text = read_text(Path(file))[0]
        columns[name] = [line.strip() for line in text.removesuffix("\n").split("\n")]
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        several = " and ".join(f"{count:,} of {name}" for name, count in counts.items())
        raise UserError(f"the files have {several} lines", setting="given_file", fix="they must have as many")
    rows = zip(*columns.values(), strict=True)
    return [{**given, **dict(zip(columns, row, strict=True))} for row in rows], [*columns]


def _only_field(run: Run, item: str) -> str:
    """The field of a file that is given without a field. Raises UserError if it is ambiguous."""
    texts = [name for name, encoding in run.conditions.items() if "text" in encoding.modality.forms]
    names = texts or list(run.conditions)
    if len(names) != 1:
        known = f"one of {', '.join(names)}" if names else "nothing"
        raise UserError(
            f"this run is given {known}", setting="given_file", value=item, fix="write FIELD=FILE" if names else ""
        )
    return names[0]


def in_bulk(
    run: Run, n: int, seed: int, given: Any, out: Path, settings: dict[str, Any], world: World,
    *, lines: Sequence[str] = (), **how: Unpack[HowDrawn],
) -> Path:  # fmt: skip
    """Draw many samples in blocks, divided among the processes of `world`; returns their folder.

    Each block depends only on (weights, settings, seed, index), is written atomically, and is not drawn again if it
    exists. The output is therefore the same for any number of processes, interrupted or not.
    """
    request = SampleRequest(n, seed, given, 0, settings, **how)
    run.sampler.prepare(request)  # raises errors before anything is written
    block, parts = run.sampler.block(), out / ".parts"
    asked = run.sampler.origin(seed, settings) | request.provenance()
    if lines:
        asked["lines"] = list(lines)
    about = {**asked, "n": n, "given": given}
    if world.first:
        known = parts / "asked.json"
        if parts.is_dir() and (not known.is_file() or json.loads(known.read_text(encoding="utf-8")) != about):
            raise ValueError(f"{parts}: half of other samples are there; finish them, or remove it")
        parts.mkdir(parents=True, exist_ok=True)
        checkpoint.write_json(known, about)
    world.gather(None)
    starts = range(0, n, block)
    for number, start in enumerate(starts):
        part = parts / f"{start:012d}.jsonl"
        if number % world.size != world.rank or part.is_file():
            continue
        told = given[start : start + block] if isinstance(given, list) else given
        piece = dataclasses.replace(request, n=min(block, n - start), given=told, start=start)
        drawn = _in_step(run.sampler.draw(piece), lines)
        checkpoint.write_text(part, "".join(line + "\n" for line in drawn.write(out)))
    world.gather(None)
    if world.first:
        files = [parts / f"{start:012d}.jsonl" for start in starts]
        finish(out, (line for f in files for line in json_lines(f)), asked)
        shutil.rmtree(parts)
    world.gather(None)
    return out


def _provenance(file: Path) -> dict[str, Any] | None:
    """The provenance in the file of a sample or of an interpolation; None if there is none."""
    if found := interpolation.read_provenance(file):
        return found
    kinds = [catalog.find("modality", name) for name in catalog.names("modality")]
    able = [k for k in kinds if file.suffix in (k.suffix, *k.suffixes)]
    return next((found for k in able if (found := k.read_provenance(file))), None)


def again(file: Path, out: Path) -> Path:
    """Draw written samples again from their provenance: a picture, a sheet, or a whole samples.jsonl or .csv.

    Returns the new file in `out`. Raises ValueError if `file` has no provenance, or if the run's weights have changed.
    """
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    whole = file.name in ("samples.jsonl", "samples.csv")
    lines: Sequence[str] = ()
    if whole:
        found = json.loads((file.parent / "provenance.json").read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in json_lines(file.parent / "samples.jsonl")]
        first, given, lines = rows[0]["index"], [row["given"] for row in rows], found.get("lines", ())
    else:
        found = _provenance(file)
        if found is None:
            raise ValueError(f"{file}: it carries no provenance of likewise")
        several = "sheet" in found
        first, given = (found["start"], found["given"]) if several else (found.get("index", 0), [found["given"]])
    run = Run(Path(found["run"]))
    if run.weights_hash != found["weights"]:
        raise ValueError(f"{file}: drawn by other weights than those {run.path} has now")
    if "walk" in found:
        return interpolation.again(file, found, run.sampler, out)
    prompting, edit = Prompting.from_dict(found.get("steering", {})), Edit.from_dict(found.get("edit"))
    drawn, _ = sample(
        run, len(given), found["seed"], given, out, first, found["settings"], prompting=prompting, edit=edit,
        lines=lines,
        tile=found.get("tile", False),
    )  # fmt: skip
    if "sheet" in found:
        sheet(run, drawn, out, found["sheet"].get("font"))
        return out / "sheet.png"
    return out / file.name if whole else out / f"{first:06d}{drawn.modality.suffix}"
