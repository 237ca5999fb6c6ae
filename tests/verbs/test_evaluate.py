"""Reports of runs whose model is known: what they say of it, and that the page stands alone."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from pydoc_data.topics import topics
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from likewise.spaces import Continuous, Tokens
from likewise.verbs.compare import compare
from likewise.verbs.evaluate import evaluate

pytestmark = pytest.mark.full

NASTY = "<script>alert('x')</script> & \"q\""
VOID = {"meta", "link", "img", "br", "line", "circle", "rect", "polyline"}


class Pictures:
    name, likelihood_unit, suffix, resize, base_modality = "image", "dimension", ".png", "none", ""
    forms, page_style, notes = (), "figures", ()

    def as_form(self, values: list, form: str) -> list:
        return list(values)

    def read(self, value: Any) -> Any:
        return value

    def row_of(self, value: Any) -> Any:
        return value

    def text_of(self, value: Any) -> Any:
        return value

    def caption(self, value: Any) -> str:
        return str(value)

    def content(self, value: Any) -> bytes:
        return repr(value).encode()

    def given_notes(self, *_: Any) -> tuple:
        return ()

    def features(self, values: list) -> np.ndarray:
        return np.stack([value.ravel() / 16 for value in values])

    def to_html(self, value: np.ndarray) -> str:
        file = BytesIO()
        Image.fromarray((value * 15).astype(np.uint8)).save(file, "PNG")
        return f'<img alt="8x8 picture" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'

    def num_units(self, value: np.ndarray) -> int:
        return value.size

    def task(self, given: list[str]) -> str | None:
        return None

    def sheet(self, values: list) -> bytes | None:
        return None

    def describe(self) -> str:
        return "8x8 grey"


class Words(Pictures):
    name, likelihood_unit, suffix = "text", "byte", None
    forms, page_style = ("text",), "texts"

    def features(self, values: list) -> np.ndarray:
        return np.stack([np.bincount(list(value.encode()), minlength=256)[:256] for value in values]).astype(float)

    def to_html(self, value: str) -> str:
        return f"<p>{value.replace('&', '&amp;').replace('<', '&lt;')}</p>"

    def num_units(self, value: str) -> int:
        return len(value.encode())

    def describe(self) -> str:
        return NASTY


class Rows(Words):
    name, likelihood_unit = "table", "column"
    forms, page_style = ("row",), "rows"

    def features(self, values: list) -> np.ndarray:
        return np.array([[row["size"], row["kind"] == NASTY] for row in values], float)

    def to_html(self, value: dict) -> str:
        return super().to_html(str(value))

    def num_units(self, value: dict) -> int:
        return len(value)


class Encoding:
    """What a report asks of an encoding."""

    def __init__(self, modality: Any, real: bool) -> None:
        self.modality, self.real, self.name = modality, real, "pixels" if real else "tokens"

    def uncounted(self) -> str | None:
        return None if self.real else NASTY

    def describe(self) -> str:
        return self.modality.describe()


class Label(Words):
    def to_html(self, value: Any) -> str:
        return str(value)


class FakeRun:
    """What `evaluate` needs of a run, with a model that is a function (rng, given) -> value."""

    def __init__(self, path: Path, modality: Any, parts: dict, draw: Any, **model: Any) -> None:
        self.path, self.name, self.weights_hash = path, model.pop("name", NASTY), "ab" * 32
        self.modality, self._parts, self._draw = modality, parts, draw
        self.encoding = Encoding(modality, isinstance(model["space"], Continuous))
        given = parts["held_out"].given
        self.conditions = dict.fromkeys(given, Encoding(Label(), False))
        self.model = SimpleNamespace(
            target=model["space"], likelihood=model.get("likelihood"), likelihood_passes=1, likelihood_how="by hand",
            condition=model.get("condition", {}),
        )  # fmt: skip
        self.logits = model.get("logits")
        self.info = {"parameters": 1234, "device": "cpu", "note": NASTY}
        plan: dict[str, Any] = {"family": {"name": model.get("family", "flow")}, "backbone": {"name": "conv"}}
        plan["training"] = {"seed": model.get("trained", 0)}
        self.experiment = SimpleNamespace(
            to_dict=lambda: plan, family=SimpleNamespace(autoencodes=False, generates=True)
        )
        self.autoencoder = None
        self.sampler = SimpleNamespace(changed_settings=lambda settings: dict(settings or {}))

    def reference(self, part: str) -> Any:
        return self._parts[part]

    def sample(self, n: int, seed: int = 0, given: Any = None, settings: Any = None) -> Any:
        asked = given or [{}] * n
        values = [self._draw(np.random.default_rng([seed, i]), asked[i]) for i in range(n)]
        ended = torch.tensor([[0, 1, 2, 2]] * (n - 1) + [[0, 1, 1, 1]])
        real = self._parts["held_out"].x
        x = real[torch.arange(n) % len(real)] if self.encoding.real else ended
        return SimpleNamespace(values=values, given=asked, seed=seed, x=x)

    def log_likelihood(self, x: Any, c: Any, seed: int) -> np.ndarray:
        return np.full(len(x), -64 * np.log(2.0))

    def discriminate(self, x: Any, c: Any) -> np.ndarray | None:
        return self.logits and self.logits(x)

    def metrics(self) -> list[dict]:
        train = [{"step": s, "seconds": s, "split": "train", "match<": 2 / s, "lr": 0.1} for s in range(1, 50)]
        return [*train, {"step": 49, "split": "val", "loss": 0.2}]


def part(values: list, x: Any, **given: list) -> Any:
    return SimpleNamespace(values=values, given=given, x=x, c=None)


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].reshape(-1, 8, 8), y[order].tolist()
    return {
        name: part(list(x[cut]), torch.tensor(x[cut][:, None] / 8.5 - 0.95).float(), label=y[cut])
        for name, cut in (("train", slice(0, 1200)), ("held_out", slice(1200, 1500)), ("unseen", slice(1500, None)))
    }


def picture_run(path: Path, digits: dict, model: str, **more: Any) -> FakeRun:
    """Models of digits: "fresh" draws real ones that nobody has seen, "copy" training ones, "one" always the same."""
    source = digits["train" if model == "copy" else "unseen"]
    places: dict[int, list[int]] = {}
    for i, label in enumerate(source.given["label"]):
        places.setdefault(label, []).append(i)

    def draw(rng: np.random.Generator, given: dict) -> np.ndarray:
        if model == "one":
            return np.clip(source.values[0] + rng.normal(size=(8, 8)) * 0.3, 0, 16)
        value = source.values[rng.choice(places[given["label"]])]
        return np.clip(np.rint(value + rng.normal(size=(8, 8)) * 0.3), 0, 16) if model == "fresh" else value

    return FakeRun(path, Pictures(), digits, draw, space=Continuous((1, 8, 8), levels=17), **more)


class Reader(HTMLParser):
    """Collects what a browser would load, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.scripts = self.images = self.without_alt = 0
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        self.scripts += tag == "script"
        self.images += tag == "img"
        self.without_alt += tag == "img" and not attributes.get("alt")
        for key in ("src", "href", "srcset", "action", "data"):
            if key in attributes and not (attributes[key] or "").startswith(("data:", "#")):
                self.outside.append(attributes[key] or "")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and not (tag == "p" and self.open[-1] != "p"):
            assert self.open.pop() == tag


def read_page(path: Path) -> Reader:
    page = path.read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not reader.outside
    assert not reader.scripts
    assert not reader.without_alt
    assert "url(" not in page
    assert "@import" not in page
    assert reader.headings[0] == "h1"
    assert reader.headings.count("h1") == 1
    assert "<script>alert" not in page
    assert "prefers-color-scheme: dark" in page
    return reader


def rows_of(report: dict) -> dict[str, dict]:
    return {row["name"]: row for row in report["metrics"]}


def test_a_good_model_of_pictures(tmp_path: Path, digits: dict) -> None:
    said: list[str] = []
    run = picture_run(tmp_path, digits, "fresh", likelihood="bound")
    report = evaluate(run, n=400, seed=3, progress=said.append)
    rows = rows_of(report)
    assert report == json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == 2
    assert report["n_compared"] == 300
    assert rows["precision"]["value"] > 0.8
    assert rows["recall"]["value"] > 0.7
    assert rows["kid"]["value"] < 0.3 * rows["kid"]["baseline"]["value"]
    assert rows["judge_accuracy"]["value"] < 0.8 < rows["judge_accuracy"]["baseline"]["value"]
    assert rows["agreement:label"]["value"] > 0.9 > 0.3 > rows["agreement:label"]["baseline"]["value"]
    assert rows["modes:label"]["value"] == rows["modes:label"]["floor"]["value"] == 1
    assert rows["modes_kl:label"]["value"] < 0.1
    assert not report["copies"]["flagged"]
    # 64 nats-of-a-bit over 64 dimensions is 1 bit, and 17 levels on [-1, 1] add log2(17 / 2).
    assert rows["bits"]["value"] == pytest.approx(1 + np.log2(17 / 2))
    for row in report["metrics"]:
        assert len(row["stamp"]) == 8
        assert row["seed"] == 3
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
        assert row["n_real"] > 0
    assert rows["tstr:label"]["value"] > 0.8 > rows["tstr:label"]["baseline"]["value"]
    assert rows["membership"]["low"] < 0.5 < rows["membership"]["high"]
    assert rows["membership_loss"]["value"] == 0.5
    assert 3 <= len(report["verdict"]) <= 7
    assert "drawing 400 samples" in said
    reader = read_page(tmp_path / "report" / "index.html")
    assert reader.images >= 2 * 48
    assert not list((tmp_path / "report").glob(".*"))


def test_what_is_wrong_with_bad_models(tmp_path: Path, digits: dict) -> None:
    copying = evaluate(picture_run(tmp_path / "copy", digits, "copy"), n=200)
    assert copying["copies"]["flagged"]
    assert rows_of(copying)["copies_exact"]["value"] == 1
    assert any("copies training data" in sentence for sentence in copying["verdict"])
    assert any(each["what"] == "likelihood" for each in copying["skipped"])
    assert rows_of(copying)["membership"]["low"] > 0.5
    same = rows_of(evaluate(picture_run(tmp_path / "one", digits, "one"), n=200))
    assert same["recall"]["value"] < 0.2
    assert same["precision"]["value"] > 0.9
    assert same["tstr:label"]["value"] < 0.4 < 0.8 < same["tstr:label"]["floor"]["value"]
    assert same["judge_accuracy"]["value"] > 0.9
    assert same["agreement:label"]["value"] < 0.4
    assert same["modes:label"]["value"] <= 0.2
    assert same["modes_kl:label"]["low"] > 1


def test_a_models_own_discriminator_stands_beside_the_judge(tmp_path: Path, digits: dict) -> None:
    """One that likes ink, of a model that draws the same thing over and over; and one that knows its training data."""
    likes_ink = picture_run(tmp_path / "ink", digits, "one", logits=lambda x: np.asarray(x.flatten(1).sum(1)))
    rows = rows_of(evaluate(likes_ink, n=200))
    assert rows["judge_accuracy"]["value"] > 0.9
    assert rows["own_auc"]["floor"]["low"] < 0.5 < rows["own_auc"]["floor"]["high"]
    assert rows["own_auc"]["baseline"]["what"].startswith("held-out items")
    known = {tuple(row) for row in digits["train"].x.flatten(1).tolist()}
    learned = picture_run(
        tmp_path / "by-heart", digits, "fresh",
        logits=lambda x: np.array([tuple(row) in known for row in x.flatten(1).tolist()]) + np.linspace(0, 0.1, len(x)),
    )  # fmt: skip
    assert rows_of(evaluate(learned, n=200))["own_auc"]["floor"]["value"] < 0.1
    page = (tmp_path / "ink" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Own discriminator" in page
    assert page.count("Real items classified as samples") == 2 + 8  # the section's name, its title, each picture's


def test_the_report_is_a_pure_function_of_run_and_seed(tmp_path: Path, digits: dict) -> None:
    run = picture_run(tmp_path, digits, "fresh")
    first, again, other = (evaluate(run, n=60, seed=seed) for seed in (0, 0, 1))
    for report in (first, again, other):
        del report["seconds"]
    assert first == again
    assert first["metrics"] != other["metrics"]
    assert {row["stamp"] for row in first["metrics"]}.isdisjoint(row["stamp"] for row in other["metrics"])


def test_texts(tmp_path: Path) -> None:
    lines = [line.strip() for text in topics.values() for line in text.splitlines() if len(line) > 30][:600]
    parts = {
        name: part(values, torch.tensor([[0, 1, 1, 2]] * len(values)))
        for name, values in (("train", lines[:400]), ("held_out", lines[400:500] + [NASTY] * 5))
    }
    run = FakeRun(
        tmp_path, Words(), parts, lambda rng, _: lines[rng.integers(500, 600)],
        space=Tokens(4, 5, end=2), likelihood="exact",
    )  # fmt: skip
    rows = rows_of(evaluate(run, n=120))
    assert rows["bits"]["title"] == "Bits per byte"
    assert rows["bits"]["baseline"]["what"] == "a Kneser-Ney 6-gram model of bytes"
    assert rows["ended"]["value"] == pytest.approx(119 / 120)
    assert rows["ended"]["floor"]["value"] == 1
    assert 0 < rows["distinct_2"]["value"] <= 1
    assert rows["length"]["floor"]["value"] > 10
    read_page(tmp_path / "report" / "index.html")


def test_tables(tmp_path: Path) -> None:
    def rows(n: int, seed: int, shift: float = 0.0) -> list[dict]:
        rng = np.random.default_rng(seed)
        return [{"size": float(rng.normal() + shift), "kind": NASTY if rng.random() < 0.3 else "b"} for _ in range(n)]

    parts = {name: part(rows(n, n), torch.zeros(n, 2)) for name, n in (("train", 300), ("held_out", 150))}
    run = FakeRun(
        tmp_path, Rows(), parts, lambda rng, _: rows(1, int(rng.integers(2**31)), 3.0)[0],
        space=Continuous((2,)), likelihood="exact",
    )  # fmt: skip
    report = evaluate(run, n=100)
    found = rows_of(report)
    assert [column["name"] for column in report["columns"]] == ["size", "kind"]
    assert report["columns"][0]["distance"] > 0.7
    assert found["columns"]["value"] > found["columns"]["floor"]["value"]
    assert "density" in found["bits"]["note"]
    assert found["quality"]["value"] < found["quality"]["floor"]["value"]
    assert found["tstr"]["floor"]["value"] > 0.4
    read_page(tmp_path / "report" / "index.html")


def test_a_handful_of_items_is_said_not_hidden(tmp_path: Path, digits: dict) -> None:
    few = {name: part(p.values[:6], p.x[:6], label=p.given["label"][:6]) for name, p in digits.items()}
    report = evaluate(
        FakeRun(tmp_path, Pictures(), few, lambda rng, _: rng.random((8, 8)), space=Continuous((1, 8, 8)))
    )
    assert {each["what"] for each in report["skipped"]} >= {"judge", "likelihood"}
    assert "Only 6" in report["verdict"][-1]
    read_page(tmp_path / "report" / "index.html")
    with pytest.raises(ValueError, match="n = 0"):
        evaluate(picture_run(tmp_path, digits, "fresh"), n=0)
    few["held_out"] = part([], few["train"].x[:0])
    with pytest.raises(ValueError, match="held-out items"):
        evaluate(FakeRun(tmp_path, Pictures(), few, None, space=Continuous((1, 8, 8))))


def test_compare(tmp_path: Path, digits: dict) -> None:
    fresh = picture_run(tmp_path / "a", digits, "fresh", name="fresh")
    one = picture_run(tmp_path / "b", digits, "one", name=f"one {NASTY}", family="gan")
    evaluate(fresh, n=1000)
    comparison = compare([fresh, one])
    assert (tmp_path / "b" / "report" / "report.json").exists()
    assert not comparison.warnings
    by_name = {next(r for r in row if r)["name"]: i for i, row in enumerate(comparison.rows)}
    assert comparison.best[by_name["recall"]] == {0}
    read_page(comparison.page)
    assert comparison.page.parent == tmp_path / "a" / "report"
    evaluate(one, n=50)
    differing = compare([fresh, one], out=tmp_path / "page.html")
    assert "n" in differing.warnings[0]
    assert not any(differing.best[by_name[name]] for name in ("kid", "recall", "judge_accuracy"))
    with pytest.raises(ValueError, match="at least two"):
        compare([fresh])


def test_runs_that_differ_by_the_seed_have_a_mean_over_seeds(tmp_path: Path, digits: dict) -> None:
    runs = [picture_run(tmp_path / str(i), digits, "fresh", name=f"seed {i}", trained=i) for i in range(3)]
    runs[2].weights_hash = "cd" * 32
    other = picture_run(tmp_path / "other", digits, "one", name="other", family="gan")
    for i, run in enumerate(runs):
        run._draw = lambda rng, given, i=i, draw=run._draw: draw(np.random.default_rng([i, rng.integers(2**31)]), given)
    for run in (*runs, other):
        evaluate(run, n=100)
    comparison = compare([*runs, other])
    assert comparison.names[-1] == "seed 0 and 2 more seeds: mean"
    for row, best in zip(comparison.rows, comparison.best, strict=True):
        values = [each["value"] for each in row[:3] if each and each["value"] is not None]
        mean = row[-1]
        if len(values) < 3:
            assert mean is None
            continue
        assert mean is not None
        assert mean["value"] == pytest.approx(np.mean(values))
        assert mean["low"] <= mean["value"] <= mean["high"]
        assert mean["seeds"] == 3
        assert not best & {0, 1, 2}
    by_name = {next(r for r in row if r)["name"]: i for i, row in enumerate(comparison.rows)}
    assert comparison.best[by_name["recall"]] == {4}
    read_page(comparison.page)


def test_translations_are_scored_beside_their_references(tmp_path: Path) -> None:
    pairs = [(f"eins {i} zwei {i * 7 % 13} drei", f"one {i} two {i * 7 % 13} three") for i in range(240)]
    parts = {
        name: part([target for _, target in some], torch.zeros(len(some), 4), source=[source for source, _ in some])
        for name, some in (("train", pairs[:160]), ("held_out", pairs[160:]))
    }
    right = dict(pairs)
    run = FakeRun(
        tmp_path, Words(), parts, lambda rng, given: right[given["source"]], space=Tokens(4, 5, end=2),
        condition={"source": Tokens(8, 9, end=1)},
    )  # fmt: skip
    rows = rows_of(evaluate(run, n=80))
    assert rows["bleu"]["value"] == pytest.approx(100)
    assert "tok:13a" in rows["bleu"]["note"]
    assert rows["ter"]["value"] == rows["cer"]["value"] == rows["wer"]["value"] == 0
    best = rows["chrf"]["baseline"]
    assert best["what"] == rows["bleu"]["baseline"]["what"] == "the target of the nearest source"
    names = ("assigned to other sources", "the source itself", best["what"], "word for word (IBM model 1)")
    each = [re.search(rf"{re.escape(name)} (\d+\.\d)", rows["chrf"]["note"]) for name in names]
    assert max(float(found[1]) for found in each if found) == pytest.approx(best["value"], abs=0.06)
    assert all(each)
    assert 30 < best["value"] < 95
    assert "the 160 training pairs" in rows["chrf"]["note"]
    assert rows["wer"]["baseline"]["value"] > 0.2
    assert "5,000" in rows["mauve"]["note"]


def test_features_of_ones_own(tmp_path: Path, digits: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own_features.py").write_text(
        "import numpy as np\ndef edges(values):\n    return np.stack([np.diff(v, axis=0).ravel() for v in values])\n"
    )
    monkeypatch.chdir(tmp_path)
    run = picture_run(tmp_path / "run", digits, "fresh")
    report = evaluate(run, n=60, features="own_features:edges")
    assert report["protocol"]["features"].startswith("own_features:edges, 56 numbers")
    plain = evaluate(run, n=60)
    assert report["protocol"]["extractor"] != plain["protocol"]["extractor"] == "pca"
    assert {row["stamp"] for row in report["metrics"]}.isdisjoint(row["stamp"] for row in plain["metrics"])
    with pytest.raises(ValueError, match=r"minilm, FILE\.onnx"):
        evaluate(run, n=60, features="inception")
