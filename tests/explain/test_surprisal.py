"""The page of surprising texts: its numbers are the model's likelihood, its ranks are right, and it stands alone."""

from __future__ import annotations

import json
import re
from pydoc_data.topics import topics

import numpy as np
import pytest

from digits import few_digits
from likewise.explain.surprisal import write_surprisal
from likewise.metrics.likelihood import bits
from likewise.spaces import without_end
from likewise.verbs.train import train

pytestmark = pytest.mark.full

SMALL = {"backbone.width": 16, "training.threads": 1, "training.batch": 16, "data.val_fraction": 0.3}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "lines.txt"
    texts = [line.strip() for text in topics.values() for line in text.splitlines() if len(line) > 30]
    path.write_text("\n".join(line[: 10 + i % 40] for i, line in enumerate(texts[:150])), encoding="utf-8")
    return path


def test_bits_are_the_likelihood(lines, tmp_path):
    run = train(lines, out=str(tmp_path / "run"), set_=SMALL, steps=2, say=lambda _: None)
    page = write_surprisal(run)
    found = json.loads(page.with_suffix(".json").read_text())
    real = run.reference("held_out")
    nats = run.log_likelihood(real.x, real.c)
    assert nats is not None
    space = run.space
    expected = bits(nats, space)
    counted = run.log_likelihood(without_end(real.x, space), real.c)
    assert counted is not None
    content = bits(counted, space)
    items = [item for section in found["sections"].values() for item in section["items"]]
    assert len(items) == 36
    for item in items:
        place = int(item["name"].split()[-1])
        assert item["bits"] == pytest.approx(expected[place], abs=2e-3)
        assert sum(b for _, b in item["tokens"]) == pytest.approx(item["bits"], abs=0.05)
        assert "".join(piece for piece, _ in item["tokens"]) == real.values[place] + "∎"
        assert item["bits_per_byte"] == pytest.approx(content[place] / len(real.values[place].encode()), abs=1e-3)
    amounts = np.array([len(text.encode()) for text in real.values])
    assert found["bits_per_byte"]["value"] == pytest.approx(content.sum() / amounts.sum())
    rates = {name: [i["bits_per_byte"] for i in found["sections"][name]["items"]] for name in ("least", "most")}
    long = amounts >= 20
    assert rates["least"][0] == pytest.approx((content / amounts)[long].max(), abs=1e-3)
    assert rates["most"] == sorted(rates["most"])
    assert max(rates["most"]) <= min(rates["least"])
    text = page.read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert "bits (1 in 16)" in text
    assert re.search(r'title="\d+\.\d bits, a chance of', text)


def test_what_has_no_surprisal_says_so(lines, tmp_path):
    vae = train(lines, out=str(tmp_path / "vae"), family="vae", set_=SMALL, steps=2, say=lambda _: None)
    with pytest.raises(ValueError, match="does not predict token by token"):
        write_surprisal(vae)
    digits = few_digits(tmp_path / "digits")
    flow = train(digits, out=str(tmp_path / "flow"), set_={"backbone.width": 16}, steps=2, say=lambda _: None)
    with pytest.raises(ValueError, match="for text"):
        write_surprisal(flow)
