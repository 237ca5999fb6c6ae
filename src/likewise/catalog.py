"""The catalog maps names of parts to classes; no other file does. A class is imported when it is first loaded.

A new part of likewise needs one file and one line here. Another package adds a part with an entry point of the group
"likewise.plugins"; the name of the entry point is KIND.NAME:

    [project.entry-points."likewise.plugins"]
    "backbone.wavelet" = "my_package.wavelet:Wavelet"

`register` adds a part to this process only (a class of a script or a notebook).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

#: the group of entry points by which other packages add parts
GROUP = "likewise.plugins"
_OWN = "likewise"

#: conversion of files to values and display of values, in the order in which they may claim the files of a folder
#: (a GIF is a clip if video accepts it, else a picture)
MODALITIES = {
    "video": ("likewise.modalities.video:Video", "short clips without sound"),
    "image": ("likewise.modalities.image:Image", "pictures: .png, .jpg, .webp and other files that Pillow reads"),
    "label": ("likewise.modalities.label:Label", "one of a few names"),
    "text": ("likewise.modalities.text:Text", "text in any language"),
    "dialogue": ("likewise.modalities.dialogue:Dialogue", "conversations of several turns"),
    "table": ("likewise.modalities.table:Table", "rows of numbers and categories"),
    "palette": ("likewise.modalities.palette:Palette", "one to five colours"),
    "sentence": ("likewise.modalities.sentence:Sentence", "the meaning of a text, as a condition only"),
}

#: conversion between values and tensors, by MODALITY.NAME; the default encoding of a modality is first
ENCODINGS = {
    "image.pixels": ("likewise.modalities.image_pixels:ImagePixels", "numbers, one for each channel of a pixel"),
    "image.patches": ("likewise.modalities.image_patches:ImagePatches", "tokens, one for each patch of pixels"),
    "video.frames": ("likewise.modalities.video_frames:VideoFrames", "numbers, one for each channel of a pixel"),
    "video.patches": ("likewise.modalities.video_patches:VideoPatches", "tokens, one for each block of space and time"),
    "label.index": ("likewise.modalities.label:LabelIndex", "one token"),
    "text.tokens": ("likewise.modalities.text_tokens:TextTokens", "bytes, characters or byte pairs"),
    "dialogue.tokens": (
        "likewise.modalities.dialogue_tokens:DialogueTokens",
        "tokens of texts, of roles and of turns",
    ),
    "table.quantiles": (
        "likewise.modalities.table_quantiles:Quantiles",
        "a vector: normal scores and one-hot choices",
    ),
    "table.bins": ("likewise.modalities.table_bins:Bins", "tokens, one for each column"),
    "palette.colours": ("likewise.modalities.palette:PaletteColours", "a vector of red, green and blue"),
    "sentence.embedding": ("likewise.modalities.sentence:SentenceEmbedding", "a vector of 384 numbers"),
    "any.codes": ("likewise.modalities.latents:Codes", "tokens that a trained codec finds"),
    "any.latents": ("likewise.modalities.latents:Latents", "numbers that a trained autoencoder finds"),
}
#: stands for any modality in the name of an encoding that uses a trained autoencoder
ANY = "any"

#: settings classes that build networks
BACKBONES = {
    "mlp": ("likewise.backbones.mlp:MLP", "fully connected layers"),
    "conv": ("likewise.backbones.conv:Conv", "residual convolutions at several resolutions"),
    "unet": ("likewise.backbones.unet:UNet", "the U-Net of DDPM, in the form diffusers loads"),
    "dcgan": ("likewise.backbones.dcgan:DCGAN", "strided convolutions of DCGAN"),
    "style": ("likewise.backbones.style:Style", "convolutions modulated by a style vector, for a GAN"),
    "transformer": ("likewise.backbones.transformer:Transformer", "self-attention"),
    "lstm": ("likewise.backbones.recurrent:LSTM", "a recurrent network with long short-term memory"),
    "gru": ("likewise.backbones.recurrent:GRU", "a recurrent network of gated units"),
    "pretrained": ("likewise.backbones.pretrained:Pretrained", "a causal language model from a Hugging Face folder"),
    "none": ("likewise.backbones.none:NoBackbone", "no network, for baselines"),
}

#: methods that learn a distribution and sample from it
FAMILIES = {
    "vae": ("likewise.families.vae:VAE", "variational autoencoder"),
    "gan": ("likewise.families.gan:GAN", "generative adversarial network"),
    "autoregressive": ("likewise.families.autoregressive:Autoregressive", "token by token"),
    "flow": ("likewise.families.flow:Flow", "flow matching: samples are transported from noise to data"),
    "codec": ("likewise.families.codec:Codec", "autoencoder with discrete codes, for another run to learn"),
    "resample": ("likewise.families.baselines:Resample", "baseline: training items with noise"),
    "marginals": ("likewise.families.baselines:Marginals", "baseline: each position drawn independently"),
    "gaussian": ("likewise.families.baselines:Gaussian", "baseline: a multivariate normal distribution"),
    "copula": ("likewise.families.baselines:Copula", "baseline: a Gaussian copula"),
    "ngram": ("likewise.families.baselines:NGram", "baseline: a Kneser-Ney n-gram model of tokens"),
}

#: metrics that compare samples with real data, in the order of the report
METRICS = {
    "kernel": ("likewise.metrics.frechet:Kernel", "the kernel distance of features (KID)"),
    "neighbours": ("likewise.metrics.neighbours:Neighbours", "precision, recall, density and coverage of features"),
    "frechet": ("likewise.metrics.frechet:Frechet", "the Fréchet distance of features"),
    "texts": ("likewise.metrics.text:Texts", "distinct n-grams, self-BLEU, repetition and length of texts"),
    "motion": ("likewise.metrics.motion:Motion", "how much and how steadily clips move"),
    "columns": ("likewise.metrics.table:Columns", "how far each column of rows is from the real one"),
    "quality": ("likewise.metrics.quality:Quality", "shapes of columns and trends of pairs, as SDMetrics has them"),
}

#: layouts, which read the files of a path as records, in the order in which they are tried
LAYOUTS = {
    "metadata": ("likewise.data.layouts.metadata:Metadata", "pictures or clips with metadata.jsonl or metadata.csv"),
    "files": ("likewise.data.layouts.files:ValueFiles", "a folder of pictures or clips, or of folders of classes"),
    "text-file": ("likewise.data.layouts.texts:TextFile", "one text file, by its lines, paragraphs or parts"),
    "conversations": ("likewise.data.layouts.conversations:Conversations", "conversations in a .yaml file"),
    "tmx": ("likewise.data.layouts.translations:TranslationMemory", "a translation memory, .tmx"),
    "parallel-texts": ("likewise.data.layouts.translations:ParallelTexts", "two files, line by line: a.en and a.de"),
    "texts": ("likewise.data.layouts.texts:TextFolder", "a folder of .txt files"),
    "fasta": ("likewise.data.layouts.science:Fasta", "proteins, DNA or RNA in FASTA files"),
    "smiles": ("likewise.data.layouts.science:Smiles", "molecules in SMILES files"),
    "code": ("likewise.data.layouts.texts:CodeFolder", "a folder of source code"),
    "prose": ("likewise.data.layouts.texts:ProseFolder", "a folder of other prose: .md, .rst, .text"),
    "po": ("likewise.data.layouts.translations:MessageCatalogues", "message catalogues, .po"),
    "table": ("likewise.data.layouts.table:Table", "a table: .csv, .tsv, .jsonl or .parquet"),
}

#: (module:Class, summary) by name
_LISTED: dict[str, dict[str, tuple[str, str]]] = {
    "modality": MODALITIES,
    "encoding": ENCODINGS,
    "backbone": BACKBONES,
    "family": FAMILIES,
    "metric": METRICS,
    "layout": LAYOUTS,
}


class Source(NamedTuple):
    """The origin of a part. package: the name of the distribution; empty for a class registered in this process."""

    package: str
    version: str
    part: str  #: "module:Class"

    def __str__(self) -> str:
        return f"{self.package} {self.version}".strip() or f"the class {self.part.rpartition(':')[2]}"


@dataclass(frozen=True)
class Part:
    """A part that can be loaded by name."""

    kind: str
    name: str
    summary: str
    source: Source
    #: the class, if it was registered in this process
    loaded: Any = None

    @property
    def own(self) -> bool:
        """Whether the part belongs to likewise itself."""
        return self.source.package == _OWN

    def load(self) -> Any:
        """Import the class. Raises ValueError with one line if a part of another package cannot be imported."""
        if self.loaded is not None:
            return self.loaded
        module, _, attribute = self.source.part.partition(":")
        if self.own:
            return getattr(import_module(module), attribute)
        try:
            return getattr(import_module(module), attribute)
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ValueError(
                f"the {self.kind} {self.name!r} of the package {self.source} cannot be imported ({why}); "
                f"update or uninstall {self.source.package}"
            ) from error


#: parts registered in this process, by kind and name
_registered: dict[tuple[str, str], Part] = {}


@cache
def _of_packages() -> tuple[Part, ...]:
    """The parts that installed packages add, sorted by package and name, without importing them."""
    return tuple(sorted(map(_part, entry_points(group=GROUP)), key=lambda part: (part.source.package, part.name)))


def _part(point: EntryPoint) -> Part:
    kind, _, name = point.name.partition(".")
    package, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
    source = Source(package, version, point.value)
    return Part(kind, name, f"of the package {source}", source)


def _candidates(kind: str) -> Iterable[Part]:
    for name, (target, summary) in _LISTED[kind].items():
        yield Part(kind, name, summary, Source(_OWN, "", target))
    yield from (part for part in _of_packages() if part.kind == kind)
    yield from (part for part in _registered.values() if part.kind == kind)


def kinds() -> list[str]:
    """The kinds of parts: "modality", "encoding", "backbone", ..."""
    return list(_LISTED)


def names(kind: str) -> list[str]:
    """The names of all parts of a kind ("modality", "encoding", ...); those of likewise itself come first."""
    return list(dict.fromkeys(part.name for part in _candidates(kind)))


def summaries(kind: str) -> dict[str, str]:
    """One-line descriptions of the parts of a kind, by name, without importing them."""
    found: dict[str, str] = {}
    for part in _candidates(kind):
        found.setdefault(part.name, part.summary)
    return found


def part(kind: str, name: object) -> Part:
    """The part called `name`.

    Raises ValueError if there is none (names the nearest match), or if two packages have a part of this name.
    """
    found = [each for each in _candidates(kind) if each.name == name]
    if not found:
        known = names(kind)
        nearest = get_close_matches(str(name), known, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(known)}"
        hint += "".join(
            f"; {each.source} adds {each.kind}.{each.name}, but there is no kind {each.kind!r}"
            for each in _of_packages()
            if each.kind not in _LISTED
        )
        raise ValueError(f"no {kind} is called {name!r}; {hint}")
    if len(found) > 1:
        first, second = found[:2]
        raise ValueError(
            f"two packages have a {kind} called {name!r}: {first.source} and {second.source}; uninstall one of them"
        )
    return found[0]


def encodings(modality: str) -> list[str]:
    """The names of a modality's encodings, the default first."""
    split = (name.partition(".") for name in names("encoding"))
    return [name for owner, _, name in split if owner == modality]


def find(kind: str, name: object) -> Any:
    """The class called `name`: a Modality, an Encoding, or the settings class of a Backbone or Family.

    Raises ValueError as `part` does, and if a part of another package cannot be imported.
    """
    return part(kind, name).load()


def register(kind: str, name: str, cls: type) -> None:
    """Register a class under a name in this process. Registering the same class again is allowed.

    A later definition of the same class, as in a notebook, replaces it. Raises ValueError if the name is taken.
    """
    if kind not in _LISTED:
        raise ValueError(f"no kind of part is called {kind!r}; choose from {', '.join(_LISTED)}")
    source = Source("", "", f"{cls.__module__}:{cls.__qualname__}")
    others = [each for each in _candidates(kind) if each.name == name and each.loaded is None]
    if any(other.source.part == source.part for other in others):
        return
    before = _registered.get((kind, name))
    if before is not None and before.source.part != source.part:
        others.append(before)
    if others:
        raise ValueError(
            f"the {kind} {name!r} of {source.part} has the name of a part of {others[0].source}; give it another name"
        )
    _registered[kind, name] = Part(kind, name, f"the class {cls.__qualname__} of this process", source, cls)


def others(used: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """The origin of each part among `used` (pairs of kind and name) that does not belong to likewise itself.

    A run stores this, so that `missing` can name the package when the run is opened elsewhere.
    """
    found = {}
    for kind, name in used:
        each = part(kind, name)
        if not each.own:
            source = each.source
            found[f"{kind}.{name}"] = (
                {"package": source.package, "version": source.version}
                if source.package
                else {"class": source.part.rpartition(":")[2]}
            )
    return found


def missing(used: Iterable[tuple[str, str]], known: Callable[[], dict[str, dict[str, str]]]) -> str | None:
    """The first missing part of `used` with a known origin, as a clause; None if there is none.

    known: returns the result of `others` that the run stored; called only if a part is missing.
    """
    for kind, name in used:
        if name in names(kind):
            continue
        source = known().get(f"{kind}.{name}", {})
        if package := source.get("package"):
            version = source.get("version", "")
            return f"its {kind} {name!r} is of the package {package} {version}, which is not installed"
        if said := source.get("class"):
            return (
                f"its {kind} {name!r} is the class {said}, which is not known here: likewise.load(run, parts=[{said}])"
            )
    return None
