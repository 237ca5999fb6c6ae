"""A run that starts from a pretrained model learns, resumes bit for bit, stands alone, and is exported as it came."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_models import LINES, MODELS, small_model, write_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from likewise.draws import Draws
from likewise.runs.run import Run
from likewise.sampling.prompting import Prompting
from likewise.training import checkpoint
from likewise.verbs.chat import Chat
from likewise.verbs.export import export
from likewise.verbs.train import resume, train
from likewise.verbs.verify import verify

pytestmark = pytest.mark.full

QUICK = {"training.batch": 8, "training.threads": 1, "training.lr": 0.01, "training.evaluate_every": 6}
QUICK |= {"training.checkpoint_every": 6, "training.precision": "float32"}


def quiet(_: str) -> None: ...


def held_out(run: Run) -> list[float]:
    return [line["loss"] for line in run.metrics() if line["split"] == "val"]


@pytest.fixture(scope="module", params=[("qwen3", None), ("qwen3", 4), ("gpt2", None), ("llama", 4)], ids=str)
def tuned(request, tmp_path_factory):
    """A run of 18 steps whose origin is gone."""
    folder, (name, lora) = tmp_path_factory.mktemp("tuned"), request.param
    small_model(folder / "model", name)
    said: list[str] = []
    run = train(
        write_lines(folder),
        out=folder / "run",
        from_=folder / "model",
        lora=lora,
        steps=18,
        set_=QUICK,
        say=said.append,
    )
    shutil.rmtree(folder / "model")
    return run, said, name, lora


def test_it_learns_and_says_from_where(tuned):
    run, said, name, lora = tuned
    losses = held_out(run)
    assert losses[-1] < losses[0] - 0.2
    text = "\n".join(said)
    assert f"starting from {run.path.parent / 'model'} (from_=), {name}, 2 blocks of 32: " in text
    assert (f"frozen, with updates of rank {lora}" if lora else "all weights learn") in text
    assert f"val loss before the first step: {losses[0]:.4f}" in text
    assert f"val loss: {losses[0]:.4f} before the first step, {min(losses[1:]):.4f} at best after" in text


def test_the_run_stands_alone(tuned):
    run = Run(tuned[0].path)
    assert not (run.path.parent / "model").exists()
    drawn = run.sample(3, seed=1)
    assert drawn.values == Run(run.path).sample(3, seed=1).values
    assert not verify(run.path).damaged
    prompted = run.sample(2, prompting=Prompting(prompt="The st", stop=("zzz",)))
    assert all(value.startswith("The st") for value in prompted.values)
    told: list[str] = []
    [value] = run.sample(1, live=told.append).values
    assert "".join(told) == value


def test_what_is_frozen_is_kept_once(tuned):
    run, _, _, lora = tuned
    base = load_file(run.path / "pretrained" / "weights.safetensors")
    weights = checkpoint.load(run.checkpoint())[0]
    assert all(k.rpartition(".")[2] in ("up", "down") for k in weights) if lora else set(weights) == set(base)
    whole = load_file(export(run, run.path.parent / "all.safetensors"))
    assert set(whole) == set(base) | set(weights)


def test_exported_as_it_came(tuned):
    run, _, name, _ = tuned
    out = export(run, run.path.parent / "hf", "hf")
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    assert isinstance(model, MODELS[name][0])
    tokenizer, text = AutoTokenizer.from_pretrained(out), run.encoding
    ids = tokenizer("The statement is", add_special_tokens=False)["input_ids"]
    x = torch.tensor([[*ids, text.end]])
    start = torch.tensor([[run.experiment.backbone.start]])
    with torch.no_grad():
        theirs = model(torch.cat((start, x[:, :-1]), 1)).logits
        torch.testing.assert_close(theirs, run.model.cpu().predictor(x), rtol=0, atol=1e-4)
    written = model.generate(torch.cat((start, x[:, :2]), 1), do_sample=False, max_new_tokens=10)[0, 1:]
    settings = run.sampler.settings({"temperature": 0})
    [own] = run.model.sample(None, Draws(0, torch.arange(1)), settings, prefix=x[:, :2])
    assert written.tolist() == own[: len(written)].tolist()


def test_an_exported_run_is_loaded_again(tuned, tmp_path):
    """The way out and the way in are one another's inverse."""
    run, _, _, _ = tuned
    out = export(run, tmp_path / "hf", "hf")
    again = train(write_lines(tmp_path), out=tmp_path / "again", from_=out, steps=1, set_=QUICK, say=quiet)
    assert held_out(again)[0] == pytest.approx(min(held_out(run)[1:]), abs=1e-4)


@pytest.mark.parametrize("lora", [None, 4])
def test_interrupted_is_uninterrupted(lora, tmp_path):
    small_model(tmp_path / "model", "qwen2")
    data = write_lines(tmp_path)
    runs = [
        train(data, out=tmp_path / name, from_=tmp_path / "model", lora=lora, steps=12, set_=QUICK, say=quiet)
        for name in ("whole", "cut")
    ]
    shutil.rmtree(tmp_path / "model")
    shutil.rmtree(runs[1].path / "checkpoints" / "0000012")
    resume(runs[1].path, quiet)
    whole, cut = (checkpoint.load(r.path / "checkpoints" / "0000012")[0] for r in runs)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    shutil.rmtree(runs[1].path / "checkpoints")  # and from the very beginning
    resume(runs[1].path, quiet)
    assert [m["step"] for m in runs[1].metrics() if m["split"] == "val"].count(0) == 1
    assert all(
        torch.equal(whole[k], v) for k, v in checkpoint.load(runs[1].path / "checkpoints" / "0000012")[0].items()
    )


def test_a_given_text_is_read_by_the_model_itself(tmp_path):
    """Translation: the source stands before the target, so that a model that learns to copy copies what it is given."""
    small_model(tmp_path / "model", "qwen3")
    words = ("red", "blue", "green", "grey", "white", "black", "pink", "brown", "gold", "mauve", "lime", "teal")
    rows = [f"{a} {b} {c}\t{a}" for a in words for b in words for c in words[:4]]
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "\n".join(rows), encoding="utf-8")
    settings = {**QUICK, "training.batch": 32, "training.lr": 0.005, "training.evaluate_every": 100}
    run = train(
        tmp_path / "pairs.tsv", out=tmp_path / "run", from_=tmp_path / "model", target="target", given=["source"],
        as_="text", steps=300, set_=settings, say=quiet,
    )  # fmt: skip
    assert set(run.conditions) == {"source"}
    given = [{"source": f"{a} blue red"} for a in words]
    drawn = run.sample(len(given), given=given, settings={"temperature": 0}).values
    right = sum(value == g["source"].split()[0] for value, g in zip(drawn, given, strict=True))
    assert right >= 10
    beams = run.sample(len(given), given=given, settings={"beams": 2}).values
    assert sum(value == g["source"].split()[0] for value, g in zip(beams, given, strict=True)) >= 10
    with pytest.raises(ValueError, match="is given source; what can be exported is given nothing"):
        export(run, tmp_path / "hf", "hf")


def test_replies(tmp_path):
    """A dialogue: its roles are tokens that the model never saw, and they are learned even where the rest is frozen."""
    small_model(tmp_path / "model", "gpt2")
    talks = [
        {"messages": [{"role": "user", "content": line[:30]}, {"role": "assistant", "content": f"{len(line)}"}]}
        for line in dict.fromkeys(LINES[:60])
    ]
    (tmp_path / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)), encoding="utf-8")
    run = train(
        tmp_path / "talks.jsonl",
        out=tmp_path / "run",
        from_=tmp_path / "model",
        lora=4,
        steps=12,
        set_=QUICK,
        say=quiet,
    )
    assert held_out(run)[-1] < held_out(run)[0]
    weights = checkpoint.load(run.checkpoint())[0]
    assert len(weights["predictor.embed_more"]) == run.conditions["history"].end + 1 - run.encoding.vocabulary
    talk = Chat(run)
    assert talk.reply("The statement") == Chat(run).reply("The statement")
