"""Demo: trains on small data sets that are part of installed packages, written as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from likewise.verbs.evaluate import evaluate
from likewise.verbs.sample import sample
from likewise.verbs.train import train


def lay_out(kind: str, folder: Path) -> Path:
    """Write the demo data of "images", "text" or "table" and return its path."""
    if kind not in _DATA:
        raise ValueError(f"no demo {kind!r}; choose {', '.join(_DATA)}")
    folder.mkdir(parents=True, exist_ok=True)
    return _DATA[kind](folder)


def _digits(folder: Path) -> Path:
    """Pictures of scikit-learn's digits, 8x8 pixels, a folder for each class."""
    from PIL import Image
    from sklearn import datasets

    digits = datasets.load_digits()
    path = folder / "digits"
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):  # pyright: ignore
        (path / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(path / str(label) / f"{i:04d}.png")
    return path


def _topics(folder: Path) -> Path:
    """The help texts of Python's language reference."""
    from pydoc_data.topics import topics

    path = folder / "python.txt"
    path.write_text("\n".join(topics.values()), encoding="utf-8")
    return path


def _wine(folder: Path) -> Path:
    """The rows of scikit-learn's wine data."""
    import polars as pl
    from sklearn import datasets

    wine = datasets.load_wine()
    columns = dict(zip(wine.feature_names, wine.data.T, strict=True))  # pyright: ignore
    path = folder / "wine.csv"
    pl.DataFrame({**columns, "cultivar": [f"cultivar {k}" for k in wine.target]}).write_csv(path)  # pyright: ignore
    return path


#: the data of each demo
_DATA: dict[str, Callable[[Path], Path]] = {"images": _digits, "text": _topics, "table": _wine}


def demo(kind: str, where: Path, minutes: float) -> str:
    """Write the data, train, sample and evaluate; returns the paths of the results. Replaces an earlier demo."""
    run_path = where / f"run-{kind}"
    shutil.rmtree(run_path, ignore_errors=True)
    run = train(lay_out(kind, where / "data"), out=run_path, minutes=minutes)
    drawn, folder = sample(run, 32)
    if (sheet := drawn.modality.sheet(drawn.values)) is not None:
        (folder / "sheet.png").write_bytes(sheet)
    for value in drawn.values[:3] if sheet is None else []:
        print(value)
    evaluate(run, n=300, progress=print)
    return f"samples: {folder}\nreport: {run.path / 'report' / 'index.html'}"
