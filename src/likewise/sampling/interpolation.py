"""Latent interpolation between samples on a sphere, written as an animation that returns to its start.

White, "Sampling generative networks" (2016).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from likewise.draws import Draws, derive_seed
from likewise.errors import Message, Setting, UserError, message_of
from likewise.sampling.sampler import Sampler
from likewise.spaces import Unfit

#: frames from one sample to the next, and the duration of a frame in milliseconds
FRAMES, _EACH = 12, 80
#: least number of pixels of an animation's longer side
_SEEN = 192
#: formats that Pillow writes, and those that need PyAV
_PILLOW, _FILMS = (".gif", ".webp", ".png"), (".mp4",)


def walk(
    sampler: Sampler, out: Path, n: int = 4, seed: int = 0, given: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None, *, tile: bool = False,
) -> Path:  # fmt: skip
    """Write the interpolation from sample 0 of `seed` to 1, to 2, ..., to n - 1, and back to 0. Returns `out`.

    given: one condition for all frames; by default that of sample 0. Raises UserError if the model has no latent or
    draws no pictures, or if the format is unknown.
    """
    suffix = out.suffix.lower()
    if suffix not in _PILLOW + _FILMS:
        known = ", ".join(_PILLOW + _FILMS)
        raise UserError(f"a moving picture is written as {known}", setting="walk", value=out)
    if suffix in _FILMS:
        _av(out)  # fails before anything is drawn if PyAV is missing
    if n < 2:
        raise UserError(Message("a walk is between two samples at least; ", Setting("n", n)), setting="walk", value=out)
    if "picture" not in sampler.modality.forms:
        raise UserError(
            f"a moving picture is made of pictures, and this run draws {sampler.modality.name}",
            setting="walk",
            value=out,
        )
    values, asked = _frames(sampler, n, seed, given, settings, tile)
    provenance = {
        **sampler.origin(seed, settings or {}),
        "given": asked,
        "walk": {"n": n, "frames": FRAMES},
        **({"tile": True} if tile else {}),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, values, json.dumps(provenance, sort_keys=True))
    return out


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation from a to b, shape (1, *shape), at shares in [0, 1], shape (S,). Returns (S, *shape)."""
    length_a, length_b = a.norm(), b.norm()
    cosine = (a * b).sum() / (length_a * length_b).clamp(min=1e-12)
    angle = cosine.clamp(-1, 1).acos()
    share = share.view(-1, *[1] * (a.dim() - 1))
    if angle < 1e-4 or angle > torch.pi - 1e-4:  # equal or opposite directions have no unique great circle
        return a + share * (b - a)
    ways = ((1 - share) * angle).sin() * a / length_a + (share * angle).sin() * b / length_b
    return ways / angle.sin() * torch.lerp(length_a.expand(len(share)), length_b, share.flatten()).view_as(share)


def again(file: Path, found: dict[str, Any], sampler: Sampler, out: Path) -> Path:
    """Repeat the interpolation that `found`, the provenance of `file`, describes; returns the new file in `out`."""
    done = out / file.name
    tile = found.get("tile", False)
    return walk(sampler, done, found["walk"]["n"], found["seed"], found["given"], found["settings"], tile=tile)


def read_provenance(file: Path) -> dict[str, Any] | None:
    """The provenance that `walk` wrote into an animation; None if the file has none."""
    if file.suffix.lower() not in _PILLOW:
        return None
    with PILImage.open(file, formats=["GIF", "WEBP", "PNG"]) as picture:
        text: Any = picture.info.get("comment") or picture.info.get("likewise") or picture.info.get("xmp")
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) and "walk" in found else None


def _frames(
    sampler: Sampler,
    n: int,
    seed: int,
    given: dict[str, Any] | None,
    settings: dict[str, Any] | None,
    tile: bool = False,
) -> tuple[list[Any], dict[str, Any]]:
    """The frames, `FRAMES` from each of the n samples to the next, and the condition of all as JSON."""
    asked = given or (sampler.some_given(1, seed)[0] if sampler.conditions else {})
    model, chosen, encoding = sampler.model, sampler.settings(settings), sampler.decoder(settings)
    if tile:
        model, encoding = sampler.seamless(model, encoding)
    device = model.device
    try:
        ends = model.latent(Draws(derive_seed(seed, "sample"), torch.arange(n), device))
    except Unfit as error:
        raise UserError(message_of(error), setting="walk") from None
    shares = torch.arange(FRAMES, device=device) / FRAMES
    z = torch.cat([slerp(ends[[i]], ends[[(i + 1) % n]], shares) for i in range(n)])
    values, block = [], sampler.block()
    for first in range(0, len(z), block):
        # Blocks are full, as rounding may depend on their size. Beside z, all frames use the noise of sample 0.
        part = z[first : first + block]
        whole = torch.cat((part, part[-1:].expand(block - len(part), *part.shape[1:])))
        same = torch.zeros(block, dtype=torch.long)
        draws = Draws(derive_seed(seed, "sample"), same, device)
        model.latent(draws)
        with torch.no_grad(), sampler.autocast(chosen, device):
            x = model.from_latent(whole, sampler.condition([asked] * block, device), draws, chosen).cpu()
        decoded = encoding.decode(x, Draws(derive_seed(seed, "decode"), same))
        values += encoding.modality.as_form(decoded[: len(part)], "picture")
    return values, sampler.given_json(asked)


def _write(out: Path, values: Sequence[PILImage.Image], provenance: str) -> None:
    wide, high = values[0].size
    zoom = max(1, -(-_SEEN // max(wide, high)))
    frames = [v.resize((wide * zoom, high * zoom), PILImage.Resampling.NEAREST) for v in values]
    suffix = out.suffix.lower()
    if suffix in _FILMS:
        _film(out, [_opaque(v) for v in frames], provenance)
        return
    options: dict[str, Any] = {"save_all": True, "duration": _EACH, "loop": 0}
    if suffix == ".gif":
        # A palette per frame, as one for all frames would be coarse; opaque, as transparency would leave holes.
        frames = [_opaque(v).quantize(256, dither=PILImage.Dither.NONE) for v in frames]
        options["comment"] = provenance.encode()
    elif suffix == ".webp":
        options |= {"xmp": provenance.encode(), "lossless": True}
    else:
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("likewise", provenance)
    frames[0].save(out, append_images=frames[1:], **options)


def _opaque(value: PILImage.Image) -> PILImage.Image:
    if value.mode == "RGBA":
        value = PILImage.alpha_composite(PILImage.new("RGBA", value.size, "white"), value)
    return value.convert("RGB")


def _av(out: Path) -> Any:
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "needs the library av (pip install av); .gif, .webp and .png need nothing", setting="walk", value=out
        ) from None
    return av


def _film(out: Path, frames: Sequence[PILImage.Image], provenance: str) -> None:
    av = _av(out)
    with av.open(str(out), "w") as film:
        film.metadata["comment"] = provenance
        stream = film.add_stream("libx264", rate=round(1000 / _EACH))
        # every player supports yuv420p, which halves the resolution of colour: sides must be even
        stream.width, stream.height = (n + n % 2 for n in frames[0].size)
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            pixels = np.pad(np.asarray(frame), ((0, frame.height % 2), (0, frame.width % 2), (0, 0)), mode="edge")
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
