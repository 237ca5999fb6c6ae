"""Text models of a few steps, to be exported."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from likewise.runs.run import Run
from likewise.verbs.train import train

#: what no tiny run has seen: other scripts, a picture, several spaces, the look of bytes
STRANGE = "Ünïcode 東京 🙂  two  spaces\tand <0x41>, <0xE6>…\n"


def tiny_text(folder: Path, kind: str = "bpe", backbone: str = "transformer", **settings: Any) -> Run:
    """Twelve steps over lines of Python's own help."""
    lines = [line.strip() for text in topics.values() for line in text.splitlines() if len(line) > 30]
    data = folder / "lines.txt"
    data.write_text("\n".join(line[:60] for line in lines[:400]), encoding="utf-8")
    tuned = {"training.batch": 16, "training.threads": 1, "training.checkpoint_every": 6, "training.lr": 0.01}
    tuned |= {"backbone.width": 32, "backbone.depth": 2, "target.tokenizer": kind}
    tuned |= {"target.vocabulary": 300} if kind == "bpe" else {}
    tuned |= {f"backbone.{k}": v for k, v in settings.items()}
    return train(
        data, out=folder / "run", family="autoregressive", backbone=backbone, steps=12, set_=tuned, say=lambda _: None
    )


def own_logits(run: Run, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of texts behind a start token, padded with the end, and what the run itself predicts after each."""
    rows = run.encoding.tokenizer.tokenize(texts)  # pyright: ignore[reportAttributeAccessIssue]
    end = run.encoding.end  # pyright: ignore[reportAttributeAccessIssue]
    longest = max(map(len, rows))
    x = torch.tensor([[*row, *[end] * (longest + 1 - len(row))] for row in rows])
    with torch.no_grad():
        logits = run.model.cpu().predictor(x)  # pyright: ignore[reportCallIssue]
    return torch.cat((torch.full((len(x), 1), end + 1), x[:, :-1]), 1), logits
