"""The training and held-out records of a run: drops records that cannot be encoded, and reads both again to resume."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from likewise.config import Experiment
from likewise.data.read import read_records
from likewise.data.records import Records
from likewise.modalities import views
from likewise.modalities.encoding import Encoding
from likewise.quality.scan import scan

#: maximum number of held-out records whose conditions are checked
_MOST_CHECKED = 100_000


def representable(
    held_out: Records, encoding: Encoding, conditions: Mapping[str, Encoding]
) -> tuple[Records, list[str]]:
    """The held-out records whose target can be encoded, and notes on values unseen in training."""
    notes = []
    for name, given in conditions.items():
        if isinstance(held_out.columns[name], views.Viewed):
            continue  # computed from the target, which is checked below
        some = itertools.islice(held_out.columns[name], _MOST_CHECKED)
        if new := given.unseen([v for v in some if v is not None]):
            notes.append(
                f"held out: {len(new):,} records have an unknown {name}, the first is {next(iter(new.values()))}"
            )
    new = encoding.unseen(held_out.columns[held_out.target])
    if not new:
        return held_out, notes
    first = next(iter(new.values()))
    notes.append(f"held out: {len(new):,} records hold what training data never do and are left out, the first {first}")
    return held_out.subset([i for i in range(len(held_out)) if i not in new]), notes


def records_again(
    experiment: Experiment, encoding: Encoding, conditions: Mapping[str, Encoding]
) -> tuple[Records, Records]:
    """The training and held-out records of an existing run, read again as `make_plan` found them."""
    data = experiment.data
    read = read_records(
        data.path, unit=data.unit, as_=getattr(experiment.target, "modality", None), target=experiment.target_field,
        given=tuple(experiment.condition), memory=data.memory, views=views.kinds,
    )  # fmt: skip
    found = views.add(scan(read).records, encoding.modality)
    rows, held = found.split(data.val_fraction, data.split)
    train = found.subset(rows)
    held_out, _ = representable(found.subset(held), encoding, conditions)
    return train, held_out if len(held_out) else train
