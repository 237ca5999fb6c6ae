"""Words of the command line are in `cli/` alone: elsewhere messages name settings, and each interface spells them."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest
import torch

import likewise
from likewise import catalog
from likewise.assemble import assemble, unfit
from likewise.cli.wording import one_line, say
from likewise.errors import Command, Message, Setting, UserError
from likewise.families.base import Model, able
from likewise.spaces import Continuous, Tokens, Unfit

ROOT = Path(likewise.__file__).parent
#: a flag, but no variable of CSS
FLAG = re.compile(r"(?<![\w-])--(?!heat)[a-z]")


def literals(tree: ast.AST):
    """The text of each string in a file, but for docstrings."""
    docs = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docs.add(id(first.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def test_no_flag_is_spelt_outside_the_command_line():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[:80]}"
        for path in sorted(ROOT.rglob("*.py"))
        if "cli" not in path.relative_to(ROOT).parts
        for line, text in literals(ast.parse(path.read_text(encoding="utf-8")))
        if FLAG.search(text)
    ]
    assert not found


@pytest.mark.parametrize(
    ("error", "python", "terminal"),
    [
        (
            UserError("at least one sample", setting="n", value=0),
            "n=0: at least one sample",
            "-n 0: at least one sample",
        ),
        (
            UserError("of which picture?", setting="keep", fix=Message("give ", Setting("from_image", "FILE"), " too")),
            "keep=: of which picture?; give from_image=FILE too",
            "--keep: of which picture?; give --from-image FILE too",
        ),
        (
            UserError("too large", setting="training.lr", value=3.0, fix=Message("or ", Setting("sampling.steps", 8))),
            "training.lr=3.0: too large; or sampling.steps=8",
            "--set training.lr=3.0: too large; or --set steps=8",
        ),
        (
            UserError("a codec draws nothing", fix=Message("call ", Command("train", "data", through="runs/a"))),
            "a codec draws nothing; call likewise.train('data', through='runs/a')",
            "a codec draws nothing; call likewise train data --through runs/a",
        ),
        (ValueError("plain\ntext"), "plain\ntext", "plain text"),
    ],
)
def test_each_interface_words_an_error(error, python, terminal):
    assert str(error) == python
    assert one_line(error) == terminal


def test_messages_are_worded_within_messages():
    inner = Message("give ", Setting("given", "label"))
    assert say(Message("so: ", inner)) == "so: give --given label"
    assert say(Message(Command("resume", "runs/a"))) == "likewise train --resume runs/a"


def test_errors_cross_processes():
    error = pickle.loads(pickle.dumps(UserError("no", setting="n", value=0, fix="yes")))
    assert str(error) == "n=0: no; yes"


def test_no_refusal_names_its_siblings_by_hand():
    """Which other parts fit or can is asked of the catalog: a list that is typed omits the part that is added next."""
    names = "|".join([*catalog.names("family"), *catalog.names("backbone")])
    typed = re.compile(
        rf"; (an? )?((plain )?({names})(, | and | or ))*({names})\b[^;]* (fits?|do|does|can|has|have|learns?)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[:90]}"
        for path in sorted(ROOT.rglob("*.py"))
        for line, text in literals(ast.parse(path.read_text(encoding="utf-8")))
        if typed.search(text)
    ]
    assert not found


@pytest.mark.parametrize("name", catalog.names("family"))
def test_a_family_has_the_abilities_that_it_says(name):
    family = catalog.find("family", name)()
    backbones = [catalog.find("backbone", each).tiny() for each in catalog.names("backbone")]
    spaces = (Continuous((1, 8, 8)), Tokens(8, 9, end=8))
    backbone, space = next((b, s) for s in spaces for b in backbones if not unfit(s, family, b))
    model = assemble(space, {}, family, backbone)
    methods = ("latent", "encode", "posterior", "graph", "codes", "surprisal", "attention", "discriminate")
    can = {each for each in methods if getattr(type(model), each) is not getattr(Model, each)}
    can |= {each for each in ("editable", "steerable") if getattr(model, each)}
    assert family.abilities == can
    assert all(name in able(ability) for ability in can)


def test_a_refusal_names_who_can():
    family, backbone = catalog.find("family", "gan")(), catalog.find("backbone", "mlp").tiny()
    with pytest.raises(Unfit, match="the family has no codes; codec can"):
        assemble(Continuous((3,)), {}, family, backbone).codes(torch.zeros(1, 3))
