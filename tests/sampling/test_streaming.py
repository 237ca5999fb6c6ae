"""Text that is told as its tokens come: whole characters, and nothing that is taken away again."""

from likewise.sampling.prompting import Prompting
from likewise.sampling.streaming import Live

PIECES = [bytes([i]) for i in range(256)]


def told(text: bytes, prompting: Prompting) -> list[str]:
    said: list[str] = []
    live = Live(PIECES, prompting, said.append)
    for byte in text:
        live.token(byte)
    live.finish()
    return said


def test_characters_are_whole():
    assert told("aé日🙂".encode(), Prompting()) == ["a", "é", "日", "🙂"]
    assert told(b"a\xe6\x97", Prompting()) == ["a", "\ufffd"]


def test_what_may_be_a_stop_waits():
    assert told(b"abcab", Prompting(stop=("cad",))) == ["a", "b", "cab"]
    assert told(b"abcad", Prompting(stop=("cad",))) == ["a", "b"]
    assert told(b"abca", Prompting(stop=("cad",))) == ["a", "b", "ca"]
    assert told(b"abab", Prompting(prompt="ab", stop=("b",))) == ["a", "b", "a"]
