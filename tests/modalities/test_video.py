"""Clips: every kind of file, of any length, and what is written can be read again."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image as PILImage

from likewise import catalog
from likewise.modalities import video_io
from likewise.modalities.base import BadValue
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.video import Video, VideoSettings
from likewise.modalities.video_io import Clip
from moving import save_frames, save_gif, save_still, square

CLIPS = [square(i) for i in range(8)]
SETTINGS = VideoSettings(codes=32)


def fitted(values=CLIPS, **settings):
    made = Video.fit(values, VideoSettings(codes=32, **settings))
    return Video.from_state(json.loads(json.dumps(made.state())))


def difference(a, b):
    return np.abs(a.frames.astype(int) - b.frames).mean()


@pytest.mark.parametrize(("kind", "most"), [("gif", 0), ("webp", 0), ("mp4", 4), ("webm", 4)])
def test_what_is_written_is_read_again_with_its_provenance(kind, most, tmp_path):
    video = fitted().written({"format": kind, "fps": 12.5})
    assert video.suffix == f".{kind}"
    a, b = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    provenance = {"seed": 7, "given": {"text": "ein Würfel, 方块"}}
    for path in (a, b):
        video.write(CLIPS[1], path, provenance)
    assert a.read_bytes() == b.read_bytes()
    assert Video.read_provenance(a) == provenance
    assert video_io.about(a).frames == 8
    assert video_io.about(a).fps == pytest.approx(12.5)
    assert difference(video.read(a), CLIPS[1]) <= most


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_films_of_odd_sizes_are_large_enough_to_be_seen(kind, tmp_path):
    clips = [square(i, 5, (11, 17)) for i in range(4)]
    video = fitted(clips, format=kind)
    video.write(clips[0], tmp_path / f"a.{kind}", {})
    seen = video_io.about(tmp_path / f"a.{kind}")
    assert (seen.width, seen.height, seen.frames) == (17 * 24, 11 * 24, 5)
    assert difference(video.read(tmp_path / f"a.{kind}"), clips[0]) < 4


def test_a_file_of_somebody_else_has_no_provenance(tmp_path):
    save_gif(tmp_path / "a.gif", CLIPS[0])
    assert Video.read_provenance(tmp_path / "a.gif") is None


def test_what_is_transparent_stays_so_in_gif_and_webp_and_is_white_in_films(tmp_path):
    clips = [square(i, channels=4) for i in range(4)]
    for i, clip in enumerate(clips):
        save_gif(tmp_path / "in" / f"{i}.gif", clip)
    video = fitted(sorted((tmp_path / "in").iterdir()))
    assert (video.mode, video.format) == ("RGBA", "gif")
    assert video.read(tmp_path / "in" / "0.gif") == clips[0]
    for kind in ("gif", "webp", "mp4"):
        path = tmp_path / f"out.{kind}"
        video.written({"format": kind}).write(clips[0], path, {})
        back = video.read(path)
        if kind == "mp4":
            corner = back.frames[0][clips[0].frames[0, ..., 3] == 0]
            assert corner.min() > 220
        else:
            assert np.array_equal(back.frames[..., 3], clips[0].frames[..., 3])


def test_of_long_clips_the_middle_is_learned_and_of_short_ones_the_last_frame_held(tmp_path):
    clips = [square(i, n) for i, n in enumerate([6, 6, 6, 10, 3])]
    for i, clip in enumerate(clips):
        save_frames(tmp_path / str(i), clip)
    paths = sorted(tmp_path.iterdir())
    made = Video.fit(paths, SETTINGS)
    assert made.frames == 6
    assert "1 of the 5 clips looked at are longer than 6 frames: the middle" in made.notes[0]
    assert "1 of the 5 clips looked at are shorter than 6 frames: their last frame is held" in made.notes[1]
    assert np.array_equal(made.read(paths[3]).frames, clips[3].frames[2:8])
    assert np.array_equal(made.read(paths[4]).frames, clips[4].frames[[0, 1, 2, 2, 2, 2]])


def test_a_stride_takes_every_second_frame_at_half_the_rate(tmp_path):
    clip = square(0, 9, fps=10)
    save_gif(tmp_path / "a.gif", clip)
    video = fitted([tmp_path / "a.gif"] * 2, stride=2)
    assert (video.frames, video.fps) == (5, 5)
    assert np.array_equal(video.read(tmp_path / "a.gif").frames, clip.frames[::2])


def test_a_frame_that_is_held_counts_for_as_many(tmp_path):
    save_gif(tmp_path / "a.gif", square(0, 4), [100, 300, 100, 5000])
    seen = video_io.about(tmp_path / "a.gif")
    assert (seen.frames, seen.fps) == (6, 10)
    assert video_io.timeline([0, 0, 0]) == ([0, 1, 2], video_io.FPS)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    clip = square(0, 12)
    save_frames(tmp_path / "a", clip, "f{}.png")
    assert np.array_equal(fitted([tmp_path / "a"]).read(tmp_path / "a").frames, clip.frames)


def test_sizes_follow_the_data():
    wide = [square(i, 3, (90, 160)) for i in range(3)]
    assert fitted(wide).shape == (3, 3, 36, 64)
    assert fitted([*wide, square(0, 3, (90, 90))]).shape == (3, 3, 64, 64)
    assert fitted([square(i, 3, (11, 7)) for i in range(3)]).shape == (3, 3, 11, 7)
    assert fitted(wide, size=8, frames=2, mode="L").shape == (1, 2, 8, 8)
    assert fitted(wide, size=(8, 12)).shape == (3, 3, 8, 12)
    assert fitted([square(i, 40) for i in range(3)]).frames == 16


def test_broken_files_are_told_in_a_line(tmp_path):
    save_gif(tmp_path / "good.gif", square(0, 40, (64, 64)))
    whole = (tmp_path / "good.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[:200])
    for name in ("not.gif", "not.mp4", "not.webm", "list.mp4"):
        (tmp_path / name).write_text("#EXTM3U\nhttp://127.0.0.1/a.mp4\n")
    (tmp_path / "odd.xyz").write_bytes(whole)
    save_frames(tmp_path / "unequal", square(0, 3))
    PILImage.new("RGB", (5, 5)).save(tmp_path / "unequal" / "frame-004.png")
    (tmp_path / "nameless").mkdir()
    save_still(tmp_path / "nameless" / "cover.png")
    (tmp_path / "empty").mkdir()
    video = fitted()
    for path in sorted(tmp_path.iterdir()):
        if path.name == "good.gif":
            continue
        with pytest.raises(BadValue) as error:
            video.read(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="as_=image"):
        Video.fit([square(0, 1)] * 3, SETTINGS)
    with pytest.raises(ValueError, match="patch 3 does not divide"):
        fit_encoding(Video, CLIPS, VideoSettings(patch=3), "patches")


def test_frames_that_are_too_large_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    save_gif(tmp_path / "a.gif", CLIPS[0])
    fitted([CLIPS[0]], format="mp4").write(CLIPS[0], tmp_path / "a.mp4", {})
    monkeypatch.setattr(video_io, "_MOST_ANIMATED", 16 * 16 * 8 - 1)
    monkeypatch.setattr(video_io, "_fits", lambda w, h, most=99, fits=video_io._fits: fits(w, h, most))
    for name in ("a.gif", "a.mp4"):
        with pytest.raises(BadValue, match="pixels; at most"):
            video_io.about(tmp_path / name)


def test_tokens_are_blocks_of_space_and_time():
    video = fit_encoding(Video, [square(i, 8, (32, 32)) for i in range(16)], SETTINGS, "patches")
    space = video.space
    assert space.length == np.prod(space.grid) <= 512
    assert len(space.grid) == 3
    tokens = video.pack([square(0, 8, (32, 32))]).data
    [clip] = video.decode(video.encode(tokens))
    assert difference(clip, square(0, 8, (32, 32))) < 12
    assert "blocks of" in video.uncounted()
    exact = fit_encoding(Video, [square(i, 4, (8, 8), 1) for i in range(4)], SETTINGS, "patches")
    assert exact.space.vocabulary == 256
    assert exact.uncounted() is None


def test_sheets_and_pages_show_motion():
    video = fitted()
    sheet = PILImage.open(io.BytesIO(video.sheet(CLIPS[:3])))
    assert sheet.size == (8 * (16 * 3 + 1), 3 * (16 * 3 + 4))
    moving = PILImage.open(io.BytesIO(video.moving_sheet(CLIPS[:4])))
    assert moving.n_frames == 8
    shown = video.to_html(CLIPS[0])
    picture = PILImage.open(io.BytesIO(base64.b64decode(shown.partition("base64,")[2].partition('"')[0])))
    assert (picture.format, picture.n_frames) == ("WEBP", 8)


def test_what_counts_in_an_explanation_is_coloured_frame_by_frame():
    video = fitted()
    for name in catalog.encodings("video"):
        encoding = fit_encoding(Video, CLIPS, SETTINGS, name)
        x = encoding.encode(encoding.pack(CLIPS[:1]).data)[0]
        weights = np.random.default_rng(0).random(tuple(x.shape))
        assert encoding.heatmap_html(x, weights).startswith("<img")
    names = [name for name, _ in video.perturbations(CLIPS[0], np.random.default_rng(0))]
    assert {"backwards", "its frames shuffled", "frozen at its first frame"} <= set(names)


def test_features_tell_disorder_and_standstill_from_motion():
    video = fitted()
    rng = np.random.default_rng(0)
    plain = video.features(CLIPS)
    frozen = video.features([Clip(np.repeat(c.frames[:1], 8, 0)) for c in CLIPS])
    shuffled = video.features([Clip(c.frames[rng.permutation(8)]) for c in CLIPS])
    changes = slice(8 * 8 * 8 * 3, None)
    assert frozen[:, changes].max() == 0
    assert shuffled[:, changes].mean() > 1.3 * plain[:, changes].mean()


def test_only_how_it_is_written_can_be_changed_later():
    video = fitted()
    assert video.written({"fps": 5}).read(CLIPS[0]).fps == 5
    with pytest.raises(ValueError, match=r"target\.size"):
        video.written({"size": 8})


def test_first_and_last_frames_are_pictures(tmp_path):
    save_gif(tmp_path / "a.gif", square(0, 12))
    video = fitted([square(i, 8) for i in range(4)])
    assert {view.modality for view in video.views().values()} == {"image"}
    for name, place in (("first", 2), ("last", 9)):  # of the middle, which is what is learned
        assert np.array_equal(video.view(tmp_path / "a.gif", name), square(0, 12).frames[place])
        assert video.view_settings(name)["size"] == "16x16"
