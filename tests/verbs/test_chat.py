"""Chat: the history goes along, a chat repeats, and its commands; as a user types it."""

import io
import json
import sys

import pytest

from likewise.cli import main
from likewise.runs.run import Run
from likewise.verbs.chat import Chat
from likewise.verbs.train import train

SMALL = {"training.batch": 8, "training.threads": 1, "backbone.width": 16, "backbone.depth": 1}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    rows = [
        {"messages": [{"role": r, "content": f"{w} {i}"} for r, w in (("user", "ask"), ("assistant", "say"))]}
        for i in range(40)
    ]
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return train(folder / "talks.jsonl", out=folder / "run", steps=2, set_=SMALL, say=lambda _: None)


def talked(monkeypatch, capsys, run, said, *flags):
    monkeypatch.setattr(sys, "argv", ["likewise", "chat", str(run.path), *flags])
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    main()
    return capsys.readouterr()


def test_a_chat_repeats_and_prints_only_replies(monkeypatch, capsys, run):
    first = talked(monkeypatch, capsys, run, "ask 1\n\nask 2\n", "--seed", "3")
    assert first == talked(monkeypatch, capsys, run, "ask 1\nask 2\n/exit\nask 3\n", "--seed", "3")
    assert first.err == ""
    chat = Chat(run, 3)
    assert first.out == "".join(f"{chat.reply(said)}\n" for said in ("ask 1", "ask 2"))
    assert first.out != talked(monkeypatch, capsys, run, "ask 1\nask 2\n", "--seed", "4").out


def test_replies_are_samples_given_all_that_was_said(run):
    chat = Chat(run, 5, {"temperature": 0.7}, system="Be brief.")
    replies = [chat.reply("ask 1"), chat.reply("ask 2")]
    assert [m["role"] for m in chat.history] == ["system", "user", "assistant", "user", "assistant"]
    again = Run(run.path).sample(1, 5, {"history": chat.history[:4]}, 1, {"temperature": 0.7}, block=1)
    assert again.values == replies[1:]
    chat.reset()
    assert chat.history == [{"role": "system", "content": "Be brief."}]
    assert chat.reply("ask 1") == replies[0]


def test_commands(monkeypatch, capsys, run):
    found = talked(monkeypatch, capsys, run, "ask 1\n/reset\nask 1\n/reset\n/seed 9\nask 1\n/seed x\n/what\n")
    assert found.err.splitlines()[:3] == ["forgotten", "forgotten", "seed 9"]
    assert found.err.count("the commands are /reset, /seed N and /exit") == 2
    alone = [Chat(run, seed).reply("ask 1") for seed in (0, 0, 9)]
    assert found.out == "".join(f"{reply}\n" for reply in alone)


def test_interruption_ends_it(monkeypatch, capsys, run):
    def interrupted(self, said):
        raise KeyboardInterrupt

    monkeypatch.setattr(Chat, "reply", interrupted)
    assert talked(monkeypatch, capsys, run, "ask 1\n").out == ""


def test_a_terminal_has_a_prompt_and_ends_at_end_of_file(monkeypatch, capsys, run):
    lines = iter(["ask 1"])

    def typed(prompt):
        assert prompt == "> "
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(sys, "argv", ["likewise", "chat", str(run.path)])
    monkeypatch.setattr(sys, "stdin", Terminal())
    main()
    found = capsys.readouterr()
    assert found.out == Chat(run).reply("ask 1") + "\n"
    assert "/exit" in found.err


def test_what_is_no_chat_is_refused_in_a_sentence(monkeypatch, capsys, run, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(f"line {i}" for i in range(40)))
    other = train(tmp_path / "lines.txt", out=tmp_path / "run", steps=2, set_=SMALL, say=lambda _: None)
    with pytest.raises(SystemExit):
        talked(monkeypatch, capsys, other, "hello\n")
    said = capsys.readouterr().err
    assert "not a run to chat with" in said
    assert said.count("\n") == 1
    with pytest.raises(SystemExit):
        talked(monkeypatch, capsys, run, "hello\n", "--set", "temprature=1")
    assert "temperature" in capsys.readouterr().err
