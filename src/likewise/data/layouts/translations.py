"""Layouts of translations: two parallel texts, a translation memory (.tmx), or message catalogues (.po)."""

from __future__ import annotations

from pathlib import Path

from likewise.data import parallel_corpus
from likewise.data.layouts.base import TABLES, Layout, Source
from likewise.data.layouts.files import suffixes_of_files
from likewise.data.layouts.texts import CODE
from likewise.data.records import Records
from likewise.data.sequences import FASTA, SMILES

#: suffixes that match the pattern of language codes but are not languages
_NO_LANGUAGE = {
    ".md", ".po", ".mo", ".tmx", ".pdf", ".doc", ".xml", ".zip", ".gz", ".npy", ".bin", ".log", ".py", ".js"
}  # fmt: skip


class ParallelTexts(Layout):
    """Two files whose names differ in the final language, as a.en and a.de; line i of one translates line i."""

    rank = 2

    def detect(self, source: Source) -> int:
        # .fa means Persian next to .en, but FASTA next to .faa
        suffixes = source.by_suffix.keys()
        strange = suffixes & (suffixes_of_files() | TABLES | _NO_LANGUAGE) or suffixes <= CODE | FASTA | SMILES
        return 2 if source.is_folder and not strange and parallel_corpus.languages(source.names) else 0

    def read(self, source: Source) -> Records:
        by_language = parallel_corpus.languages(source.names) or {}
        files = {language: source.path / name for language, name in by_language.items()}
        return _records(source.path, "parallel texts", *parallel_corpus.read_lines(files))


class TranslationMemory(Layout):
    """A .tmx file."""

    rank = 1

    def detect(self, source: Source) -> int:
        return int(source.suffix == ".tmx")

    def read(self, source: Source) -> Records:
        return _records(source.path, "translation memory", *parallel_corpus.read_tmx(source.path, source.fields))


class MessageCatalogues(Layout):
    """A .po file, or a folder of .po files without texts."""

    rank = 6

    def detect(self, source: Source) -> int:
        return source.count({".po"})

    def read(self, source: Source) -> Records:
        files = source.files(sorted(source.by_suffix[".po"]))
        layout = "message catalogues" if source.is_folder else "message catalogue"
        return _records(source.path, layout, *parallel_corpus.read_po(files))


def _records(path: Path, layout: str, columns: parallel_corpus.Columns, notes: list[str]) -> Records:
    given, target = columns
    return Records(path, layout, dict.fromkeys(columns, "text"), {**columns}, target, (given,), notes)
