"""A model of billions of parameters is shared out evenly: checked without the memory for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def test_billions_of_parameters_are_shared_by_1024_processes():
    root = Path(__file__).parents[2]
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.scale", "--width", "4096", "--depth", "32"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"] > 4e9
    # what does not divide evenly is padded by its owner; all in all nobody has much more than a share
    assert found["parameters per rank"] < 1.1 * found["parameters"] / 1024
    assert found["GB of state per rank"] < 0.2
