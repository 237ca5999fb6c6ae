"""Explaining small runs of every family: which questions are answered, that the page stands alone, and refusals."""

from __future__ import annotations

import importlib
import json
import shutil
from html.parser import HTMLParser
from itertools import product

import pytest

from digits import few_digits
from likewise.cli import main
from likewise.runs.run import Run
from likewise.spaces import Unfit
from likewise.verbs.explain import explain
from likewise.verbs.train import train

pytestmark = pytest.mark.full

TINY = {"backbone.width": 16, "training.threads": 1, "training.batch": 16}
SHALLOW = {**TINY, "backbone.depth": 1}


def trained(path, data, settings=TINY, **options):
    return train(data, out=str(path), set_=dict(settings), steps=2, say=lambda _: None, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("explained")


@pytest.fixture(scope="module")
def digits(folder):
    return few_digits(folder / "digits", 600)


@pytest.fixture(scope="module")
def gan(folder, digits):
    return trained(folder / "gan", digits, family="gan")


@pytest.fixture(scope="module")
def translation(folder):
    things = ["cat", "dog", "sky", "sea", "hat", "sun", "day", "way"]
    states = ["old", "new", "red", "wet", "far", "low", "big", "odd"]
    pairs = [f"the {a} is {b}\tdie {a} ist {b}" for a, b in product(things, states)]
    (folder / "pairs.tsv").write_text("\n".join(["source\ttarget", *pairs]) + "\n")
    return trained(folder / "translation", folder / "pairs.tsv", SHALLOW, backbone="transformer")


@pytest.fixture(scope="module")
def census(folder):
    rows = [f"{20 + i % 50},{'fm'[i % 2]},{'abc'[i % 3]},{i % 7 * 100}" for i in range(120)]
    (folder / "rows.csv").write_text("\n".join(["age,sex,town,pay", *rows]) + "\n")
    return trained(folder / "census", folder / "rows.csv", family="vae", given=["sex", "town"])


class Page(HTMLParser):
    """What a page asks for from elsewhere, and pictures without words."""

    def __init__(self, text):
        super().__init__()
        self.outside, self.wordless = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.outside += [v for k, v in attrs if k in ("src", "href") and not (v or "").startswith(("data:", "#"))]
        if tag == "script":
            self.outside.append(tag)
        if (tag == "img" and not found.get("alt")) or (tag == "svg" and not found.get("aria-label")):
            self.wordless.append(attrs)


def opened(run):
    page = (run.path / "report/explain.html").read_text(encoding="utf-8")
    told = json.loads((run.path / "report/explain.json").read_text(encoding="utf-8"))
    parsed = Page(page)
    assert not parsed.outside
    assert not parsed.wordless
    assert len(page) < 2_000_000
    assert all(f'id="{name}"' in page for name in told["sections"])
    return page, told


def test_a_gan_of_pictures(gan):
    explain(gan, n=2)
    page, told = opened(gan)
    assert list(told["sections"]) == ["latents", "critic", "fields", "robustness", "origins"]
    assert {each["what"] for each in told["skipped"]} == {
        "the surprisal of tokens", "attention", "how many bits a given field saves",
    }  # fmt: skip
    critics = told["sections"]["critic"]["items"]
    assert [c["name"] for c in critics[:2]] == ["sample 0", "sample 1"]
    assert all(0 <= c["rank"] <= 1 for c in critics)
    assert {line["slip"] for line in told["sections"]["robustness"]["items"]} >= {"upside down", "blurred"}
    explain(gan, n=2)
    assert opened(gan)[0] == page  # the same bytes


def test_one_sample_by_its_number_and_a_file(gan, digits):
    explain(gan, "5", n=1, seed=3, given={"label": "7"})
    told = opened(gan)[1]
    assert told["subjects"] == [{"name": "sample 5", "given": {"label": "7"}, "index": 5, "drawn": True}]
    picture = next((digits / "3").glob("*.png"))
    explain(gan, str(picture), n=1, given={"label": "3"})
    told = opened(gan)[1]
    assert [s["name"] for s in told["subjects"]] == [picture.name, "sample 0"]
    assert told["sections"]["origins"]["items"][0]["nearest"][0][1] == pytest.approx(0, abs=0.2)
    assert "the way from your own item" in {each["what"] for each in told["skipped"]}


def test_a_training_item_is_found_to_be_one(gan, folder):
    gan.reference("train").values[7].save(folder / "mine.png")
    explain(gan, str(folder / "mine.png"), n=1)
    mine = opened(gan)[1]["sections"]["origins"]["items"][0]
    assert mine["copy"]
    assert mine["nearest"][0][1] == 0


def test_a_translation(translation):
    explain(translation, n=2)
    page, told = opened(translation)
    assert list(told["sections"]) == ["surprisal", "attention", "fields", "robustness", "origins"]
    line = told["sections"]["surprisal"]["items"][0]
    assert sum(bits for _, bits in line["tokens"]) == pytest.approx(
        line["bits_per_token"] * len(line["tokens"]), abs=0.05
    )
    seen = told["sections"]["attention"]["items"][0]
    assert seen["blocks"] == 1
    assert 0 < seen["nearest"] <= 1
    assert 'class="matrix"' in page
    worth = told["sections"]["fields"]["fields"]["source"]
    assert set(worth) == {"moved_without", "moved_by_another", "worth", "worth_over_another"}
    assert all(each["low"] <= each["value"] <= each["high"] for each in worth.values())
    assert any(c["slip"] == "words that do not exist" for c in told["sections"]["robustness"]["conditions"])


def test_a_table_given_two_fields(census):
    explain(census, n=2)
    told = opened(census)[1]
    assert list(told["sections"]) == ["latents", "nearby", "fields", "robustness", "origins"]
    assert "directions of the latent" in {each["what"] for each in told["skipped"]}  # six rows are held out
    assert set(told["sections"]["fields"]["fields"]) == {"sex", "town"}
    units = told["sections"]["latents"]["units"]
    assert units == sorted(units, key=lambda each: -each["effect"])
    assert told["sections"]["latents"]["directions"][0] >= units[0]["effect"]
    assert 0 <= told["sections"]["latents"]["active_units"] <= 32


def test_a_field_may_be_left_out_while_another_is_given(census):
    """It once ended in StopIteration; and who else is in the batch changes nothing."""
    some = census.sample(3, seed=1, given={"sex": "f"})
    assert some.given == [{"sex": "f"}] * 3
    mixed = census.sample(3, seed=1, given=[{"sex": "f"}, {"sex": "f", "town": "a"}, {"town": "b"}])
    assert mixed.values[0] == some.values[0]


def test_a_flow_of_pictures(folder, digits):
    run = trained(folder / "flow", digits, {**TINY, "family.likelihood_steps": 4}, family="flow", given=[])
    explain(run, n=2)
    told = opened(run)[1]
    assert list(told["sections"]) == ["latents", "robustness", "origins"]
    assert told["sections"]["latents"]["latent"] == [1, 8, 8]
    assert len(told["sections"]["latents"]["round_trip"]) == 6
    assert all(line["bits"] > 0 for line in told["sections"]["robustness"]["items"])


@pytest.mark.parametrize(
    ("sample", "given", "said"),
    [
        ("nothing.png", {}, "nothing.png: there is no such file"),
        (__file__, {}, "not a readable picture"),
        ("0", {"colour": "red"}, "given label"),
        ("0", {"label": "33"}, "no label '33'"),
    ],
)
def test_refusals(gan, sample, given, said):
    with pytest.raises(ValueError, match=said):
        explain(Run(gan.path), sample, n=1, given=given)


def test_without_real_data_it_says_what_is_missing(gan, tmp_path):
    shutil.copytree(gan.path, tmp_path / "shared", ignore=shutil.ignore_patterns("reference"))
    with pytest.raises(ValueError, match=r"reference/train.json: is not there"):
        explain(Run(tmp_path / "shared"), n=1)


def test_none_is_too_few(gan):
    with pytest.raises(ValueError, match="at least one"):
        explain(gan, n=0)


def test_the_command_line(gan, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["likewise", "explain", str(gan.path), "3", "-n", "1", "--given", "label=4"])
    main()
    assert capsys.readouterr().out.endswith(f"{gan.path / 'report' / 'explain.html'}\n")
    assert opened(gan)[1]["subjects"] == [{"name": "sample 3", "given": {"label": "4"}, "index": 3, "drawn": True}]
    monkeypatch.setattr("sys.argv", ["likewise", "explain", str(gan.path), "no.png"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == "likewise: no.png: there is no such file; SAMPLE is a file, or the number of a sample\n"
    )


def test_what_a_part_cannot_do_is_said_and_a_fault_of_torch_is_not_taken_for_it(census, monkeypatch):
    verb = importlib.import_module("likewise.verbs.explain")

    def question(error):
        def ask(probe):
            raise error

        monkeypatch.setattr(verb, "QUESTIONS", [("the moon", ask)])

    question(Unfit("the family has no moon"))
    assert {"what": "the moon", "why": "the family has no moon"} in explain(census, n=1)["skipped"]
    question(NotImplementedError("aten::moon is not implemented for CPU"))
    with pytest.raises(NotImplementedError, match="aten::moon"):
        explain(census, n=1)
