"""Motion of clips: what stands still, flickers or has lost its order is found, and real clips pass."""

import numpy as np
import pytest

from likewise.metrics.motion import Motion, motion
from moving import square

REAL, OTHERS = ([square(i, 8, (12, 12)).frames for i in range(start, start + 60)] for start in (0, 100))
rng = np.random.default_rng(0)


def frozen(clip):
    return np.repeat(clip[:1], len(clip), 0)


def shuffled(clip):
    return clip[rng.permutation(len(clip))]


def flickering(clip):
    return np.clip(clip[0] + 40.0 * rng.standard_normal(clip.shape), 0, 255).astype(np.uint8)


def test_real_clips_move_as_real_clips():
    found = motion(REAL, OTHERS)
    low, high = motion(REAL, REAL)["motion"].low, motion(REAL, REAL)["motion"].high
    assert low <= found["motion"].value <= high
    assert found["motion_distance"].value < 0.2
    assert found["frozen"].value < 0.05
    assert found["smoothness"].value > 1.3


def test_frozen_clips_are_found():
    found = motion(REAL, [frozen(c) if i % 2 else c for i, c in enumerate(OTHERS)])
    assert found["frozen"].value == pytest.approx(0.5, abs=0.03)
    assert found["motion"].high < motion(REAL, OTHERS)["motion"].low
    assert found["motion_distance"].low > 0.3
    assert "smoothness" not in motion(REAL, [frozen(c) for c in OTHERS])


@pytest.mark.parametrize("spoil", [shuffled, flickering])
def test_disorder_and_flicker_are_found(spoil):
    found, fine = motion(REAL, [spoil(c) for c in OTHERS]), motion(REAL, OTHERS)
    assert found["motion"].low > fine["motion"].high
    assert found["smoothness"].high < fine["smoothness"].low
    assert found["smoothness"].value < 1.15
    assert found["motion_distance"].low > fine["motion_distance"].high


def test_clips_of_two_frames_have_no_smoothness_and_still_data_no_motion():
    assert "smoothness" not in motion([c[:2] for c in REAL], [c[:2] for c in OTHERS])
    with pytest.raises(ValueError, match="do not move"):
        motion([frozen(c) for c in REAL], OTHERS)


def test_the_verdict_says_what_is_wrong():
    def rows(fake):
        ours, floor, trivial = (motion(REAL, c) for c in (fake, OTHERS, [shuffled(c) for c in OTHERS]))
        return {
            name: {
                **{key: getattr(e, key) for key in ("value", "low", "high")},
                "floor": vars(floor[name]), "baseline": vars(trivial[name]),
            } for name, e in ours.items()
        }  # fmt: skip

    assert Motion().sentence({}) is None
    assert Motion().sentence(rows(OTHERS[:50])).startswith("The clips move 1.0")
    assert "are frozen" not in Motion().sentence(rows(OTHERS))
    assert "50% are frozen" in Motion().sentence(rows([frozen(c) if i % 2 else c for i, c in enumerate(OTHERS)]))
    assert "flicker" in Motion().sentence(rows([shuffled(c) for c in OTHERS]))
