"""What only root may do, in tests that an ordinary user with sudo runs too."""

from __future__ import annotations

import os
import subprocess

import pytest


def as_root(*argv: str) -> None:
    """Run a command as root; where that cannot be, the test is skipped."""
    sudo = ["sudo", "-n"] if os.geteuid() else []
    if sudo and subprocess.run([*sudo, "true"], capture_output=True).returncode:
        pytest.skip("needs root, or sudo without a password")
    subprocess.run([*sudo, *argv], check=True)


def kill(pid: int) -> None:
    """Kill a process of root's."""
    # The shell's own: procps, which has the program, may not be there.
    as_root("sh", "-c", 'kill -KILL "$0"', str(pid))
