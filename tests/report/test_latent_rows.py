"""What a report says of a VAE's latent, and that a latent which is ignored is told in a sentence."""

import numpy as np
import pytest
import torch
from tiny import make_run

from likewise.report.build import build


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run("table", tmp_path_factory.mktemp("latent-rows"), "vae")


def rows(report):
    return {row["name"]: row for row in report["metrics"]}


def test_nats_and_units_of_a_latent(run):
    held_out = run.reference("held_out")
    mean, scale = (part.double() for part in run.model.posterior(held_out.x, held_out.c))
    normal, prior = torch.distributions.Normal(mean, scale), torch.distributions.Normal(0.0, 1.0)
    nats = torch.distributions.kl_divergence(normal, prior).sum(1).mean()
    report = build(run, n=20)
    assert rows(report)["latent_kl"]["value"] == pytest.approx(float(nats), rel=1e-4)
    active = float((mean.var(0, unbiased=False) > 0.01).double().mean())
    assert rows(report)["latent_active"]["value"] == pytest.approx(active)


def test_a_collapsed_latent_is_told(run, monkeypatch):
    units = run.experiment.family.latent
    monkeypatch.setattr(run.model, "posterior", lambda x, c: (torch.zeros(len(x), units), torch.ones(len(x), units)))
    report = build(run, n=20)
    assert np.isclose(rows(report)["latent_kl"]["value"], 0)
    [sentence] = [s for s in report["verdict"] if "latent is ignored" in s]
    assert "family.beta" in sentence


def test_other_families_have_no_latent_rows(tmp_path):
    report = build(make_run("table", tmp_path, "gan"), n=20)
    assert not {"latent_kl", "latent_active"} & rows(report).keys()
