"""A tool environment from nothing but `python3`: the first thing that a fresh clone runs.

Standard library only. Makes a virtual environment from a hash-locked requirements file, in the store, named by the
lock's content; a second run finds it. On a Debian or Ubuntu without `python3-venv` it installs that package.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "tools" / "requirements.lock"
_NEEDED = (
    "click",
    "rich",
    "requests",
    "docker",
    "rattler",
    "uv",
    "installer",
    "jinja2",
    "yaml",
    "zstandard",
    "deflate",
)


def ensure() -> None:
    """Make sure that this process can import the tool's dependencies, running itself again where it can't."""
    if all(importlib.util.find_spec(name) for name in _NEEDED):
        return
    if os.environ.get("HELIOIMAGES_BOOTSTRAPPED") or not LOCK.exists():
        sys.exit("error: the tool's dependencies are missing\n\nhint: run `pip install .` in the checkout")
    python = environment(LOCK)
    os.environ["HELIOIMAGES_BOOTSTRAPPED"] = "1"
    os.execv(python, [str(python), *sys.argv])


def environment(lock: Path) -> Path:
    """Return the interpreter of a virtual environment that holds what ``lock`` names, made if need be."""
    name = name_of(lock)
    folder = _store() / "tool" / name
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{name}.lock", "w") as stream:
        # Two first runs at once: one makes it, the other waits and finds it.
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, lock)
    return python


def name_of(lock: Path) -> str:
    """Return what the environment of a lock and of this Python is called in the store."""
    version = f"{sys.implementation.cache_tag}-{sys.version_info.micro}"
    return hashlib.sha256(lock.read_bytes() + version.encode() + sys.base_prefix.encode()).hexdigest()[:16]


def _make(folder: Path, lock: Path) -> None:
    python = folder / "bin" / "python"
    print(f"==> tool environment from {lock.relative_to(ROOT)} (once, about a minute)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    if importlib.util.find_spec("ensurepip") is None:
        _apt("python3-venv")
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(lock)])
    (folder / "complete").touch()


def _store() -> Path:
    # The same rule as store.default_root, which may not be imported here: it needs nothing, but its neighbours do.
    if root := os.environ.get("HELIOIMAGES_STORE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")) / "helioimages"


def _apt(package: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    _run([*sudo, "apt-get", "update", "-qq"])
    _run([*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package])


def _run(argv: list[str]) -> None:
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(f"{result.stdout}\nerror: `{' '.join(argv[:4])} …` failed with {result.returncode}")


if __name__ == "__main__":
    # tests/run asks for the interpreter of the test environment.
    print(environment(Path(sys.argv[1]).resolve()))
