"""Folders of clips, in every layout, beside folders of pictures that must not be taken for clips."""

import json

import pytest

from likewise.data.read import read_records
from likewise.quality.scan import scan
from moving import save_frames, save_gif, save_still, square


def test_animated_pictures_are_clips_and_still_ones_pictures(tmp_path):
    for i in range(6):
        save_gif(tmp_path / "moving" / f"{i}.gif", square(i))
        save_still(tmp_path / "still" / f"{i}.gif", i)
    found = read_records(tmp_path / "moving")
    assert (found.target, found.modalities, found.layout) == ("video", {"video": "video"}, "clip folder")
    assert read_records(tmp_path / "still").modalities == {"image": "image"}
    assert read_records(tmp_path / "moving", as_="image").modalities == {"image": "image"}


def test_class_folders_of_clips(tmp_path):
    for i in range(6):
        save_gif(tmp_path / "ab"[i % 2] / f"{i}.gif", square(i))
    found = read_records(tmp_path)
    assert found.given == ("label",)
    assert found.columns["label"] == ["a"] * 3 + ["b"] * 3


def test_metadata_of_clips(tmp_path):
    for i in range(4):
        save_gif(tmp_path / f"{i}.gif", square(i))
    rows = [{"file_name": f"{i}.gif", "text": f"a square, number {i}"} for i in range(4)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read_records(tmp_path)
    assert (found.target, found.given, found.layout) == ("video", ("text",), "clips with metadata")
    assert read_records(tmp_path, as_="image").target == "image"


def test_films_beside_their_thumbnails(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.mp4").write_bytes(b"")
        save_still(tmp_path / f"{i}.jpg")
    assert [p.name for p in read_records(tmp_path).columns["video"]] == ["0.mp4", "1.mp4", "2.mp4"]
    for i in range(9):
        save_still(tmp_path / f"more{i}.jpg")
    assert read_records(tmp_path).target == "image"
    with pytest.raises(ValueError, match="one clip is not a data set"):
        read_records(tmp_path / "0.mp4")


def test_folders_of_frames_are_clips_if_that_is_said(tmp_path):
    for i in range(4):
        save_frames(tmp_path / f"clip{i}", square(i))
    as_pictures = read_records(tmp_path)
    assert as_pictures.layout == "image folder with classes"
    assert "as_=video" in as_pictures.notes[0]
    found = read_records(tmp_path, as_="video")
    assert [p.name for p in found.columns["video"]] == ["clip0", "clip1", "clip2", "clip3"]
    assert found.given == ()
    looked = scan(found)
    assert looked.kinds == {"16x16 RGB, 8 frames": 4}
    assert looked.bytes == sum(f.stat().st_size for f in tmp_path.rglob("*.png"))
    assert len(set(looked.records.digests())) == 4


def test_class_folders_of_pictures_say_nothing_of_clips(tmp_path):
    for i in range(12):
        save_still(tmp_path / "ab"[i % 3 == 0] / f"{i:02d}.png", i)
    assert read_records(tmp_path).notes == []


def test_frames_in_classes(tmp_path):
    for i in range(4):
        save_frames(tmp_path / "ab"[i % 2] / f"clip{i}", square(i))
    assert read_records(tmp_path, as_="video").columns["label"] == ["a", "a", "b", "b"]


def test_a_scan_says_what_is_broken_and_what_looks_alike(tmp_path):
    for i in range(20):
        save_gif(tmp_path / f"{i:02d}.gif", square(i))
    (tmp_path / "03.gif").write_bytes((tmp_path / "03.gif").read_bytes()[:50])
    (tmp_path / "21.gif").write_bytes((tmp_path / "19.gif").read_bytes())
    looked = scan(read_records(tmp_path))
    assert [name.rpartition("/")[2] for name, _ in looked.broken] == ["03.gif"]
    assert looked.duplicates == 1
