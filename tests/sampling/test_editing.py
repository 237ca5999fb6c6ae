"""Pictures edited from the command line: drawn again bit for bit, and what cannot be is refused in a line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from commands import command
from digits import few_digits
from likewise.planning.plan import make_plan
from likewise.sampling.editing import Edit
from likewise.training.distributed import join
from likewise.verbs.sample import again, in_bulk, sample
from likewise.verbs.train import train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full

QUICK = {"backbone.width": 8, "backbone.multipliers": [1, 2], "training.threads": 1, "training.batch": 8}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return few_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module", params=[{}, {"family.few_step": True}], ids=["flow", "few-step"])
def run(request, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {**QUICK, **request.param, "family.likelihood_steps": 2}
    if not request.param:
        settings["family.sampling.steps"] = 3
    return train(digits, out=folder, set_=settings, steps=4, say=lambda _: None)


@pytest.fixture(scope="module")
def files(digits, tmp_path_factory):
    """A digit that is larger than those that are learned, and a mask whose left half is white."""
    folder = tmp_path_factory.mktemp("edits")
    digit = next(iter(sorted(digits.rglob("*.png"))))
    Image.open(digit).resize((40, 40)).save(folder / "digit.png")
    mask = Image.new("L", (40, 40), 0)
    mask.paste(255, (0, 0, 20, 40))
    mask.save(folder / "mask.png")
    return folder / "digit.png", folder / "mask.png"


def edit(run, files, strength=None, masked=True) -> Edit:
    found = Edit.read(run.encoding, str(files[0]), str(files[1]) if masked else None, strength)
    assert found is not None
    return found


def picture_of(run, files):
    """The user's picture as the run sees it."""
    edited = edit(run, files).batch(run.encoding, 1, run.device("cpu"))
    return run.encoding.decode(edited.start)[0]


def pixels(value) -> np.ndarray:
    return np.asarray(value, np.int64)


def test_the_kept_half_is_kept_and_the_other_is_drawn(run, files):
    [start] = run.encoding.decode(edit(run, files).batch(run.encoding, 1, run.device("cpu")).start)
    drawn = run.sample(3, 1, edit=edit(run, files))
    half = start.size[0] // 2
    for value in drawn.values:
        assert (pixels(value)[:, :half] == pixels(start)[:, :half]).all()
        assert (pixels(value)[:, half:] != pixels(start)[:, half:]).any()
    assert drawn.given == [{}] * 3  # the picture says what it is
    assert len({value.tobytes() for value in drawn.values}) == 3


def test_variations_range_from_the_picture_to_a_sample(run, files):
    same = run.sample(2, 1, edit=edit(run, files, 0.0, masked=False)).values
    [start] = run.encoding.decode(edit(run, files).batch(run.encoding, 1, run.device("cpu")).start)
    assert all((pixels(value) == pixels(start)).all() for value in same)
    given = {"label": "3"}
    free = run.sample(2, 1, given, edit=edit(run, files, 1.0, masked=False)).values
    assert [v.tobytes() for v in free] == [v.tobytes() for v in run.sample(2, 1, given).values]


def test_an_edited_sample_is_drawn_again_without_the_users_files(run, files, tmp_path):
    for asked in (edit(run, files), edit(run, files, 0.4, masked=False)):
        drawn, folder = sample(run, 5, 3, out=tmp_path / "a", edit=asked)
        assert run.sample(2, 3, start=3, edit=asked).values[0].tobytes() == drawn.values[3].tobytes()
        for name in ("000003.png", "samples.jsonl"):
            file = again(folder / name, tmp_path / "b")
            assert file.read_bytes() == (folder / name).read_bytes()
    in_bulk(run, 5, 3, {}, tmp_path / "bulk", {}, join(run.device("cpu")), edit=asked)
    for name in ("000003.png", "provenance.json"):
        assert (tmp_path / "bulk" / name).read_bytes() == (folder / name).read_bytes()


def test_the_command_line(run, files, tmp_path, monkeypatch, capsys):
    picture, mask = files
    words = ["sample", run.path, "-n", 2, "--from-image", picture]
    command(monkeypatch, capsys, *words, "--keep", mask, "--out", tmp_path / "kept")
    written = json.loads((tmp_path / "kept/provenance.json").read_text())["edit"]
    assert written["strength"] == 1.0
    assert Edit.from_dict(written).keep[:, 0].all()
    command(monkeypatch, capsys, *words)
    written = json.loads((run.path / "samples/provenance.json").read_text())["edit"]
    assert written["strength"] == 0.6
    assert "keep" not in written
    assert not verify(run.path).damaged
    text = command(monkeypatch, capsys, "sample", "--from", tmp_path / "kept/000000.png", "--keep", mask, code=2)
    assert "nothing beside it but --out" in text


def test_what_is_refused_in_one_line(run, digits, files, tmp_path, monkeypatch, capsys):
    picture, mask = files

    def told(run, *words):
        text = command(monkeypatch, capsys, "sample", run.path, *words, code=2)
        assert text.count("\n") == 1
        return text

    assert "of which picture" in told(run, "--keep", mask)
    assert "of which picture" in told(run, "--strength", 0.5)
    assert "from 0, the picture as it is" in told(run, "--from-image", picture, "--strength", 1.5)
    assert "no such file" in told(run, "--from-image", tmp_path / "none.png")
    assert "not a readable picture" in told(run, "--from-image", picture, "--keep", run.path / "modality.json")
    if run.experiment.family.few_step:
        return
    gan = train(digits, out=tmp_path / "gan", family="gan", set_=QUICK, steps=2, say=lambda _: None)
    assert "gan of 8x8 grey cannot edit" in told(gan, "--from-image", picture)
    with pytest.raises(ValueError, match="few_step=: gan"):
        train(digits, out=tmp_path / "x", family="gan", set_={"family.few_step": True}, steps=2, say=lambda _: None)
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(60)))
    rows = train(table, out=tmp_path / "rows", set_={"backbone.width": 16}, steps=2, say=lambda _: None)
    assert "real values with positions" in told(rows, "--from-image", picture)


def test_who_learns_to_jump_jumps(run):
    sampling = run.experiment.family.sampling
    jumps = run.experiment.family.few_step
    assert (sampling.sampler, sampling.steps) == (("jump", 4) if jumps else ("dpm_solver_pp", 3))


@pytest.mark.parametrize("preset", [None, "image-flow", "flow-few-step"])
def test_what_a_preset_says_of_drawing_gives_way_to_jumps_and_they_to_the_user(digits, preset):
    def planned(**more):
        made = make_plan(digits, family="flow", preset=preset, steps=1, set_={"family.few_step": True, **more})
        return made.experiment

    plan = planned()
    assert (plan.family.sampling.sampler, plan.family.sampling.steps) == ("jump", 4)
    assert (plan.training.optimizer, plan.family.sampling.guidance_scale) == ("adamw", 1.5)
    own = planned(**{"family.sampling.sampler": "heun", "training.optimizer": "muon"})
    assert (own.family.sampling.sampler, own.family.sampling.steps) == ("heun", 16)
    assert own.training.optimizer == "muon"
