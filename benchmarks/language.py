"""Language, end to end: the command a user types, minutes on this machine, and what came of it on unseen data.

    python -m benchmarks.language --data DATA kjv tang dialogue en-de en-zh molecules --nanogpt PATH

DATA holds a folder for each set: kjv/kjv.txt (verses, a line each), tang/tang.txt (poems), dialogue/dialogue.jsonl
(messages), en-de/pairs.tsv and en-zh/pairs.tsv (columns source and target), molecules/molecules.txt (SMILES). Each
row is written to results/language.json as soon as it is there, and the table to results/language.md; rows that were
not run again stay. A quiet machine is assumed: nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.lm import load_nanogpt
from benchmarks.table import keep, trained
from likewise.classical.ibm1 import IBM1
from likewise.metrics.molecules import canonical, measures
from likewise.metrics.text import distinct
from likewise.metrics.translation import chrf_of, nearest, scores, tokenizer_for
from likewise.planning.split import records_again
from likewise.runs.run import Run
from likewise.spaces import without_end
from likewise.training import hardware


def splits(run: Run) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """All training and all held-out records of a run, by field; "" is the target."""
    train, held_out = (
        {"": [*part.columns[part.target]], **{k: [*part.columns[k]] for k in part.given}}
        for part in records_again(run.experiment, run.modality, run.conditions)
    )
    return train, held_out


def bits_per_byte(run: Run, texts: list[str]) -> float:
    """Of what is in the texts: the ends of lines are in neither sum."""
    space = run.space
    total = 0.0
    channel = run.channel(texts)
    for start in range(0, len(texts), 512):
        x = channel.encode(np.arange(start, min(start + 512, len(texts))), None, trim=True)
        found = run.log_likelihood(without_end(x, space), None)  # pyright: ignore[reportArgumentType]
        assert found is not None
        total -= float(found.sum())
    return total / math.log(2) / sum(len(t.encode()) for t in texts)


def kjv(data: Path, runs: Path, minutes: float, backbone: str) -> dict[str, Any]:
    run, command = trained(
        data / "kjv/kjv.txt", runs / f"kjv-{backbone}", minutes, "--backbone", backbone, "--set", "data.split=tail"
    )
    _, held_out = splits(run)
    bits = bits_per_byte(run, held_out[""])
    return {"command": command, "bits per byte, last 5% of the lines": round(bits, 4), "lines": len(held_out[""])}


def kjv_document(data: Path, runs: Path, minutes: float) -> dict[str, Any]:
    """The same verses as one running text: what goes before a verse is read, too. Bits of newlines are in no sum."""
    run, command = trained(
        data / "kjv/kjv.txt", runs / "kjv-document", minutes,
        "--unit", "document", "--set", "data.split=tail", "--set", "target.length=256",
    )  # fmt: skip
    _, held_out = splits(run)
    whole = run.encoding.windows(held_out[""]).whole
    newline = torch.tensor([not piece.strip(b"\n") for piece in run.encoding.token_bytes()])
    nats = 0.0
    for i in range(len(whole)):
        x = torch.from_numpy(whole.take(np.array([i]))).long()
        nats += float(run.model.surprisal(x, None)[~newline[x]].double().sum())
    size = len("".join(held_out[""]).replace("\n", "").encode())
    return {"command": command, "bits per byte, last 5% of the text": round(nats / math.log(2) / size, 4)}


def kjv_nanogpt(data: Path, minutes: float, path: Path) -> dict[str, Any]:
    """nanoGPT's own recipe for a CPU (its README, "I only have a macbook"), stretched to as many minutes.

    4 layers, 4 heads, 128 channels, context 64, batch 12, no dropout, characters, AdamW 1e-3 to 1e-4 by a cosine with
    100 steps of warm-up; as many steps as fit. Scored with 32 characters of context or more; newlines not counted.
    """
    hardware.tune()
    lines = (data / "kjv/kjv.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line.strip()]
    cut = len(lines) - round(0.05 * len(lines))
    texts = ["\n".join(lines[:cut]), "\n".join(lines[cut:])]
    known = {c: i for i, c in enumerate(sorted(set("".join(texts))))}
    train, test = (np.array([known[c] for c in text], np.int64) for text in texts)
    module = load_nanogpt(path)
    context, batch, warm = 64, 12, 100
    torch.manual_seed(1337)
    model = module.GPT(
        module.GPTConfig(
            block_size=context, vocab_size=len(known), n_layer=4, n_head=4, n_embd=128, dropout=0.0, bias=False
        )
    )
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")

    def step(rate: float) -> None:
        starts = torch.randint(len(train) - context - 1, (batch,)).tolist()
        x = torch.stack([torch.from_numpy(train[s : s + context]) for s in starts])
        y = torch.stack([torch.from_numpy(train[s + 1 : s + 1 + context]) for s in starts])
        for group in optimizer.param_groups:
            group["lr"] = rate
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    begun, done = time.perf_counter(), 0
    while (share := (time.perf_counter() - begun) / (60 * minutes)) < 1:  # the cosine goes by the clock
        rate = 1e-4 + 0.5 * (1 + math.cos(math.pi * share)) * 9e-4
        step(min(rate, 1e-3 * (done + 1) / (warm + 1)))
        done += 1
    model.eval()
    newline, half = known["\n"], context // 2
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(test) - 1, half):
            row = torch.from_numpy(test[max(0, start + half - context) : start + half + 1])
            logits, _ = model(row[None, :-1], row[None, 1:])
            new = min(half, len(test) - 1 - start)
            each = F.cross_entropy(logits[0], row[1:], reduction="none")[-new:]
            nats += float(each[row[1:][-new:] != newline].sum())
    size = len(texts[1].replace("\n", "").encode())
    found = nats / math.log(2) / size
    return {
        "command": f"nanoGPT's CPU recipe, {minutes:g} minutes, {done:,} steps",
        "bits per byte, last 5% of the lines": round(found, 4),
    }


def tang(data: Path, runs: Path, minutes: float) -> dict[str, Any]:
    run, command = trained(data / "tang/tang.txt", runs / "tang", minutes)
    poems = run.sample(1000, seed=1).values

    def regular(poem: str) -> bool:
        lines = [part for part in re.split(r"[，。！？；\n]", poem.strip()) if part]
        return len(lines) == 4 and len({len(line) for line in lines}) == 1 and len(lines[0]) in (5, 7)

    train, held_out = splits(run)
    known = set(train[""])
    return {
        "command": command,
        "four equal lines of 5 or 7, of 1,000": sum(map(regular, poems)),
        "real poems that are so": f"{sum(map(regular, held_out[''])) / len(held_out['']):.1%}",
        "copies of a training poem": sum(p in known for p in poems),
    }


def dialogue(data: Path, runs: Path, minutes: float) -> dict[str, Any]:
    run, command = trained(data / "dialogue/dialogue.jsonl", runs / "dialogue", minutes)
    train, held_out = splits(run)
    space = run.space
    name = next(iter(run.conditions))
    histories = [held_out[name][i % len(held_out[name])] for i in range(1000)]
    drawn = run.sample(1000, seed=1, given=[{name: h} for h in histories])
    assert drawn.x is not None
    end = getattr(space, "end", None)
    lengths = (drawn.x == end).int().argmax(1)
    ended = (drawn.x == end).any(1)
    known = set(train[""])
    replies = [str(v) for v in drawn.values]
    return {
        "command": command,
        "replies that end by themselves under 60 tokens, of 1,000": int((ended & (lengths < 60)).sum()),
        "distinct-2": round(distinct(replies, 2, False), 3),
        "distinct-2 of real replies": round(distinct([str(v) for v in held_out[""]][:1000], 2, False), 3),
        "replies that stand in the training data": sum(r in known for r in drawn.values),
        "real held-out replies that do": f"{np.mean([v in known for v in held_out['']]):.1%}",
    }


def translation(data: Path, runs: Path, minutes: float, pair: str, *more: str, name: str = "") -> dict[str, Any]:
    run, command = trained(data / pair / "pairs.tsv", runs / f"{pair}{name}", minutes, *more)
    train, held_out = splits(run)
    given = next(iter(run.conditions))
    wanted, sources = held_out[""], held_out[given]
    row: dict[str, Any] = {"command": command, "pairs": len(wanted)}
    for how, settings in (("greedy", {"temperature": 0}), ("4 beams", {"beams": 4})):
        got = run.sample(len(wanted), given=[{given: s} for s in sources], settings=settings).values
        found = scores(got, [wanted], tokenizer_for(wanted))
        row[f"chrF, {how}"] = round(found["chrf"][0].value, 1)
        row[f"BLEU, {how}"] = round(found["bleu"][0].value, 1)
    word_for_word = IBM1(train[given], train[""])
    beside = {
        "copied": sources,
        "nearest": [train[""][i] for i in nearest(sources, train[given])],
        "IBM-1": [word_for_word.translate(s) for s in sources],
    }
    row |= {f"chrF, {how}": round(chrf_of(got, wanted), 1) for how, got in beside.items()}
    return row


def molecules(data: Path, runs: Path, minutes: float) -> dict[str, Any]:
    run, command = trained(data / "molecules/molecules.txt", runs / "molecules", minutes)
    train, _ = splits(run)
    drawn = run.sample(10_000, seed=1).values
    found = measures(canonical(drawn), {m for m in canonical(train[""]) if m is not None})
    return {"command": command, **{k: f"{100 * v.value:.2f}%" for k, v in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.language", description=__doc__)
    parser.add_argument("rows", nargs="+", help="kjv-transformer kjv-lstm kjv-gru kjv-nanogpt tang dialogue en-de ...")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs/benchmarks"),
        help="where the runs are kept; one that is there is not trained again",
    )
    parser.add_argument("--note", help="what else is to be known of these rows, such as what ran beside them")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--minutes", type=float, help="instead of the 10 (20 for translation) of the table")
    args = parser.parse_args()
    ten, twenty = args.minutes or 10.0, args.minutes or 20.0
    prefix = ("--set", "backbone.given=prefix")
    known: dict[str, Callable[[], dict[str, Any]]] = {
        **{f"kjv-{b}": lambda b=b: kjv(args.data, args.runs, ten, b) for b in ("transformer", "lstm", "gru")},
        "kjv-document": lambda: kjv_document(args.data, args.runs, ten),
        "kjv-nanogpt": lambda: kjv_nanogpt(args.data, ten, args.nanogpt),
        "tang": lambda: tang(args.data, args.runs, ten),
        "dialogue": lambda: dialogue(args.data, args.runs, ten),
        "en-de": lambda: translation(args.data, args.runs, twenty, "en-de"),
        "en-zh": lambda: translation(args.data, args.runs, twenty, "en-zh"),
        "en-de-prefix": lambda: translation(args.data, args.runs, twenty, "en-de", *prefix, name="-prefix"),
        "molecules": lambda: molecules(args.data, args.runs, ten),
    }
    for name in args.rows:
        if name not in known:
            parser.error(f"{name}: the rows are {', '.join(known)}")
        keep("language", name, known[name]() | ({"note": args.note} if args.note else {}))


if __name__ == "__main__":
    main()
