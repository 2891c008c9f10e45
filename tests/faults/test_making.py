"""kill -9 in the middle of what makes packages: wheels from source, the local channel, Debian's root file system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faultkit.once import PYTHONPATH

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.mark.parametrize("kind", ["wheel", "channel", pytest.param("rootfs", marks=pytest.mark.long)])
def test_kills_of_what_makes_packages(engine, tmp_path: Path, request, kind):
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--seed")
    words = [str(tmp_path / "kills"), kind, "--kills", str(min(kills, 60)), "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "faultkit.making", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    if not done.stdout:
        pytest.fail(done.stderr)
    (report,) = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["kills"] == min(kills, 60)
