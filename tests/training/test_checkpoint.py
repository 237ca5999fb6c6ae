"""Checkpoints: whole or not there, and what is damaged is noticed."""

import json

import pytest
import torch

from likewise.training import checkpoint


def some(step, folder):
    weights = {"a": torch.arange(6.0).view(2, 3) + step, "count": torch.tensor(step)}
    return checkpoint.save(folder, step, weights, {"optimizer/m": torch.ones(3)}, {"best_step": 1})


def test_round_trip(tmp_path):
    weights, rest, state = checkpoint.load(some(3, tmp_path))
    assert torch.equal(weights["a"], torch.arange(6.0).view(2, 3) + 3)
    assert weights["count"] == 3
    assert torch.equal(rest["optimizer/m"], torch.ones(3))
    assert state == {"step": 3, "best_step": 1}


def test_tied_weights_are_written_under_both_names(tmp_path):
    one = torch.randn(4, 4)
    weights, _, _ = checkpoint.load(checkpoint.save(tmp_path, 1, {"embed": one, "head": one, "row": one[1]}, {}, {}))
    assert torch.equal(weights["embed"], one)
    assert torch.equal(weights["head"], one)
    assert torch.equal(weights["row"], one[1])


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_flipped_bit_or_a_lost_file_is_noticed_and_the_one_before_is_used(tmp_path, file):
    good, bad = some(1, tmp_path), some(2, tmp_path)
    content = bytearray((bad / file).read_bytes())
    content[len(content) // 2] ^= 1
    (bad / file).write_bytes(content)
    with pytest.raises(checkpoint.Damaged, match=str(bad)):
        checkpoint.load(bad)
    path, complaints = checkpoint.latest(tmp_path)
    assert path == good
    assert len(complaints) == 1
    (bad / file).unlink()
    assert checkpoint.latest(tmp_path)[0] == good


def test_a_half_written_checkpoint_is_not_one(tmp_path):
    good = some(1, tmp_path)
    (tmp_path / ".0000002.tmp").mkdir()
    (tmp_path / ".0000002.tmp" / "weights.safetensors").write_bytes(b"cut off")
    assert checkpoint.latest(tmp_path) == (good, [])
    assert checkpoint.load(some(2, tmp_path))[2]["step"] == 2


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in range(1, 7):
        some(step, tmp_path)
    checkpoint.prune(tmp_path, keep=2, best=3)
    assert [int(p.name) for p in checkpoint.found(tmp_path)] == [3, 5, 6]


def test_pruning_deletes_nothing_while_the_newest_is_damaged(tmp_path):
    for step in range(1, 5):
        some(step, tmp_path)
    (tmp_path / "0000004" / "state.json").write_text(json.dumps({}))
    with pytest.raises(checkpoint.Damaged):
        checkpoint.prune(tmp_path, keep=1, best=None)
    assert len(checkpoint.found(tmp_path)) == 4


def test_a_process_killed_while_pruning_leaves_whole_checkpoints(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        some(step, tmp_path)

    def killed(path):
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.prune(tmp_path, keep=2, best=None)
    monkeypatch.undo()
    assert [int(path.name) for path in checkpoint.found(tmp_path)] == [2, 3]
    checkpoint.recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000002", "0000003"]
