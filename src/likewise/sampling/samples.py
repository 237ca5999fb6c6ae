"""Samples: values with seed, conditions and provenance, which display and save themselves."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from likewise.modalities.base import Modality


@dataclass(frozen=True)
class Samples:
    """Samples as values and as tensors, with the condition of each.

    x: the encoded samples, shape (N, *shape) or (N, L), on the CPU. start: the index of the first sample.
    """

    values: list[Any]
    x: Tensor
    given: list[dict[str, Any]]
    seed: int
    modality: Modality
    start: int
    provenance: dict[str, Any]
    #: indices of texts that ended before they matched the regex or schema
    cut: Collection[int] = ()

    def __len__(self) -> int:
        return len(self.values)

    def _repr_png_(self) -> bytes | None:
        return self.modality.sheet(self.values)

    def _repr_html_(self) -> str:
        return "".join(f"<figure>{self.modality.to_html(v)}</figure>" for v in self.values)

    def save(self, folder: str | Path) -> None:
        """Write samples.jsonl and provenance.json, and one file per sample, samples.csv or samples.txt if any."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        finish(folder, self.write(folder), self.provenance)

    def write(self, folder: Path) -> list[str]:
        """Write one file per sample if the modality has files; returns the lines of samples.jsonl."""
        modality, base = self.modality, self.provenance
        lines = []
        for i, (value, asked) in enumerate(zip(self.values, self.given, strict=True), self.start):
            line: dict[str, Any] = {"index": i, "seed": self.seed, "given": asked}
            if modality.suffix:
                line["file"] = f"{i:06d}{modality.suffix}"
                modality.write(value, folder / line["file"], {**base, "index": i, "given": asked})
            else:
                # Samples that correspond to the lines of a file: the sample of an empty line is an empty text.
                empty = "lines" in base and not any(str(asked[name]).strip() for name in base["lines"])
                line["row" if "row" in modality.forms else "text"] = "" if empty else modality.to_json(value)
            if i in self.cut:
                line["cut"] = True
            lines.append(json.dumps(line, ensure_ascii=False))
        return lines


def json_lines(path: Path) -> list[str]:
    r"""The lines of a .jsonl file, split at \n only: texts may contain other line separators (U+0085, U+2028)."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def finish(folder: Path, lines: Iterable[str], provenance: Mapping[str, Any]) -> None:
    """Write samples.jsonl, provenance.json, and for rows samples.csv, line by line.

    Texts drawn for the lines of a file (`lines` in the provenance) are also written to samples.txt, one per line.
    """
    table = texts = None
    plain = folder / "samples.txt"
    plain.unlink(missing_ok=True)  # it may be left from earlier samples
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as out, ExitStack() as stack:
        for line in lines:
            out.write(line + "\n")
            found = json.loads(line)
            if "lines" in provenance and "text" in found:
                if texts is None:
                    texts = stack.enter_context(plain.open("w", encoding="utf-8", newline="\n"))
                texts.write(" ".join(found["text"].splitlines()) + "\n")
            row = found.get("row")
            if row is None:
                continue
            if table is None:
                file = stack.enter_context((folder / "samples.csv").open("w", newline="", encoding="utf-8"))
                table = csv.DictWriter(file, list(row))
                table.writeheader()
            table.writerow(row)
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1), encoding="utf-8")
