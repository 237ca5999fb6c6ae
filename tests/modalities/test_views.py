"""Conditions that are computed from the target: what they are in training, in samples, and in what is kept."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from likewise.cli import main
from likewise.data.layouts import items
from likewise.modalities import views
from likewise.modalities.image import Image, ImageSettings
from likewise.planning.plan import make_plan
from likewise.training.batches import Batches, FieldData, Streamed
from likewise.verbs.train import train

SMALL = {
    "backbone.width": 8, "backbone.multipliers": [1, 2], "training.batch": 8, "training.threads": 1,
    "family.sampling.steps": 2, "data.val_fraction": 0.2, "target.size": 16,
}  # fmt: skip
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two flat colours, of which the left one is brighter: what is mirrored is seen in any view."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(30):
        pixels = np.zeros((20, 24, 3), np.uint8)
        pixels[:, :12], pixels[:, 12:] = rng.integers(130, 256, 3), rng.integers(0, 100, 3)
        PILImage.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    return train(photos, given=["small", "palette"], family="flow", out=out, steps=2, set_=SMALL, say=lambda _: None)


def plan_of(photos, **options):
    return make_plan(photos, family="flow", set_=SMALL | options.pop("set_", {}), **options)


def likewise(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
    main()
    return capsys.readouterr()


def test_each_view_is_of_what_is_learned(photos):
    plan = plan_of(photos, given=["small", "grey", "palette"])
    small, grey = (plan.conditions[name].modality for name in ("small", "grey"))
    assert isinstance(small, Image)
    assert isinstance(grey, Image)
    assert (small.width, small.height, small.mode) == (4, 4, "RGB")
    assert (grey.width, grey.height, grey.mode) == (16, 16, "L")
    assert plan.conditions["palette"].modality.name == "palette"
    columns = plan.train.columns
    whole = plan.modality.read(columns["image"][3])
    assert np.abs(np.asarray(small.read(columns["small"][3])).mean((0, 1)) - np.asarray(whole).mean((0, 1))).max() < 8
    assert np.array_equal(np.asarray(grey.read(columns["grey"][3])), np.asarray(whole.convert("L")))
    assert "given small as pixels, grey as pixels, palette as colours" in str(plan.guess())
    smaller = plan_of(photos, given=["small"], set_={"condition.small.size": 8}).conditions["small"].modality
    assert isinstance(smaller, Image)
    assert smaller.width == 8


def test_a_field_of_the_data_comes_first(photos, tmp_path):
    for i in range(12):
        shutil.copy(photos / f"{i}.png", tmp_path)
    rows = [{"file_name": f"{i}.png", "grey": f"a long word {i}"} for i in range(12)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert plan_of(tmp_path, given=["grey"]).conditions["grey"].modality.name == "text"
    assert plan_of(tmp_path, given=["small"]).conditions["small"].modality.name == "image"


def test_what_is_neither_is_refused_with_what_there_is(photos, tmp_path):
    with pytest.raises(ValueError, match="no field 'smal'; its fields are image, and views of image are small, grey"):
        plan_of(photos, given=["smal"])
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(ValueError, match=r"its fields are text$"):
        make_plan(tmp_path / "a.txt", given=["small"])
    with pytest.raises(ValueError, match=r"target\.crop=random"):
        plan_of(photos, given=["small"], set_={"target.crop": "random"})


@pytest.mark.parametrize("many", [True, False])
def test_batches_hold_the_view_of_the_very_item(photos, monkeypatch, many):
    """Mirrored with it, of streamed data too, and where a file is broken of the one that stands in for it."""
    if many:
        monkeypatch.setattr(items, "_MANY_FILES", 4)
    plan = plan_of(photos, given=["grey", "small"], set_={"target.flip": True})
    target = FieldData.of(plan.encoding, plan.train.columns["image"])
    given = {k: FieldData.of(m, plan.train.columns[k]) for k, m in plan.conditions.items()}
    assert all(isinstance(c.packed, Streamed) == many for c in (target, *given.values()))
    from likewise.draws import Draws

    x, c = Batches(target, given).take(np.arange(20), Draws(5, torch.arange(20)))
    assert c is not None
    turned = x[:, :, :, 0].mean((1, 2)) < x[:, :, :, -1].mean((1, 2))
    assert 0 < turned.sum() < 20
    for view in c.values():
        assert torch.equal(view[:, :, :, 0].mean((1, 2)) < view[:, :, :, -1].mean((1, 2)), turned)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert (c["grey"] - (x * weights).sum(1, keepdim=True)).abs().max() < 2 / 127.5
    _, c = Batches(target, given).take(np.arange(20))
    assert c is not None
    assert (c["grey"][:, :, :, 0].mean((1, 2)) > c["grey"][:, :, :, -1].mean((1, 2))).all()


def test_a_broken_file_takes_its_view_with_it(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(items, "_MANY_FILES", 4)
    for file in photos.iterdir():
        shutil.copy(file, tmp_path)
    plan = plan_of(tmp_path, given=["grey"])
    bad = plan.train.columns["image"][2]
    bad.write_bytes(b"no picture")
    target = FieldData.of(plan.encoding, plan.train.columns["image"])
    given = {"grey": FieldData.of(plan.conditions["grey"], plan.train.columns["grey"])}
    x, c = Batches(target, given).take(np.arange(6))
    assert c is not None
    assert torch.equal(x[2], x[3])
    assert torch.equal(c["grey"][2], c["grey"][3])


def test_a_photo_of_ones_own_and_the_same_again_without_it(run, photos, tmp_path, monkeypatch, capsys):
    photo = tmp_path / "photo.png"
    PILImage.open(photos / "3.png").resize((200, 160)).save(photo)
    likewise(
        monkeypatch, capsys, "sample", run.path, "-n", 3, "--given", f"small={photo}", "--given", "palette=#f00,#fff",
        "--out", tmp_path / "out",
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert rows[0]["given"]["palette"] == "#f00,#fff"
    assert rows[0]["given"]["small"].startswith("data:image/png;base64,")
    photo.unlink()
    for name in ("000002.png", "samples.jsonl"):
        likewise(monkeypatch, capsys, "sample", "--from", tmp_path / "out" / name, "--out", tmp_path / "again")
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    with pytest.raises(SystemExit):
        likewise(monkeypatch, capsys, "sample", run.path, "--given", f"small={photo}")
    assert "photo.png" in capsys.readouterr().err


def test_without_given_a_view_of_real_items_is(run):
    """The run keeps its real pictures, and what they are given is computed from those."""
    assert not list((run.path / "reference").glob("train.?.npy"))
    drawn = run.sample(6, seed=2)
    part = run.reference("train")
    known = {run.sampler.given_json({"small": value})["small"] for value in part.given["small"]}
    assert {given["small"] for given in drawn.given} <= known
    assert len({given["small"] for given in drawn.given}) > 1
    assert part.c is not None
    assert part.c["small"].shape == (len(part.values), 3, 4, 4)
    again = run.sample(1, seed=2, start=4)
    assert np.array_equal(np.asarray(again.values[0]), np.asarray(drawn.values[4]))
    assert again.given == drawn.given[4:5]


def test_a_run_that_goes_on_has_them_too(photos, tmp_path):
    from likewise.planning.split import records_again
    from likewise.runs.run import Run

    first = train(photos, given=["grey"], family="flow", out=tmp_path / "a", steps=2, set_=SMALL, say=lambda _: None)
    run = Run(first.path)
    part, held_out = records_again(run.experiment, run.encoding, run.conditions)
    assert isinstance(part.columns["grey"], views.Viewed)
    assert len(held_out.columns["grey"]) == len(held_out)


def test_a_view_is_the_user_s_to_set(photos):
    image = Image.fit([PILImage.new("RGBA", (64, 48))], ImageSettings(size="64x48"))
    assert views.settings(image, "small", ImageSettings()).size == "16x12"  # pyright: ignore
    assert views.settings(image, "small", ImageSettings(mode="L")).mode == "L"  # pyright: ignore
    assert image.view_settings("palette") == {}
