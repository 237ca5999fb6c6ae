"""Demo: data that a dependency ships, laid out as a user would have them."""

from __future__ import annotations

from pathlib import Path


def lay_out(kind: str, folder: Path) -> Path:
    """Write the demo data of "images", "text" or "table" and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "text":
        from pydoc_data.topics import topics

        path = folder / "python.txt"
        path.write_text("\n".join(topics.values()), encoding="utf-8")
        return path
    from sklearn import datasets

    if kind == "table":
        import polars as pl

        wine = datasets.load_wine()
        columns = dict(zip(wine.feature_names, wine.data.T, strict=True))  # pyright: ignore
        path = folder / "wine.csv"
        pl.DataFrame({**columns, "cultivar": [f"cultivar {k}" for k in wine.target]}).write_csv(path)  # pyright: ignore
        return path
    if kind != "images":
        raise ValueError(f"no demo {kind!r}; choose images, text or table")
    from PIL import Image

    digits = datasets.load_digits()
    path = folder / "digits"
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):  # pyright: ignore
        (path / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(path / str(label) / f"{i:04d}.png")
    return path
