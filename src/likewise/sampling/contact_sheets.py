"""A contact sheet: one PNG of samples in rows, each row with its condition as a caption."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from likewise.errors import Message, Setting, UserError
from likewise.modalities.encoding import Encoding
from likewise.sampling.samples import Samples

#: in pixels: the least longer side of a cell, the size of captions, and the gap between cells
_CELL, _LETTERS, _GAP = 96, 14, 6
#: largest number of lines of a caption
_LINES = 3
#: folders of system fonts, and names of fonts with European and with Chinese, Japanese and Korean characters
_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/System/Library/Fonts",
    "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
_PLAIN = re.compile(
    r"^(dejavusans|notosansregular|liberationsansregular|arial|segoeui|robotoregular|helvetica)\.", re.IGNORECASE
)
_WIDE = re.compile(
    "cjk|sourcehan|wqy|wenquan|droidsansfallback|uming|ukai|pingfang|heiti|hiragino|msyh|msgothic|malgun|simsun|simhei|"
    "notosans(sc|tc|jp|kr)|nanum|ipag|takao|arialuni|unifont",
    re.IGNORECASE,
)
Face = ImageFont.FreeTypeFont


def write_sheet(drawn: Samples, conditions: Mapping[str, Encoding], path: Path, font: str | None = None) -> str:
    """Write the sheet of samples; returns a note on characters that no font has, "" if there are none.

    Samples with equal conditions share a row. Given pictures and palettes are drawn at its left, given words under it.
    A clip is shown by its middle frame. font: a font file that is tried first, before Pillow's own and those of the
    system. Raises UserError if the run draws no pictures or the font cannot be read.
    """
    pictures = [drawn.modality.still(value) for value in drawn.values] if drawn.modality.suffix else []
    drawn_pictures = [picture for picture in pictures if picture is not None]
    if not drawn_pictures:
        raise UserError(f"a contact sheet is of pictures, and this run draws {drawn.modality.name}", setting="grid")
    letters = Letters(font)
    provenance = {
        **drawn.provenance, "start": drawn.start, "given": drawn.given, "sheet": {"font": font} if font else {},
    }  # fmt: skip
    info = PngInfo()
    info.add_itxt("likewise", json.dumps(provenance, sort_keys=True))
    _picture(drawn, drawn_pictures, conditions, letters).save(path, "PNG", pnginfo=info)
    return letters.note()


def _picture(
    drawn: Samples, stills: Sequence[PILImage.Image], conditions: Mapping[str, Encoding], letters: Letters
) -> PILImage.Image:
    """Draw the sheet. stills: a picture of each sample."""
    alike: dict[str, list[int]] = {}  # in order of first occurrence
    for i, given in enumerate(drawn.given):
        alike.setdefault(json.dumps(given, sort_keys=True), []).append(i)
    rows = list(alike.values())
    if not any(drawn.given):  # unconditional samples: a square grid
        count = max(1, round(len(drawn) ** 0.5))
        rows = [list(range(len(drawn)))[i : i + count] for i in range(0, len(drawn), count)]
    wide, high = stills[0].size
    zoom = max(1, -(-_CELL // max(wide, high)))
    cell = wide * zoom, high * zoom
    shown = [_shown(drawn.given[row[0]], conditions) for row in rows]
    beside = max(len(pictures) for pictures, _ in shown)
    columns = beside + max(map(len, rows))
    width = columns * (cell[0] + _GAP) + _GAP
    captions = [letters.wrapped(text, width - 2 * _GAP) for _, text in shown]
    step = letters.height
    height = _GAP + sum(cell[1] + _GAP + len(lines) * step + (_GAP if lines else 0) for lines in captions)
    sheet = PILImage.new("RGB", (width, height), "white")
    top = _GAP
    for row, (pictures, _), lines in zip(rows, shown, captions, strict=True):
        for place, value in enumerate([*pictures, *[None] * (beside - len(pictures)), *(stills[i] for i in row)]):
            if value is not None:
                _paste(sheet, value, (_GAP + place * (cell[0] + _GAP), top), cell)
        top += cell[1] + _GAP
        for line in lines:
            letters.draw(sheet, (_GAP, top), line)
            top += step
        top += _GAP if lines else 0
    return sheet


def _shown(given: Mapping[str, Any], conditions: Mapping[str, Encoding]) -> tuple[list[PILImage.Image], str]:
    """The given values that can be shown as pictures, and the others as text."""
    pictures, words = [], []
    for name, value in given.items():
        if value is None:
            continue
        modality = conditions[name].modality
        found = modality.sheet([modality.read(value)])
        if found is not None:
            pictures.append(PILImage.open(io.BytesIO(found)))
        else:
            words.append(modality.caption(value) if len(given) == 1 else f"{name}: {modality.caption(value)}")
    return pictures, ", ".join(words)


def _paste(sheet: PILImage.Image, value: PILImage.Image, at: tuple[int, int], cell: tuple[int, int]) -> None:
    scale = min(cell[0] / value.width, cell[1] / value.height)
    size = max(1, round(value.width * scale)), max(1, round(value.height * scale))
    how = PILImage.Resampling.NEAREST if scale >= 1 else PILImage.Resampling.LANCZOS
    large = value.convert("RGBA" if value.mode in ("RGBA", "LA", "P") else "RGB").resize(size, how)
    where = at[0] + (cell[0] - size[0]) // 2, at[1] + (cell[1] - size[1]) // 2
    sheet.paste(large, where, large if large.mode == "RGBA" else None)


class Letters:
    """Draws text with a fallback font for characters that the first font lacks."""

    def __init__(self, font: str | None = None) -> None:
        """font: the font file that is tried first. Raises UserError if it cannot be read."""
        own = ImageFont.load_default(_LETTERS)
        assert isinstance(own, Face)  # Pillow is built with FreeType in every wheel
        self.faces: list[Face] = [own]
        if font is not None:
            try:
                self.faces.insert(0, ImageFont.truetype(font, _LETTERS))
            except OSError as error:
                raise UserError(f"{error}", setting="font", value=font) from None
        self._others: list[str] | None = None
        self.lacking: set[str] = set()
        self.height = round(_LETTERS * 1.4)

    def face(self, letter: str) -> Face:
        """The first font with this character; if there is none, the first font, which draws a box."""
        for face in self.faces:
            if has(face, letter):
                return face
        if self._others is None:
            self._others = system_fonts()
        while self._others:
            file = self._others.pop(0)
            try:
                face = ImageFont.truetype(file, _LETTERS)
            except OSError:  # skip system fonts that FreeType cannot read
                continue
            self.faces.append(face)
            if has(face, letter):
                return face
        self.lacking.add(letter)
        return self.faces[0]

    def runs(self, text: str) -> list[tuple[Face, str]]:
        """The text in pieces of one font each."""
        return [(face, "".join(t for _, t in group)) for face, group in
                groupby(((self.face(t), t) for t in text), lambda pair: pair[0])]  # fmt: skip

    def length(self, text: str) -> float:
        return sum(face.getlength(part) for face, part in self.runs(text))

    def wrapped(self, text: str, width: int) -> list[str]:
        """At most `_LINES` lines of at most `width` pixels, broken at spaces where possible."""
        lines, line = [], ""
        for word in re.findall(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|\S+\s*|\s+", text.strip()):
            for piece in [word] if self.length(word.rstrip()) <= width else list(word):
                if line and self.length(line + piece.rstrip()) > width:
                    lines.append(line.rstrip())
                    line = ""
                line += piece
        lines += [line.rstrip()] if line.strip() else []
        return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], lines[_LINES - 1][:-1] + "…"]

    def draw(self, picture: PILImage.Image, at: tuple[int, int], text: str) -> None:
        pen, (left, top) = ImageDraw.Draw(picture), map(float, at)
        for face, part in self.runs(text):
            pen.text((left, top + _LETTERS), part, fill="black", font=face, anchor="ls")
            left += face.getlength(part)

    def note(self) -> str:
        if not self.lacking:
            return ""
        some = "".join(sorted(self.lacking)[:12])
        count = len(self.lacking)
        return Message(
            f"no font here has {count} letters of the captions ({some}): they are boxes; give ",
            Setting("font", "FILE.ttf"),
        )


@cache
def _box(face: Face) -> tuple[Any, bytes]:
    """The size and bitmap that a font draws for a missing character."""
    return _drawn(face, "\U0010fffe")


def _drawn(face: Face, letter: str) -> tuple[Any, bytes]:
    mask: Any = face.getmask(letter)
    return mask.size, bytes(mask)


def has(face: Face, letter: str) -> bool:
    """Whether a font has a character. Spaces, joiners and variation selectors need no glyph."""
    if letter.isspace() or letter in "\u200d\ufe0e\ufe0f":
        return True
    return _drawn(face, letter) != _box(face)


def system_fonts() -> list[str]:
    """Font files of this system with characters that Pillow's own font may lack, in the order to try them."""
    found: list[tuple[bool, bool, str]] = []
    for folder in _FOLDERS:
        for inside, _, names in os.walk(os.path.expanduser(folder)):
            for name in names:
                plain = name.replace("-", "").replace("_", "").replace(" ", "")
                wide = not _PLAIN.search(plain)
                if name.lower().endswith((".ttf", ".ttc", ".otf")) and (not wide or _WIDE.search(plain)):
                    found.append((wide, "regular" not in name.lower(), os.path.join(inside, name)))
    return [file for _, _, file in sorted(found)]
