"""Fits the modality and the encoding of the target and of each condition to the training records."""

from __future__ import annotations

from likewise import catalog
from likewise.config import Experiment
from likewise.data.records import Records
from likewise.errors import UserError
from likewise.modalities import views
from likewise.modalities.encoding import Encoding
from likewise.planning import encodings
from likewise.runs.run import Run


def fit_fields(
    train: Records, experiment: Experiment, encoder: Run | None
) -> tuple[Encoding, dict[str, Encoding], list[str]]:
    """The encoding of the target, the encodings of the conditions by field, and notes for the user.

    encoder: the autoencoder whose latents are learned, or None. Raises ValueError for values that cannot be encoded,
    and for an autoencoder trained on other records.
    """
    target, notes = _fit_target(train, experiment, encoder)
    conditions: dict[str, Encoding] = {}
    for name, settings in experiment.condition.items():
        if name in train.columns:
            column = train.columns[name]
        else:
            column = views.seen(train.columns[train.target], target.modality, name)
            settings = views.settings(target, name, settings)
        kind = catalog.find("modality", train.modalities[name])
        conditions[name] = encodings.of_given(
            name, kind, column, kind.given_settings(settings), experiment.training.seed
        )
        notes += conditions[name].modality.given_notes(name, column, target.modality)
    return target, conditions, notes


def _fit_target(train: Records, experiment: Experiment, encoder: Run | None) -> tuple[Encoding, list[str]]:
    seed, values = experiment.training.seed, train.columns[train.target]
    if encoder is not None:
        if train.fingerprint() != encoder.info.get("fingerprint"):
            raise UserError(
                "it was not trained on the same records as are trained on here, so it may have seen "
                "those that are held out",
                setting="through",
                value=encoder.path,
                fix=f"give the path and the split it had ({encoder.experiment.data.path}), or train it again "
                "on these data",
            )
        return encodings.over(encoder.as_autoencoder(), values, experiment.target, experiment.family, seed), []
    kind = catalog.find("modality", train.modalities[train.target])
    fitted = encodings.of_target(kind, values, experiment.target, experiment.family, seed)
    if experiment.family.windows and (whole := fitted.in_windows()) is not fitted:
        if not train.streamed:
            return whole, []
        return fitted, [
            "long texts are cut, not read in windows, as the data are read piece by piece: a larger data.memory (MiB) "
            "reads them whole"
        ]
    return fitted, []
