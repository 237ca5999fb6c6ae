"""Sizes, crops, mirrors and transparency of pictures."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from pydantic import ValidationError

from likewise.draws import Draws
from likewise.modalities import video_io
from likewise.modalities.base import BadValue
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.image import Image, ImageSettings
from likewise.modalities.image_io import bleed, fitted, inline, open_picture
from likewise.modalities.image_patches import ImagePatches
from likewise.modalities.image_pixels import ImagePixels
from likewise.modalities.palette import Palette, colours, main_colours
from likewise.spaces import Unfit

rng = np.random.default_rng(0)


def ramp(width: int, height: int, mode: str = "L") -> PILImage.Image:
    """Grey that rises from left to right, 0 to 255."""
    row = np.linspace(0, 255, width).round().astype(np.uint8)
    return PILImage.fromarray(np.tile(row, (height, 1))).convert(mode)


def disc(size: int, colour: tuple[int, int, int]) -> PILImage.Image:
    """A disc of one colour; around it black that is fully transparent."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = x**2 + y**2 < (0.4 * size) ** 2
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[inside] = (*colour, 255)
    return PILImage.fromarray(pixels)


def read(picture: PILImage.Image, **settings) -> np.ndarray:
    return np.asarray(Image.fit([picture], ImageSettings(**settings)).read(picture))


def test_what_of_a_wide_picture_is_taken() -> None:
    wide = ramp(64, 16)
    middle, whole, padded = (read(wide, size=16, crop=crop) for crop in ("centre", "squeeze", "pad"))
    assert middle[8, 0] > 90
    assert middle[8, -1] < 165
    assert whole[8, 0] < 20
    assert whole[8, -1] > 235
    assert padded[0, 8] == padded[-1, 8] == 255  # white above and below all of it
    assert padded[8, 0] < 40
    assert np.asarray(fitted(disc(40, (9, 9, 9)).crop((0, 10, 40, 30)), (16, 16), "pad"))[0, 0, 3] == 0


@pytest.mark.parametrize("size", ["24x16", "16x24"])
def test_a_size_that_is_no_square(size: str) -> None:
    pictures = [PILImage.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(4)]
    image = Image.fit(pictures, ImageSettings(size=size))
    wide, high = map(int, size.split("x"))
    again = Image.from_state(image.state())
    pixels, patches = ImagePixels(again), ImagePatches.fit(again, pictures, ImageSettings(size=size))
    assert pixels.space.shape == (3, high, wide)
    assert patches.space.grid == (high // patches.patch, wide // patches.patch)
    values = []
    for encoding in (pixels, patches):
        batch = encoding.pack(pictures).take(np.arange(4))
        values = encoding.decode(encoding.encode(batch))
        assert [v.size for v in values] == [(wide, high)] * 4
    assert PILImage.open(io.BytesIO(again.sheet(values) or b"")).width == 2 * (2 + wide * (48 // 24))
    assert again.describe() == f"{size} colour"
    assert ImageSettings(size="16x16").size == 16


@pytest.mark.parametrize("size", [0, "64 x 48", "0x9", 2000, True])
def test_sizes_that_are_none(size) -> None:
    with pytest.raises(ValidationError, match="pixels"):
        ImageSettings(size=size)


def test_a_state_of_before_is_read() -> None:
    image = Image.from_state({"size": 8, "mode": "L"})
    assert (image.width, image.height, image.crop, image.flip) == (8, 8, "centre", False)


def test_half_are_mirrored_and_only_in_training() -> None:
    picture = ramp(8, 8)
    image = fit_encoding(Image, [picture], ImageSettings(flip=True))
    batch = image.pack([picture] * 400).data
    assert torch.equal(image.encode(batch), image.encode(batch[:1]).expand(400, -1, -1, -1))
    x = image.encode(batch, Draws(1, torch.arange(400)))
    mirrored = x[:, 0, 0, 0] > x[:, 0, 0, -1]
    assert 0.4 < mirrored.float().mean() < 0.6
    assert torch.equal(x[mirrored][0].flip(-1), x[~mirrored][0])
    # Item 7 is turned as it is in any batch, however much was drawn before.
    draws = Draws(1, torch.tensor([7]))
    draws.uniform()
    assert torch.equal(image.encode(batch[:1], draws)[0], x[7])
    with pytest.raises(Unfit, match=r"target\.flip"):
        ImagePatches.fit(image.modality, [picture], ImageSettings(flip=True))


def test_a_random_crop_is_a_window() -> None:
    picture = ramp(90, 90)
    pixels = fit_encoding(Image, [picture], ImageSettings(size=16, crop="random"))
    image = pixels.modality
    packed = pixels.pack([picture] * 200).data
    assert packed.shape == (200, 1, 18, 18)
    x = pixels.encode(packed, Draws(0, torch.arange(200)))
    assert x.shape == (200, 1, 16, 16)
    windows = {tuple(packed[0, 0, 0, left : left + 16].tolist()) for left in range(3)}
    assert {tuple(((one[0, 0] + 1) * 127.5).round().int().tolist()) for one in x} == windows
    middle = pixels.encode(packed[:1])
    assert torch.equal(middle, pixels.encode(pixels.pack([image.read(picture)]).data))
    with pytest.raises(ValueError, match="random"):
        image.view_settings("small")


def test_reading_what_was_read_changes_nothing() -> None:
    for mode in ("L", "RGB", "RGBA"):
        picture = disc(40, (200, 30, 30)).convert(mode)
        for crop in ("centre", "random", "pad", "squeeze"):
            image = Image.fit([picture], ImageSettings(size=16, crop=crop, mode=mode))
            once, word = image.read(picture), image.to_given(picture)
            assert image.to_given(word) == word
            assert np.array_equal(np.asarray(image.read(word)), np.asarray(once))
            again = image.read(once)
            if mode == "RGBA":  # colours that nobody sees may be others where the window around them is another
                once, again = (
                    PILImage.alpha_composite(PILImage.new("RGBA", (16, 16), "white"), p) for p in (once, again)
                )
            assert np.array_equal(np.asarray(again), np.asarray(once))


def test_no_dark_fringe_around_what_is_cut_out() -> None:
    """A bright disc on transparent black: at every pixel that is seen at all, the colour is the disc's."""
    for crop in ("centre", "pad", "squeeze"):
        image = Image.fit([disc(90, (250, 200, 40))], ImageSettings(size=16, crop=crop))
        assert image.mode == "RGBA"
        pixels = np.asarray(image.read(disc(90, (250, 200, 40)))).astype(int)
        edge = (pixels[..., 3] > 8) & (pixels[..., 3] < 247)
        assert edge.any()
        assert np.abs(pixels[edge][:, :3] - (250, 200, 40)).max() <= 16  # 8 bits of a colour that is seen a little
        # What is invisible has the colour beside it, so that a model's soft edges are not dark either.
        assert np.abs(pixels[..., :3] - (250, 200, 40)).max() <= 16
        assert pixels[0, 0, 3] == 0


def test_bleeding_leaves_what_is_seen_alone() -> None:
    pixels = rng.integers(0, 256, (12, 12, 4), np.uint8)
    pixels[..., 3] = np.where(rng.random((12, 12)) < 0.7, 0, pixels[..., 3])
    picture = PILImage.fromarray(pixels)
    found = np.asarray(bleed(picture))
    seen = pixels[..., 3] >= 8
    assert np.array_equal(found[seen], pixels[seen])
    assert np.array_equal(found[..., 3], pixels[..., 3])
    assert np.array_equal(np.asarray(bleed(bleed(picture))), found)
    lonely = np.zeros((64, 64, 4), np.uint8)
    lonely[0, 0] = (200, 100, 50, 9)
    assert np.asarray(bleed(PILImage.fromarray(lonely)))[-1, -1, :3].tolist() == [200, 100, 50]
    nothing = PILImage.new("RGBA", (4, 4))
    assert bleed(nothing) is nothing


def test_grey_stays_grey_and_sixteen_bits_are_said(tmp_path) -> None:
    deep = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    PILImage.fromarray(deep).save(tmp_path / "deep.png")
    image = Image.fit([tmp_path / "deep.png"], ImageSettings())
    assert image.mode == "L"
    assert image.notes == ("pictures of 16 bits a channel are read as 8 bits",)
    assert np.abs(np.asarray(image.read(tmp_path / "deep.png")).astype(float) - deep / 257).max() <= 1
    assert Image.fit([ramp(8, 8)], ImageSettings()).notes == ()


def test_large_photographs_are_read_no_finer_than_needed(tmp_path) -> None:
    ramp(800, 600, "RGB").save(tmp_path / "photo.jpg", quality=95)
    assert open_picture(tmp_path / "photo.jpg", 32).size == (100, 75)
    image = Image.fit([tmp_path / "photo.jpg"], ImageSettings(size=32))
    exact = np.asarray(fitted(open_picture(tmp_path / "photo.jpg"), (32, 32), "centre")).astype(int)
    assert np.abs(np.asarray(image.read(tmp_path / "photo.jpg")).astype(int) - exact).max() <= 3


def test_a_picture_goes_round_as_a_word(tmp_path) -> None:
    picture = disc(20, (10, 200, 30))
    picture.save(tmp_path / "a.png")
    image = Image.fit([picture], ImageSettings(size=10))
    word = image.to_given(str(tmp_path / "a.png"))
    (tmp_path / "a.png").unlink()
    assert np.array_equal(np.asarray(image.read(word)), np.asarray(image.read(picture)))
    assert word == image.to_given(image.read(picture)) == inline(image.read(picture))
    with pytest.raises(BadValue, match="readable"):
        open_picture("data:image/png;base64,AAAA")


def test_main_colours() -> None:
    flag = np.zeros((40, 60, 3), np.uint8)
    flag[:, :20], flag[:, 20:55], flag[:, 55:] = (200, 16, 46), (255, 255, 255), (0, 0, 160)
    found = [colours(main_colours(PILImage.fromarray(np.roll(flag, i, 1)))) for i in range(3)]
    assert all(len(each) <= 3 for each in found)
    assert all(each[0] == (255, 255, 255) for each in found)  # the most used first
    # How many are told goes by the picture, so that a model learns to be told any number.
    counts = set()
    for i in range(40):
        each = flag.copy()
        each[i, :i] = (i, 0, 0)
        counts.add(len(colours(main_colours(PILImage.fromarray(each)))))
    assert counts == {1, 2, 3}
    assert colours(main_colours(disc(40, (9, 200, 9))))[0] == (9, 200, 9)
    assert main_colours(PILImage.new("RGBA", (4, 4))) == "#ffffff"


def test_palettes_as_users_write_them() -> None:
    encoding, palette = fit_encoding(Palette, []), Palette()
    assert palette.read("#F00, 00aa00 #fff") == "#ff0000,#00aa00,#ffffff"
    x = encoding.encode(encoding.pack(["#f00", None]).data)
    assert x[1].isnan().all()
    assert encoding.decode(x[:1]) == ["#ff0000"]
    for wrong in ("red", "", "#12", "#000," * 6):
        with pytest.raises(BadValue, match="#ff0000"):
            palette.read(wrong)


def test_a_palette_is_shown_as_its_colours() -> None:
    with PILImage.open(io.BytesIO(Palette().sheet(["#f00,#00f", "#0f0"]) or b"")) as sheet:
        assert sheet.size == (32, 32)
        places = ((8, 8), (24, 8), (8, 24), (24, 24))
        assert [sheet.getpixel(at) for at in places] == [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)]


def see_through_palette(size: int = 24) -> PILImage.Image:
    """A picture of four colours, the first of them transparent and the second half transparent."""
    picture = PILImage.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size) % 4).convert("L")
    made = PILImage.frombytes("P", picture.size, picture.tobytes())
    made.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    made.info["transparency"] = bytes([0, 128, 255, 255])
    return made


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_palette_with_transparency_gives_no_warning_and_keeps_its_colours(tmp_path, suffix: str) -> None:
    file = tmp_path / f"palette{suffix}"
    made = see_through_palette()
    (made if suffix == ".png" else made.convert("RGBA")).save(file, lossless=True, exact=True)
    expected = np.asarray(made.convert("RGBA"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (file, made):
            for mode in ("L", "RGB", "RGBA"):
                Image.fit([value], ImageSettings(mode=mode)).read(value)
                open_picture(value).convert(mode)
            assert np.array_equal(np.asarray(open_picture(value)), expected)
        _, shown = Image.thumbnail(file)
        shown.convert("L")
        clip = video_io.pictures(file, range(1))[0]
        clip.convert("RGB")
    assert np.array_equal(np.asarray(clip.convert("RGBA")), expected)
