"""The fitted modality and encoding of a field as JSON, each with its name and state."""

from __future__ import annotations

from typing import Any

from likewise import catalog
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding, encoding_class
from likewise.modalities.latents import Autoencoder, opened


def dump(encoding: Encoding) -> dict[str, Any]:
    parts = {"modality": encoding.modality, "encoding": encoding}
    return {kind: {"name": part.name, "state": part.state()} for kind, part in parts.items()}


def load(fitted: dict[str, Any], autoencoder: Autoencoder | None = None) -> Encoding:
    """The inverse of `dump`. autoencoder: required by encodings of latents or codes."""
    name, state = fitted["encoding"]["name"], fitted["encoding"]["state"]
    if autoencoder is not None:
        return opened(name, autoencoder, state)
    kind: type[Modality] = catalog.find("modality", fitted["modality"]["name"])
    return encoding_class(kind.name, name).from_state(kind.from_state(fitted["modality"]["state"]), state)
