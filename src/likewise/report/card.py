"""The model card: `README.md` in the run's folder, with the metadata header of model hubs, from the run and its report.

Mitchell et al., "Model cards for model reporting" (2019). The header is written by huggingface_hub in its own format.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from likewise.report.charts import number
from likewise.report.page import environment, groups_of, interval, write_whole
from likewise.runs.run import Run
from likewise.training.display import duration

#: the picture of samples that the card shows, relative to the run's folder
SHEET = Path("report") / "samples.png"
#: the number of samples in the picture
COUNT = 64


def write_card(run: Run, report: Mapping[str, Any], samples: list[Any]) -> Path:
    """Write README.md into the run's folder, and if samples are pictures a contact sheet of the first ones.

    A README.md that was edited is not overwritten: the new card is then `report/README.md`. Returns the card's path.
    """
    sheet = run.modality.sheet(samples[:COUNT])
    if sheet is not None:
        (run.path / SHEET).write_bytes(sheet)
    path = run.path / "README.md"
    if path.exists() and not _ours(path.read_text(encoding="utf-8")):
        path = run.path / "report" / "README.md"
    picture = None if sheet is None else os.path.relpath(run.path / SHEET, path.parent).replace(os.sep, "/")
    text = card(run, report, picture)
    write_whole(path, text + _MARK.format(_digest(text)))
    return path


#: the last line of a card; its hash shows whether the card was edited
_MARK = "<!-- written by likewise, sha256 {} of what stands above -->\n"


def _ours(text: str) -> bool:
    head, _, last = text.rstrip("\n").rpartition("\n")
    return f"{last}\n" == _MARK.format(_digest(f"{head}\n"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def card(run: Run, report: Mapping[str, Any], sheet: str | None = None) -> str:
    """The card's text. sheet: the path of the picture of samples, relative to the card's folder."""
    rows = {row["name"]: row for row in report["metrics"]}
    templates = environment(html=False)
    templates.filters["plain"] = _plain
    body = templates.get_template("card.md").render(
        run=report["run"],
        info=report["run"]["info"],
        report=report,
        groups=groups_of(rows),
        sheet=sheet,
        settings=_settings(run.experiment.to_dict()),
        minutes=duration,
        number=number,
        interval=interval,
        path=shlex.quote(report["run"]["name"]),
        given=[shlex.quote(name) for name in report["run"]["given"]],
        key=re.sub(r"\W+", "-", report["run"]["name"]).strip("-").lower() or "run",
    )
    return f"---\n{header(run, report)}\n---\n\n{body}\n"


def header(run: Run, report: Mapping[str, Any]) -> str:
    """The YAML front matter: licence, library, tags, and the main measures as a model-index."""
    about = report["run"]
    task = run.modality.task([e.modality.base_modality or e.modality.name for e in run.conditions.values()])
    digest = str(about["info"].get("fingerprint", "unknown"))[:12]
    results = [
        EvalResult(
            task_type=task or "other",
            dataset_type=f"local-{digest}",
            dataset_name=f"the run's own data, fingerprint {digest}",
            dataset_split="held-out",
            metric_type=row["name"],
            metric_name=row["title"],
            metric_value=row["value"],
            metric_args={key: row[key] for key in ("low", "high", "n_real", "n_fake", "seed", "stamp")},
        )
        for row in report["metrics"]
        if row["value"] is not None and row["name"].partition(":")[0] in _INDEXED
    ]
    return ModelCardData(
        license="unknown",  # depends on the data, which only the user knows
        library_name="likewise",
        pipeline_tag=task,
        tags=["likewise", about["family"], about["backbone"], about["modality"], "generative"],
        model_name=about["name"],
        eval_results=results or None,
    ).to_yaml()


#: the measures in the model-index: those that can be understood without their references
_INDEXED = {"judge_accuracy", "kid", "precision", "recall", "coverage", "bits", "agreement", "r_precision", "columns"}


def _settings(plan: Mapping[str, Any]) -> str:
    """The most important training settings, in one line."""
    training = plan.get("training", {})
    return ", ".join(f"{key} {training[key]}" for key in ("batch", "lr", "optimizer", "ema", "seed") if key in training)


def _plain(text: str) -> str:
    """The user's text escaped for Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|#&])", r"\\\1", " ".join(str(text).split()))
