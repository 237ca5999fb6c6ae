"""What `transformers` writes is loaded: equal logits, the same tokens, and a refusal of what cannot be."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import MODELS, STRANGE, bytelevel, sentencepiece, small_model, write_lines
from transformers import AutoTokenizer

from likewise.modalities import pretrained_tokenizer
from likewise.modalities.encoding import fit_encoding
from likewise.modalities.text import Text, TextSettings
from likewise.modalities.text_tokens import TextTokens
from likewise.planning.plan import make_plan
from likewise.runs.run import Run
from likewise.verbs.train import train

pytestmark = pytest.mark.full

QUICK = {"training.batch": 8, "training.threads": 1}


def begun(folder, model, **more) -> Run:
    """A run that started from the folder `model`, after one step that changes nothing that could be seen."""
    settings = {**QUICK, "training.lr": 1e-9, "training.weight_decay": 0.0}
    data = write_lines(folder)
    return train(data, out=folder / "run", from_=model, steps=1, set_=settings, say=lambda _: None, **more)


def both(run: Run, model) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of ours and of theirs for some texts, behind a start."""
    text = run.encoding
    rows = text.tokenizer.tokenize(["The statement is executed as follows", "class", STRANGE[:12]])
    longest = max(map(len, rows))
    x = torch.tensor([[*row, *[text.end] * (longest + 1 - len(row))] for row in rows])
    start = torch.full((len(x), 1), run.experiment.backbone.start)
    with torch.no_grad():
        return run.model.cpu().predictor(x), model(torch.cat((start, x[:, :-1]), 1)).logits[..., : text.vocabulary]


@pytest.mark.parametrize("lora", [None, 4])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_equal(name, lora, tmp_path):
    model = small_model(tmp_path / "model", name)
    run = begun(tmp_path, tmp_path / "model", lora=lora)
    ours, theirs = both(run, model)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert theirs.std() > 0.3


@pytest.mark.parametrize(("dtype", "shards"), [(torch.bfloat16, "5GB"), (torch.float16, "20KB")], ids=str)
def test_any_precision_and_shards(dtype, shards, tmp_path):
    model = small_model(tmp_path / "model", "qwen3", dtype=dtype, shards=shards)
    assert (tmp_path / "model" / "model.safetensors").is_file() == (shards == "5GB")
    run = begun(tmp_path, tmp_path / "model")
    ours, theirs = both(run, model)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    # The run keeps the weights as they were, not in twice the bytes.
    assert {t.dtype for t in load_file(run.path / "pretrained" / "weights.safetensors").values()} == {dtype}


def test_the_body_of_a_model_alone(tmp_path):
    """GPT-2 was published with names that begin at its body, and with its masks among the weights."""
    model = small_model(tmp_path / "model", "gpt2")
    file = tmp_path / "model" / "model.safetensors"
    weights = {k.removeprefix("transformer."): v for k, v in load_file(file).items()}
    weights["h.0.attn.bias"] = torch.ones(1, 1, 128, 128).tril()
    save_file(weights, file)
    ours, theirs = both(begun(tmp_path, tmp_path / "model"), model)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen2", "mistral"])
def test_the_same_tokens(name, tmp_path):
    small_model(tmp_path, name)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = fit_encoding(Text, [STRANGE, "a class"], TextSettings(pretrained=str(tmp_path)))
    again = type(text).from_state(text.modality, json.loads(json.dumps(text.state())))
    assert isinstance(again, TextTokens)
    assert (again.end, again.vocabulary) == (theirs.eos_token_id, len(theirs))
    for said in ("The statement is", "  two"):
        assert again.tokens_of(said) == theirs.encode(said, add_special_tokens=False)
    for each in (text, again):
        packed = each.pack([STRANGE, "a class"])
        assert each.end not in packed.data[:-1].tolist() or packed.data.tolist().count(each.end) == 2
        x = torch.from_numpy(packed.take(torch.arange(2).numpy())).long()
        assert each.decode(x) == [STRANGE, "a class"]
        assert "".join(each.pieces(x[0])).removesuffix("∎").removeprefix(each.lead.decode()) == STRANGE


@pytest.mark.parametrize("make", [bytelevel, sentencepiece])
def test_what_each_token_writes(make):
    made = make()
    pieces = pretrained_tokenizer.bytes_each(made)
    made.encode_special_tokens = True
    for text in (STRANGE, "The statement"):
        ids = made.encode(text, add_special_tokens=False).ids
        assert b"".join(pieces[i] for i in ids).removeprefix(pretrained_tokenizer.lead(made)) == text.encode()


def refused(folder, match, **options):
    with pytest.raises(ValueError, match=match) as refusal:
        train(write_lines(folder), out=folder / "run", steps=1, set_=QUICK, say=lambda _: None, **options)
    assert "\n" not in str(refusal.value)
    assert not (folder / "run").exists()
    assert not (folder / ".run.tmp").exists()


def test_what_is_no_model_is_refused(tmp_path):
    model = tmp_path / "model"
    refused(tmp_path, "there is no such folder", from_=model)
    model.mkdir()
    refused(tmp_path, "it has no config.json", from_=model)
    small_model(model, "qwen3")
    refused(tmp_path, "lora=: it is of a pretrained model", lora=8)
    refused(tmp_path, "which one", backbone="pretrained")
    refused(tmp_path, "leave out backbone=", from_=model, backbone="gru")
    refused(tmp_path, "size=large: a pretrained model has its own", from_=model, size="large")
    for name, match in {
        "tokenizer.json": "it has no tokenizer.json; transformers writes one",
        "model.safetensors": "it has no model.safetensors: no weights",
    }.items():
        (model / name).rename(tmp_path / name)
        refused(tmp_path, match, from_=model)
        (tmp_path / name).rename(model / name)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused(tmp_path, "pickled .pytorch_model.bin., and reading those can run any code", from_=model)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, "a T5ForCond.*; what can be loaded are LlamaFor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling 'yarn': only default"),
        ({"num_hidden_layers": 3}, "model.layers.2.*is missing"),
        ({"num_hidden_layers": 1}, "model.layers.1.* is in no qwen3"),
        ({"intermediate_size": 64}, "gate_proj.weight is .48, 32., and by its config.json .64, 32."),
        ({"hidden_act": "mish"}, "activation 'mish' is not known"),
        ({"hidden_size": None}, "config.json: "),
        ({"max_position_embeddings": 20}, None),
    ],
)
def test_another_config_is_refused(change, match, tmp_path):
    small_model(tmp_path / "model", "qwen3")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    if match is None:  # few places: texts are read in windows of so many, and more are refused
        plan = make_plan(write_lines(tmp_path), from_=tmp_path / "model", steps=1)
        assert plan.encoding.length == 20
        assert any("learned in windows of so many" in note for note in plan.notes)
        with pytest.raises(ValueError, match="texts of 21 tokens do not fit the 20 places"):
            make_plan(write_lines(tmp_path), from_=tmp_path / "model", steps=1, set_={"target.length": 21})
    else:
        refused(tmp_path, match, from_=tmp_path / "model")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    small_model(tmp_path / "model", "qwen3")
    bytelevel(600).save(str(tmp_path / "model" / "tokenizer.json"))
    refused(tmp_path, "tokens and its embedding .* rows; they are of two models", from_=tmp_path / "model")


def test_other_data_is_refused(tmp_path):
    small_model(tmp_path / "model", "qwen3")
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i % 3}\n" for i in range(60)))
    with pytest.raises(ValueError, match="a pretrained model writes text, and what is learned here is table"):
        make_plan(table, from_=tmp_path / "model")


def test_a_model_without_an_end_gets_one(tmp_path):
    """A token of ours; where all else is frozen, it could not be learned."""
    small_model(tmp_path / "model", "qwen3")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        file = tmp_path / "model" / name
        told = {k: v for k, v in json.loads(file.read_text()).items() if k not in ("eos_token", "eos_token_id")}
        file.write_text(json.dumps(told))
    refused(tmp_path, "no token that ends a text.*leave out lora=", from_=tmp_path / "model", lora=4)
    run = begun(tmp_path, tmp_path / "model")
    assert run.encoding.end == run.encoding.vocabulary - 1
    embed = load_file(run.path / "pretrained" / "weights.safetensors")["predictor.embed"]
    torch.testing.assert_close(embed[-1], embed[:-1].mean(0))
    assert run.sample(2).values
