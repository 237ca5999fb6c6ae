"""One run directory on disk: create, open, list. It alone is enough to sample, evaluate and resume."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from likewise import catalog
from likewise.assemble import assemble
from likewise.config import Experiment, add_part, explain, parts_of, read_toml, to_toml, validate
from likewise.draws import Draws, derive_seed
from likewise.families.base import Model, Sampling
from likewise.modalities.base import Encoding, Modality
from likewise.modalities.latents import Autoencoder, Latents
from likewise.runs import reference
from likewise.runs.reference import Reference
from likewise.sampling.editing import Edit
from likewise.sampling.outpainting import go_on
from likewise.sampling.prompting import Prompting, Reins
from likewise.sampling.samples import Samples
from likewise.sampling.tiling import seamless
from likewise.spaces import Continuous, Tokens, missing, without_end
from likewise.training import checkpoint, distributed, hardware
from likewise.training.batches import Batches, FieldData, scored_together

#: where a run keeps the weights that its training started from, by the model's names
PRETRAINED = Path("pretrained") / "weights.safetensors"
#: what settings of drawing begin with that are of the decoder within, and of how samples are written
_DECODER, _TARGET = "decoder.", "target."


class Run:
    """A run folder. Its model is read when it is first needed."""

    def __init__(self, path: Path) -> None:
        if not (path / "experiment.toml").is_file():
            raise ValueError(f"{path}: not a run (it has no experiment.toml)")
        self.path, self.name = path, path.name
        plan = read_toml(path / "experiment.toml")
        if why := catalog.missing(parts_of(plan), lambda: self.info.get("parts", {})):
            raise ValueError(f"{path}: {why}")
        self.experiment: Experiment = validate(plan)
        state = json.loads((path / "modality.json").read_text(encoding="utf-8"))
        self.encoding: Encoding = state["encoding"]
        #: of the values; what is learned of them, which is their latents where there is an autoencoder
        self.plain: Modality = catalog.find("modality", state["target"][0]).from_state(state["target"][1])
        self.modality = self.plain
        self.autoencoder: Run | None = None
        if "latents" in state:
            self.autoencoder = Run(path / "autoencoder")
            self.modality = Latents(self.autoencoder.as_autoencoder(), **state["latents"])
        self.conditions: dict[str, Modality] = {
            k: catalog.find("modality", kind).from_state(s) for k, (kind, s) in state["condition"].items()
        }

    @classmethod
    def create(
        cls, path: Path, experiment: Experiment, modality: Modality, encoding: Encoding,
        conditions: dict[str, Modality], autoencoder: Run | None = None,
    ) -> Run:  # fmt: skip
        """Lay out a new run folder, with a copy of the autoencoder. Raises ValueError if it holds something already."""
        if path.exists() and any(path.iterdir()):
            raise ValueError(f"{path}: already holds something; give another --out, or --resume it")
        path.mkdir(parents=True, exist_ok=True)
        (path / "experiment.toml").write_text(to_toml(experiment.to_dict()), encoding="utf-8")
        plain = modality.inner if isinstance(modality, Latents) else modality
        state: dict[str, Any] = {
            "encoding": encoding,
            "target": [plain.name, plain.state()],
            "condition": {k: [m.name, m.state()] for k, m in conditions.items()},
        }
        if isinstance(modality, Latents):
            assert autoencoder is not None
            state["latents"] = modality.state()
            autoencoder._copy(path / "autoencoder")
        checkpoint.write_json(path / "modality.json", state)
        return cls(path)

    def _copy(self, path: Path) -> None:
        """Lay out a run that draws as this one does, and has nothing else: no real data, no optimizer."""
        copied = Run.create(path, self.experiment, self.modality, self.encoding, self.conditions)
        checkpoint.write_json(path / "run.json", self.info)
        weights, _, state = checkpoint.load(self.checkpoint())
        checkpoint.save(copied.path / "checkpoints", state["step"], weights, {}, {"of": self.weights_hash})

    def as_autoencoder(self) -> Autoencoder:
        """What latents need of this run; its weights are read when they are first needed."""
        space, family = self.modality.space(self.encoding), self.experiment.family
        found = family.latents(space), family.codebook(space)
        return Autoencoder(self.modality, self.encoding, lambda: self.model, self.sampling(None), *found)

    @property
    def info(self) -> dict[str, Any]:
        file = self.path / "run.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def untrained(self, but: Container[str] = ()) -> Model:
        """The model before its first step: a pretrained one if training started from one. but: weights not needed."""
        torch.manual_seed(derive_seed(self.experiment.training.seed, "weights") >> 1)
        spaces = {k: m.space(m.encodings[0]) for k, m in self.conditions.items()}
        space = self.modality.space(self.encoding)
        model = assemble(space, spaces, self.experiment.family, self.experiment.backbone)
        if (self.path / PRETRAINED).is_file():
            checkpoint.fill(model, self.path / PRETRAINED, but)
        if self.autoencoder is not None:
            model.likelihood = None  # the density of latents is no probability of what they become
        return model

    def checkpoint(self) -> Path:
        """The best checkpoint that verifies, else the newest."""
        path, _ = checkpoint.latest(self.path / "checkpoints")
        if path is None:
            raise ValueError(f"{self.path}: no checkpoint that verifies; train it, or --resume it")
        best = json.loads((path / "state.json").read_text(encoding="utf-8")).get("best_step")
        chosen = path.with_name(f"{best:07d}") if best is not None else path
        return chosen if chosen.is_dir() else path

    @cached_property
    def model(self) -> Model:
        weights = checkpoint.load(self.checkpoint())[0]
        model = self.untrained(weights)
        model.make_room(weights)
        checkpoint.compare_keys(model.state_dict(), weights, str(self.path))
        model.load_state_dict(weights)
        hardware.tune()
        return model.eval().to(self.device("auto"))

    def device(self, name: str) -> torch.device:
        """Where the model computes, if it may on `name`: what is counted, not multiplied, is on the CPU."""
        return hardware.choose_device(distributed.local_device(name) if self.experiment.family.has_networks else "cpu")

    @property
    def weights_hash(self) -> str:
        """16 hexadecimal digits that name all weights that draw."""
        own = checkpoint.weights_hash(self.checkpoint())
        if self.autoencoder is None:
            return own
        return hashlib.sha256((own + self.autoencoder.weights_hash).encode()).hexdigest()[:16]

    def metrics(self) -> list[dict[str, Any]]:
        file = self.path / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def field_data(self, values: Sequence[Any], name: str | None = None, windows: bool = False) -> FieldData:
        """The values of a field, the target unless named. windows: of the target, what is too long is not cut."""
        modality = self.modality if name is None else self.conditions[name]
        encoding = self.encoding if name is None else modality.encodings[0]
        return FieldData.of(modality, encoding, values, self.experiment.data.memory, windows)

    def keep_reference(self, split: str, values: Sequence[Any], given: Mapping[str, Sequence[Any]]) -> None:
        """Keep real data in the run; given: the column of each given field."""
        reference.keep(self.path / "reference", split, self.plain, values, given, self.conditions)

    def reference(self, split: str) -> Reference:
        stored, columns = self._kept(split)
        values, given = list(stored), {name: list(column) for name, column in columns.items()}
        batches = Batches(self.field_data(values), {k: self.field_data(v, k) for k, v in given.items()})
        # A family that learned draws of posteriors is shown draws of them: their means would be told apart.
        index = torch.arange(len(values))
        draws = None if self.autoencoder is None else Draws(derive_seed(0, "reference"), index)
        x, c = batches.take(index.numpy(), draws)
        return Reference(values, given, x, c)

    def reference_given(self, split: str, most: int) -> list[dict[str, Any]]:
        """What was given with the first `most` items of a split, as JSON; empty if nothing is."""
        columns = self._kept(split)[1]
        count = min(most, *map(len, columns.values())) if columns else 0
        return [self.given_json({name: column[i] for name, column in columns.items()}) for i in range(count)]

    def given_json(self, given: dict[str, Any]) -> dict[str, Any]:
        """What a sample is given as JSON, which `sample` takes wherever the run is: a picture is whole in it."""
        return {k: None if v is None else self.conditions[k].to_given(v) for k, v in given.items()}

    def _kept(self, split: str) -> tuple[Sequence[Any], dict[str, Sequence[Any]]]:
        return reference.kept(self.path / "reference", split, self.plain, self.conditions)

    def block(self) -> int:
        """How many samples are computed together: fixed, as rounding may depend on it (see `Model.draws_alone`)."""
        if self.autoencoder is not None:
            return self.autoencoder.block()  # what is decoded together is larger than its latents
        space = self.modality.space(self.encoding)
        if isinstance(space, Tokens):
            return 64
        return int(2 ** np.clip(np.round(np.log2(2**16 / space.size)), 4, 8))

    def sample(
        self,
        n: int,
        seed: int = 0,
        given: Any = None,
        start: int = 0,
        settings: dict[str, Any] | None = None,
        *,
        model: Model | None = None,
        block: int | None = None,
        prompting: Prompting | None = None,
        edit: Edit | None = None,
        live: Callable[[str], None] | None = None,
        tile: bool = False,
    ) -> Samples:
        """Draw samples start..start + n - 1 of `seed`.

        given: one mapping from field to value for all, or one for each; fields left out may be anything. Without any,
        each sample is given what a training item drawn by (seed, index) was, so that p(x) is drawn. settings: of the
        family's sampling, such as {"steps": 8}, and of an autoencoder's, such as {"decoder.temperature": 0.5}. model,
        block: other than the run's own, for previews. steering: how texts begin, end and read. edit: what samples are
        made of; where nothing is given, it alone says what they are. live: told the text of a single sample, piece by
        piece, as it is drawn. tile: draw what goes on with itself at its edges (see `tile`).
        """
        if n < 1:
            raise ValueError(f"-n {n}: at least one sample")
        if not self.experiment.family.generates:
            raise ValueError(
                f"{self.path}: a {getattr(self.experiment.family, 'name', '')} makes codes of items, and draws none; "
                f"train what draws its codes: likewise train {self.experiment.data.path} --through {self.path}"
            )
        each = [dict(g) for g in given] if isinstance(given, list) else [dict(given or {}) for _ in range(n)]
        if self.conditions and not given and edit is None:
            each = self.some_given(n, seed, start)
        for name in {k for g in each for k in g}:
            if name not in self.conditions:
                raise ValueError(f"--given {name}: this run is given {', '.join(self.conditions) or 'nothing'}")
        chosen, modality = self.sampling(settings), self.decoder(settings)
        block, values, parts = block or self.block(), [], []
        own = model is None
        model = model or self.model
        if tile:
            model, modality = self.seamless(model, modality)
        reins = self.reins(prompting, model, chosen, live is not None, n)
        if edit is not None and not model.editable:
            family = getattr(self.experiment.family, "name", "this family")
            raise ValueError(
                f"--from-image: {family} of {self.modality.describe()} cannot edit; a flow of what has positions, such "
                "as pictures, can"
            )
        whole_items = isinstance(model.target, Continuous) and not model.target.ragged
        longer = getattr(chosen, "length", None) if whole_items else None
        if longer and not modality.extendable:
            raise ValueError(f"length={longer}: only texts and clips go on; this run learned {modality.describe()}")
        cut: list[int] = []
        device = model.device
        # Of a block whose items are not all wanted, only those are computed, where that gives the same bits.
        with self.computing(chosen, device):
            whole = not (start % block or n % block) or not model.draws_alone(chosen, block)
        for first in range(start - start % block, start + n, block):
            items = range(first, first + block)
            if not whole:
                items = range(max(first, start), min(first + block, start + n))
            rows = [each[min(max(i - start, 0), n - 1)] for i in items]
            index = torch.tensor(items)
            c = self.condition(rows, device)
            wanted = [start <= i < start + n for i in items]
            inside = [i for i, one in enumerate(wanted) if one]
            steered = reins and reins.batch(wanted, live)
            with torch.no_grad(), self.computing(chosen, device):
                extra: dict[str, Any] = steered.arguments(device) if steered else {}
                if edit is not None:
                    extra["edited"] = edit.batch(modality, self.encoding, len(rows), device)
                draws = Draws(derive_seed(seed, "sample"), index, device)
                x = model.sample(c, draws, chosen, **extra)
                if longer:  # a view, such as the first frame, is of the first window alone
                    c = self.condition(
                        [{k: v for k, v in r.items() if k not in modality.views()} for r in rows], device
                    )
                    x = go_on(model, x, longer, c, draws, chosen)
                x = x.cpu()
                decoded = modality.decode(x, self.encoding, Draws(derive_seed(seed, "decode"), index))
            if steered:
                steered.finish()
                decoded = [steered.reins.prompting.trim(text) for text in decoded]
                cut += [items[i] for i, full in enumerate(steered.complete(x)) if not full]
            values += [decoded[i] for i in inside]
            parts.append(x[inside])
        provenance = {"run": str(self.path.resolve()), "seed": seed, "settings": settings or {}}
        if own:
            provenance["weights"] = self.weights_hash
        if prompting and prompting.to_dict():
            provenance["steering"] = prompting.to_dict()
        if edit is not None:
            provenance["edit"] = edit.to_dict()
        if tile:
            provenance["tile"] = True
        told = [self.given_json(row) for row in each]
        return Samples(values, torch.cat(parts), told, seed, modality, start, provenance, cut)

    def reconstruct(
        self, x: Tensor, c: dict[str, Tensor] | None = None, model: Model | None = None
    ) -> tuple[list[Any], Tensor]:
        """What an autoencoder makes of its latents of x, as values and as a tensor like x. model: not the run's own."""
        model, settings, parts = model or self.model, self.sampling(None), []
        size, device = scored_together(model.target), model.device
        for first in range(0, len(x), size):
            part = x[first : first + size].to(device)
            draws = Draws(derive_seed(0, "reconstruct"), torch.arange(first, first + len(part)), device)
            given = None if c is None else {k: v[first : first + size].to(device) for k, v in c.items()}
            with self.computing(settings, device):
                z = model.encode(part, given, settings)
                parts.append(model.from_latent(z, given, draws, settings).cpu())
        made = torch.cat(parts)
        return self.modality.decode(made, self.encoding), made

    def reins(
        self, prompting: Prompting | None, model: Model, chosen: Sampling, live: bool = False, n: int = 1
    ) -> Reins | None:
        """What steers this run's samples; None if nothing is asked for. Raises ValueError where nothing can."""
        prompting = prompting or Prompting()
        if not prompting.to_dict() and not live:
            return None
        space = self.modality.space(self.encoding)
        self.modality.token_bytes()  # which says so where there is no text
        if not model.steerable or not isinstance(space, Tokens):
            family = getattr(self.experiment.family, "name", "this family")
            raise ValueError(
                f"--prompt, --stop, --stream, --regex and --json-schema: {family} does not draw a text from its first "
                "token to its last; autoregressive does"
            )
        if live and n != 1:
            raise ValueError(f"--stream: it shows one text as it is drawn, and these are {n}; give -n 1")
        return Reins(prompting, self.modality, space, model.longest(chosen))

    def sampling(self, settings: dict[str, Any] | None = None) -> Sampling:
        """How the run draws, with `settings` changed. Raises ValueError for one that is not there."""
        chosen = self.experiment.family.sampling
        settings = {k: v for k, v in (settings or {}).items() if not k.startswith(_TARGET)}
        if self.autoencoder is not None:
            settings = {k: v for k, v in settings.items() if not k.startswith(_DECODER)}
        try:
            return type(chosen).model_validate({**chosen.model_dump(), **settings})
        except ValidationError as error:
            raise ValueError(f"sampling: {explain(error, type(chosen))}") from None

    def computing(self, settings: Sampling, device: torch.device) -> AbstractContextManager[object]:
        """In this context products are computed as precisely as `settings` have samples drawn."""
        return hardware.autocast(device, hardware.precision(settings.precision, device))

    def how_drawn(self, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What of how the run draws, with `settings` changed, is not the family's own default: what a report names."""
        usual = type(self.experiment.family)().sampling.model_dump()
        chosen = self.sampling(dict(settings or {})).model_dump()
        decoder = {k: v for k, v in (settings or {}).items() if k.startswith(_DECODER)}
        return {k: v for k, v in chosen.items() if v != usual[k]} | decoder

    def decoder(self, settings: dict[str, Any] | None) -> Modality:
        """What decodes and writes: of latents, the autoencoder with the `settings` that are called decoder.NAME.

        Those called target.NAME are of how samples are written.
        """
        modality = self.modality
        if self.autoencoder is not None:
            assert isinstance(modality, Latents)
            own = self.autoencoder.sampling(_called(_DECODER, settings))
            modality = Latents(dataclasses.replace(modality.autoencoder, sampling=own), **modality.state())
        if writing := _called(_TARGET, settings):
            try:
                return modality.written(writing)
            except ValidationError as error:
                raise ValueError(f"target: {explain(error, self.plain.Settings)}") from None
        return modality

    def seamless(self, model: Model, modality: Modality) -> tuple[Model, Modality]:
        """A model, and what decodes its samples, whose pictures go on with themselves at their edges."""
        if self.autoencoder is None:
            return seamless(model, self.experiment.backbone, self.plain.name), modality
        # The pixels are the autoencoder's.
        assert isinstance(modality, Latents)
        backbone = self.autoencoder.experiment.backbone
        return model, modality.decoded_by(seamless(self.autoencoder.model, backbone, self.plain.name))

    def some_given(self, n: int, seed: int, start: int = 0) -> list[dict[str, Any]]:
        """What the samples start..start + n - 1 of `seed` are given when nobody says: what a training item was."""
        pool = self._kept("train")[1]
        count = min(map(len, pool.values()))
        chosen = Draws(derive_seed(seed, "given"), torch.arange(start, start + n)).integers(count)
        return [{name: column[i] for name, column in pool.items()} for i in chosen.tolist()]

    def condition(self, rows: list[dict[str, Any]], device: torch.device) -> dict[str, Tensor] | None:
        """What is given in each of the rows, by field, as tensors; a field that a row leaves out is missing there."""
        if not self.conditions or not any(rows):
            return None
        out = {}
        for name, modality in self.conditions.items():
            known = [i for i, row in enumerate(rows) if row.get(name) is not None]
            tensor = missing(modality.space(modality.encodings[0]), len(rows))
            if known:
                channel = self.field_data([modality.read(rows[i][name]) for i in known], name)
                tensor[known] = channel.encode(np.arange(len(known)), None, trim=False)
            out[name] = tensor.to(device)
        return out

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, seed: int = 0) -> np.ndarray | None:
        """log p(x|c) in nats, shape (n,); None if the model has none."""
        if self.model.likelihood is None:
            return None
        noise = derive_seed(seed, "likelihood")
        return self.over(
            x, c, lambda part, given, index: self.model.log_likelihood(part, given, Draws(noise, index, part.device))
        )

    def log_likelihood_of(self, values: Sequence[Any], c: dict[str, Tensor] | None) -> np.ndarray:
        """log p(text|c) in nats, shape (n,), of all of each text however long it is, without its end.

        Only of a run whose modality is `windowed`. Those of about one length are scored together.
        """
        whole = self.modality.windows(values, self.encoding).whole
        assert whole.lengths is not None
        order = np.argsort(whole.lengths, kind="stable")
        found, size, device = np.zeros(len(values)), scored_together(self.model.target), self.model.device
        assert isinstance(self.model.target, Tokens)
        for at in range(0, len(order), size):
            index = order[at : at + size]
            x = self.modality.encode(whole.take(index), self.encoding).to(device)
            given = None if c is None else {k: v[torch.from_numpy(index)].to(device) for k, v in c.items()}
            with torch.no_grad():
                nats = self.model.log_likelihood(
                    without_end(x, self.model.target), given, Draws(0, torch.from_numpy(index), device)
                )
            found[index] = nats.double().cpu().numpy()
        return found

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None) -> np.ndarray | None:
        """The logits of the model's own discriminator, shape (n,), higher = more real; None if it has none."""
        if type(self.model).discriminate is Model.discriminate:
            return None
        return self.over(x, c, lambda part, given, _: self.model.discriminate(part, given))

    def over(self, x: Tensor, c: dict[str, Tensor] | None, score: Callable[..., Tensor]) -> np.ndarray:
        """score(x, c, index) -> (B, ...) over all of x, a batch at a time, on the model's device; (n, ...), float64."""
        parts = []
        device = self.model.device
        size = scored_together(self.model.target)
        for i in range(0, len(x), size):
            index = torch.arange(i, min(i + size, len(x)))
            part = None if c is None else {k: v[index].to(device) for k, v in c.items()}
            with torch.no_grad():
                parts.append(score(x[index].to(device), part, index).cpu())
        return torch.cat(parts).double().numpy()

    def evaluate(self, n: int = 1000, seed: int = 0, features: str = "pca") -> dict[str, Any]:
        """Measure n samples and write `report/`; returns what report.json holds (see `likewise.evaluate`)."""
        from likewise.report.build import build

        return build(self, n=n, seed=seed, features=features)


def _called(prefix: str, settings: dict[str, Any] | None) -> dict[str, Any]:
    """The settings that begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in (settings or {}).items() if k.startswith(prefix)}


def load(path: str | Path, parts: Sequence[Any] = ()) -> Run:
    """Open a run. parts: the classes of its parts that are neither likewise's own nor of an installed package.

    Raises ValueError of one line that names a part that is missing.
    """
    for part in parts:
        add_part(part)
    return Run(Path(path))


def list_runs(folder: Path) -> list[Run]:
    return [Run(p.parent) for p in sorted(folder.glob("*/experiment.toml"))]
