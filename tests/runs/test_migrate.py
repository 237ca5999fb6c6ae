"""Run folders of the older form, where "continuous" or "tokens" was named for the whole run."""

import pytest

from likewise.runs import migrate

IMAGE = {"size": 8, "mode": "L", "patch": 2, "codebook": [[0], [1]], "crop": "centre", "flip": False}
TEXT = {"kind": "bytes", "known": None, "length": 9, "mean_length": 4.5, "windows": False}


@pytest.mark.parametrize(
    ("encoding", "name", "own"),
    [("continuous", "pixels", {}), ("tokens", "patches", {"patch": 2, "codebook": [[0], [1]]})],
)
def test_a_modalitys_state_is_divided(encoding, name, own):
    old = {"encoding": encoding, "target": ["image", IMAGE], "condition": {"label": ["label", {"classes": ["a"]}]}}
    found = migrate.modality(old)
    state = {"size": 8, "mode": "L", "crop": "centre", "flip": False}
    assert found["target"] == {"modality": {"name": "image", "state": state}, "encoding": {"name": name, "state": own}}
    assert found["condition"]["label"]["encoding"] == {"name": "index", "state": {}}
    assert found["condition"]["label"]["modality"]["state"] == {"classes": ["a"]}
    assert migrate.modality(found) == found


@pytest.mark.parametrize(("encoding", "name"), [("continuous", "latents"), ("tokens", "codes")])
def test_what_is_seen_through_an_autoencoder(encoding, name):
    latents = {"shift": [0.0], "scale": [1.0]}
    old = {"encoding": encoding, "target": ["text", TEXT], "condition": {}, "latents": latents}
    found = migrate.modality(old)["target"]
    assert found["modality"] == {"name": "text", "state": {}}
    assert found["encoding"] == {"name": name, "state": latents if name == "latents" else {}}


def test_the_plan_names_the_targets_encoding():
    plan = {"target": {"modality": "table"}, "encoding": "tokens"}
    assert migrate.experiment(plan) == {"target": {"modality": "table", "encoding": "bins"}}
    assert migrate.experiment({**plan, "through": "run"})["target"]["encoding"] == "codes"
    assert migrate.experiment({"target": {"modality": "table"}}) == {"target": {"modality": "table"}}
