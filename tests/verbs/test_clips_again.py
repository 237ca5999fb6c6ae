"""Clips of a run: written as asked, drawn again from their files, and shown as they move."""

import io
import json

import pytest
from PIL import Image as PILImage

from likewise.modalities import video_io
from likewise.runs.run import Run
from likewise.sampling import contact_sheets
from likewise.verbs.sample import again, sample
from likewise.verbs.train import train
from likewise.verbs.verify import verify
from moving import save_gif, square

pytestmark = pytest.mark.full

SMALL = {"training.batch": 8, "training.threads": 1, "backbone.width": 8, "family.latent": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(40):
        save_gif(folder / "data" / f"{i:03d}.gif", square(i, 4, (8, 8)))
    rows = [{"file_name": f"{i:03d}.gif", "text": f"square {i % 4}"} for i in range(40)]
    (folder / "data" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return train(folder / "data", out=folder / "run", family="vae", steps=2, set_=SMALL, say=lambda _: None)


def test_it_learns_clips_given_their_words(run):
    assert (run.modality.name, [*run.conditions]) == ("video", ["text"])
    assert "4 frames of 8x8 colour, 10 fps, as gif" in run.encoding.describe()
    [sheet, *_] = run.path.glob("samples/preview-*.png")
    with PILImage.open(sheet.with_suffix(".gif")) as moving:
        assert moving.n_frames == 4


def test_written_as_the_data_are_or_as_asked_and_drawn_again_byte_for_byte(run, tmp_path):
    drawn, folder = sample(run, 3, seed=5, given={"text": "square 1"}, out=tmp_path / "plain")
    assert sorted(p.suffix for p in folder.glob("0*")) == [".gif"] * 3
    assert len(drawn.values[0]) == 4
    asked = {"target.format": "mp4", "target.fps": 20}
    _, folder = sample(run, 3, seed=5, given={"text": "square 1"}, out=tmp_path / "films", settings=asked)
    assert video_io.about(folder / "000001.mp4").fps == 20
    for file in (tmp_path / "plain" / "000002.gif", folder / "000001.mp4"):
        copy = again(file, tmp_path / "again")
        assert copy.name == file.name
        assert copy.read_bytes() == file.read_bytes()
    with pytest.raises(ValueError, match="'mp4', 'webm', 'gif' or 'webp'"):
        run.sample(1, settings={"target.format": "avi"})


def test_stored_samples_are_verified(run):
    sample(run, 2, settings={"target.format": "webm"})
    assert not verify(run.path).damaged


def test_a_contact_sheet_shows_the_middle_frame_of_each_clip(run, tmp_path):
    drawn, folder = sample(run, 2, given={"text": "square 2"}, out=tmp_path)
    assert contact_sheets.write_sheet(drawn, run.conditions, folder / "sheet.png") == ""
    with PILImage.open(folder / "sheet.png") as sheet:
        cell = 96  # a frame of 8 pixels a side, 12 times as large, with 6 pixels around it
        second = sheet.crop((6 + cell + 6, 6, 6 + 2 * cell + 6, 6 + cell)).resize((8, 8), PILImage.Resampling.NEAREST)
    assert second.tobytes() == drawn.values[1].picture(2).convert("RGB").tobytes()


def test_a_run_opened_again_shows_the_same_clips(run):
    drawn = Run(run.path).sample(2, seed=1)
    assert drawn.values == run.sample(2, seed=1).values
    assert drawn._repr_html_().count("data:image/webp") == 2
    assert PILImage.open(io.BytesIO(drawn._repr_png_())).height == 2 * (8 * 6 + 4)


def test_a_first_frame_can_be_given(tmp_path):
    for i in range(30):
        save_gif(tmp_path / "data" / f"{i:03d}.gif", square(i, 4, (8, 8)))
    small = {k: v for k, v in SMALL.items() if k != "family.latent"} | {"family.sampling.steps": 2}
    run = train(tmp_path / "data", out=tmp_path / "run", given=["first"], steps=2, set_=small, say=lambda _: None)
    square(3, 1, (8, 8)).picture(0).save(tmp_path / "photo.png")
    _, folder = sample(run, 2, given={"first": str(tmp_path / "photo.png")}, out=tmp_path / "drawn")
    assert again(folder / "000001.gif", tmp_path / "again").read_bytes() == (folder / "000001.gif").read_bytes()


@pytest.mark.parametrize("given", [(), ("first",)])
def test_a_flow_goes_on_beyond_the_frames_it_has_learned(given, tmp_path):
    for i in range(30):
        save_gif(tmp_path / "data" / f"{i:03d}.gif", square(i, 4, (8, 8)))
    small = {k: v for k, v in SMALL.items() if k != "family.latent"} | {
        "family.sampling.steps": 3,
        "family.likelihood_steps": 2,
        "backbone.multipliers": [1, 2],
    }
    run = train(tmp_path / "data", out=tmp_path / "run", family="flow", given=given, steps=2, set_=small, say=print)
    told = {"first": square(3, 1, (8, 8)).picture(0)} if given else None
    short, long = (run.sample(3, given=told, settings=s).values for s in (None, {"length": 9}))
    assert [len(clip) for clip in long] == [9, 9, 9]
    for a, b in zip(short, long, strict=True):
        assert (b.frames[:4] == a.frames).all()
        assert (b.frames[4:8] != b.frames[:4]).any()
    assert run.sample(1, start=1, given=told, settings={"length": 9}).values[0] == long[1]
    assert [len(clip) for clip in run.sample(2, given=told, settings={"length": 3}).values] == [3, 3]
    _, folder = sample(run, 2, given=told, settings={"length": 9}, out=tmp_path / "drawn")
    assert video_io.about(folder / "000001.gif").frames == 9
    assert again(folder / "000001.gif", tmp_path / "again").read_bytes() == (folder / "000001.gif").read_bytes()
    with pytest.raises(ValueError, match="one step"):
        run.sample(1, given=told, settings={"length": 9, "steps": 1})


def test_pictures_have_one_way_to_be_written(tmp_path):
    for i in range(20):
        (tmp_path / "data").mkdir(exist_ok=True)
        PILImage.new("L", (4, 4), 10 * i).save(tmp_path / "data" / f"{i}.png")
    run = train(tmp_path / "data", out=tmp_path / "run", family="vae", steps=1, set_=SMALL, say=lambda _: None)
    with pytest.raises(ValueError, match="length"):
        run.sample(1, settings={"length": 8})
    with pytest.raises(ValueError, match=r"target\.format: there is one way only to write image"):
        run.sample(1, settings={"target.format": "mp4"})
