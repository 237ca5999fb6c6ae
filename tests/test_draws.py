"""Counter-based randomness: known values, independence of the batch, and the right distributions."""

import pytest
import torch

from likewise.draws import Draws, derive_seed, philox, to_uniform


def test_philox_known_values():
    """Known-answer vectors of the authors' Random123 library for philox4x32-10."""
    zero = tuple(torch.zeros(1, dtype=torch.int64) for _ in range(4))
    assert [int(w) for w in philox(zero, (0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = tuple(torch.full((1,), 0xFFFFFFFF) for _ in range(4))
    known = [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert [int(w) for w in philox(ones, (0xFFFFFFFF, 0xFFFFFFFF))] == known


def test_a_row_does_not_depend_on_the_batch():
    many, one = Draws(7, torch.arange(64)), Draws(7, torch.tensor([41]))
    for call in (lambda d: d.normal(3, 5), lambda d: d.uniform(7), lambda d: d.integers(10, 2)):
        assert torch.equal(call(many)[41:42], call(one))


def test_uniform_is_open_at_both_ends():
    ends = to_uniform(torch.tensor([0, 2**32 - 1]))
    assert ends[0] > 0
    assert ends[1] < 1
    assert torch.isfinite(-(-ends.log()).log()).all()


def test_distributions():
    d = Draws(1, torch.arange(2000))
    z, u = d.normal(50), d.uniform(50)
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    logits = torch.tensor([0.0, 1.0, float("-inf"), 2.0]).expand(2000, 4)
    share = torch.stack([d.categorical(logits) for _ in range(20)]).flatten().bincount(minlength=4) / 40000
    assert torch.allclose(share, logits[0].softmax(0), atol=0.01)
    assert share[2] == 0


def test_a_cpu_draws_what_any_device_draws():
    """`philox` in tensors runs on every device, its numpy twin on a CPU: the same words."""
    items = torch.tensor([0, 5, 2**33 + 7])
    shape = (3, 4)
    position = torch.arange(4).expand(shape)
    low, high = ((items >> bits & 0xFFFFFFFF)[:, None].expand(shape) for bits in (0, 32))
    for call in range(2):
        expected = torch.stack(philox((position, torch.full(shape, call), low, high), (123, 456)), -1).flatten(1)
        drawn = Draws(123 + (456 << 32), items)
        got = [drawn.bits(16) for _ in range(call + 1)][-1]
        assert torch.equal(got, expected)


def test_numbers_go_on_elsewhere():
    here = Draws(2**63 + 5, torch.tensor([3, 2**40]))
    here.normal(2)
    there = here.to("cpu")
    assert torch.equal(there.bits(4), here.bits(4))


def test_numbers_drawn_ahead_are_those_of_their_calls():
    """A call for one number of each item takes it from a stock; other calls in between change nothing."""
    items = torch.tensor([0, 5, 2**33 + 7])
    drawn = Draws(9, items)
    for call in range(200):
        one = call % 7 != 3
        words = drawn.bits(1) if one else drawn.bits(2, 3)
        counter = (torch.zeros(3, dtype=torch.int64), torch.full((3,), call), items & 0xFFFFFFFF, items >> 32)
        first = philox(counter, (9, 0))[0]
        assert torch.equal(words.flatten(1)[:, 0], first)
        assert words.shape == ((3, 1) if one else (3, 2, 3))
    assert drawn.bits().shape == (3,)


#: seeds whose words differ, one that needs all 64 bits and one that is negative, and their items
REQUESTS = [(0, 3), (7, 3), (2**63 + 5, 0), (-1, 2**33 + 7), (7, 4), (0, 3)]
LOGITS = torch.tensor([0.0, 1.0, float("-inf"), 2.0])
CALLS = {
    "bits": lambda d: d.bits(9),
    "one": lambda d: torch.stack([d.bits(1) for _ in range(5)], 1),
    "uniform": lambda d: d.uniform(7),
    "normal": lambda d: d.normal(3, 5),
    "integers": lambda d: d.integers(10, 2),
    "categorical": lambda d: d.categorical(LOGITS.expand(d.batch, 4)),
    "branch": lambda d: d.branch("window", 1).normal(4),
    "branch of a branch": lambda d: d.branch("a").branch("b").uniform(3),
    "to": lambda d: d.to("cpu").normal(5),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_rows_with_seeds_of_their_own_are_drawn_as_alone(call, as_tensor):
    seeds, index = [seed for seed, _ in REQUESTS], torch.tensor([i for _, i in REQUESTS])
    signed = torch.tensor([(seed + 2**63) % 2**64 - 2**63 for seed in seeds])
    mixed = Draws(signed if as_tensor else seeds, index)
    alone = [Draws(seed, index[k : k + 1]) for k, seed in enumerate(seeds)]
    for _ in range(2):  # the second call goes on where the first one stopped
        assert torch.equal(call(mixed), torch.cat([call(one) for one in alone]))


def test_seeds_that_are_derived_can_be_mixed():
    seeds = [derive_seed(seed, "sample") for seed in (0, 1, 2)]
    mixed = Draws(seeds, torch.arange(3)).normal(2)
    assert torch.equal(mixed, torch.cat([Draws(s, torch.tensor([i])).normal(2) for i, s in enumerate(seeds)]))


def test_philox_in_tensors_takes_a_key_for_each_row():
    keys = torch.tensor([[1], [2**32 - 1]]), torch.tensor([[5], [0]])
    counter = tuple(torch.arange(3).expand(2, 3) for _ in range(4))
    both = philox(counter, keys)
    for row in range(2):
        alone = philox(tuple(c[row : row + 1] for c in counter), (int(keys[0][row]), int(keys[1][row])))
        assert all(torch.equal(word[row : row + 1], one) for word, one in zip(both, alone, strict=True))


def test_as_many_seeds_as_items():
    with pytest.raises(ValueError, match="2 seeds for 3 items"):
        Draws([1, 2], torch.arange(3))
