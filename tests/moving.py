"""Clips for tests: a square that moves over a plain ground, one step a frame."""

import numpy as np
from PIL import Image as PILImage

from likewise.modalities.video_io import Clip

COLOURS = np.array([[220, 30, 30], [30, 160, 60], [40, 70, 220], [240, 200, 0]], np.uint8)


def square(number, frames=8, size=(16, 16), channels=3, fps=10.0):
    """The `number`-th clip: place, direction and colour by its number."""
    rng = np.random.default_rng(number)
    height, width = size
    ground = 0 if channels == 4 else 250
    out = np.full((frames, height, width, channels), ground, np.uint8)
    side = max(2, min(size) // 4)
    y, x = rng.integers(0, height), rng.integers(0, width)
    step = rng.choice([-1, 1], 2)
    for t, frame in enumerate(out):
        rows, columns = (np.arange(side) + y + t * step[0]) % height, (np.arange(side) + x + t * step[1]) % width
        colour = COLOURS[number % 4]
        frame[np.ix_(rows, columns)] = [*colour, 255][:channels] if channels > 1 else colour[:1]
    return Clip(out, fps)


def save_gif(path, clip, durations=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = clip.pictures()
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, disposal=2)


def save_frames(folder, clip, name="frame-{:03d}.png", start=1):
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(clip.pictures(), start):
        picture.save(folder / name.format(i))


def save_still(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.new("RGB", (8, 8), (value, 0, 0)).save(path)
