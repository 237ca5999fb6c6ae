"""Names to classes: the only place where a word becomes a class. Nothing is imported until it is asked for.

Adding a part is one file and one line here; the contract tests then pick it up by themselves.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

MODALITIES = {
    "image": "likewise.modalities.image:Image",
    "video": "likewise.modalities.video:Video",
    "label": "likewise.modalities.label:Label",
    "text": "likewise.modalities.text:Text",
    "dialogue": "likewise.modalities.dialogue:Dialogue",
    "table": "likewise.modalities.table:Table",
    "palette": "likewise.modalities.palette:Palette",
    "sentence": "likewise.modalities.sentence:Sentence",
}

BACKBONES = {
    "mlp": "likewise.backbones.mlp:MLP",
    "conv": "likewise.backbones.conv:Conv",
    "unet": "likewise.backbones.unet:UNet",
    "dcgan": "likewise.backbones.dcgan:DCGAN",
    "style": "likewise.backbones.style:Style",
    "transformer": "likewise.backbones.transformer:Transformer",
    "lstm": "likewise.backbones.recurrent:LSTM",
    "gru": "likewise.backbones.recurrent:GRU",
    "pretrained": "likewise.backbones.pretrained:Pretrained",
    "none": "likewise.backbones.none:NoBackbone",
}

FAMILIES = {
    "vae": "likewise.families.vae:VAE",
    "gan": "likewise.families.gan:GAN",
    "autoregressive": "likewise.families.autoregressive:Autoregressive",
    "flow": "likewise.families.flow:Flow",
    "codec": "likewise.families.codec:Codec",
    "resample": "likewise.families.baselines:Resample",
    "marginals": "likewise.families.baselines:Marginals",
    "gaussian": "likewise.families.baselines:Gaussian",
    "copula": "likewise.families.baselines:Copula",
    "ngram": "likewise.families.baselines:NGram",
}

_KINDS = {"modality": MODALITIES, "backbone": BACKBONES, "family": FAMILIES}


def names(kind: str) -> list[str]:
    """The names of a kind: "modality", "backbone" or "family"."""
    return list(_KINDS[kind])


def find(kind: str, name: object) -> Any:
    """The class called `name`: a Modality, or the settings class of a Backbone or Family.

    Raises ValueError that names the nearest match.
    """
    known = _KINDS[kind]
    if name not in known:
        nearest = get_close_matches(str(name), known, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(known)}"
        raise ValueError(f"no {kind} is called {name!r}; {hint}")
    module, _, attribute = known[str(name)].partition(":")
    return getattr(import_module(module), attribute)
