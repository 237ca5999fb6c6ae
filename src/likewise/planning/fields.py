"""Fits the modalities of the target and of the given fields to the training records."""

from __future__ import annotations

from likewise import catalog
from likewise.config import Experiment
from likewise.data.records import Records
from likewise.modalities import views
from likewise.modalities.base import Modality
from likewise.modalities.latents import Latents
from likewise.planning.split import plain
from likewise.runs.run import Run


def fit_fields(
    train: Records, experiment: Experiment, encoder: Run | None
) -> tuple[Modality, dict[str, Modality], list[str]]:
    """The target's modality (or its latents), that of each given field, and notes for the user.

    encoder: the autoencoder whose latents are learned. Raises ValueError for values that cannot be learned.
    """
    modality, notes = _fit_target(train, experiment, encoder)
    conditions: dict[str, Modality] = {}
    for name, settings in experiment.condition.items():
        if name in train.columns:
            column = train.columns[name]
        else:
            column = views.seen(train.columns[train.target], plain(modality), name)
            settings = views.settings(modality, name, settings)
        kind = catalog.find("modality", train.modalities[name])
        conditions[name] = kind.fit(column, kind.given_settings(settings), experiment.training.seed)
        notes += conditions[name].given_notes(name, column, modality)
    return modality, conditions, notes


def _fit_target(train: Records, experiment: Experiment, encoder: Run | None) -> tuple[Modality, list[str]]:
    seed, values = experiment.training.seed, train.columns[train.target]
    if encoder is not None:
        if train.fingerprint() != encoder.info.get("fingerprint"):
            raise ValueError(
                f"--through {encoder.path}: it was not trained on the same records as are trained on here, so it may "
                "have seen those that are held out; give the path and the split it had "
                f"({encoder.experiment.data.path}), or train it again on these data"
            )
        return Latents.fit(values, encoder.as_autoencoder(), seed), []
    modality = catalog.find("modality", train.modalities[train.target]).fit(values, experiment.target, seed)
    if experiment.family.windows and (whole := modality.in_windows()) is not modality:
        if not train.streamed:
            return whole, []
        return modality, [
            "long texts are cut, not read in windows, as the data are read piece by piece: a larger data.memory (MiB) "
            "reads them whole"
        ]
    return modality, []
