"""Programs that few tests want, by the digests of a lock, kept in the store: a later index need not have them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uv

from helioimages.core import files
from helioimages.machine import bootstrap
from helioimages.machine.store import default_root
from helioimages.pypi import places


def packages(lock: Path) -> Path:
    """Return a folder for PYTHONPATH that holds what a lock names, and nothing that this needs.

    By uv: since 24.1 pip refuses what old packages say that they need, though nobody asks for it here.

    Raises:
        AssertionError: no index here has it.
    """
    folder = default_root() / "tool" / f"packages-{bootstrap.name_of(lock)}"
    command = [uv.find_uv_bin(), "pip", "install", "--python", sys.executable, "--target", str(folder), "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "-r", str(lock)]
    with _made(folder) as lacks:
        if lacks:
            _run(command, env=places.for_uv(os.environ))
    return folder


def node_modules(lock: Path, npm: Sequence[str]) -> Path:
    """Return a ``node_modules`` with what a package-lock.json names.

    Args:
        lock: beside its package.json.
        npm: the command.

    Raises:
        AssertionError: no registry here has it.
    """
    folder = default_root() / "tool" / f"node-{bootstrap.name_of(lock)}"
    with _made(folder) as lacks:
        if lacks:
            folder.mkdir()
            for name in ("package.json", lock.name):
                shutil.copyfile(lock.with_name(name), folder / name)
            argv = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            _run(argv, cwd=folder)
    return folder / "node_modules"


def _run(argv: Sequence[str], **options: Any) -> None:
    """Run a program; a failure has its words, which `CalledProcessError` keeps to itself."""
    done = subprocess.run(argv, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Say whether a folder is to be made by the block; one whose making failed is made anew."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.held(folder.with_suffix(".lock")):
        lacks = not (folder / "complete").exists()
        if lacks:
            shutil.rmtree(folder, ignore_errors=True)
        yield lacks
        (folder / "complete").touch()
