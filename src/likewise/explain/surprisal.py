"""Held-out texts coloured by surprisal: writes `surprisal.html` and `surprisal.json`.

Surprisal (Shannon, 1951) is -log2 p of a token given the tokens before it. The sections of surprisal.json have `items`:
name, given, bits (in total, with the end token), bits_per_byte (without it), and tokens: (piece, bits).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from likewise.errors import UserError
from likewise.explain.page import SCHEMA, Section, Strip, about, fragments, given_words, write
from likewise.explain.tokens import MOST_BITS, coloured
from likewise.metrics.intervals import generator
from likewise.metrics.likelihood import bits_per_unit
from likewise.runs.run import Run
from likewise.spaces import Tokens, Unfit

#: texts in each section
_SHOWN = 12
#: least number of bytes of a ranked text: the end token dominates the surprisal of shorter ones
_LEAST = 20
_LIMITS = (
    "It is this model's own expectation, right or wrong. Common words are cheap and rare names dear in any text; a "
    "text is judged better by comparison with others of its kind than by its number alone."
)


def write_surprisal(
    run: Run, n: int = 1000, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Path:  # fmt: skip
    """Write `report/surprisal.html` for up to n held-out texts; returns its path.

    Raises ValueError if n < 1, or if the run does not predict texts token by token.
    """
    if n < 1:
        raise ValueError(f"-n {n}: at least one text")
    run.encoding.token_bytes()
    held_out = run.reference("held_out")
    chosen = generator(seed, "surprisal").permutation(len(held_out.values))[:n]
    if progress:
        progress(f"reading {len(chosen)} held-out texts")
    nats = _surprisal(
        run, held_out.x[chosen], None if held_out.c is None else {k: v[chosen] for k, v in held_out.c.items()}
    )
    x = held_out.x[chosen].cpu()
    read = run.encoding.decode(x)  # the part that the model read, if a text is too long
    totals, amounts = nats.sum(1) / np.log(2), np.array([run.modality.num_units(text) for text in read])
    # As in the report, bits per byte do not count the end token.
    space = run.space
    assert isinstance(space, Tokens)
    counted = (nats * (x != space.end).numpy()).sum(1) / np.log(2)
    rates = counted / amounts

    def section(name: str, title: str, how: str, places: NDArray[np.int64]) -> Section:
        found = Section(name, title, how, _LIMITS, data={"items": []})
        for place in places.tolist():
            i = int(chosen[place])
            given = {field: column[i] for field, column in held_out.given.items()}
            pieces, bits, shaded = coloured(run, held_out.x[i].cpu(), nats[place])
            caption = f"held-out item {i}: {rates[place]:.2f} bits a byte, {totals[place]:.0f} in all"
            shown = f"given {given_words(given, run)}" if given else ""
            found.strips.append(fragments(run.modality, shown, [shaded], [caption]))
            found.data["items"].append(
                {
                    "name": f"held-out item {i}",
                    "given": given,
                    "bits": round(float(totals[place]), 3),
                    "bits_per_byte": round(float(rates[place]), 4),
                    "tokens": [(piece, round(float(b), 3)) for piece, b in zip(pieces, bits, strict=True)],
                }
            )
        return found

    first = section(
        "texts", "Held-out texts", "As they come. The stronger the colour, the less the model expected the token, "
        "given all before it; point at one to read its bits.", np.arange(min(_SHOWN, len(chosen))),
    )  # fmt: skip
    first.strips.insert(0, _legend())
    mean = bits_per_unit(counted, amounts, seed)
    first.facts.append(
        f"{mean.value:.3f} bits a byte over {len(chosen):,} held-out texts ({mean.low:.3f} to {mean.high:.3f})."
    )
    ranked = np.flatnonzero(amounts >= _LEAST)
    ranked = ranked[np.argsort(rates[ranked], kind="stable")]
    count = min(_SHOWN, len(ranked) // 2)
    sections = [first]
    if count:
        among = f"bits a byte, of the {len(ranked):,} texts of at least {_LEAST} bytes"
        sections += [
            section("least", "The least expected texts", f"The most {among}.", ranked[::-1][:count]),
            section("most", "The most expected texts", f"The fewest {among}.", ranked[:count]),
        ]
    explained: dict[str, Any] = {
        "schema": SCHEMA,
        "run": about(run),
        "seed": seed,
        "subjects": [{"name": f"{len(chosen):,} held-out texts"}],
        "bits_per_byte": {"value": mean.value, "low": mean.low, "high": mean.high},
        "skipped": [],
    }
    return write(run.path / "report", explained, sections, "surprisal")


def _surprisal(run: Run, x: torch.Tensor, c: dict[str, torch.Tensor] | None) -> NDArray[np.float64]:
    """The surprisal of each token of x in nats, shape (n, L). Raises UserError if the family has none."""
    try:
        return run.over(x, c, lambda part, given, _: run.model.surprisal(part, given))
    except Unfit as error:
        raise UserError(f"{error}", setting="report", value="surprisal") from None


def _legend() -> Strip:
    """The legend of the colours."""
    steps = [0, 2, 4, 6, MOST_BITS]
    words = ["0 bits (certain)", *(f"{b:g} bits (1 in {2 ** int(b)})" for b in steps[1:])]
    words[-1] += " or more"
    spans = [
        f'<span class="piece" style="--heat:{b / MOST_BITS:.2f}">{word}</span>'
        for b, word in zip(steps, words, strict=True)
    ]
    return Strip("", "texts", [Markup(f"<p>{' '.join(spans)}</p>")], ["what the colours mean"])
