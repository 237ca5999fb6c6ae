"""The data that the golden runs learn: made by arithmetic alone, so that every byte of them is the same everywhere.

Pictures are written by a few lines of our own: how well a library compresses changes the bytes of a file, by which
records are divided into those to learn from and those held out.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path

WORDS = (
    "sun", "moon", "star", "sea", "and", "over", "über", "naïve", "東京", "grün", "the", "a", "old", "new", "rises",
    "falls", "🙂", "twice",
)  # fmt: skip
GREEN = {"sun": "Sonne", "moon": "Mond", "star": "Stern", "sea": "Meer", "old": "alt", "new": "neu", "the": "die"}
COLOURS = ((220, 30, 30), (30, 160, 60), (40, 70, 220), (240, 200, 0))


def write_png(path: Path, rows: list[list[tuple[int, ...]]]) -> None:
    """Write pixels of 1 (grey), 3 or 4 numbers as a PNG file that is not compressed."""
    height, width, channels = len(rows), len(rows[0]), len(rows[0][0])
    raw = b"".join(b"\x00" + bytes(v for pixel in row for v in pixel) for row in rows)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    stored += struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), (b"IDAT", stored), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))


def pixels(number: int, size: int, channels: int, moved: int = 0) -> list[list[tuple[int, ...]]]:
    """A square of one of four colours on a shaded ground, with a little noise; every twelfth is one of before."""
    number -= 11 if number % 12 == 11 else 0
    chance = random.Random(number)
    x, y, side = int(chance.random() * size), int(chance.random() * size), 2 + int(chance.random() * size / 2)
    out = []
    for row in range(size):
        line = []
        for column in range(size):
            inside = (row - y) % size < side and (column - x - moved) % size < side
            shade = 120 + 100 * row // size
            colour = COLOURS[number % 4] if inside else (shade, shade, 255 - shade)
            point = tuple(min(255, v + int(chance.random() * 8)) for v in colour)
            line.append({1: point[:1], 3: point, 4: (*point, 255 if inside else 40 * (row % 3))}[channels])
        out.append(line)
    return out


def sentence(chance: random.Random, least: int = 2, most: int = 7) -> str:
    count = least + int(chance.random() * (most - least))
    return " ".join(WORDS[int(chance.random() ** 2 * len(WORDS))] for _ in range(count))


def pictures(folder: Path) -> Path:
    """48 pictures of three classes."""
    for i in range(48):
        write_png(folder / ("red", "grün", "10")[i % 3] / f"{i:02}.png", pixels(i, 8, 3))
    return folder


def grey(folder: Path) -> Path:
    """40 pictures without classes and colours."""
    for i in range(40):
        write_png(folder / f"{i:02}.png", pixels(i, 8, 1))
    return folder


def clear(folder: Path) -> Path:
    """40 pictures that are transparent in part."""
    for i in range(40):
        write_png(folder / f"{i:02}.png", pixels(i, 8, 4))
    return folder


def photos(folder: Path) -> Path:
    """40 pictures that are large enough to have smaller ones in them."""
    for i in range(40):
        write_png(folder / f"{i:02}.png", pixels(i, 16, 3))
    return folder


def captions(folder: Path) -> Path:
    """44 pictures, each with a caption."""
    chance, rows = random.Random(5), []
    for i in range(44):
        write_png(folder / f"{i:02}.png", pixels(i, 8, 3))
        words = f"{('red', 'green', 'blue', 'yellow')[i % 4]} square {sentence(chance, 1, 3)}"
        rows.append({"file_name": f"{i:02}.png", "caption": words})
    (folder / "metadata.jsonl").write_text(_lines(rows), encoding="utf-8")
    return folder


def clips(folder: Path) -> Path:
    """40 clips of four frames, as folders of pictures."""
    for i in range(40):
        for t in range(4):
            write_png(folder / f"clip-{i:02}" / f"frame-{t:03}.png", pixels(i, 8, 1, moved=t))
    return folder


def texts(folder: Path) -> Path:
    """64 lines, some of them equal, with letters of several scripts."""
    chance = random.Random(1)
    lines = [sentence(chance) for _ in range(60)]
    path = _made(folder) / "texts.txt"
    path.write_text("\n".join([*lines, *lines[:4]]) + "\n", encoding="utf-8")
    return path


def prose(folder: Path) -> Path:
    """220 lines, which are enough to learn byte pairs from."""
    chance = random.Random(8)
    path = _made(folder) / "prose.md"
    path.write_text("\n".join(sentence(chance, 4, 9) for _ in range(220)) + "\n", encoding="utf-8")
    return path


def books(folder: Path) -> Path:
    """24 texts, most of them longer than what is read together."""
    chance = random.Random(2)
    for i in range(24):
        least = 4 if i % 6 == 0 else 20
        (_made(folder) / f"{i:02}.txt").write_text(f"{i} {sentence(chance, least, least + 15)}", encoding="utf-8")
    return folder


def pairs(folder: Path) -> Path:
    """60 lines and what they are in another language."""
    chance, rows = random.Random(3), []
    for _ in range(60):
        english = sentence(chance)
        rows.append({"en": english, "de": " ".join(GREEN.get(w, w) for w in english.split())})
    path = _made(folder) / "pairs.jsonl"
    path.write_text(_lines(rows), encoding="utf-8")
    return path


def talks(folder: Path) -> Path:
    """40 conversations of one to three replies."""
    chance, rows = random.Random(4), []
    for i in range(40):
        messages = [{"role": "system", "content": "be brief"}] if i % 5 == 0 else []
        for _ in range(1 + i % 3):
            messages.append({"role": "user", "content": sentence(chance, 1, 4)})
            messages.append({"role": "assistant", "content": sentence(chance, 1, 4)})
        rows.append({"messages": messages})
    path = _made(folder) / "talks.jsonl"
    path.write_text(_lines(rows), encoding="utf-8")
    return path


def table(folder: Path) -> Path:
    """80 rows: numbers with ties and gaps, whole numbers, categories with gaps, one that is always the same."""
    chance, lines = random.Random(6), ["age,height,kind,city,paid,unit"]
    for i in range(80):
        age = "" if i % 11 == 3 else str(20 + int(chance.random() * 12) * 3)
        height = "" if i % 17 == 5 else f"{150 + 40 * chance.random():.2f}"
        kind = "" if i % 13 == 1 else "xyz"[int(chance.random() ** 2 * 3)]
        city = ("Zürich", "東京", "New York")[int(chance.random() * 3)]
        paid = "0" if chance.random() < 0.4 else f"{chance.random() ** 3 * 1000:.1f}"
        lines.append(",".join((age, height, kind, city, paid, "kg")))
    path = _made(folder) / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def palettes(folder: Path) -> Path:
    """60 lists of one to four colours."""
    chance, rows = random.Random(7), []
    for i in range(60):
        found = []
        for _ in range(1 + i % 4):
            base = COLOURS[int(chance.random() * 4)]
            found.append("#" + "".join(f"{min(255, v + int(chance.random() * 16)):02x}" for v in base))
        rows.append(",".join(found))
    path = _made(folder) / "palettes.txt"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


MAKERS = {
    maker.__name__: maker
    for maker in (pictures, grey, clear, photos, captions, clips, texts, prose, books, pairs, talks, table, palettes)
}
