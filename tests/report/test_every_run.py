"""`evaluate`, unchanged, on every kind of data and every family: a report that its schema allows, a page, a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import html5lib
import jsonschema
import pytest
from huggingface_hub import ModelCard
from tiny import KINDS, SMALL, laid_out, make_run, schema

from likewise import catalog
from likewise.assemble import unfit
from likewise.modalities.encoding import fit_encoding
from likewise.planning.plan import make_plan
from likewise.planning.presets import preset_if_any
from likewise.report.page import SCHEMA
from likewise.runs.run import Run
from likewise.spaces import Unfit
from likewise.verbs.evaluate import evaluate

pytestmark = pytest.mark.full

#: what a quick suite has time for; the others are slow
QUICK = {
    ("picture", "gan"),
    ("captioned", "flow"),
    ("clip", "vae"),
    ("text", "autoregressive"),
    ("translation", "vae"),
    ("dialogue", "autoregressive"),
    ("table", "vae"),
}
PAIRS = [
    pytest.param(kind, family, marks=() if (kind, family) in QUICK else pytest.mark.slow)
    for kind in KINDS
    for family in catalog.names("family")
]


def check_page(path: Path) -> Any:
    """The page as an HTML5 parser that forgives nothing reads it."""
    page = path.read_text(encoding="utf-8")
    assert len(page.encode()) < 5_000_000
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    for picture in root.iter("img"):
        assert picture.get("alt")
    for element in root.iter():
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            assert (element.get(key) or "data:").startswith(("data:", "#"))
    assert not list(root.iter("script"))
    assert "url(" not in page
    assert "@import" not in page
    return root


def check_report(run: Run, report: dict[str, Any]) -> None:
    written = json.loads((run.path / "report" / "report.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(report))
    jsonschema.validate(written, schema())
    check_page(run.path / "report" / "index.html")
    data = ModelCard.load(run.path / "README.md").data
    assert data.library_name == "likewise"
    assert data.license
    assert report["run"]["family"] in data.tags
    by_name = {row["name"]: row["value"] for row in report["metrics"]}
    for result in data.eval_results or []:
        assert result.metric_value == pytest.approx(by_name[result.metric_type])


def refusals(kind: str, family: str, folder: Path) -> list[str]:
    """Why no encoding of the kind's target fits the family on the backbone it would get; empty where one fits."""
    plan = make_plan(laid_out(kind, folder), steps=2, set_=SMALL)
    learner = catalog.find("family", family)()
    # a codec is given nothing; the backbone is the preset's, or else the transformer
    fields = plan.conditions if learner.generates else {}
    given = {name: encoding.space for name, encoding in fields.items()}
    usual = preset_if_any(f"{plan.modality.name}-{family}").get("backbone", {}).get("name", "transformer")
    backbone = catalog.find("backbone", usual if learner.has_networks else "none")()
    column, cls = plan.train.columns[plan.scan.records.target], type(plan.modality)
    each = [fit_encoding(cls, column, plan.experiment.target, name) for name in catalog.encodings(plan.modality.name)]
    why = [unfit(encoding.space, learner, backbone, given) for encoding in each]
    return [] if None in why else [each for each in why if each]


@pytest.mark.parametrize(("kind", "family"), PAIRS)
def test_evaluate_takes_it(kind: str, family: str, tmp_path: Path) -> None:
    if why := refusals(kind, family, tmp_path):
        assert (kind, family) not in QUICK
        with pytest.raises(Unfit) as refused:
            make_run(kind, tmp_path, family)
        assert any(str(refused.value).startswith(each) for each in why)
        assert "\n" not in str(refused.value)
        return
    run = make_run(kind, tmp_path, family)
    report = evaluate(run, n=24)
    check_report(run, report)
    names = {row["name"] for row in report["metrics"]}
    assert {"judge_accuracy", "kid", "precision"} <= names
    assert ("copies" in names) == report["drawn"] == (family != "codec")
    assert ("own_auc" in names) == (family == "gan")
    assert ("bits" in names) == (run.model.likelihood is not None)
    assert ("motion" in names) == (kind == "clip")
    assert ("chrf" in names) == (kind == "translation")  # and not of replies, of which many are good
    for row in report["metrics"]:
        if row["name"].startswith(("judge_", "own_")):
            assert row["floor"] is not None
            assert row["baseline"] is not None
    assert len(report["judge"]["accused"]) == 8
    held_out = len(run.reference("held_out").values)
    assert all(i < held_out for i in report["judge"]["accused"])


def test_a_report_draws_as_it_is_told(tmp_path: Path) -> None:
    run = make_run("text", tmp_path)
    plain, greedy = evaluate(run, n=24), evaluate(run, n=24, settings={"temperature": 0})
    check_report(run, greedy)
    usual = {"min_p": 0.02}  # the preset's: no default of the family
    assert (plain["sampling"], greedy["sampling"]) == (usual, usual | {"temperature": 0})
    stamps = [{row["stamp"] for row in report["metrics"]} for report in (plain, greedy)]
    assert stamps[0].isdisjoint(stamps[1])  # not to be compared
    distinct = [next(row["value"] for row in r["metrics"] if row["name"] == "distinct_2") for r in (plain, greedy)]
    assert distinct[1] < distinct[0]
    assert "temperature 0" in (run.path / "report" / "index.html").read_text(encoding="utf-8")


def test_the_schema_refuses_what_it_does_not_say(tmp_path: Path) -> None:
    report = json.loads(json.dumps(evaluate(make_run("table", tmp_path), n=24)))
    assert schema()["properties"]["schema"]["const"] == SCHEMA
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    check.validate(report)
    for wrong in (
        {**report, "more": 1},
        {**report, "schema": SCHEMA + 1},
        {**report, "verdict": []},
        {**report, "metrics": [{**report["metrics"][0], "stamp": "none"}]},
        {**report, "metrics": [{k: v for k, v in report["metrics"][0].items() if k != "low"}]},
    ):
        assert not check.is_valid(wrong)


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "report-json.md").read_text(encoding="utf-8")

    def keys(part: Any) -> set[str]:
        if isinstance(part, dict):
            return set(part.get("properties", ())) | {k for inner in part.values() for k in keys(inner)}
        return {k for inner in part for k in keys(inner)} if isinstance(part, list) else set()

    missing = sorted(key for key in keys(schema()) if f"`{key}`" not in text)
    assert not missing
