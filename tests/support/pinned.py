"""Programs that few tests want, by the digests of a lock, kept in the store: a later index need not have them."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.held(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
            command += ["--only-binary", ":all:", "--require-hashes", "-r", str(lock), "--target", str(folder)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            (folder / "complete").touch()
    return folder
