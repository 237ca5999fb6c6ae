"""What a user asks for: presets in layers, and mistakes that are told before any data are read."""

import pytest

from likewise.planning.plan import make_plan
from likewise.planning.presets import merge, preset_names, read_preset
from likewise.planning.request import read_request


def test_layers_of_settings_and_their_order():
    below = {"training": {"lr": 1, "batch": 2}, "family": {"name": "gan"}}
    assert merge(below, {"training": {"lr": 3}}, {"training": {"lr": 4}, "family": 5}) == {
        "training": {"lr": 4, "batch": 2},
        "family": 5,
    }
    assert below == {"training": {"lr": 1, "batch": 2}, "family": {"name": "gan"}}


def test_every_preset_of_the_package_can_be_read_and_a_wrong_name_lists_them():
    assert all(read_preset(name) for name in preset_names())
    with pytest.raises(ValueError, match=r"no preset 'nope'; there are .*image-flow"):
        read_preset("nope")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora": 2}, "it is of a pretrained model"),
        ({"from_": "x", "through": "y"}, "latents are no text"),
        ({"from_": "x", "lora": 0}, "a rank is at least 1"),
        ({"set_": {"training.ler": 1}}, "did you mean 'lr'"),
        ({"set_": {"trainin.lr": 1}}, "did you mean 'training'"),
        ({"preset": "nope"}, "no preset"),
    ],
)
def test_mistakes_are_told_before_the_data_are_read(options, said):
    with pytest.raises(ValueError, match=said):
        make_plan("no such file", **options)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match=r"no option is called 'famly'; there are .*family"):
        make_plan("no such file", famly="gan")


def test_family_and_backbone_are_taken_from_the_option_then_the_settings_then_the_preset(tmp_path):
    (tmp_path / "own.toml").write_text('[family]\nname = "vae"\n[backbone]\nname = "mlp"\n[training]\nbatch = 8\n')
    preset = str(tmp_path / "own.toml")
    request = read_request("x", {"preset": preset, "set_": {"family.name": "flow"}})
    assert (request.family, request.backbone, request.states_batch) == ("flow", "mlp", True)
    assert read_request("x", {"preset": preset, "family": "gan"}).family == "gan"
    assert read_request("x", {}).family is None


def test_the_preset_for_few_steps_lies_above_those_of_the_package_only(tmp_path):
    (tmp_path / "own.toml").write_text('[family]\nname = "flow"\n[training]\nbatch = 8\n')
    few = {"family.few_step": True}
    assert read_request("x", {"preset": "image-flow", "set_": few}).preset_gives_way
    assert not read_request("x", {"preset": str(tmp_path / "own.toml"), "set_": few}).preset_gives_way
    assert not read_request("x", {"preset": "image-flow"}).preset_gives_way
