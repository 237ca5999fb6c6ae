"""The sampler draws the samples of a request from a trained model, decodes them, and records their provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from likewise.backbones.base import Backbone
from likewise.config import current_names, explain
from likewise.draws import Draws, derive_seed
from likewise.errors import Command, Message, Setting, UserError, listed
from likewise.families.base import Family, Model, Sampling, able
from likewise.families.precision import autocast, choose_precision
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding, encode_items
from likewise.modalities.latents import Through
from likewise.sampling.editing import Edit
from likewise.sampling.outpainting import go_on
from likewise.sampling.pooling import PooledRow, in_any_place, in_their_places, pools
from likewise.sampling.prompting import PromptedBatch, PromptedDecoding, Prompting
from likewise.sampling.samples import Samples
from likewise.sampling.tiling import seamless
from likewise.spaces import Continuous, Tokens, missing

#: prefixes of settings for the autoencoder's decoder, and for the files of samples
_DECODER, _TARGET = "decoder.", "target."
Given = dict[str, Any]


class HowDrawn(TypedDict, total=False):
    """The optional parts of a `SampleRequest`, as keyword arguments of functions that build one."""

    prompting: Prompting
    edit: Edit | None
    live: Callable[[str], None] | None
    tile: bool


@dataclass(frozen=True)
class SampleRequest:
    """A request for samples start..start + n - 1 of `seed`.

    given: one mapping from field to value for all samples, or a list with one for each; a field left out is not
    conditioned on. settings: of the family's sampling, such as {"steps": 8}, of the autoencoder's sampling, such as
    {"decoder.temperature": 0.5}, and of written files, such as {"target.quality": 90}. live: receives the text of a
    single sample, piece by piece, while it is drawn. tile: draw pictures that can be tiled without seams.
    """

    n: int = 16
    seed: int = 0
    given: Given | Sequence[Given] | None = None
    start: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompting: Prompting = field(default_factory=Prompting)
    edit: Edit | None = None
    live: Callable[[str], None] | None = None
    tile: bool = False

    def provenance(self) -> dict[str, Any]:
        """The part of the provenance that records prompting, edit and tile."""
        found: dict[str, Any] = {}
        if steering := self.prompting.to_dict():
            found["steering"] = steering
        if self.edit is not None:
            found["edit"] = self.edit.to_dict()
        if self.tile:
            found["tile"] = True
        return found


@dataclass(frozen=True)
class _Prepared:
    """A request whose parts have been checked against the model."""

    request: SampleRequest
    model: Model
    settings: Sampling
    decoder: Encoding
    prompted: PromptedDecoding | None
    #: positions along the first dimension of longer samples (outpainting); None for the model's own length
    length: int | None


@dataclass(frozen=True)
class _Part:
    """Samples of a request that are computed together.

    given: the condition of each. wanted: False for rows that only fill the block.
    """

    indices: Sequence[int]
    given: Sequence[Given]
    wanted: Sequence[bool]

    @property
    def inside(self) -> list[int]:
        """The positions of the wanted samples."""
        return [place for place, one in enumerate(self.wanted) if one]


@dataclass(frozen=True)
class _Job:
    """A checked request, the condition of each sample, and its parts."""

    prepared: _Prepared
    rows: list[Given]
    parts: list[_Part]

    @property
    def poolable(self) -> bool:
        """Whether its samples may share batches with those of other requests."""
        plain = self.prepared.prompted is None and self.prepared.length is None
        return plain and self.prepared.request.edit is None and not self.prepared.request.tile


@dataclass(frozen=True)
class _Block:
    """Samples that were computed together: values, tensors of shape (B, ...), and whether each text is complete."""

    values: list[Any]
    x: Tensor
    complete: Sequence[bool]


@dataclass(frozen=True)
class Sampler:
    """Draws from one trained model.

    encoding: the target's encoding, which includes the autoencoder if the run has one. load: returns the model in eval
    mode, on its device; called when it is first needed. pool: returns the conditions of training items, by field.
    path, weights_hash: identify the run and its weights in the provenance; no hash if the weights are not the run's.
    block_size: number of samples computed together; None for the default.
    """

    path: str
    encoding: Encoding
    conditions: Mapping[str, Encoding]
    family: Family
    backbone: Backbone
    load: Callable[[], Model]
    pool: Callable[[], Mapping[str, Sequence[Any]]]
    weights_hash: Callable[[], str] | None
    data: str = "PATH"
    autoencoder: Sampler | None = None
    block_size: int | None = None

    @property
    def model(self) -> Model:
        return self.load()

    @property
    def modality(self) -> Modality:
        """The modality of the sampled values."""
        return self.encoding.modality

    def draw(self, request: SampleRequest) -> Samples:
        """Draw the samples of a request. Raises UserError if the model cannot meet it.

        Without given values, each sample has the condition of a training item drawn by (seed, index), so that samples
        follow p(x). With an edit and no given values, samples are unconditional.
        """
        job = self._job(request)
        return self._samples(job, [self._draw_block(job.prepared, part) for part in job.parts])

    def draw_many(self, requests: Sequence[SampleRequest]) -> list[Samples]:
        """The samples of several requests, bit-identical to those of `draw`, in as few batches as that allows.

        Rows of a batch may differ in seed, and in the settings that the family's `per_row` names. Edits, prompts, tiles
        and longer samples are drawn separately. Raises UserError as `draw` does, before anything is drawn.
        """
        jobs = [self._job(request) for request in requests]
        drawn = self._draw_pooled([job for job in jobs if job.poolable])
        samples = []
        for job in jobs:
            found = drawn.get(id(job), [None] * len(job.parts))
            blocks = [self._draw_block(job.prepared, part, x) for part, x in zip(job.parts, found, strict=True)]
            samples.append(self._samples(job, blocks))
        return samples

    def prepare(self, request: SampleRequest) -> _Prepared:
        """Check a request against the model, before anything is drawn or written. Raises UserError."""
        settings, decoder, model = self.settings(request.settings), self.decoder(request.settings), self.model
        if request.tile:
            model, decoder = self.seamless(model, decoder)
        prompted = self._prompted(request, model, settings)
        if request.edit is not None and not model.editable:
            raise UserError(
                f"{self._family} of {self.encoding.describe()} cannot edit",
                setting="from_image",
                fix=listed(able("editable")) + " can, of what has positions, such as pictures",
            )
        whole_items = isinstance(model.target, Continuous) and not model.target.ragged
        length = getattr(settings, "length", None) if whole_items else None
        if length and not self.encoding.extendable:
            raise UserError(
                f"only texts and clips go on; this run learned {self.encoding.describe()}",
                setting="sampling.length",
                value=length,
            )
        return _Prepared(request, model, settings, decoder, prompted, length or None)

    def block(self) -> int:
        """The number of samples computed together; fixed, as rounding may depend on it (see `Model.draws_alone`)."""
        if self.block_size is not None:
            return self.block_size
        if self.autoencoder is not None:
            return self.autoencoder.block()  # decoded items are larger than their latents
        space = self.encoding.space
        if isinstance(space, Tokens):
            return 64
        return int(2 ** np.clip(np.round(np.log2(2**16 / space.size)), 4, 8))

    def settings(self, changes: Mapping[str, Any] | None = None) -> Sampling:
        """The family's sampling settings with `changes`. Raises UserError for an unknown or wrong setting."""
        usual = self.family.sampling
        changes = {k: v for k, v in (changes or {}).items() if not k.startswith(_TARGET)}
        if self.autoencoder is not None:
            changes = {k: v for k, v in changes.items() if not k.startswith(_DECODER)}
        try:
            changes = current_names(changes, "family.sampling.")
            return type(usual).model_validate({**usual.model_dump(), **changes})
        except ValidationError as error:
            raise UserError(f"sampling: {explain(error, type(usual))}") from None

    def changed_settings(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The sampling settings, with `changes`, that differ from the family's defaults; named in reports."""
        usual = type(self.family)().sampling.model_dump()
        chosen = self.settings(changes).model_dump()
        decoder = {k: v for k, v in (changes or {}).items() if k.startswith(_DECODER)}
        return {k: v for k, v in chosen.items() if v != usual[k]} | decoder

    def decoder(self, changes: Mapping[str, Any] | None = None) -> Encoding:
        """The encoding that decodes and writes samples, with the `changes` named decoder.NAME and target.NAME."""
        encoding = self.encoding
        if isinstance(encoding, Through):
            assert self.autoencoder is not None
            own = self.autoencoder.settings(_called(_DECODER, changes))
            encoding = encoding.over(dataclasses.replace(encoding.autoencoder, sampling=own))
        if writing := _called(_TARGET, changes):
            try:
                return encoding.of(self.modality.written(writing))
            except ValidationError as error:
                raise UserError(f"target: {explain(error, self.modality.Settings)}") from None
        return encoding

    def condition(self, rows: Sequence[Given], device: torch.device) -> dict[str, Tensor] | None:
        """The conditions of the rows, by field, shape (B, ...), with missing values if not given; None without any."""
        if not self.conditions or not any(rows):
            return None
        out = {}
        for name, encoding in self.conditions.items():
            known = [i for i, row in enumerate(rows) if row.get(name) is not None]
            tensor = missing(encoding.space, len(rows))
            if known:
                packed = encoding.pack([encoding.modality.read(rows[i][name]) for i in known])
                tensor[known] = encode_items(encoding, packed, np.arange(len(known)))
            out[name] = tensor.to(device)
        return out

    def some_given(self, n: int, seed: int, start: int = 0) -> list[Given]:
        """The default conditions of samples start..start + n - 1 of `seed`: those of random training items."""
        pool = self.pool()
        count = min(map(len, pool.values()))
        chosen = Draws(derive_seed(seed, "given"), torch.arange(start, start + n)).integers(count)
        return [{name: column[i] for name, column in pool.items()} for i in chosen.tolist()]

    def given_json(self, given: Mapping[str, Any]) -> Given:
        """A condition as JSON, which `sample` accepts on any machine: pictures are embedded."""
        return {k: None if v is None else self.conditions[k].modality.to_given(v) for k, v in given.items()}

    def origin(self, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the provenance that all samples of a seed and of settings share."""
        found: dict[str, Any] = {"run": self.path, "seed": seed, "settings": dict(settings)}
        if self.weights_hash is not None:
            found["weights"] = self.weights_hash()
        return found

    def autocast(self, settings: Sampling, device: torch.device) -> AbstractContextManager[object]:
        """A context that computes in the precision of `settings`."""
        return autocast(device, choose_precision(settings.precision, device))

    def seamless(self, model: Model, decoder: Encoding) -> tuple[Model, Encoding]:
        """The model and the decoder for pictures that can be tiled without seams (see `tiling`)."""
        if self.autoencoder is None:
            return seamless(model, self.backbone, self.modality.name), decoder
        assert isinstance(decoder, Through)  # the pixels are the autoencoder's
        painter = self.autoencoder
        return model, decoder.decoded_by(seamless(painter.model, painter.backbone, self.modality.name))

    @property
    def _family(self) -> str:
        return getattr(self.family, "name", "this family")

    def _check(self, request: SampleRequest) -> None:
        """Raises UserError if the number of samples is wrong or the family does not generate."""
        if request.n < 1:
            raise UserError("at least one sample", setting="n", value=request.n)
        if not self.family.generates:
            train = Command("train", self.data, through=self.path)
            raise UserError(
                f"{self.path}: a {self._family} makes codes of items, and draws none",
                fix=Message("train what draws its codes: ", train),
            )

    def _rows(self, request: SampleRequest) -> list[Given]:
        """The condition of each of the n samples. Raises UserError for an unknown field."""
        given = request.given
        if self.conditions and not given and request.edit is None:
            return self.some_given(request.n, request.seed, request.start)
        if given is None or isinstance(given, Mapping):
            rows = [dict(given or {}) for _ in range(request.n)]
        else:
            rows = [dict(row) for row in given]
        for name in dict.fromkeys(k for row in rows for k in row):
            if name not in self.conditions:
                known = ", ".join(self.conditions) or "nothing"
                raise UserError(f"this run is given {known}", setting="given", value=name)
        return rows

    def _prompted(self, request: SampleRequest, model: Model, settings: Sampling) -> PromptedDecoding | None:
        """The prepared prompting; None if the request has none. Raises UserError if the model cannot be prompted."""
        prompting, live = request.prompting, request.live is not None
        if not prompting.to_dict() and not live:
            return None
        space = self.encoding.space
        self.encoding.token_bytes()  # raises an error if the tokens are not text
        if not model.steerable or not isinstance(space, Tokens):
            raise UserError(
                f"{self._family} does not draw a text from its first token to its last",
                fix=listed(able("steerable")) + " can",
                setting=next(iter(prompting.to_dict()), "stream"),
            )
        if live and request.n != 1:
            raise UserError(
                f"it shows one text as it is drawn, and these are {request.n}",
                setting="stream",
                fix=Message("give ", Setting("n", 1)),
            )
        return PromptedDecoding(prompting, self.encoding, space, model.longest(settings))

    def _job(self, request: SampleRequest) -> _Job:
        """Check a request and divide it into parts that are computed together. Raises UserError."""
        self._check(request)
        rows, prepared = self._rows(request), self.prepare(request)
        last = request.start + request.n
        parts = []
        for indices in self._blocks(prepared):
            given = [rows[min(max(i - request.start, 0), request.n - 1)] for i in indices]
            parts.append(_Part(indices, given, [request.start <= i < last for i in indices]))
        return _Job(prepared, rows, parts)

    def _samples(self, job: _Job, blocks: Sequence[_Block]) -> Samples:
        """The samples of a request, without rows that only filled its blocks."""
        request, values, tensors, cut = job.prepared.request, [], [], []
        for part, block in zip(job.parts, blocks, strict=True):
            values += [block.values[place] for place in part.inside]
            tensors.append(block.x[part.inside])
            cut += [i for i, whole in zip(part.indices, block.complete, strict=True) if not whole]
        provenance = self.origin(request.seed, request.settings) | request.provenance()
        return Samples(
            values, torch.cat(tensors), [self.given_json(row) for row in job.rows], request.seed,
            job.prepared.decoder.modality, request.start, provenance, cut,
        )  # fmt: skip

    def _draw_pooled(self, jobs: Sequence[_Job]) -> dict[int, list[Tensor]]:
        """The tensors of each part of the jobs, by the job's id, drawn in batches that they share."""
        rows = [
            PooledRow(index, job.prepared.request.seed, given, job.prepared.settings, any(part.given), (id(job), at))
            for job in jobs
            for at, part in enumerate(job.parts)
            for index, given, wanted in zip(part.indices, part.given, part.wanted, strict=True)
            if wanted
        ]
        drawn: dict[tuple[int, int], dict[int, Tensor]] = {}
        for pool in pools(rows, self.family.per_row):
            for batch in self._batches(pool):
                for row, x in zip(batch, self._draw_rows(batch), strict=True):
                    if row.part is not None:
                        drawn.setdefault(row.part, {})[row.index] = x
        return {
            # Positions that are not wanted hold any sample of the block; they are not read.
            id(job): [
                torch.stack([found.get(i, next(iter(found.values()))) for i in part.indices])
                for at, part in enumerate(job.parts)
                for found in [drawn[id(job), at]]
            ]
            for job in jobs
        }

    def _batches(self, pool: Sequence[PooledRow]) -> list[list[PooledRow]]:
        """Batches of rows, such that each row has the same bits as if its request were drawn alone."""
        model, size, settings = self.model, self.block(), pool[0].settings
        with self.autocast(settings, model.device):
            alone = model.draws_alone(settings, size)
        return in_any_place(pool, size) if alone else in_their_places(pool, size)

    def _draw_rows(self, batch: Sequence[PooledRow]) -> Tensor:
        """One batch of rows of several requests, shape (B, ...), on the CPU."""
        model, device = self.model, self.model.device
        settings = self.family.by_row([row.settings for row in batch])
        seeds = [derive_seed(row.seed, "sample") for row in batch]
        with torch.no_grad(), self.autocast(settings, device):
            c = self.condition([row.given for row in batch], device) if batch[0].conditional else None
            draws = Draws(seeds, torch.tensor([row.index for row in batch]), device)
            return model.sample(c, draws, settings).cpu()

    def _blocks(self, prepared: _Prepared) -> Iterator[list[int]]:
        """The indices of the samples that are computed together, block by block.

        Of a partly wanted block, only the wanted samples are computed if that gives the same bits.
        """
        request, size = prepared.request, self.block()
        start, last = request.start, request.start + request.n
        with self.autocast(prepared.settings, prepared.model.device):
            whole = not (start % size or request.n % size) or not prepared.model.draws_alone(prepared.settings, size)
        for first in range(start - start % size, last, size):
            block = range(first, first + size)
            yield list(block if whole else range(max(first, start), min(first + size, last)))

    def _draw_block(self, prepared: _Prepared, part: _Part, x: Tensor | None = None) -> _Block:
        """The samples of a part; unwanted texts end at once.

        x: the tensors if they were drawn before, shape (B, ...), on the CPU.
        """
        request, model = prepared.request, prepared.model
        prompted = prepared.prompted and prepared.prompted.batch(part.wanted, request.live)
        with torch.no_grad(), self.autocast(prepared.settings, model.device):
            x = self._draw_part(prepared, part, prompted) if x is None else x
            noise = Draws(derive_seed(request.seed, "decode"), torch.tensor(part.indices))
            values = prepared.decoder.decode(x, noise)
        return _finished(values, x, prompted)

    def _draw_part(self, prepared: _Prepared, part: _Part, prompted: PromptedBatch | None) -> Tensor:
        """The tensors of a part, shape (B, ...), on the CPU."""
        request, model, settings = prepared.request, prepared.model, prepared.settings
        device = model.device
        extra: dict[str, Any] = prompted.arguments(device) if prompted else {}
        if request.edit is not None:
            extra["edited"] = request.edit.batch(prepared.decoder, len(part.given), device)
        draws = Draws(derive_seed(request.seed, "sample"), torch.tensor(part.indices), device)
        x = model.sample(self.condition(part.given, device), draws, settings, **extra)
        if prepared.length:
            x = go_on(model, x, prepared.length, self._beyond(prepared, part.given), draws, settings)
        return x.cpu()

    def _beyond(self, prepared: _Prepared, given: Sequence[Given]) -> dict[str, Tensor] | None:
        """The condition of all windows after the first, without views of the target, such as its first frame."""
        views = prepared.decoder.modality.views()
        rows = [{k: v for k, v in row.items() if k not in views} for row in given]
        return self.condition(rows, prepared.model.device)


def _finished(values: list[Any], x: Tensor, prompted: PromptedBatch | None) -> _Block:
    """A block with its texts trimmed at their stops. x: shape (B, ...), on the CPU."""
    if prompted is None:
        return _Block(values, x, [True] * len(values))
    prompted.finish()
    trimmed = [prompted.decoding.prompting.trim(text) for text in values]
    return _Block(trimmed, x, prompted.complete(x))


def _called(prefix: str, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings whose names begin with a prefix, with the prefix removed."""
    return {k.removeprefix(prefix): v for k, v in (settings or {}).items() if k.startswith(prefix)}
