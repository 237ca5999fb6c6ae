"""Text that is told as its tokens come: whole characters, and nothing that is taken away again."""

from likewise.sampling.prompting import Steering
from likewise.sampling.streaming import Live

PIECES = [bytes([i]) for i in range(256)]


def told(text: bytes, steering: Steering) -> list[str]:
    said: list[str] = []
    live = Live(PIECES, steering, said.append)
    for byte in text:
        live.token(byte)
    live.finish()
    return said


def test_characters_are_whole():
    assert told("aé日🙂".encode(), Steering()) == ["a", "é", "日", "🙂"]
    assert told(b"a\xe6\x97", Steering()) == ["a", "\ufffd"]


def test_what_may_be_a_stop_waits():
    assert told(b"abcab", Steering(stop=("cad",))) == ["a", "b", "cab"]
    assert told(b"abcad", Steering(stop=("cad",))) == ["a", "b"]
    assert told(b"abca", Steering(stop=("cad",))) == ["a", "b", "ca"]
    assert told(b"abab", Steering(prompt="ab", stop=("b",))) == ["a", "b", "a"]
