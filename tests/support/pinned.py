"""Programs that few tests want, by the digests of a lock, kept in the store: a later index need not have them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from helioimages.core import files
from helioimages.machine import bootstrap
from helioimages.machine.store import default_root


def packages(lock: Path) -> Path:
    """Return a folder for PYTHONPATH that holds what a lock names, and nothing that this needs.

    Raises:
        CalledProcessError: no index here has it.
    """
    folder = default_root() / "tool" / f"packages-{bootstrap.name_of(lock)}"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--require-hashes", "-r", str(lock), "--target", str(folder)]
    with _made(folder) as lacks:
        if lacks:
            subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


def node_modules(lock: Path, npm: Sequence[str]) -> Path:
    """Return a ``node_modules`` with what a package-lock.json names.

    Args:
        lock: beside its package.json.
        npm: the command.

    Raises:
        CalledProcessError: no registry here has it.
    """
    folder = default_root() / "tool" / f"node-{bootstrap.name_of(lock)}"
    with _made(folder) as lacks:
        if lacks:
            folder.mkdir()
            for name in ("package.json", lock.name):
                shutil.copyfile(lock.with_name(name), folder / name)
            argv = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder / "node_modules"


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
