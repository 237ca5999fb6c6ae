"""Processes that train together: the same weights whatever their number, sharded or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from likewise.config import Training
from likewise.training import distributed
from likewise.training.distributed import World

pytestmark = pytest.mark.full

HERE = Path(__file__).parent
FAMILIES = ("vae", "gan", "flow", "autoregressive")


def torchrun(processes, *words, cwd=None, check=True):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=240,
    )
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the worker saw with 1, 2 and 4 processes."""
    folder = tmp_path_factory.mktemp("elastic")
    out = {}
    for processes in (1, 2, 4):
        torchrun(processes, HERE / "elastic_worker.py", folder / f"{processes}.json")
        out[processes] = json.loads((folder / f"{processes}.json").read_text())
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_elastic_weights_are_bitwise_equal_at_every_world_size(found, family):
    key = f"{family} elastic"
    assert found[1][key] == found[2][key] == found[4][key]


@pytest.mark.parametrize("family", ["vae", "gan", "flow"])  # the autoregressive model has dropout, drawn by process
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
@pytest.mark.parametrize("processes", [2, 4])
def test_many_processes_learn_what_one_does(found, family, how, processes):
    """The rows and their noise are the same, so that weights differ by rounding (which Adam's first steps amplify)."""
    one, many = found[1][f"{family} ddp"], found[processes][f"{family} {how}"]
    assert many == {k: pytest.approx(v, rel=1e-2, abs=5e-2) for k, v in one.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_process_has_the_same_weights(found, family):
    assert found[2][f"{family} ddp everywhere"]
    assert found[4][f"{family} ddp everywhere"]


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_are_shares(found, family):
    assert found[4][f"{family} fsdp share"] < 0.4


def test_a_sharded_run_goes_on_and_samples_with_one_process(tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(f"the {a} is {b}" for a in "abcdefghij" for b in ("old", "new", "red")))
    sizes = ["--set", "backbone.width=32", "--set", "backbone.depth=1", "--set", "training.checkpoint_every=4"]
    words = ["-m", "likewise", "train", "t.txt", "--steps", "6", "--fsdp", "--out", "run", *sizes]
    torchrun(2, *words, cwd=tmp_path)
    newest = tmp_path / "run/checkpoints/0000006"
    assert len(list(newest.glob("weights-*-of-00002.safetensors"))) == 2
    one = [sys.executable, "-m", "likewise"]
    for verb in (["sample", "run", "-n", "2"], ["verify", "run"], ["export", "run", "--out", "one.safetensors"]):
        done = subprocess.run([*one, *verb], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one.safetensors").stat().st_size > 1000


@pytest.mark.parametrize(
    ("world", "settings", "said"),
    [
        (World(0, 8), {"batch": 4}, "4 items, .* cannot be shared by 8"),
        (World(0, 3), {"exact_elastic": True}, "it can be 1, 2, 4 or 8"),
        (World(0, 2), {"exact_elastic": True, "parallel": "fsdp"}, "use ddp"),
        (World(0, 1), {"exact_elastic": True, "batch": 4}, "at least 8"),
        (World(0, 1), {"parallel": "fsdp"}, "torchrun"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(world, settings, said):
    s = Training(**settings)
    with pytest.raises(ValueError, match=said):
        distributed.check(world, s.batch, s.exact_elastic, s.parallel)


def test_recomputed_activations_give_the_same_gradients():
    from elastic_worker import train

    plain, spared = (
        train("autoregressive", Training(batch=19, precision="float32", checkpoint_activations=c), World(), steps=2)
        for c in (False, True)
    )
    for a, b in zip(plain.model.parameters(), spared.model.parameters(), strict=True):
        assert torch.equal(a, b)
