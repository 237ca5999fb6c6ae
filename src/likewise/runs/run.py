"""Creates and opens run folders. A folder holds everything needed to sample, evaluate and resume."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from likewise import catalog
from likewise.assemble import assemble
from likewise.config import Experiment, parts_of, read_toml, to_toml, validate
from likewise.draws import Draws, derive_seed
from likewise.errors import Message, Setting, UserError
from likewise.families.base import Model
from likewise.modalities.base import Modality
from likewise.modalities.encoding import Encoding
from likewise.modalities.latents import Autoencoder
from likewise.runs import fitted, migrate, reference
from likewise.runs.reference import Reference
from likewise.sampling.sampler import HowDrawn, Sampler, SampleRequest
from likewise.sampling.samples import Samples
from likewise.spaces import Continuous, Space, Tokens, fill_up, without_end
from likewise.training import checkpoint, distributed, hardware
from likewise.training.batches import Batches, FieldData, scored_together
from likewise.training.metrics_log import read_metrics

#: path in a run folder of the pretrained weights that training started from, with the names of the model's parameters
PRETRAINED = Path("pretrained") / "weights.safetensors"


class Run:
    """A run folder. The weights are read at first use. Raises ValueError if the folder is not a run or not readable."""

    def __init__(self, path: Path) -> None:
        if not (path / "experiment.toml").is_file():
            raise ValueError(f"{path}: not a run (it has no experiment.toml)")
        self.path, self.name = path, path.name
        plan = migrate.experiment(read_toml(path / "experiment.toml"))
        if why := catalog.missing(parts_of(plan), lambda: self.info.get("parts", {})):
            raise ValueError(f"{path}: {why}")
        self.experiment: Experiment = validate(plan)
        state = migrate.modality(json.loads((path / "modality.json").read_text(encoding="utf-8")))
        through = state["target"]["encoding"]["name"] in catalog.encodings(catalog.ANY)
        self.autoencoder: Run | None = Run(path / "autoencoder") if through else None
        within = self.autoencoder.as_autoencoder() if self.autoencoder is not None else None
        #: the encoding of the target, and of each condition by field
        self.encoding: Encoding = fitted.load(state["target"], within)
        self.conditions: dict[str, Encoding] = {name: fitted.load(each) for name, each in state["condition"].items()}

    @classmethod
    def create(
        cls, path: Path, experiment: Experiment, encoding: Encoding, conditions: dict[str, Encoding],
        autoencoder: Run | None = None,
    ) -> Run:  # fmt: skip
        """Create a run folder, with a copy of the autoencoder. Raises UserError if the folder is not empty."""
        if path.exists() and any(path.iterdir()):
            raise UserError(
                f"{path}: already holds something",
                fix=Message("give another ", Setting("out"), ", or ", Setting("resume"), " it"),
            )
        path.mkdir(parents=True, exist_ok=True)
        (path / "experiment.toml").write_text(to_toml(experiment.to_dict()), encoding="utf-8")
        if autoencoder is not None:
            autoencoder._copy(path / "autoencoder")
        state = {
            "target": fitted.dump(encoding),
            "condition": {name: fitted.dump(each) for name, each in conditions.items()},
        }
        checkpoint.write_json(path / "modality.json", state)
        return cls(path)

    @property
    def modality(self) -> Modality:
        """The modality of the target."""
        return self.encoding.modality

    @property
    def space(self) -> Space:
        """The space of the encoded target, in which the model is trained."""
        return self.encoding.space

    def _copy(self, path: Path) -> None:
        """Copy what sampling needs to a new run folder, without real data and optimizer state."""
        copied = Run.create(path, self.experiment, self.encoding, self.conditions)
        checkpoint.write_json(path / "run.json", self.info)
        weights, _, state = checkpoint.load(self.checkpoint())
        checkpoint.save(copied.path / "checkpoints", state["step"], weights, {}, {"of": self.weights_hash})

    def as_autoencoder(self) -> Autoencoder:
        """This run as the autoencoder of a latent encoding; its weights are read at first use."""
        family = self.experiment.family
        found = family.latents(self.space), family.codebook(self.space)
        return Autoencoder(self.encoding, lambda: self.model, self.sampler.settings(), *found)

    @property
    def info(self) -> dict[str, Any]:
        file = self.path / "run.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def untrained(self, but: Container[str] = ()) -> Model:
        """The model before its first step, with pretrained weights if training started from them.

        but: names of weights that need not be read, because the caller replaces them.
        """
        torch.manual_seed(derive_seed(self.experiment.training.seed, "weights") >> 1)
        spaces = {name: encoding.space for name, encoding in self.conditions.items()}
        model = assemble(self.space, spaces, self.experiment.family, self.experiment.backbone)
        if (self.path / PRETRAINED).is_file():
            checkpoint.fill(model, self.path / PRETRAINED, but)
        if self.autoencoder is not None:
            model.likelihood = None  # the density of latents is not a likelihood of decoded values
        return model

    def checkpoint(self) -> Path:
        """The path of the best checkpoint, or of the newest. Raises UserError if no checkpoint verifies."""
        path, _ = checkpoint.latest(self.path / "checkpoints")
        if path is None:
            raise UserError(
                f"{self.path}: no checkpoint that verifies", fix=Message("train it, or ", Setting("resume"), " it")
            )
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
        """The device for the setting `name`; families without networks always use the CPU."""
        return hardware.choose_device(distributed.local_device(name) if self.experiment.family.has_networks else "cpu")

    @property
    def weights_hash(self) -> str:
        """16 hexadecimal digits that identify the weights for sampling, including those of the autoencoder."""
        own = checkpoint.weights_hash(self.checkpoint())
        if self.autoencoder is None:
            return own
        return hashlib.sha256((own + self.autoencoder.weights_hash).encode()).hexdigest()[:16]

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl: losses, checkpoints and alarms."""
        return read_metrics(self.path / "metrics.jsonl")

    def field_data(self, values: Sequence[Any], name: str | None = None, windows: bool = False) -> FieldData:
        """Pack values of the target, or of the condition `name`.

        windows: whether long values are divided into windows instead of truncated.
        """
        encoding = self.encoding if name is None else self.conditions[name]
        return FieldData.of(encoding, values, self.experiment.data.memory, windows)

    def keep_reference(self, split: str, values: Sequence[Any], given: Mapping[str, Sequence[Any]]) -> None:
        """Store real data of a split in the run. given: the values of each condition by field."""
        reference.keep(self.path / "reference", split, self.modality, values, given, self.conditions)

    def reference(self, split: str) -> Reference:
        stored, columns = self._kept(split)
        values, given = list(stored), {name: list(column) for name, column in columns.items()}
        batches = Batches(self.field_data(values), {k: self.field_data(v, k) for k, v in given.items()})
        # A model of latents was trained on samples of the posterior, so the reference has samples too, not means.
        index = torch.arange(len(values))
        draws = None if self.autoencoder is None else Draws(derive_seed(0, "reference"), index)
        x, c = batches.take(index.numpy(), draws)
        if isinstance(self.space, Continuous):
            x = fill_up(x, self.space)  # padded like the samples it is compared with
        return Reference(values, given, x, c)

    def reference_given(self, split: str, most: int) -> list[dict[str, Any]]:
        """The condition values of the first `most` stored items of a split, as JSON; empty if unconditional."""
        columns = self._kept(split)[1]
        count = min(most, *map(len, columns.values())) if columns else 0
        return [self.sampler.given_json({name: column[i] for name, column in columns.items()}) for i in range(count)]

    def _kept(self, split: str) -> tuple[Sequence[Any], dict[str, Sequence[Any]]]:
        return reference.kept(self.path / "reference", split, self.modality, self.conditions)

    @property
    def sampler(self) -> Sampler:
        """The sampler of this run; its weights are read at first use."""
        return Sampler(
            str(self.path.resolve()), self.encoding, self.conditions, self.experiment.family,
            self.experiment.backbone, lambda: self.model, lambda: self._kept("train")[1], lambda: self.weights_hash,
            self.experiment.data.path, None if self.autoencoder is None else self.autoencoder.sampler,
        )  # fmt: skip

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
        **how: Unpack[HowDrawn],
    ) -> Samples:
        """Draw samples start..start + n - 1 of `seed` (see `SampleRequest`).

        given: a mapping from field to value for all samples, or one mapping for each; other fields are unconditional.
        If None, each sample has the conditions of a training item drawn by (seed, index), so that the samples follow
        p(x). model, block: replace the model and the block size of the run, for previews. how: prompting, edit, live,
        tile.
        """
        sampler = self.sampler
        if model is not None:  # the hash of the run's weights does not apply to another model
            sampler = dataclasses.replace(sampler, load=lambda: model, weights_hash=None)
        if block is not None:
            sampler = dataclasses.replace(sampler, block_size=block)
        return sampler.draw(SampleRequest(n, seed, given, start, settings or {}, **how))

    def reconstruct(
        self, x: Tensor, c: dict[str, Tensor] | None = None, model: Model | None = None
    ) -> tuple[list[Any], Tensor]:
        """Encode and decode x, shape (n, ...), with an autoencoder.

        Returns the reconstructions as values and as a tensor like x. model: replaces the model of the run.
        """
        sampler = self.sampler
        model, settings, parts = model or self.model, sampler.settings(), []
        size, device = scored_together(model.target), model.device
        for first in range(0, len(x), size):
            part = x[first : first + size].to(device)
            draws = Draws(derive_seed(0, "reconstruct"), torch.arange(first, first + len(part)), device)
            given = None if c is None else {k: v[first : first + size].to(device) for k, v in c.items()}
            with sampler.autocast(settings, device):
                z = model.encode(part, given, settings)
                parts.append(model.from_latent(z, given, draws, settings).cpu())
        made = torch.cat(parts)
        return self.encoding.decode(made), made

    def log_likelihood(self, x: Tensor, c: dict[str, Tensor] | None, seed: int = 0) -> np.ndarray | None:
        """log p(x|c) in nats, shape (n,); None if the model has no likelihood. x: shape (n, ...)."""
        if self.model.likelihood is None:
            return None
        noise = derive_seed(seed, "likelihood")
        return self.over(
            x, c, lambda part, given, index: self.model.log_likelihood(part, given, Draws(noise, index, part.device))
        )

    def log_likelihood_of(self, values: Sequence[Any], c: dict[str, Tensor] | None) -> np.ndarray:
        """log p(text|c) in nats, shape (n,), of texts of any length, without their end token.

        Only for runs with a `windowed` encoding. Texts of similar length are scored in one batch.
        """
        whole = self.encoding.windows(values).whole
        assert whole.lengths is not None
        order = np.argsort(whole.lengths, kind="stable")
        found, size, device = np.zeros(len(values)), scored_together(self.model.target), self.model.device
        assert isinstance(self.model.target, Tokens)
        for at in range(0, len(order), size):
            index = order[at : at + size]
            x = self.encoding.encode(whole.take(index)).to(device)
            given = None if c is None else {k: v[torch.from_numpy(index)].to(device) for k, v in c.items()}
            with torch.no_grad():
                nats = self.model.log_likelihood(
                    without_end(x, self.model.target), given, Draws(0, torch.from_numpy(index), device)
                )
            found[index] = nats.double().cpu().numpy()
        return found

    def discriminate(self, x: Tensor, c: dict[str, Tensor] | None) -> np.ndarray | None:
        """The logits of the model's discriminator, shape (n,), higher for more realistic x; None if it has none."""
        if type(self.model).discriminate is Model.discriminate:
            return None
        return self.over(x, c, lambda part, given, _: self.model.discriminate(part, given))

    def over(self, x: Tensor, c: dict[str, Tensor] | None, score: Callable[..., Tensor]) -> np.ndarray:
        """Apply score(x, c, index) -> (B, ...) to x batch by batch on the model's device; shape (n, ...), float64."""
        parts = []
        device = self.model.device
        size = scored_together(self.model.target)
        for i in range(0, len(x), size):
            index = torch.arange(i, min(i + size, len(x)))
            part = None if c is None else {k: v[index].to(device) for k, v in c.items()}
            with torch.no_grad():
                parts.append(score(x[index].to(device), part, index).cpu())
        return torch.cat(parts).double().numpy()
