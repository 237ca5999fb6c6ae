"""What was drawn: values with their seed, conditions and provenance, that show and save themselves."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from likewise.modalities.base import Modality


@dataclass(frozen=True)
class Samples:
    """What was drawn: values, as tensors too, with what was given for each."""

    values: list[Any]
    x: Tensor
    given: list[dict[str, Any]]
    seed: int
    modality: Modality
    start: int
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.values)

    def _repr_png_(self) -> bytes | None:
        return self.modality.sheet(self.values)

    def _repr_html_(self) -> str:
        return "".join(f"<figure>{self.modality.show(v)}</figure>" for v in self.values)

    def save(self, folder: str | Path) -> None:
        """Write samples.jsonl, provenance.json, and a file for each sample or samples.csv."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        modality, base = self.modality, self.provenance
        lines = []
        for i, (value, asked) in enumerate(zip(self.values, self.given, strict=True), self.start):
            line: dict[str, Any] = {"index": i, "seed": self.seed, "given": asked}
            if modality.suffix:
                line["file"] = f"{i:06d}{modality.suffix}"
                modality.write(value, folder / line["file"], {**base, "index": i, "given": asked})
            else:
                line["row" if isinstance(value, Mapping) else "text"] = modality.to_json(value)
            lines.append(json.dumps(line, ensure_ascii=False))
        (folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "provenance.json").write_text(json.dumps(base, indent=1), encoding="utf-8")
        if isinstance(self.values[0], Mapping):
            with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(self.values[0]))
                writer.writeheader()
                writer.writerows(self.values)
