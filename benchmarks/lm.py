"""A 10M decoder language model, batch 16, context 256: likewise beside nanoGPT's model and transformers' Llama."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch

from benchmarks.rounds import Result, Side, alternate
from likewise.backbones.transformer import Transformer
from likewise.config import Training
from likewise.families.autoregressive import Autoregressive
from likewise.families.precision import autocast
from likewise.modalities.packed import Packed
from likewise.modalities.text import Text, TextSettings
from likewise.spaces import Tokens
from likewise.training import hardware
from likewise.training.batches import Batches, FieldData
from likewise.training.learner import Learner, parameters

BATCH, CONTEXT, STEPS = 16, 256, 3


def run(nanogpt: str | None, compiled: bool, rounds: int) -> Result:
    hardware.tune()
    text = Text.fit(["".join(topics.values())], TextSettings(tokenizer="bytes"))
    stream = np.array(text.tokenizer.tokenize(["".join(topics.values())])[0])
    vocabulary = 256
    sides: dict[str, Side] = {}
    notes: dict[str, str] = {}
    missing: list[str] = []

    learner = _ours(vocabulary)
    rows = stream[: len(stream) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    batches = Batches(FieldData(_Bytes(text), Packed(rows)))
    counter = iter(range(10**9))

    def ours() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            k = next(counter)
            learner.step(batches, (np.arange(BATCH) + k * BATCH) % len(rows), k, 10_000)
        return STEPS * BATCH * CONTEXT / (time.perf_counter() - start)

    sides["likewise"] = ours
    notes["likewise"] = (
        f"{parameters(learner.model) / 1e6:.1f}M, {learner.precision} autocast, AdamW, whole training step"
    )

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(stream) - CONTEXT - 1, (BATCH,))
        x = torch.stack([torch.from_numpy(stream[s : s + CONTEXT]) for s in starts])
        y = torch.stack([torch.from_numpy(stream[s + 1 : s + 1 + CONTEXT]) for s in starts])
        return x, y

    if nanogpt is None or not (Path(nanogpt) / "model.py").is_file():
        missing.append("nanoGPT: give the path of a checkout by --nanogpt")
    else:
        for name, side, note in _nanogpt(Path(nanogpt), vocabulary, batch, compiled):
            sides[name], notes[name] = side, note
    if importlib.util.find_spec("transformers") is None:
        missing.append("transformers: pip install transformers")
    else:
        for name, side, note in _llama(vocabulary, batch):
            sides[name], notes[name] = side, note
    return Result("lm", "tokens/s", alternate(sides, rounds), notes, missing)


class _Bytes:
    """Rows of a stream as they are; what `Batches` asks of an encoding."""

    def __init__(self, text: Text) -> None:
        self.text = text

    space = Tokens(CONTEXT, 256)

    def encode(self, batch: np.ndarray, draws: object = None) -> torch.Tensor:
        return torch.from_numpy(batch.astype(np.int64))


def _ours(vocabulary: int) -> Learner:
    torch.manual_seed(0)
    model = Autoregressive().build(Tokens(CONTEXT, vocabulary), {}, Transformer(width=384, depth=6, heads=6))
    return Learner(model, Training(batch=BATCH, optimizer="adamw", weight_decay=0.1), hardware.choose_device("cpu"))


def _timed(step: Callable[[], None]) -> Side:
    def side() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        return STEPS * BATCH * CONTEXT / (time.perf_counter() - start)

    return side


def load_nanogpt(path: Path) -> Any:
    """nanoGPT's model.py, of a checkout at `path`."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    return module


def _nanogpt(path: Path, vocabulary: int, batch: Callable, compiled: bool):
    module = load_nanogpt(path)
    for name in ["nanoGPT", *(["nanoGPT compiled"] if compiled else [])]:
        config = module.GPTConfig(
            block_size=CONTEXT, vocab_size=vocabulary, n_layer=6, n_head=6, n_embd=384, dropout=0.0, bias=False
        )
        model = module.GPT(config)
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
        count = parameters(model) / 1e6
        called = torch.compile(model) if "compiled" in name else model

        def step(model=model, called=called, optimizer=optimizer) -> None:
            x, y = batch()
            _, loss = called(x, y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        yield name, _timed(step), f"{count:.1f}M, float32, AdamW"


def _llama(vocabulary: int, batch: Callable):
    from transformers import LlamaConfig, LlamaForCausalLM

    for precision in ("float32", "bfloat16"):
        config = LlamaConfig(
            vocab_size=vocabulary, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
            max_position_embeddings=CONTEXT, use_cache=False,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1)
        device = torch.device("cpu")

        def step(model=model, optimizer=optimizer, precision=precision, device=device) -> None:
            x, _ = batch()
            with autocast(device, precision):
                loss = model(input_ids=x, labels=x).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        note = f"{parameters(model) / 1e6:.1f}M, {precision}, AdamW, bare loop without Trainer's own cost"
        yield f"transformers Llama {precision}", _timed(step), note
