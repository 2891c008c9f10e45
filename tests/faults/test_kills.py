"""kill -9 anywhere in lock, fetch, link, layer and publish: nothing half is left, and the next run ends the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from faultkit.once import PYTHONPATH


def test_kills(tmp_path, request):
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--seed")
    done = subprocess.run(
        [sys.executable, "-m", "faultkit", str(tmp_path), "--kills", str(kills), "--seed", str(seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    if not done.stdout:
        pytest.fail(done.stderr)
    report = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["kills"] == kills
