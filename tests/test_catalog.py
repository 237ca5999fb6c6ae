"""The catalog: names, summaries, parts of other packages and of this process."""

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

import likewise
from likewise import catalog
from likewise.backbones.mlp import MLP
from likewise.families.vae import VAE


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Puts packages on the path that have nothing but entry points: package(name, {"backbone.x": "module:Class"})."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def package(name, points, **modules):
        info = tmp_path / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        lines = "".join(f"{point} = {target}\n" for point, target in points.items())
        (info / "entry_points.txt").write_text(f"[{catalog.GROUP}]\n{lines}")
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)
        catalog._of_packages.cache_clear()

    catalog._of_packages.cache_clear()
    yield package
    monkeypatch.undo()
    catalog._of_packages.cache_clear()


@pytest.fixture
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(catalog, "_registered", {})


class Narrow(MLP):
    name: Literal["narrow"] = "narrow"  # pyright: ignore[reportIncompatibleVariableOverride]


@pytest.mark.parametrize("kind", catalog.kinds())
def test_every_listed_part_is_there_and_has_a_summary(kind):
    summaries = catalog.summaries(kind)
    assert list(summaries) == catalog.names(kind)
    for name, summary in summaries.items():
        assert summary.strip() == summary
        assert summary
        assert catalog.find(kind, name)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="no backbone is called 'transfromer'; did you mean 'transformer'"):
        catalog.find("backbone", "transfromer")


def test_a_package_adds_parts_that_are_imported_when_asked_for(packages):
    packages("likewise-one", {"backbone.one": "one_part:One"}, one_part="class One: pass\n")
    assert "one" in catalog.names("backbone")
    assert catalog.summaries("backbone")["one"] == "of the package likewise-one 0.1"
    assert "one_part" not in sys.modules
    assert catalog.find("backbone", "one").__name__ == "One"


def test_a_name_of_two_packages_is_refused_and_no_other_name_is(packages):
    packages("likewise-one", {"backbone.one": "a:A", "family.two": "a:B"})
    packages("likewise-other", {"backbone.one": "b:A", "family.vae": "b:B"})
    with pytest.raises(ValueError, match=r"'one': likewise-one 0.1 and likewise-other 0.1; uninstall one of them"):
        catalog.find("backbone", "one")
    with pytest.raises(ValueError, match=r"two packages have a family called 'vae': likewise and likewise-other 0.1"):
        catalog.find("family", "vae")
    assert catalog.find("backbone", "mlp") is MLP
    assert catalog.names("backbone").count("one") == 1


def test_a_package_that_cannot_be_imported_is_named_when_its_part_is_asked_for(packages):
    packages(
        "likewise-broken",
        {"backbone.broken": "broken_part:A", "backbone.absent": "no_such_module:A"},
        broken_part="1 / 0\n",
    )
    with pytest.raises(ValueError, match=r"^the backbone 'broken' of the package likewise-broken 0.1 cannot be .*Zero"):
        catalog.find("backbone", "broken")
    with pytest.raises(ValueError, match=r"likewise-broken 0.1 cannot be imported .*no_such_module"):
        catalog.find("backbone", "absent")
    assert catalog.find("backbone", "mlp") is MLP


def test_an_unknown_kind_is_named(packages):
    packages("likewise-one", {"backbon.one": "a:A"})
    with pytest.raises(ValueError, match=r"likewise-one 0.1 adds backbon.one, but there is no kind 'backbon'"):
        catalog.find("backbone", "one")


def test_a_class_of_this_process_is_known_by_its_name(registered):
    catalog.register("backbone", "narrow", Narrow)
    catalog.register("backbone", "narrow", Narrow)
    assert catalog.find("backbone", "narrow") is Narrow
    again = type("Narrow", (MLP,), {"__module__": __name__, "__qualname__": "Narrow"})
    catalog.register("backbone", "narrow", again)
    assert catalog.find("backbone", "narrow") is again
    with pytest.raises(ValueError, match=r"'narrow' of .*:VAE has the name of a part of the class Narrow; give it ano"):
        catalog.register("backbone", "narrow", VAE)
    with pytest.raises(ValueError, match=r"'mlp' of .*:Narrow has the name of a part of likewise"):
        catalog.register("backbone", "mlp", Narrow)
    catalog.register("backbone", "mlp", MLP)
    assert catalog.find("backbone", "mlp") is MLP


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{i}.png")
    return folder


def train(path, out, **options):
    return likewise.train(path, out=out, steps=2, say=lambda _: None, **options)


def test_objects_are_trained_by_their_settings(pictures, tmp_path):
    run = train(
        pictures, tmp_path / "run", family=VAE(latent=4, beta=0.5), backbone=MLP(width=16, depth=1),
        set_={"backbone.depth": 2},
    )  # fmt: skip
    plan = run.experiment.to_dict()
    assert (plan["backbone"]["name"], plan["backbone"]["width"], plan["backbone"]["depth"]) == ("mlp", 16, 2)
    assert (plan["family"]["name"], plan["family"]["latent"], plan["family"]["beta"]) == ("vae", 4, 0.5)
    assert "parts" not in run.info


def test_a_run_of_an_own_class_is_opened_where_the_class_is_given(pictures, tmp_path, registered):
    run = train(pictures, tmp_path / "run", family="vae", backbone=Narrow(width=16, depth=1))
    assert run.info["parts"] == {"backbone.narrow": {"class": "Narrow"}}
    drawn = run.sample(2).x
    catalog._registered.clear()
    with pytest.raises(ValueError, match=r"run: its backbone 'narrow' is the class Narrow, .* parts=\[Narrow\]\)$"):
        likewise.load(tmp_path / "run")
    assert likewise.load(tmp_path / "run", parts=[Narrow]).sample(2).x.equal(drawn)


def test_what_is_no_part_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match="Path is no part with a name"):
        train(pictures, tmp_path / "run", backbone=Path)
