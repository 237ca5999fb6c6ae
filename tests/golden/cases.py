"""What the golden tests train, and what is kept of each run: short hashes of its weights, losses, samples and files.

Only what is meant to stay is used: the functions of `likewise`, the command line, and what files hold. Values are
hashed, not the names they go by, so that a tensor, a setting or a key of JSON can be renamed without a new record.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import load_file

import likewise

HERE = Path(__file__).parent
#: of every run: little, on one thread, in float32 (where bfloat16 is fast, it would be chosen), and with a line of
#: losses for each step, as lines that come by the clock would hold the mean of other steps
SMALL: dict[str, Any] = {
    "training.batch": 8, "training.threads": 1, "training.precision": "float32", "training.evaluate_every": 1,
    "training.keep_checkpoints": 1, "family.sampling.precision": "float32", "data.val_fraction": 0.15,
}  # fmt: skip
NARROW = {"backbone.width": 16}
SHALLOW = {"backbone.width": 16, "backbone.depth": 1}
MAPS = {"backbone.width": 8, "backbone.multipliers": [1, 2]}
FEW = {"family.sampling.steps": 2}
BASELINES = ("resample", "marginals", "gaussian", "copula", "ngram")


@dataclass(frozen=True)
class Case:
    """One run: the name of its data, the arguments of `train` and its settings. through: the case it is seen through"""

    data: str
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    through: Case | None = None
    steps: int = 3


UNGIVEN = {"given": []}
FLOW, GAN, VAE = UNGIVEN | {"family": "flow"}, UNGIVEN | {"family": "gan"}, UNGIVEN | {"family": "vae"}
TOKEN = {"family": "autoregressive"}


def _every_family() -> Iterator[tuple[str, Case]]:
    """Every modality that is made, by every family that can, on the network that is taken where nobody names one."""
    plain: dict[str, tuple[str, dict[str, Any], dict[str, dict[str, Any]]]] = {
        "image": ("pictures", {"given": []}, {
            "vae": NARROW, "gan": MAPS, "autoregressive": SHALLOW, "flow": MAPS | FEW, "codec": MAPS,
        }),
        "video": ("clips", {"as_": "video"}, {
            "vae": NARROW, "gan": NARROW, "autoregressive": SHALLOW, "flow": MAPS | FEW,
        }),
        "label": ("table", {"target": "age", "given": []}, {"vae": SHALLOW}),
        "text": ("texts", {}, {"vae": SHALLOW, "autoregressive": SHALLOW}),
        "dialogue": ("talks", {"target": "history", "given": []}, {"vae": SHALLOW, "autoregressive": SHALLOW}),
        "table": ("table", {}, {"vae": NARROW, "gan": NARROW, "autoregressive": SHALLOW, "flow": NARROW | FEW}),
        "palette": ("palettes", {"as_": "palette"}, {"vae": SHALLOW, "gan": SHALLOW, "flow": SHALLOW | FEW}),
    }  # fmt: skip
    without = {
        "label": ("gaussian",), "text": ("gaussian", "copula"), "dialogue": ("gaussian", "copula"),
        "palette": ("ngram",),
    }  # fmt: skip
    for modality, (data, options, families) in plain.items():
        for family, settings in families.items():
            yield f"{modality}-{family}", Case(data, options | {"family": family}, settings)
        for family in BASELINES:
            if family not in without.get(modality, ()):
                yield f"{modality}-{family}", Case(data, options | {"family": family})
    # Not labels, autoregressively: they are one token, and fewer samples than a block fail at their second one.


def _networks() -> Iterator[tuple[str, Case]]:
    """Other networks, and other ways to read the same data."""
    yield "image-flow-unet", Case("pictures", FLOW | {"backbone": "unet"}, MAPS | FEW | {"backbone.groups": 4})
    yield "image-flow-mlp", Case("grey", FLOW | {"backbone": "mlp"}, SHALLOW | FEW)
    yield "image-flow-transformer", Case("pictures", FLOW | {"backbone": "transformer"}, SHALLOW | FEW)
    yield "image-flow-clear", Case("clear", FLOW, MAPS | FEW)
    yield "image-vae-clear", Case("clear", VAE | {"backbone": "conv"}, MAPS)
    yield "image-vae-dcgan", Case("pictures", VAE | {"backbone": "dcgan"}, {"backbone.width": 8})
    yield "image-gan-dcgan", Case("pictures", GAN | {"backbone": "dcgan"}, {"backbone.width": 8})
    style = MAPS | {"backbone.style": 16}
    yield "image-gan-style", Case("pictures", GAN | {"backbone": "style"}, style)
    yield "image-patches", Case("pictures", UNGIVEN | TOKEN, SHALLOW | {"target.patch": 2, "target.codes": 16})
    yield "image-patches-gru", Case("grey", UNGIVEN | TOKEN | {"backbone": "gru"}, SHALLOW | {"target.patch": 4})
    yield "image-codec-vq", Case("pictures", UNGIVEN | {"family": "codec"}, MAPS | {"family.quantiser": "vq"})
    yield "video-flow-mlp", Case("clips", {"as_": "video", "family": "flow", "backbone": "mlp"}, SHALLOW | FEW)
    for backbone in ("lstm", "gru"):
        yield f"text-{backbone}", Case("texts", TOKEN | {"backbone": backbone}, SHALLOW)
        yield f"text-vae-{backbone}", Case("texts", {"family": "vae", "backbone": backbone}, SHALLOW)
    yield "text-bytes", Case("texts", TOKEN, SHALLOW | {"target.tokenizer": "bytes"})
    for tokenizer in ("bpe", "words"):
        settings = SHALLOW | {"target.tokenizer": tokenizer, "target.vocabulary": 300}
        yield f"text-{tokenizer}", Case("prose", TOKEN, settings)
    yield "video-codec", Case("clips", {"as_": "video", "family": "codec", "backbone": "conv"}, MAPS)
    yield "table-flow-transformer", Case("table", {"family": "flow", "backbone": "transformer"}, SHALLOW | FEW)
    yield "table-lstm", Case("table", TOKEN | {"backbone": "lstm"}, SHALLOW)


def _given() -> Iterator[tuple[str, Case]]:
    """Given something."""
    for family in ("flow", "gan", "vae", "autoregressive"):
        settings = {"flow": MAPS | FEW, "gan": MAPS, "vae": NARROW, "autoregressive": SHALLOW}[family]
        yield f"image-{family}-label", Case("pictures", {"family": family, "given": ["label"]}, settings)
    yield "image-flow-caption", Case("captions", {"family": "flow", "given": ["caption"]}, MAPS | FEW)
    yield "image-gan-caption", Case("captions", {"family": "gan", "given": ["caption"]}, MAPS)
    yield "image-patches-caption", Case("captions", TOKEN | {"given": ["caption"]}, SHALLOW)
    yield "caption-image", Case("captions", TOKEN | {"target": "caption"}, SHALLOW)
    for view in ("small", "grey", "palette"):
        yield f"image-flow-{view}", Case("photos", {"family": "flow", "given": [view]}, MAPS | FEW | {"target.size": 8})
    yield "text-pairs", Case("pairs", TOKEN, SHALLOW)
    yield "text-pairs-prefix", Case("pairs", TOKEN, SHALLOW | {"backbone.given": "prefix"})
    yield "text-pairs-gru", Case("pairs", TOKEN | {"backbone": "gru", "target": "en", "given": ["de"]}, SHALLOW)
    yield "text-vae-pairs", Case("pairs", {"family": "vae", "given": ["en"]}, SHALLOW)
    yield "text-reply", Case("talks", TOKEN, SHALLOW)
    for family in ("flow", "gan", "vae", "autoregressive"):
        settings = {"flow": SHALLOW | FEW, "autoregressive": SHALLOW}.get(family, NARROW)
        yield f"table-{family}-columns", Case("table", {"family": family, "given": ["city", "age"]}, settings)


def _through() -> Iterator[tuple[str, Case]]:
    """Seen through an autoencoder."""
    seen = {"training.batch": 8} | NARROW
    flat = Case("pictures", UNGIVEN | {"family": "vae"}, NARROW | {"family.latent": 4})
    mapped = Case("pictures", VAE | {"backbone": "conv"}, MAPS | {"family.latent": 3, "family.stride": 2})
    codes = Case("pictures", UNGIVEN | {"family": "codec"}, MAPS)
    words = Case("texts", {"family": "vae"}, SHALLOW | {"family.latent": 4})
    yield "latent-flow", Case("pictures", {"family": "flow"}, seen | FEW, flat)
    yield "latent-flow-map", Case("pictures", {"family": "flow", "given": ["label"]}, MAPS | FEW, mapped)
    yield "codes-autoregressive", Case("pictures", TOKEN | {"given": ["label"]}, SHALLOW, codes)
    yield "codes-flow", Case("pictures", FLOW, MAPS | FEW, codes)
    yield "latent-gan-text", Case("texts", {"family": "gan"}, seen, words)
    yield "latent-flow-text", Case("texts", {"family": "flow"}, seen | FEW, words)


def _ways_to_learn() -> Iterator[tuple[str, Case]]:
    few = MAPS | {"family.few_step": True, "family.sampling.steps": 2}
    yield "few-step", Case("pictures", FLOW, few, steps=4)
    yield "windows", Case("books", TOKEN | {"unit": "document"}, SHALLOW | {"target.length": 32})
    yield (
        "windows-lstm",
        Case("books", TOKEN | {"unit": "document", "backbone": "lstm"}, SHALLOW | {"target.length": 32}),
    )
    for name, own in {
        "ema": {"training.ema": 0.05}, "adamw": {"training.optimizer": "adamw"}, "sgd": {"training.optimizer": "sgd"},
        "accumulate": {"training.accumulate": 2, "training.schedule": "cosine", "training.grad_clip": 0.1},
        "ddpm": {"family.path": "ddpm", "family.loss_weighting": "min_snr", "family.sampling.sampler": "euler"},
        "edm": {"family.path": "edm", "family.sampling.sampler": "heun", "family.condition_dropout": 0.3},
        "weak": {"family.guide_model": 0.3, "family.shift": 2.0},
    }.items():  # fmt: skip
        yield f"image-flow-{name}", Case("pictures", {"family": "flow", "given": ["label"]}, MAPS | FEW | own)
    yield "image-gan-adaptive", Case("pictures", GAN, MAPS | {"family.augment": "adaptive", "family.loss": "hinge"})
    yield "image-vae-crop", Case("photos", VAE, NARROW | {"target.size": "8x12", "target.flip": True})
    yield "text-ema", Case("texts", TOKEN, SHALLOW | {"training.ema": 0.1, "training.optimizer": "adamw"})


CASES = dict(case for cases in (_every_family, _networks, _given, _through, _ways_to_learn) for case in cases())


def train(case: Case, data: Path, out: Path) -> Any:
    """The run of a case in the folder `out`; the run it is seen through, if there is one, lies beside it."""
    options = dict(case.options)
    if case.through is not None:
        options["through"] = train(case.through, data, out.with_name(f"{out.name}-seen")).path
    own = {k: v for k, v in SMALL.items() if not (case.through and k.startswith("data."))}
    settings = own | case.settings
    return likewise.train(
        data, out=out, steps=case.steps, seed=case.options.get("seed", 3), set_=settings, say=lambda _: None, **options
    )


def short(*parts: bytes | str) -> str:
    found = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]


def observed(run: Any, drawn: Path) -> dict[str, Any]:
    """All that is kept of a run. drawn: a folder for samples; they are drawn but of what draws none."""
    stored = run.path / "samples"
    try:
        run.sample(5, seed=11).save(drawn)
    except ValueError:
        if "codec" not in (run.path / "experiment.toml").read_text(encoding="utf-8"):
            raise
        folders = [stored]  # what comes back of real pictures
        about = lines = ""
    else:
        folders = [drawn, *([stored] if (stored / "samples.jsonl").is_file() else [])]
        about = short(*(provenance(folder, run.path) for folder in folders))
        lines = short(*((folder / "samples.jsonl").read_bytes() for folder in folders))
    return {
        "weights": weights(run.path),
        "losses": short(*losses(run.path)),
        "samples": short(*(content(folder) for folder in folders)),
        "provenance": about,
        "lines": lines,
        "files": files(run.path),
    }


def newest(run: Path) -> Path:
    """The folder of the last checkpoint."""
    return max(p for p in (run / "checkpoints").iterdir() if p.name.isdigit())


def weights(run: Path) -> str:
    """Of all tensors of the last checkpoint that draw, whatever they are called."""
    found = []
    for file in newest(run).glob("weights*.safetensors"):
        for tensor in load_file(file).values():
            data = tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor.flatten()
            found.append(short(str(tuple(tensor.shape)), str(tensor.dtype), data.numpy().tobytes()))
    return short(*sorted(found))


def losses(run: Path) -> Iterator[str]:
    """The numbers of metrics.jsonl that are not whole, without times, line by line; warnings are no numbers."""
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        if any(isinstance(v, str) and " " in v for v in values.values()):
            continue
        found = sorted(repr(v) for k, v in values.items() if isinstance(v, float) and "second" not in k)
        if found:
            yield " ".join(found)


def content(folder: Path) -> str:
    """Of the samples' files: pixels of pictures and clips, values of lines, and tables and texts as they are."""
    parts: list[str] = []
    for file in sorted(folder.iterdir()):
        if file.name == "provenance.json" or (file.name.startswith("preview-") and (folder / "samples.jsonl").exists()):
            continue
        if file.suffix in (".png", ".gif", ".webp"):
            parts += [short(f.mode, str(f.size), f.tobytes()) for f in frames(file)]
        elif file.suffix == ".jsonl":
            rows = [json.loads(row) for row in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
            parts.append(short(*(repr(v) for v in leaves(rows))))
        else:
            parts.append(short(file.read_bytes()))
    assert parts, folder
    return short(*parts)


def frames(file: Path) -> list[Image.Image]:
    """The pictures in a file: one, or those of a clip."""
    with Image.open(file) as picture:
        return [frame.copy() for frame in ImageSequence.Iterator(picture)]


def provenance(folder: Path, run: Path) -> str:
    """Of what the samples say of how they were drawn: all values but where the run is and what its weights are named"""
    found = list(leaves(json.loads((folder / "provenance.json").read_text(encoding="utf-8"))))
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        found += leaves([v for v in json.loads(line).values() if isinstance(v, int)])
    known = (str(run), str(run.resolve()))
    kept = [v for v in found if v not in known and not re.fullmatch("[0-9a-f]{16}", str(v))]
    return short(*map(repr, kept))


def leaves(value: Any) -> Iterator[Any]:
    """The values at the ends of nested ones, in order."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    else:
        yield value


def files(run: Path) -> list[str]:
    """The files of a run by name. Which checkpoints are kept depends on which was best: one stands for all."""
    names = (str(p.relative_to(run).as_posix()) for p in run.rglob("*") if p.is_file())
    return sorted({re.sub(r"checkpoints/\d+/", "checkpoints/0/", name) for name in names})


def machine() -> str:
    """What the bits may depend on, as the name of a record."""
    version = torch.__version__.partition("+")[0]
    return f"{version}-{platform.machine()}-{torch.backends.cpu.get_cpu_capability()}"


def about() -> dict[str, str]:
    """What else they may depend on, to look at where they differ."""
    import PIL
    import scipy
    import sklearn
    import tokenizers

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    found = {"cpu": model, "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return found | {"sklearn": sklearn.__version__, "pillow": PIL.__version__, "tokenizers": tokenizers.__version__}


def recorded() -> dict[str, dict[str, Any]]:
    """All records, by machine."""
    return {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(HERE.glob("*.json"))}


def own(records: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The record that this machine must reproduce; None if it was made on another CPU or with other libraries."""
    record, here = records.get(machine()), about()
    same = ("cpu", "numpy", "scipy", "sklearn", "tokenizers")
    return record if record and all(record["about"][key] == here[key] for key in same) else None


def prepare() -> None:
    """One thread wherever a run chooses its number by itself, and no waiting for the disk."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    os.fsync = lambda _: None
