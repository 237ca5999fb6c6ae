"""Which layout reads which files: each is one class and one line of the catalog, and one of another package counts."""

import pytest

from likewise import catalog
from likewise.data.layouts.base import Layout, Source
from likewise.data.read import find_layout, read_records
from likewise.data.records import Records


def files(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a b\n")
    return folder


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["a.png", "a.txt", "b.txt"], "files"),
        (["a.txt", "b.py"], "texts"),
        (["a.txt", "b.py", "c.py"], "code"),
        (["a.md", "b.py"], "code"),
        (["a.md", "b.rst"], "prose"),
        (["a.en", "a.de"], "parallel-texts"),
        (["a.fa", "b.smi", "c.smi"], "smiles"),
        (["a.po", "b.md"], "prose"),
        (["a.po", "b.csv", "c.md"], "po"),
        (["a.csv", "b.py", "c.md"], "table"),
        (["a.mp4", "b.txt"], "files"),
        (["metadata.csv", "a.mp4"], "metadata"),
    ],
)
def test_a_folder_is_read_by_what_it_is_of(tmp_path, names, layout):
    assert type(find_layout(Source(files(tmp_path, names)))) is catalog.find("layout", layout)


@pytest.mark.parametrize("name", catalog.names("layout"))
def test_an_empty_folder_is_no_layout_s(name, tmp_path):
    assert catalog.find("layout", name)().detect(Source(tmp_path)) == 0


class Poems(Layout):
    """Files that end in .poem, one text each."""

    rank = 2

    def detect(self, source):
        return source.count({".poem"})

    def read(self, source):
        texts = [file.read_text() for file in source.files(source.having({".poem"}))]
        return Records(source.path, "poems", {"text": "text"}, {"text": texts}, "text")


def test_a_layout_of_another_package_is_asked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {})
    files(tmp_path, ["a.poem", "b.poem", "c.txt"])
    assert read_records(tmp_path).layout == "text folder"
    catalog.register("layout", "poems", Poems)
    found = read_records(tmp_path)
    assert (found.layout, found.columns["text"]) == ("poems", ["a b\n", "a b\n"])
