"""What a space says of itself, and that old descriptions of one are still read."""

from __future__ import annotations

import pytest

from likewise.spaces import Continuous, Tokens, length_quantiles, space_from_json, space_to_json

SPACES = [
    Continuous((3, 8, 8), levels=256),
    Continuous((6,), choices=((1, 3), (3, 6))),
    Continuous((2, 12), ragged=True, lengths=(1, 5, 12)),
    Continuous((4, 6, 3), ragged=True, choices=((0, 2),)),
    Tokens(6, 5, end=4, mean_length=4.0),
    Tokens(3, 9, ranges=((0, 2), (2, 5), (5, 9))),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_comes_back_from_json(space):
    assert space_from_json(space_to_json(space)) == space


def test_json_says_nothing_of_lengths_where_there_is_one():
    old = {"kind": "continuous", "shape": (3, 8, 8), "levels": 256, "choices": ()}
    assert space_to_json(SPACES[0]) == old
    assert space_from_json(old) == SPACES[0]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"shape": (2,), "ragged": True}, "needs positions, and a mask"),
        ({"shape": (1, 4), "ragged": True}, "needs positions, and a mask"),
        ({"shape": (3, 4), "ragged": True, "choices": ((1, 3),)}, "last channel of a ragged space is its mask"),
        ({"shape": (2, 4), "ragged": True, "lengths": (5,)}, "items have 1 to 4 positions"),
        ({"shape": (2, 4), "lengths": (3,)}, "lengths can only be set for a ragged space"),
    ],
)
def test_what_no_ragged_space_is(arguments, what):
    with pytest.raises(ValueError, match=what):
        Continuous(**arguments)


def test_few_lengths_stand_for_all():
    assert length_quantiles([3, 1, 2]) == (1, 2, 3)
    many = length_quantiles(range(1, 1001), 5)
    assert many == (1, 251, 501, 750, 1000)
