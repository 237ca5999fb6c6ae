"""Texts of untrained runs that must match a pattern or a schema, and patterns that are none."""

from __future__ import annotations

import json
import re
import sys

import jsonschema
import pytest

from commands import KINDS, SMALL, command
from likewise.sampling.prompting import Prompting
from likewise.verbs.sample import again, sample
from likewise.verbs.train import train

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["man", "wömån"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("constrained")
    lines = [f"line {i}: a man is {i * 7 % 90} years old, été {i * i}" for i in range(200)]
    (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")

    def trained(kind):
        settings = {**SMALL, "target.tokenizer": kind, "target.length": 120}
        return train(folder / "lines.txt", out=str(folder / kind), set_=settings, steps=2, say=lambda _: None)

    return {kind: trained(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def run(runs, request):
    return runs[request.param]


def test_every_text_matches_the_regex(run):
    pattern = r"(été|line) [0-9]{2,4}(-[a-c]{1,3})?!"
    drawn = run.sample(50, 1, prompting=Prompting(regex=pattern))
    assert all(re.fullmatch(pattern, text) for text in drawn.values)
    assert len(set(drawn.values)) > 25
    assert not drawn.cut
    prompted = run.sample(50, 1, prompting=Prompting(prompt="a man is ", regex=pattern))
    assert all(re.fullmatch("a man is " + pattern, text) for text in prompted.values)
    assert run.sample(3, 1, start=30, prompting=Prompting(regex=pattern)).values == drawn.values[30:33]


def test_every_text_is_json_by_the_schema(run, tmp_path):
    drawn, folder = sample(run, 50, 1, out=tmp_path / "a", prompting=Prompting(json_schema=PERSON))
    assert not drawn.cut
    for text in drawn.values:
        jsonschema.validate(json.loads(text), PERSON)
    again(folder / "samples.jsonl", tmp_path / "b")
    assert (tmp_path / "b/samples.jsonl").read_bytes() == (folder / "samples.jsonl").read_bytes()


def test_greedy_and_streamed(runs):
    asked, said = Prompting(regex="[0-9]{5}"), []
    drawn = runs["bpe"].sample(1, 1, settings={"temperature": 0}, prompting=asked, live=said.append)
    assert "".join(said) == drawn.values[0]
    assert re.fullmatch("[0-9]{5}", drawn.values[0])


def test_texts_that_the_length_cuts_are_marked(runs, tmp_path, monkeypatch, capsys):
    run = runs["bytes"]
    asked = ["sample", run.path, "-n", 20, "--regex", "a{1,2}|b{200}|c{120}", "--out", tmp_path / "a"]
    told = command(monkeypatch, capsys, *asked, error=True)
    rows = [json.loads(line) for line in (tmp_path / "a/samples.jsonl").read_text().splitlines()]
    assert {row["index"] for row in rows if row.get("cut")} == {r["index"] for r in rows if r["text"][0] == "b"}
    count = sum("cut" in row for row in rows)
    assert 0 < count < 20
    assert f"{count} of 20 texts ended before they matched" in told


def test_what_is_no_pattern_is_refused_in_one_line(runs, tmp_path, monkeypatch, capsys):
    def told(*words):
        text = command(monkeypatch, capsys, "sample", runs["bytes"].path, *words, code=2)
        assert text.count("\n") == 1
        return text

    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "none.json").write_text('{"type": "nonsense"}')
    assert "--regex: unclosed group" in told("--regex", "((")
    assert "look-around" in told("--regex", "(?=a)b")
    assert "not JSON, line 1" in told("--json-schema", tmp_path / "bad.json")
    assert "a schema is a JSON object" in told("--json-schema", tmp_path / "list.json")
    assert "nonsense" in told("--json-schema", tmp_path / "none.json")
    assert "not allowed with" in told("--json-schema", tmp_path / "none.json", "--regex", "a")
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert "pip install 'likewise[constrain]'" in told("--regex", "a")
