"""A browser is asked where a person and a screen are, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from helioimages.machine.browser import has_screen

ADDRESS = "http://127.0.0.1:8888/lab?token=abc"
TOOLS = Path(__file__).parents[3] / "tools"
SHOW = f"from helioimages.machine import browser; raise SystemExit(0 if browser.show({ADDRESS!r}) else 3)"


@pytest.mark.parametrize(
    ("environment", "system", "there"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
    ],
)
def test_a_screen(environment, system, there):
    assert has_screen(environment, system) is there


@pytest.mark.parametrize(
    ("terminal", "screen", "works", "opened"),
    [(True, True, True, True), (True, True, False, False), (False, True, True, False), (True, False, True, False)],
)
def test_show(tmp_path, terminal, screen, works, opened):
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\necho "$1" > {seen}\nexit {0 if works else 1}\n')
    program.chmod(0o755)
    environment = {"PATH": os.defpath, "PYTHONPATH": str(TOOLS), "BROWSER": f"{program} %s"}
    environment |= {"DISPLAY": ":7"} if screen else {}
    master, slave = pty.openpty()
    try:
        argv = [sys.executable, "-c", SHOW]
        out = slave if terminal else subprocess.DEVNULL
        done = subprocess.run(argv, env=environment, stdout=out, stderr=slave, stdin=subprocess.DEVNULL)
    finally:
        os.close(slave)
        os.close(master)
    # Whether nothing else was found is the machine's; what we may say is whether ours was asked.
    assert (done.returncode == 0) is opened or not works
    assert seen.exists() is (terminal and screen)
    if opened:
        assert seen.read_text() == f"{ADDRESS}\n"
