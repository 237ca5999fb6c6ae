"""Setting names of earlier versions keep working in run folders, presets and samples."""

import pytest

from likewise.config import RENAMED, current_names, validate


def test_every_former_name_is_read_as_todays():
    old = {
        "data": {"held_out": 0.2},
        "target": {"modality": "image"},
        "family": {
            "name": "flow",
            "weak": 0.1,
            "times": "uniform",
            "weighting": "min_snr",
            "sampling": {"guidance": 3.0},
        },
        "backbone": {"name": "conv"},
        "training": {"clip": 2.0, "keep": 5, "track": []},
    }
    found = validate(old).to_dict()
    assert found["data"]["val_fraction"] == 0.2
    assert found["family"]["sampling"]["guidance_scale"] == 3.0
    assert (found["family"]["guide_model"], found["family"]["time_sampling"]) == (0.1, "uniform")
    assert found["family"]["loss_weighting"] == "min_snr"
    assert (found["training"]["grad_clip"], found["training"]["keep_checkpoints"]) == (2.0, 5)
    codec = validate({**old, "family": {"name": "codec", "codes": 32, "adversary": {"weight": 0.5}}}).to_dict()[
        "family"
    ]
    assert (codec["codebook_size"], codec["adversarial"]["weight"]) == (32, 0.5)


def test_a_name_and_its_former_name_together_are_refused():
    with pytest.raises(ValueError, match=r"training\.clip is the former name of training\.grad_clip"):
        current_names({"training": {"clip": 1.0, "grad_clip": 2.0}})


def test_former_names_are_none_of_todays():
    dotted = {f"{key.rpartition('.')[0]}.{name}" for key, name in RENAMED.items()}
    assert not dotted & set(RENAMED)
