"""Prompts, stops and streams of untrained runs, whose texts are as odd as can be; and what is refused."""

from __future__ import annotations

import json
from pydoc_data.topics import topics

import pytest

from commands import KINDS, SMALL, command
from digits import few_digits
from likewise.sampling.prompting import Prompting
from likewise.sampling.samples import finish, json_lines
from likewise.verbs.sample import again, in_bulk, sample
from likewise.verbs.train import train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "lines.txt"
    texts = [line.strip() + " é" for text in topics.values() for line in text.splitlines() if len(line) > 30]
    path.write_text("\n".join(line[-40:] for line in texts[:300]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(lines, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")

    def trained(kind):
        settings = {**SMALL, "target.tokenizer": kind, "target.length": 48}
        return train(lines, out=str(folder / kind), set_=settings, steps=2, say=lambda _: None)

    return {kind: trained(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def run(runs, request):
    return runs[request.param]


def test_a_prompt_begins_each_text_and_is_drawn_again(run, tmp_path):
    asked = Prompting(prompt="The été ")
    drawn, folder = sample(run, 5, 3, out=tmp_path / "a", prompting=asked)
    assert all(text.startswith("The été ") for text in drawn.values)
    assert len(set(drawn.values)) == 5
    assert json.loads((folder / "provenance.json").read_text())["steering"] == {"prompt": "The été "}
    again(folder / "samples.jsonl", tmp_path / "b")
    assert (tmp_path / "b/samples.jsonl").read_bytes() == (folder / "samples.jsonl").read_bytes()
    assert run.sample(2, 3, start=3, prompting=asked).values == drawn.values[3:]


def test_the_last_token_of_a_prompt_may_grow(runs):
    run = runs["bpe"]
    space = run.encoding.tokens_of("x ")[-1]
    texts = run.sample(60, prompting=Prompting(prompt="x "))
    place = len(run.encoding.tokens_of("x ")) - 1
    chosen = texts.x[:, place].tolist()
    assert all(run.encoding.token_bytes()[token].startswith(b" ") for token in chosen)
    assert set(chosen) - {space}


def test_a_stop_cuts_a_text_and_changes_nothing_before(run):
    free = run.sample(20, 5)
    stops = ("e", "th", free.values[0][3:6])
    prompting = Prompting(stop=stops)
    stopped = run.sample(20, 5, prompting=prompting)
    assert stopped.values == [prompting.trim(text) for text in free.values]
    assert not any(stop in text for stop in stops for text in stopped.values)
    end = run.encoding.end
    assert (stopped.x == end).sum() > (free.x == end).sum()  # nothing is drawn behind it
    # A stop in the prompt is part of it.
    prompted = run.sample(3, prompting=Prompting(prompt="the ", stop=("the ", "e")))
    assert all(text.startswith("the ") for text in prompted.values)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_streamed_is_what_is_written(run, seed):
    for prompting in (
        Prompting(),
        Prompting(prompt="é in ", stop=("ing", "e r", "n")),
        Prompting(stop=("\ufffd\ufffd",)),
    ):
        said = []
        streamed = run.sample(1, seed, start=seed, prompting=prompting, live=said.append)
        assert "".join(said) == streamed.values[0]
        assert run.sample(1, seed, start=seed, prompting=prompting).values == streamed.values
        assert all(said)


def test_blocks_of_many_are_the_same(runs, tmp_path):
    from likewise.training.distributed import join

    run, prompting = runs["characters"], Prompting(prompt="a", stop=("b",))
    in_bulk(run, 70, 1, {}, tmp_path / "bulk", {}, join(run.device("cpu")), prompting=prompting)
    sample(run, 70, 1, out=tmp_path / "plain", prompting=prompting)
    for name in ("samples.jsonl", "provenance.json"):
        assert (tmp_path / "bulk" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_only_a_line_feed_ends_a_line_of_samples(tmp_path):
    r"""JSON leaves U+0085 and U+2028 in texts as they are, and str.splitlines would end a line there."""
    texts = ["a\x85b", "c\u2028d\u2029e", "f\x0cg\x1ch"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    finish(tmp_path, lines, {})
    assert [json.loads(line)["text"] for line in json_lines(tmp_path / "samples.jsonl")] == texts


def test_the_command_line(runs, tmp_path, monkeypatch, capsys):
    run = runs["bpe"]
    (tmp_path / "prompt.txt").write_bytes(b"The\r\n")
    words = ["sample", run.path, "-n", 1, "--stop", "e ", "--stop", "q"]
    shown = command(monkeypatch, capsys, *words, "--prompt-file", tmp_path / "prompt.txt", "--out", tmp_path / "a")
    streamed = command(monkeypatch, capsys, *words, "--prompt", "The", "--stream", "--out", tmp_path / "b")
    assert shown == streamed
    assert shown.startswith("The")
    assert (tmp_path / "a/samples.jsonl").read_bytes() == (tmp_path / "b/samples.jsonl").read_bytes()
    command(monkeypatch, capsys, *words, "--prompt", "The")
    assert not verify(run.path).damaged


def test_what_is_refused_in_one_line(runs, lines, tmp_path, monkeypatch, capsys):
    def told(run, *words):
        text = command(monkeypatch, capsys, "sample", run.path, *words, code=2)
        assert text.count("\n") == 1
        return text

    run = runs["bytes"]
    assert "it has 200 tokens and the run's texts at most 48" in told(run, "--prompt", "x" * 200)
    assert "empty text" in told(run, "--stop", "")
    assert "give -n 1" in told(run, "--stream")
    assert "No such file" in told(run, "--prompt-file", tmp_path / "none")
    vae = train(lines, out=str(tmp_path / "vae"), family="vae", set_=SMALL, steps=2, say=lambda _: None)
    assert "vae does not draw a text from its first token" in told(vae, "--prompt", "The")
    digits = few_digits(tmp_path / "digits")
    flow = train(digits, out=str(tmp_path / "flow"), set_={"backbone.width": 16}, steps=2, say=lambda _: None)
    assert "are for text, and this is image" in told(flow, "--stop", "a")


def test_what_is_drawn_again_takes_no_other_wishes(runs, tmp_path, monkeypatch, capsys):
    _, folder = sample(runs["bytes"], 2, out=tmp_path / "a")
    text = command(monkeypatch, capsys, "sample", "--from", folder / "samples.jsonl", "--prompt", "The", code=2)
    assert "nothing beside it but --out" in text
