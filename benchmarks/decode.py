"""Tokens a second drawn from a 10M decoder language model: likewise beside transformers' `generate` and nanoGPT's.

256 tokens after 8 that are given, all sides sampled at temperature 1, float32. Weights are random: no side ends early.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.lm import load_nanogpt
from benchmarks.rounds import Result, Side, alternate
from likewise.backbones.recurrent import LSTM
from likewise.backbones.transformer import Transformer
from likewise.draws import Draws
from likewise.families.autoregressive import Autoregressive, AutoregressiveModel, AutoregressiveSampling
from likewise.spaces import Tokens
from likewise.training import hardware
from likewise.training.learner import parameters

VOCABULARY, GIVEN, NEW = 256, 8, 256


def run(batch: int, nanogpt: str | None, compiled: bool, rounds: int) -> Result:
    hardware.tune()
    prompt = torch.arange(GIVEN).repeat(batch, 1)
    sides: dict[str, Side] = {}
    notes: dict[str, str] = {}
    missing: list[str] = []

    def add(name: str, note: str, draw: Callable[[], object], threads: int = torch.get_num_threads()) -> None:
        def side() -> float:
            before = torch.get_num_threads()
            if threads != before:
                torch.set_num_threads(threads)
            start = time.perf_counter()
            draw()
            rate = batch * NEW / (time.perf_counter() - start)
            torch.set_num_threads(before)
            return rate

        sides[name], notes[name] = side, f"{note}, {threads} thread{'s' * (threads > 1)}"

    ours = _ours(Transformer(width=384, depth=6, heads=6))
    size = f"{parameters(ours) / 1e6:.1f}M"
    add("likewise", f"{size}, whole draw with the weights' packing", lambda: _draw(ours, prompt))
    lstm = _ours(LSTM(width=768, depth=2))
    add("likewise LSTM", f"{parameters(lstm) / 1e6:.1f}M, 2x768", lambda: _draw(lstm, prompt))
    if importlib.util.find_spec("transformers") is None:
        missing.append("transformers: pip install transformers")
    else:
        llama, settings = _llama()
        note = f"{parameters(llama) / 1e6:.1f}M"
        draw = lambda: llama.generate(prompt, **settings)  # noqa: E731
        add("transformers generate", f"{note}, dynamic cache", draw)
        if torch.get_num_threads() > 1:
            add("transformers generate, one thread", f"{note}, dynamic cache", draw, 1)
        if compiled:
            static = {**settings, "cache_implementation": "static"}
            add("transformers generate, compiled", f"{note}, static cache", lambda: llama.generate(prompt, **static))
    if nanogpt is None or not (Path(nanogpt) / "model.py").is_file():
        missing.append("nanoGPT: give the path of a checkout by --nanogpt")
    else:
        module = load_nanogpt(Path(nanogpt))
        config = module.GPTConfig(
            block_size=GIVEN + NEW, vocab_size=VOCABULARY, n_layer=6, n_head=6, n_embd=384, dropout=0.0, bias=False
        )
        gpt = module.GPT(config).eval()
        add("nanoGPT", f"{parameters(gpt) / 1e6:.1f}M, no cache", lambda: gpt.generate(prompt, NEW))
    return Result(f"decode-{batch}", "tokens/s", alternate(sides, rounds), notes, missing)


def _ours(sizes: Transformer | LSTM) -> AutoregressiveModel:
    torch.manual_seed(0)
    model = Autoregressive().build(Tokens(GIVEN + NEW, VOCABULARY), {}, sizes).eval()
    assert isinstance(model, AutoregressiveModel)
    for parameter in model.parameters():  # layers that start at zero multiply as fast, but let us be fair
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def _draw(model: AutoregressiveModel, prompt: torch.Tensor) -> torch.Tensor:
    return model.sample(None, Draws(0, torch.arange(len(prompt))), AutoregressiveSampling(), prefix=prompt)


def _llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        max_position_embeddings=GIVEN + NEW, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), {"max_new_tokens": NEW, "do_sample": True, "top_k": 0}
