"""All checks together, on files: planted faults of every kind are named with their records."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from planted import IMAGES, LABELS, lay_out, picture, rates, sentences
from sklearn.datasets import load_wine

from likewise.data.indexed import Files
from likewise.data.read import read_records
from likewise.modalities.image import Image, ImageSettings
from likewise.planning.plan import make_plan
from likewise.quality.assess import assess
from likewise.quality.items import take


def checked(path, **options):
    plan = make_plan(path, steps=1, **options)
    return plan, assess(plan.scan, plan.modality, plan.conditions)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """600 digits: 18 labels flipped, 6 pictures of noise, 5 equal copies (one under another label), 5 near ones."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    labels = list(map(str, LABELS[:600]))
    wrong = list(range(0, 540, 30))
    for i in wrong:
        labels[i] = str((int(labels[i]) + 1) % 10)
    lay_out(folder, IMAGES[:600], labels)
    rng = np.random.default_rng(0)
    for k in range(6):
        picture(rng.integers(0, 17, 64)).save(folder / "3" / f"noise{k}.png")
    for k in range(4):
        shutil.copy(folder / labels[k + 1] / f"{k + 1:05d}.png", folder / labels[k + 1] / f"equal{k}.png")
    other = "5" if labels[7] != "5" else "6"
    shutil.copy(folder / labels[7] / "00007.png", folder / other / "conflict.png")
    for k in range(5):
        near = IMAGES[20 + k].copy()
        near[rng.choice(64, 6, replace=False)] += 0.5
        picture(near).save(folder / labels[20 + k] / f"near{k}.png")
    return folder, [f"{labels[i]}/{i:05d}.png" for i in wrong]


def test_planted_faults_of_pictures(faulty):
    folder, wrong = faulty
    plan, quality = checked(folder)
    column = plan.scan.records.columns["image"]

    def names(*checks):
        return [str(column[s.record].relative_to(folder)) for s in quality.of(*checks)]

    precision, recall = rates(names("label"), wrong)
    assert precision >= 0.8
    assert recall >= 0.7
    assert {n.split("/")[1] for n in names("outlier")} >= {f"noise{k}.png" for k in range(6)}
    assert len(names("outlier")) <= 12
    assert len(names("equal")) == 5
    assert {n.split("/")[1] for n in names("conflict")} == {"00007.png", "conflict.png"}
    pairs = [{column[i].name for i in group} for group in quality.groups]
    assert sum({f"near{k}.png", f"{20 + k:05d}.png"} in pairs for k in range(5)) >= 4
    assert len(quality.groups) <= 12


def test_clean_pictures(tmp_path):
    _, quality = checked(lay_out(tmp_path, IMAGES[:800], LABELS[:800]))
    assert len(quality.of("label", "conflict")) <= 8
    assert len(quality.of("outlier")) <= 8
    assert len(quality.of("near", "equal")) <= 4
    assert quality.labelled[0].balance.ratio < 1.5
    assert not quality.notes


def test_categories_of_a_table(tmp_path):
    x, y = load_wine(return_X_y=True)
    kinds = np.array(["red", "white", "rose"])[y]
    wrong = np.arange(5, 178, 20)
    kinds[wrong] = np.array(["white", "rose", "red"])[y[wrong]]
    with (tmp_path / "wine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"c{i}" for i in range(13)), "kind"])
        writer.writerows([*map(float, row), kind] for row, kind in zip(x, kinds, strict=True))
    _, quality = checked(tmp_path / "wine.csv")
    precision, recall = rates([s.record for s in quality.of("label") if s.field == "kind"], wrong)
    assert recall >= 0.7
    assert precision >= 0.7
    assert quality.labelled[-1].name == "kind"


def test_translations(tmp_path):
    source, target = sentences(800)
    target[10:20] = target[11:20] + target[10:11]
    rows = [*zip(source, target, strict=True), (source[100], target[100])]
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    _, quality = checked(path)
    precision, recall = rates([s.record for s in quality.of("pair")], range(10, 20))
    assert precision >= 0.6
    assert recall >= 0.6
    assert [(s.record, s.beside) for s in quality.of("equal")] == [(800, (100,))]


def test_streams_are_sampled(tmp_path):
    """What is larger than memory is looked at in part; the same part each time."""
    texts, _ = sentences(3000, seed=3)
    path = tmp_path / "t.txt"
    path.write_text("".join(f"{t} {i} {'x' * 300}\n" for i, t in enumerate(texts)))
    assert read_records(path, memory=1).streamed
    plan = make_plan(path, steps=1, set_={"data.memory": 1})
    one, two = (assess(plan.scan, plan.modality, plan.conditions, most=400) for _ in range(2))
    assert one.looked == 400
    assert "a random subset of 400 of 3,000 records" in one.notes[0]
    assert one.suspects == two.suspects
    assert one.diversity == two.diversity


def test_streamed_pictures_that_cannot_be_read_are_left_out(tmp_path):
    folder = lay_out(tmp_path / "digits", IMAGES[:120], LABELS[:120])
    (folder / "3" / "broken.png").write_bytes(b"not a picture")
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    records = replace(read_records(folder), columns={"image": Files(folder, names)})
    modality = Image.fit([folder / n for n in names if "broken" not in n], ImageSettings())
    items = take(records, modality)
    assert len(items) == 120
    assert names.index("3/broken.png") not in items.where


def test_equal_records_have_no_quality(tmp_path):
    (tmp_path / "t.txt").write_text("one line\n" * 20)
    _, quality = checked(tmp_path / "t.txt")
    assert quality is None
