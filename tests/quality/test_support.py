"""Each rule speaks where it applies, and only there; the command goes with what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted import gaussian, items_of

from likewise.cli.wording import say
from likewise.errors import Message
from likewise.quality.assess import Labelled, Quality, Suspect
from likewise.quality.diversity import diversity
from likewise.quality.labels import balance
from likewise.quality.support import Facts, support

MUCH = Facts(
    path="photos", train=100_000, held_out=5000, tokens=None, family="flow", parameters=10**6, batch=64,
    steps=1000, quality=None,
)  # fmt: skip
TEXT = replace(MUCH, path="a poem.txt", tokens=100.0, family="autoregressive")


def said(facts):
    return support(facts).paragraph()


def test_few_pictures():
    found = support(replace(MUCH, train=412, held_out=22, steps=4000))
    assert "412 items: expect memorisation above about 2,600 steps" in found.paragraph()
    assert "22 held-out items" in found.paragraph()
    assert say(Message(found.command)) == "likewise train photos --family flow --steps 2600"
    assert all(each.source for each in found.advice)


def test_enough_is_left_alone():
    found = support(replace(MUCH, family="vae"))
    assert found.advice == []
    assert say(Message(found.command)) == "likewise train photos --family vae"
    assert "stays below" in said(MUCH)


def test_texts():
    found = support(replace(TEXT, train=1000, steps=2000))
    assert "62 steps" in found.paragraph()  # 4 passes of 1000 items, 64 a step
    assert say(Message(found.command)) == "likewise train 'a poem.txt' --family autoregressive --steps 620"
    assert "The network is large" in found.paragraph()
    assert "The network is large" not in said(replace(TEXT, parameters=10**4))


@pytest.mark.parametrize(("train", "speaks"), [(500, True), (50_000, False)])
def test_gan(train, speaks):
    assert ("discriminator" in said(replace(MUCH, family="gan", train=train))) is speaks


def test_whether_a_gan_augments_is_what_the_plan_does():
    few = replace(MUCH, family="gan", train=400)
    assert "here they are not" in said(few)
    assert "family.augment=adaptive" in said(replace(few, augment="adaptive"))


def test_repeats_and_rare_classes():
    items = items_of(gaussian(50, 3), raw=True)
    quality = Quality(
        100, 100, 50, 100, [], [Suspect(i, "equal", "", "", 2.0) for i in range(50)],
        [Labelled("kind", balance(["a"] * 95 + ["b"] * 5), None)], {}, diversity(items), 3.0, 0.1,
    )  # fmt: skip
    text = said(replace(MUCH, quality=quality))
    assert "50.0% of the records repeat another" in text
    assert "kind: b" in text
