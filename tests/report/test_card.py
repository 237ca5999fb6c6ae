"""The model card: its header is YAML that a hub takes, its numbers are the report's, and an edited one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from tiny import make_run

from likewise.runs.run import Run
from likewise.verbs.evaluate import evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> Run:
    return make_run("picture", tmp_path_factory.mktemp("card"), "gan")


@pytest.fixture
def run(trained: Run) -> Run:
    """Without a card, whichever test came before."""
    (trained.path / "README.md").unlink(missing_ok=True)
    return trained


def test_header_and_body(run: Run) -> None:
    report = evaluate(run, n=24)
    text = (run.path / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["library_name"] == "likewise"
    assert header["license"] == "unknown"
    assert header["pipeline_tag"] == "unconditional-image-generation"
    assert {"gan", "image"} <= set(header["tags"])
    (model,) = header["model-index"]
    metrics = {metric["type"]: metric for result in model["results"] for metric in result["metrics"]}
    rows = {row["name"]: row for row in report["metrics"]}
    assert metrics["kid"]["value"] == rows["kid"]["value"]
    assert metrics["kid"]["args"]["stamp"] == rows["kid"]["stamp"]
    assert model["results"][0]["dataset"]["split"] == "held-out"
    assert ModelCard(text).data.eval_results
    info = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert info["fingerprint"] in text
    assert f"| training items | {info['train']:,} |" in text
    for row in report["metrics"]:
        assert f"| {row['title']} |" in text
    for title in ("How to sample", "Data", "Training", "Evaluation", "Copy check", "Limits", "How to cite"):
        assert f"\n## {title}\n" in text
    assert "](report/samples.png)" in text
    assert (run.path / "report" / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_an_edited_card_is_kept(run: Run) -> None:
    evaluate(run, n=24)
    first = (run.path / "README.md").read_text(encoding="utf-8")
    evaluate(run, n=20)
    assert (run.path / "README.md").read_text(encoding="utf-8") != first  # ours: written anew
    edited = first.replace("license: unknown", "license: cc0-1.0")
    (run.path / "README.md").write_text(edited, encoding="utf-8")
    evaluate(run, n=24)
    assert (run.path / "README.md").read_text(encoding="utf-8") == edited
    beside = (run.path / "report" / "README.md").read_text(encoding="utf-8")
    assert beside.replace("](samples.png)", "](report/samples.png)").split("<!--")[0] == first.split("<!--")[0]


def test_names_are_text_not_markup(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a | b <script> `c` {d}"
    path.symlink_to(run.path, target_is_directory=True)
    evaluate(Run(path), n=20)
    text = (path / "README.md").read_text(encoding="utf-8")
    body = text.split("---\n", 2)[2]
    assert "# a \\| b \\<script\\> \\`c\\` \\{d\\}\n" in body
    assert "likewise sample 'a | b <script> `c` {d}' -n 16" in body
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["name"] == path.name
