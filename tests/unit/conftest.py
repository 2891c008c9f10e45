"""What every unit test would pay again: the start of the conda solver, and the disk's answer to each small file.

And what none may leave behind: a process that works in a folder of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from solver import Solver

from helioimages.conda import solve


@pytest.fixture(scope="session", autouse=True)
def solver() -> Iterator[Solver]:
    """Solve in processes that are forked, not started anew."""
    made = Solver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "subprocess", made)
        yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def unhurried_disk() -> Iterator[None]:
    """Wait for no disk: no test loses power, and those of what is synced when put their own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        # A handle that is none is an error as ever.
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail where tests left something running in their folders: each is a server for good."""
    yield
    folder = os.fsencode(tmp_path_factory.getbasetemp()) + b"/"
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        # A worker's folder is below that of the whole run, and this very run may name it in its arguments.
        if folder in command and int(path.parent.name) != os.getpid():
            left.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))
    assert left == [], "processes that tests started and did not end"
