"""Conversations in a .yaml file; for conversations in tables see `layouts.table`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from likewise.data import conversations
from likewise.data.layouts.base import Layout, Source
from likewise.data.records import Records


class Conversations(Layout):
    rank = 1

    def detect(self, source: Source) -> int:
        return int(source.suffix in (".yaml", ".yml"))

    def read(self, source: Source) -> Records:
        return as_records(source.path, conversations.of_yaml(source.path))


def as_records(path: Path, talks: list[list[conversations.Message]]) -> Records:
    """One record for each reply, conditioned on the messages before it; a split keeps conversations together."""
    history, reply, groups = conversations.replies(talks)
    fields = {"history": "dialogue", "reply": "text"}
    columns: dict[str, Any] = {"history": history, "reply": reply}
    return Records(path, "conversations", fields, columns, "reply", ("history",), groups=groups)
