"""Chooses the encoding of each field: the one that the user named, else the first that the family can learn.

Encodings are fitted in order until one fits the family; the others are not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from likewise import catalog
from likewise.config import Experiment
from likewise.errors import listed
from likewise.families.base import Family
from likewise.modalities.base import Modality, ModalitySettings
from likewise.modalities.encoding import Encoding, encoding_class, fit_encoding
from likewise.modalities.latents import Autoencoder, through
from likewise.spaces import Space, Unfit


def of_target(
    kind: type[Modality], values: Sequence[Any], settings: ModalitySettings, family: Family, seed: int
) -> Encoding:
    """Fit the modality, and an encoding that the family can learn. Raises Unfit if there is none."""
    modality = kind.fit(values, settings, seed)
    known = {name: encoding_class(kind.name, name) for name in catalog.encodings(kind.name)}
    fits = {name: partial(each.fit, modality, values, settings, seed) for name, each in known.items()}
    return _chosen(fits, settings.encoding, family, kind.name)


def over(
    autoencoder: Autoencoder, values: Sequence[Any], settings: ModalitySettings, family: Family, seed: int
) -> Encoding:
    """Fit an encoding over an autoencoder that the family can learn. Raises Unfit if there is none."""
    modality = autoencoder.encoding.modality
    fits = {each.name: partial(each.fit, modality, values, autoencoder, seed) for each in through(autoencoder)}
    return _chosen(fits, settings.encoding, family, "this autoencoder")


def of_given(
    field: str, kind: type[Modality], values: Sequence[Any], settings: ModalitySettings, seed: int
) -> Encoding:
    """Fit the modality and the encoding of a condition: the encoding that the user named, else the first.

    Raises ValueError if the modality has no encoding of that name.
    """
    known = catalog.encodings(kind.name)
    if settings.encoding not in (None, *known):
        raise ValueError(f"condition.{field}.encoding: {_known(kind.name, known)} (got {settings.encoding!r})")
    return fit_encoding(kind, values, settings, settings.encoding, seed)


def default_family(modality: str, asked: str | None, autoencoder: Autoencoder | None) -> str:
    """The default family of the encoding `asked`, or of the first encoding if that is None or unknown."""
    if autoencoder is not None:
        known = {each.name: each for each in through(autoencoder)}
    else:
        known = {name: encoding_class(modality, name) for name in catalog.encodings(modality)}
    return known.get(asked or "", next(iter(known.values()))).default_family


def named(experiment: Experiment, encoding: Encoding, conditions: Mapping[str, Encoding]) -> Experiment:
    """The experiment with the names of the chosen encodings."""
    target = experiment.target.model_copy(update={"encoding": encoding.name})
    given = {
        name: settings.model_copy(update={"encoding": conditions[name].name})
        for name, settings in experiment.condition.items()
    }
    return experiment.model_copy(update={"target": target, "condition": given})


def _chosen(fits: Mapping[str, Callable[[], Encoding]], asked: str | None, family: Family, whose: str) -> Encoding:
    """Fit and return the first encoding that the family can learn, or the encoding `asked`.

    fits: functions that fit each encoding, by name. whose: the owner of the encodings in messages.
    """
    if asked is not None and asked not in fits:
        raise ValueError(f"target.encoding: {_known(whose, [*fits])} (got {asked!r})")
    refusals, spaces = [], []
    for name in [asked] if asked is not None else fits:
        encoding = fits[name]()
        why = family.roles(encoding.space)
        if not isinstance(why, str):
            return encoding
        refusals.append(why)
        spaces.append(encoding.space)
    if asked is not None:
        raise Unfit(f"target.encoding={asked}: {refusals[0]}", fix=f"{_fitting(spaces)}; {_known(whose, [*fits])}")
    raise Unfit(refusals[0], fix=_fitting(spaces))


def _fitting(spaces: Sequence[Space]) -> str:
    """Which families learn one of the spaces, as a clause."""
    names = [
        name
        for name in catalog.names("family")
        if any(not isinstance(catalog.find("family", name)().roles(space), str) for space in spaces)
    ]
    return f"{listed(names)} fit" if names else "no family fits"


def _known(whose: str, names: Sequence[str]) -> str:
    return f"{'the encodings' if len(names) > 1 else 'the encoding'} of {whose} {_are(names)}"


def _are(names: Sequence[str]) -> str:
    *first, last = names
    return f"are {', '.join(first)} and {last}" if first else f"is {last}"
