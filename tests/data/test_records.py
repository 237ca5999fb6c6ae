"""Layouts, splits, and what is said of bad input."""

import json

import pytest
from PIL import Image

from likewise.data.layouts import texts
from likewise.data.read import read_records


def test_class_folders(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(3):
            Image.new("L", (4, 4), i).save(tmp_path / label / f"ü {i}.png")
    found = read_records(tmp_path)
    assert (found.target, found.given, len(found)) == ("image", ("label",), 6)
    assert found.columns["label"] == ["a"] * 3 + ["b"] * 3
    train, held = found.split(0.1)
    digests = found.digests()  # the same three pictures twice: a pair is never divided
    assert not {digests[i] for i in train} & {digests[i] for i in held}
    assert len(held)


def test_metadata(tmp_path):
    Image.new("RGBA", (4, 4)).save(tmp_path / "x.png")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "x.png", "text": "a cat"}) + "\n")
    assert read_records(tmp_path).given == ("text",)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "gone.png"}\n')
    with pytest.raises(ValueError, match=r"gone\.png"):
        read_records(tmp_path)


def test_tables(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffage,sex\n30,m\n40,f\n")
    found = read_records(tmp_path / "t.csv")
    assert found.columns["row"][0] == {"age": 30, "sex": "m"}
    given = read_records(tmp_path / "t.csv", given=["sex"])
    assert given.columns["row"][1] == {"age": 40}
    assert given.modalities["sex"] == "label"
    (tmp_path / "p.tsv").write_text("source\ttarget\na b\tc d\ne f\tg h\n")
    assert read_records(tmp_path / "p.tsv").given == ("source",)
    with pytest.raises(ValueError, match="no column 'six'"):
        read_records(tmp_path / "t.csv", given=["six"])


def test_texts_without_spaces_are_texts_and_names_are_not(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text(
        "en\tzh\nThe files are here:\t文件在这里：\nNothing is lost.\t没有任何东西丢失。\n", encoding="utf-8"
    )
    records = read_records(file)
    assert records.modalities == {"en": "text", "zh": "text"}
    assert (records.given, records.target) == (("en",), "zh")
    file.write_text("性别\t职业\n女\t技术人员\n男\t农民\n", encoding="utf-8")
    assert read_records(file).modalities == {"row": "table"}


def test_split_is_stable_when_data_are_added(tmp_path):
    lines = [f"line {i}" for i in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(lines[:200]))
    (tmp_path / "b.txt").write_text("\n".join(lines))
    held = []
    for name in ("a.txt", "b.txt"):
        found = read_records(tmp_path / name)
        held.append({found.columns["text"][i] for i in found.split(0.1)[1]})
    assert held[0] == {x for x in held[1] if int(x[5:]) < 200}
    assert 5 < len(held[1]) < 60


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b"\n \n", "no records"),
        ("bad.jsonl", b'{"a": 1}\n{oops\n', "line 2"),
        ("list.jsonl", b"[1]\n", "line 1"),
        ("head.csv", b"a,b\n", "no rows"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "ragged.csv"),
        ("x.zip", b"PK", "unpack"),
        ("x.docx", b"PK", "not known"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_records(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_latin_1_is_said(tmp_path):
    (tmp_path / "l.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    found = read_records(tmp_path / "l.txt")
    assert found.columns["text"] == ["café"]
    assert "byte 3" in found.notes[0]


@pytest.mark.parametrize(("unit", "content"), [("line", b"ab "), ("document", b"a\n"), ("paragraph", b"a\nb")])
def test_an_endless_record_is_refused_before_it_is_read(tmp_path, monkeypatch, unit, content):
    monkeypatch.setattr(texts, "_MOST_BYTES", 64)
    (tmp_path / "a.txt").write_bytes(content * 100)
    monkeypatch.setattr(texts, "read_text", lambda path: pytest.fail("read whole"))
    with pytest.raises(ValueError, match=rf"a\.txt: a {unit} of more than"):
        read_records(tmp_path / "a.txt", unit=unit)


def test_one_document_is_taken_as_parts_in_their_order(tmp_path):
    text = "\n".join(f"line {i}" + ("\n" if i % 7 == 0 else "") for i in range(500))
    (tmp_path / "novel.txt").write_text(text)
    found = read_records(tmp_path / "novel.txt", unit="document")
    parts = found.columns["text"]
    assert len(parts) == 57
    assert "\n".join(parts).replace("\n\n", "\n") == text.strip().replace("\n\n", "\n")
    assert "as 57 parts" in found.notes[-1]
    train, held = found.split(0.05, "tail")
    assert [*train, *held] == list(range(57))
    assert len(held) == 3
    (tmp_path / "note.txt").write_text("only\nthree\nlines")
    assert read_records(tmp_path / "note.txt", unit="document").columns["text"] == ["only\nthree\nlines"]


def test_a_long_file_of_short_records_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_MOST_BYTES", 64)
    (tmp_path / "a.txt").write_text("some line\n" * 100)
    assert len(read_records(tmp_path / "a.txt")) == 100


def test_a_folder_that_holds_a_single_table_is_that_table(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "readme.md").write_text("what the rows are\n")
    found = read_records(tmp_path)
    assert (found.layout, len(found)) == ("table", 2)
    (tmp_path / "more.tsv").write_text("a\tb\n1\tx\n")
    with pytest.raises(ValueError, match="2 tables: give one of them"):
        read_records(tmp_path)


def test_sequences_of_science(tmp_path):
    (tmp_path / "p.fasta").write_text(">one, a protein\nMKV\nLaag*\n\n>empty\n>two\nMST-\n")
    found = read_records(tmp_path / "p.fasta")
    assert found.columns["text"] == ["MKVLAAG", "MST"]
    assert found.layout == "sequences (FASTA)"
    assert "1 names without a sequence" in found.notes[0]
    (tmp_path / "m.smi").write_text("smiles\tname\nCCO\tethanol\nc1ccccc1 benzene\n")
    assert read_records(tmp_path / "m.smi").columns["text"] == ["CCO", "c1ccccc1"]
    for name, text, why in (
        ("x.fa", "MKV\n", "line 1: a FASTA file begins"),
        ("y.fa", ">a\nMK1V\n", "line 2: '1' is no residue"),
        ("z.smi", "SMILES\n", "holds no SMILES"),
        ("v.faa", ">a\n>b\n", "no sequence"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=why):
            read_records(tmp_path / name)


def test_a_folder_is_read_as_what_there_is_most_of(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a.py", "inner/b.py", "inner/c.js"):
        (tmp_path / name).write_text(f"print({name!r})\n")
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "README.md").write_text("# About\n")
    assert read_records(tmp_path).columns["text"] == ["print('a.py')", "print('inner/b.py')", "print('inner/c.js')"]
    genomes = tmp_path / "genomes"
    genomes.mkdir()
    for name in "ab":
        (genomes / f"{name}.fna").write_text(f">{name}\nacgt\n")
    assert read_records(genomes).columns["text"] == ["ACGT", "ACGT"]


def test_two_files_of_one_name_are_translations_only_where_they_are_texts(tmp_path):
    for first, second, layout in (
        ("a.en", "a.fa", "parallel texts"),
        ("a.faa", "a.fna", "sequences (FASTA)"),
        ("a.rs", "a.go", "text folder"),
    ):
        folder = tmp_path / first
        folder.mkdir()
        for name in (first, second):
            (folder / name).write_text(">x\nACGT\n")
        assert read_records(folder).layout == layout


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "Of what?"},
    {"role": "assistant", "content": "Of talk."},
]


def written(path, talks):
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks) + "\n", encoding="utf-8")
    return path


def test_each_turn_of_the_assistant_is_a_record(tmp_path):
    found = read_records(written(tmp_path / "a.jsonl", [TALK]))
    assert (found.layout, found.target, found.given) == ("conversations", "reply", ("history",))
    assert found.modalities == {"history": "dialogue", "reply": "text"}
    assert found.columns == {"history": [TALK[:2], TALK[:4]], "reply": ["A model.", "Of talk."]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'question,answer\n"Well, who?",I am.\n'),
        ("a.tsv", "Response\tprompt\nI am.\tWell, who?\n"),
        ("a.jsonl", '{"input": "Well, who?", "output": "I am."}\n'),
        ("a.yaml", "- {user: 'Well, who?', assistant: I am.}\n"),
        ("a.yml", "categories: [talk]\nconversations:\n- - Well, who?\n  - I am.\n"),
    ],
)
def test_pairs_are_conversations_of_two_turns(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_records(tmp_path / name)
    assert found.columns["history"] == [[{"role": "user", "content": "Well, who?"}]]
    assert found.columns["reply"] == ["I am."]


def test_long_lists_in_yaml_take_turns_and_yes_is_a_word(tmp_path):
    (tmp_path / "a.yml").write_text("conversations:\n- [Really?, yes, Why?, '1']\n", encoding="utf-8")
    assert read_records(tmp_path / "a.yml").columns["reply"] == ["yes", "1"]


def test_columns_of_these_names_that_hold_no_talk_stay_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("input,output\n1,2\n3,4\n")
    (tmp_path / "b.csv").write_text("input,output\nred,warm\nblue,cold\n")
    (tmp_path / "c.csv").write_text("question,answer,source\nwho is it,it is me,x\n")
    assert [read_records(tmp_path / n).layout for n in ("a.csv", "b.csv", "c.csv")] == ["table"] * 3


@pytest.mark.parametrize("how", ["hash", "tail"])
def test_a_conversation_is_never_divided(tmp_path, how):
    talks = [[{**m, "content": f"{m['content']} {i % 80}"} for m in TALK] for i in range(90)]
    found = read_records(written(tmp_path / "a.jsonl", talks))
    train, held = (found.subset(part) for part in found.split(0.2, how))
    first = [{part.columns["history"][i][0]["content"] for i in range(len(part))} for part in (train, held)]
    assert first[0]
    assert first[1]
    assert not first[0] & first[1]  # the equal ones are together, too
    assert len(held) % 2 == 0
    again = train.split(0.2)[1]
    assert len(again)
    assert len(again) % 2 == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"messages": []}\n', "line 1: no message of the assistant"),
        ("a.jsonl", '\n{"messages": [{"role": "user", "content": "a"}]}\n', "line 2: no message of the assistant"),
        ("a.jsonl", '{"messages": [{"role": "bot", "content": "a"}]}\n', "line 1: message 1 has the role 'bot'; give"),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": 3}]}\n',
            "line 1: .* content that is int; give a string",
        ),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', "no content; give a string"),
        ("a.jsonl", '{"messages": ["hello"]}\n', "line 1: message 1 is str; give an object"),
        ("a.jsonl", json.dumps({"messages": TALK}) + '\n{"text": "a"}\n', "line 2: no list of messages"),
        ("a.csv", "question,answer\nwho is it,me\nwhy not,\n", "row 2: no answer; fill it in"),
        ("a.yaml", "- {question: who is it, answer: me}\n- {question: why}\n", "line 2: no answer; fill it in"),
        ("a.yaml", "a: 1\n", "no conversations; give a list"),
        ("a.yaml", "- {a: b}\n", "call their keys question/answer"),
        ("a.yaml", "a: [\n", "not YAML"),
        ("a.yml", "conversations:\n- - a\n  - b\n- - c\n", "line 4: expected a list of two or more"),
    ],
)
def test_bad_conversations_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_records(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_document_is_never_on_both_sides(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text("\n".join(["Chapter one", *(f"line {k} of {i}" for k in range(30))]))
    found = read_records(tmp_path, unit="line")
    train, held = found.split(0.1)
    of = [line.rpartition(" ")[2] for line in found.columns["text"]]
    assert len(held) >= 30
    assert not {of[i] for i in train if of[i] != "one"} & {of[i] for i in held}
    lines = found.columns["text"]
    assert not {lines[i] for i in train} & {lines[i] for i in held}  # nor is the line that all of them have
    assert "held out as wholes" in found.notes[-1]
    for i in range(2, 40):
        (tmp_path / f"{i}.txt").unlink()
    few = read_records(tmp_path, unit="line")
    assert "as they are few" in few.notes[-1]
    assert len(few.split(0.1)[1]) < 20
