"""The surprisal of each token, and the attention of the network that predicts it.

Surprisal (Shannon, 1951) is -log2 p of a token given the tokens before it. Attention weights are averaged over blocks
and heads; for their limits see Jain and Wallace, "Attention is not explanation" (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.explain.matrix import matrix
from likewise.explain.page import Section, Strip, figure_pairs, fragments, given_words
from likewise.explain.probe import Probe, Subject
from likewise.runs.run import Run

#: surprisal in bits of the strongest colour: a probability of 1/256
MOST_BITS = 8.0
#: largest number of tokens in a table of attention
_SHOWN = 36


def surprisal(probe: Probe) -> Section | None:
    """data: items, each with name, given, bits_per_token, and tokens: (piece, bits), or bits alone for a picture."""
    found = Section(
        "surprisal",
        "Surprisal",
        "Each part is coloured by its surprisal, -log2 of the probability that the model gave it after all parts "
        f"before it: no colour at 0 bits, full colour at {MOST_BITS:g} bits (a probability of 1/256) or more.",
        "It is the model's probability, which may be wrong. If its samples have far less surprisal than real items, it "
        "has not learned all variation of the data.",
        data={"items": []},
    )
    means: dict[bool, list[float]] = {True: [], False: []}
    modality = probe.run.modality
    pairs = []
    for subject in [*probe.subjects, *probe.some_held_out(len(probe.subjects))]:
        with torch.no_grad():
            nats = probe.model.surprisal(subject.x, probe.condition([subject.given]))
        pieces, bits, shaded = coloured(probe.run, subject.x[0].cpu(), nats[0].double().cpu().numpy())
        mean = float(bits.mean())
        means[subject in probe.subjects].append(mean)
        if modality.page_style == "figures":
            pairs += [(modality.to_html(subject.value), subject.name), (shaded, f"{mean:.2f} bits a part")]
        else:
            caption = f"{subject.name}: {mean:.2f} bits a token, {bits.sum():.0f} in all"
            title = f"{subject.name}, given {given_words(subject.given, probe.run)}" if subject.given else ""
            found.strips.append(fragments(modality, title, [shaded], [caption]))
        rounded = [round(float(b), 3) for b in bits]
        found.data["items"].append(
            {
                "name": subject.name,
                "given": subject.given,
                "bits_per_token": round(mean, 4),
                "tokens": list(zip(pieces, rounded, strict=True)) if pieces else rounded,
            }
        )
    if pairs:
        found.strips.append(figure_pairs("", pairs))
    if means[False]:
        found.facts.append(
            f"On average {np.mean(means[True]):.2f} bits a token in these items, {np.mean(means[False]):.2f} in as "
            "many held-out items, shown below them."
        )
    return found


def coloured(run: Run, x: Tensor, nats: NDArray[np.float64]) -> tuple[list[str], NDArray[np.float64], str]:
    """The pieces of an item, the surprisal of each in bits, and HTML coloured by it.

    x: encoded, shape (L,) or (*shape). nats: its row of `Model.surprisal`, shape (L,).
    """
    pieces = run.encoding.pieces(x)
    bits = nats[: len(pieces) or len(nats)] / np.log(2)
    titles = [f"{b:.1f} bits, a chance of {2.0**-b:.2g}" for b in bits] if pieces else []
    return pieces, bits, run.encoding.heatmap_html(x, np.clip(bits / MOST_BITS, 0, 1), titles)


def attention(probe: Probe) -> Section | None:
    """data: items, each with name, blocks, heads, and nearest: the mean weight of the token just before."""
    found = Section(
        "attention",
        "Attention",
        "The parts that the network attended to when it predicted a part: in a table each line is a token, in a "
        "picture each copy is for one of its parts. Colour is the attention weight, averaged over blocks and heads.",
        "Attention shows what was read, not what was decisive: other weights can lead to the same prediction (Jain and "
        "Wallace, 2019).",
        data={"items": []},
    )
    for subject in probe.subjects[:2]:
        seen = probe.model.attention(subject.x, probe.condition([subject.given]))
        pieces = probe.run.encoding.pieces(subject.x[0].cpu())
        line: dict[str, Any] = {"name": subject.name}
        if seen.own is not None:
            own = seen.own[0].double().cpu().numpy()  # (blocks, heads, L, L)
            line |= {"blocks": own.shape[0], "heads": own.shape[1], "nearest": round(float(_diagonal(own)), 4)}
            found.strips.append(_own(probe, subject, own.mean((0, 1)), pieces))
        for name, weights in seen.given.items():
            _given(probe, subject, name, weights[0].double().mean((0, 1)).cpu().numpy(), pieces, found)
        found.data["items"].append(line)
    return found


def _diagonal(own: NDArray[np.float64]) -> float:
    """The mean weight of each position for itself, which holds the token before the predicted one."""
    return float(np.diagonal(own, axis1=-2, axis2=-1)[..., 1:].mean())


def _own(probe: Probe, subject: Subject, weights: NDArray[np.float64], pieces: list[str]) -> Strip:
    """Attention to the item's own tokens. weights: shape (L, L).

    A table if the tokens have names; else one heat map for each of a few tokens.
    """
    if pieces:
        count = min(len(pieces), _SHOWN)
        which = "its" if count == len(pieces) else f"its first {count}"
        title = f"{subject.name}: {which} tokens (down) and those before them (across)"
        drawn = matrix(title, weights[:count, :count], pieces[:count], ["start", *pieces[: count - 1]])
        return Strip(title, "wide", [drawn], [""])
    places = np.linspace(1, len(weights) - 1, 8).astype(int)
    before = weights[:, 1:]  # position j holds token j - 1; the start token is not part of the item
    shown, captions = [probe.run.modality.to_html(subject.value)], [subject.name]
    for i in places:
        heat = np.append(before[i], 0.0)
        heat[i:] = 0
        heat /= heat.max() or 1.0
        shown.append(probe.run.encoding.heatmap_html(subject.x[0].cpu(), heat))
        captions.append(f"for part {i}")
    return fragments(
        probe.run.modality, f"{subject.name}: what a few parts looked at, read row by row", shown, captions
    )


def _given(
    probe: Probe, subject: Subject, name: str, weights: NDArray[np.float64], pieces: list[str], found: Section
) -> None:
    """Attention to a given field. weights: shape (L, S); the first of the S positions is a learned "any"."""
    encoding = probe.run.conditions[name]
    value = subject.given.get(name)
    if value is None:
        return
    given = probe.run.field_data([encoding.modality.read(value)], name)
    words = encoding.pieces(given.encode(np.arange(1), None, trim=True)[0])
    if not words or not pieces:
        return
    down, across = min(len(pieces), _SHOWN), min(len(words), _SHOWN)
    title = f"{subject.name}: what it read of {name} (across) for each token (down)"
    table = weights[:down, : across + 1]
    found.strips.append(Strip(title, "wide", [matrix(title, table, pieces[:down], ["any", *words[:across]])], [""]))
