"""Two trainings that begin at the same time, into one folder: one of them has it, the other is told."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from likewise.runs import locks
from likewise.verbs import train as verb


def test_of_two_that_begin_into_one_folder_one_is_told(tmp_path, monkeypatch):
    for i in range(20):
        Image.fromarray(np.full((4, 4), 8 * i, np.uint8)).save(tmp_path / f"{i}.png")
    lay_out, begun, said = verb._lay_out, [], []

    def begin():
        verb.train(
            tmp_path, out=tmp_path / "runs" / "one", family="vae", steps=1, say=lambda _: None,
            set_={"training.batch": 8, "training.threads": 1, "backbone.width": 8, "family.latent": 2},
        )  # fmt: skip

    def second():
        with pytest.raises(ValueError) as caught:
            begin()
        said.append(str(caught.value))

    def slowly(aside, plan):
        """While the first lays its run out, the second comes as far as that."""
        begun.append(aside)
        if len(begun) == 1:
            other.start()
            time.sleep(1.0)
            assert len(begun) == 1
        lay_out(aside, plan)

    monkeypatch.setattr(verb, "_lay_out", slowly)
    other = threading.Thread(target=second)
    begin()
    other.join()
    [what] = said
    assert "holds a run" in what or "made a run" in what
    assert (tmp_path / "runs" / "one" / "run.json").is_file()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


def test_a_lock_goes_with_who_holds_it(tmp_path):
    def wait():
        with locks.laying_out(tmp_path):
            pass

    with locks.laying_out(tmp_path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()
