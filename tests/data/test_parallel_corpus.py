"""Texts with their translations, as files bear them: which languages, which direction, what is left out."""

from __future__ import annotations

import polib
import pytest

from likewise.data.read import read_records

TMX = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en-US" datatype="plaintext"/><body>
<tu><tuv xml:lang="en-US"><seg>The <bpt i="1">&lt;b&gt;</bpt>red<ept i="1">&lt;/b&gt;</ept> <hi>house</hi>
&amp; I</seg></tuv>
<tuv xml:lang="DE"><seg>Das rote
  Haus &amp; ich</seg></tuv></tu>
<tu><tuv xml:lang="en-us"><seg>A dog</seg></tuv><tuv xml:lang="de"><seg>Ein Hund</seg></tuv>%s</tu>
<tu><tuv xml:lang="en-US"><seg>Only this</seg></tuv></tu>
</body></tmx>"""


@pytest.mark.parametrize("end", ["", ".txt"])
def test_two_files_line_by_line(tmp_path, end):
    (tmp_path / f"train.en{end}").write_text("a b\r\n\nc d\ne\u2028f\n", encoding="utf-8")
    (tmp_path / f"train.de{end}").write_text("ä b\nx y\nz ß\ng", encoding="utf-8")
    found = read_records(tmp_path)
    assert (found.target, found.given, found.layout) == ("en", ("de",), "parallel texts")
    assert found.columns == {"de": ["ä b", "z ß", "g"], "en": ["a b", "c d", "e\u2028f"]}
    assert found.notes == ["1 of 4 lines are left out: one side is empty"]
    for options in ({"target": "de"}, {"given": ["en"]}, {"target": "de", "given": ["en"]}):
        other = read_records(tmp_path, **options)
        assert (other.target, other.given) == ("de", ("en",))
    assert read_records(tmp_path, target="de", given=[]).given == ()


def test_unequal_files_are_refused(tmp_path):
    (tmp_path / "train.en").write_text("a\nb\nc\n")
    (tmp_path / "train.de").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"train\.de: it has 2 lines and train\.en has 3"):
        read_records(tmp_path)


def test_other_pairs_of_files_are_not_languages(tmp_path):
    (tmp_path / "notes.one.txt").write_text("a text")
    (tmp_path / "words.two.txt").write_text("a text")
    assert read_records(tmp_path).layout == "text folder"
    for name in ("notes.one.txt", "words.two.txt"):
        (tmp_path / name).unlink()
    (tmp_path / "a.py").write_text("x\n")
    (tmp_path / "a.md").write_text("y\n")
    assert read_records(tmp_path).columns["text"] == ["x"]  # source code, and what it is about
    (tmp_path / "a.py").rename(tmp_path / "a.bin")
    (tmp_path / "a.md").rename(tmp_path / "a.en")
    with pytest.raises(ValueError, match="two parallel texts"):
        read_records(tmp_path)


def test_a_table_of_two_texts_turns_round(tmp_path):
    (tmp_path / "p.tsv").write_text("en\tde\na b\tc d\ne f\tg h\n")
    for options in ({"target": "en"}, {"given": ["de"]}, {"target": "en", "given": ["de"]}):
        found = read_records(tmp_path / "p.tsv", **options)
        assert (found.target, found.given) == ("en", ("de",))


def test_a_translation_memory(tmp_path):
    path = tmp_path / "m.tmx"
    path.write_text(TMX % "", encoding="utf-8")
    found = read_records(path)
    assert (found.target, found.given) == ("DE", ("en-US",))
    assert found.columns == {"en-US": ["The red house & I", "A dog"], "DE": ["Das rote Haus & ich", "Ein Hund"]}
    assert found.notes == ["1 of 3 units are left out: one side is empty"]
    path.write_text(TMX % '<tuv xml:lang="fr"><seg>Un chien</seg></tuv>', encoding="utf-8")
    with pytest.raises(ValueError, match=r"DE, en-US, fr; .* given= and target="):
        read_records(path)
    with pytest.raises(ValueError, match="no language 'it'"):
        read_records(path, target="it", given=["fr"])
    found = read_records(path, target="DE", given=["fr"])
    assert (found.target, found.given) == ("DE", ("fr",))
    assert found.columns == {"DE": ["Ein Hund"], "fr": ["Un chien"]}


def test_a_translation_memory_declares_nothing_and_is_whole(tmp_path):
    path = tmp_path / "m.tmx"
    path.write_text('<!DOCTYPE tmx [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><tmx><body>&b;</body></tmx>')
    with pytest.raises(ValueError, match="declares the entity 'a'"):
        read_records(path)
    path.write_text("<tmx><body>")
    with pytest.raises(ValueError, match=r"m\.tmx: not XML that can be read"):
        read_records(path)


def catalogue(path, *entries):
    made = polib.POFile()
    made.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    made.extend(entries)
    made.save(str(path))


def test_message_catalogues(tmp_path):
    catalogue(
        tmp_path / "b.po",
        polib.POEntry(msgid="Open the file", msgstr="Öffnen Sie die Datei"),
        polib.POEntry(msgid="Not sure", msgstr="Unsicher", flags=["fuzzy"]),
        polib.POEntry(msgid="Gone", msgstr="Weg", obsolete=True),
        polib.POEntry(msgid="Not yet", msgstr=""),
        polib.POEntry(msgid="one file", msgid_plural="%d files", msgstr_plural={0: "eine Datei", 1: "%d Dateien"}),
    )
    found = read_records(tmp_path / "b.po")
    assert (found.target, found.given) == ("msgstr", ("msgid",))
    pairs = [("Open the file", "Öffnen Sie die Datei"), ("one file", "eine Datei"), ("%d files", "%d Dateien")]
    assert list(zip(found.columns["msgid"], found.columns["msgstr"], strict=True)) == pairs
    assert found.notes == [
        "2 fuzzy or obsolete messages are left out",
        "1 of 4 messages are left out: one side is empty",
    ]
    one = polib.POEntry(msgid="a day", msgid_plural="%d days", msgstr_plural={0: "%d 天"})
    catalogue(tmp_path / "a.po", one)
    both = read_records(tmp_path)
    assert list(zip(both.columns["msgid"], both.columns["msgstr"], strict=True)) == [("%d days", "%d 天"), *pairs]
    (tmp_path / "a.po").write_text("oops\n")
    with pytest.raises(ValueError, match=r"a\.po: not a catalogue"):
        read_records(tmp_path)
