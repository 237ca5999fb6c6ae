"""The history of a dialogue: its template, what is kept of a long one, and what it may be given as."""

import json

import html5lib
import numpy as np
import pytest
import torch

from likewise.modalities.base import BadValue
from likewise.modalities.dialogue import Dialogue, DialogueSettings
from likewise.modalities.dialogue_tokens import DialogueTokens
from likewise.modalities.encoding import fit_encoding
from likewise.spaces import token_mask

TALK = [
    {"role": "system", "content": "Be <brief>."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Of what?"},
]


def fitted(**settings):
    return fit_encoding(Dialogue, [TALK, TALK[:2]], DialogueSettings(**settings))


def tokens(dialogue, *talks):
    return dialogue.encode(dialogue.pack(talks).take(np.arange(len(talks))))


@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe"])
def test_the_template_is_role_text_turn_for_each_message(kind):
    dialogue = fitted(tokenizer=kind)
    dialogue = DialogueTokens.from_state(Dialogue(), json.loads(json.dumps(dialogue.state())))
    assert dialogue.roles == ("system", "user", "assistant")
    row = tokens(dialogue, TALK)[0].tolist()
    size = dialogue.tokenizer.size
    assert [i - size for i in row if i >= size] == [0, 3, 1, 3, 2, 3, 1, 3, 4]
    assert dialogue.space.vocabulary == size + 5
    assert (dialogue.turn, dialogue.end) == (size + 3, size + 4)


def test_the_end_of_a_turn_is_not_the_padding():
    dialogue = fitted()
    x = tokens(dialogue, TALK, TALK[:2], [])
    counts = token_mask(x, dialogue.space).sum(1)
    assert counts.tolist() == [len(dialogue.pieces(row)) for row in x]
    assert (x == dialogue.turn).sum(1).tolist() == [4, 2, 0]
    assert dialogue.decode(x) == [TALK, TALK[:2], []]


@pytest.mark.parametrize("length", range(4, 60))
def test_the_newest_are_kept(length):
    dialogue = fitted(length=length)
    x = tokens(dialogue, TALK)
    [kept] = dialogue.decode(x)
    assert x.shape[1] <= length
    assert [m["role"] for m in kept] == [m["role"] for m in TALK[-len(kept) :]]
    assert [m["content"] for m in kept[1:]] == [m["content"] for m in TALK[len(TALK) - len(kept) + 1 :]]
    assert TALK[-len(kept)]["content"].endswith(kept[0]["content"])
    assert kept[0]["content"]
    whole = kept == TALK
    assert whole == (not dialogue.notes)
    assert whole or "only their newest are kept" in dialogue.notes[0]


def test_what_it_may_be_given_as():
    dialogue = Dialogue()
    assert dialogue.read("hello") == [{"role": "user", "content": "hello"}]
    assert dialogue.read(json.dumps(TALK)) == dialogue.read(TALK) == TALK
    assert dialogue.read("[sic]") == [{"role": "user", "content": "[sic]"}]
    for wrong in (3, [3], [{"role": "me", "content": "a"}], [{"role": "user", "content": None}]):
        with pytest.raises(BadValue, match="give"):
            dialogue.read(wrong)


def test_it_is_shown_turn_by_turn_and_every_piece_is_shaded():
    dialogue = fitted()
    html5lib.HTMLParser(strict=True).parseFragment(dialogue.modality.to_html(TALK))
    assert dialogue.modality.to_html(TALK).count("<br>") == 3
    assert "Be &lt;brief&gt;." in dialogue.modality.to_html(TALK)
    x = tokens(dialogue, TALK)[0]
    pieces = dialogue.pieces(x)
    assert "".join(pieces).startswith("system: Be <brief>.⏎user: Who")
    shaded = dialogue.heatmap_html(x, np.linspace(0, 1, len(pieces)), [f"<{p}>" for p in pieces])
    html5lib.HTMLParser(strict=True).parseFragment(shaded)
    assert shaded.count('class="piece"') == len(pieces)


def test_slips_change_the_newest_message_alone():
    dialogue = Dialogue()
    perturbations = dialogue.perturbations(TALK, np.random.default_rng(0))
    assert ("only the newest message", TALK[-1:]) in perturbations
    assert all(other[:-1] in (TALK[:-1], []) and other != TALK for _, other in perturbations)
    assert dialogue.perturbations([], np.random.default_rng(0)) == []


def test_any_tokens_decode_to_messages():
    dialogue = fitted()
    for talk in dialogue.decode(torch.randint(0, dialogue.end + 1, (20, 40))):
        assert dialogue.modality.read(talk) == talk


def test_a_caption_is_what_was_said():
    assert Dialogue().caption(TALK[1:3]) == "user: Who are you? ⏎ assistant: A model."
