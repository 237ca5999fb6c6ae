"""Nothing outside `modalities/` asks which modality it has, which class of value, or how a value's file is called.

What differs from kind to kind of data is declared on `Modality` (`forms`, `page_style`, `find_files`, ...), so that a
new one is a file there and a line of the catalog.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import likewise
from likewise import catalog

ROOT = Path(likewise.__file__).parent
FILES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in ("modalities", "catalog.py")
}
KINDS = {name: catalog.find("modality", name) for name in catalog.names("modality")}
#: where values, or what was made of them, pass through
OF_VALUES = ("report", "metrics", "explain", "sampling", "quality", "verbs", "export")

#: comparisons with a modality's name that mean something else
NAMES = {
    "sampling/samples.py": "a key of samples.jsonl",
}
#: mappings with names of modalities that mean something else
MAPPINGS = {
    "runs/migrate.py": "what runs of earlier versions had, which no new modality adds to",
    "verbs/demo.py": "the names of demos",
}
#: comparisons with the end of a file's name that are not of a value's file
ENDS = {
    "sampling/interpolation.py": "what a walk between samples is written as",
}
#: files that ask for types of which some are values' types, where something else is meant
TYPES = {
    "export/gguf.py": "the form in which a tokenizer's file has its merges",
    "export/diffusers.py": "one layout of another library, written against one network and one modality",
    "export/hf.py": "one layout of another library, written against one network and one modality",
    "sampling/sampler.py": "what is given to all samples, which is no value",
    "export/layout.py": "one layout of another library, written against one network and one modality",
}


def constants(node: ast.AST) -> set[str]:
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def comparisons(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """The line and the strings of each comparison, and of each mapping that is looked up by a string.

    Not of forms, as in `"text" in modality.forms`, which is how a capability is asked for.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if not any(isinstance(side, ast.Attribute) and side.attr == "forms" for side in sides):
                # The strings compared, not those inside of calls and subscripts: settings["text"] == 3 is no question.
                plain = [s for s in sides if isinstance(s, ast.Constant | ast.Tuple | ast.List | ast.Set | ast.Dict)]
                yield node.lineno, set().union(*map(constants, plain)) if plain else set()
        elif isinstance(node, ast.match_case):
            yield node.pattern.lineno, constants(node.pattern)


def found(words: set[str], allowed: dict[str, str]) -> list[str]:
    """Where comparisons have any of the words, but for the files allowed, which must have some."""
    hits = {
        file: [f"{file}:{n}: {hit}" for n, said in comparisons(FILES[file]) if (hit := said & words)] for file in FILES
    }
    assert [file for file in allowed if not hits[file]] == []  # the list only gets shorter
    return [hit for file, each in hits.items() if file not in allowed for hit in each]


def test_no_comparison_has_the_name_of_a_modality() -> None:
    assert found(set(KINDS), NAMES) == []


def test_no_comparison_has_the_end_of_a_files_name_that_a_modality_reads_or_writes() -> None:
    ends = {end for kind in KINDS.values() for end in (*kind.reads, *kind.suffixes, kind.suffix) if end}
    assert found(ends, ENDS) == []


def test_no_mapping_has_an_entry_for_each_modality() -> None:
    """Two names of modalities as keys are a table of facts, which belong on the modalities."""
    for file, tree in FILES.items():
        for node in ast.walk(tree) if file not in MAPPINGS else ():
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                assert len(keys & set(KINDS)) < 2, f"{file}:{node.lineno}: {keys}"


def test_nothing_asks_for_the_class_of_a_value_or_of_a_modality() -> None:
    classes = {kind.__name__ for kind in KINDS.values()} | {"str", "Mapping", "PILImage", "Clip"}
    hits = []
    for file in FILES:
        for node in ast.walk(FILES[file]) if file.startswith(OF_VALUES) and file not in TYPES else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "hasattr"):
                names = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
                if ast.unparse(node.func) == "hasattr" or names & classes:
                    hits.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
    assert hits == []
