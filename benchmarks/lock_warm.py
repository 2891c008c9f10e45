#!/usr/bin/env python3
"""How long `lock` takes for all environments and images where nothing changes, and that a replay gives the same bytes.

The checkout is a clone of this one, the store the default one, so that the index's pages, uv's cache and the local
channel are there; two runs are made, and the second counts: the first may have to fetch what the store lacks. Nothing
may change in either. With ``--replay DATE`` environments are locked as of a day, from no lock but that of the build
tools, which are locked once and stay, in two clones that know nothing of each other, and their files are compared byte
by byte. Those whose patches are for versions that a day does not give are left out by naming the others.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = Path("tools", "buildimages.py")
#: Files of an environment that `lock` writes.
TOOLS = "build-lock.toml"
LOCKS = ("pylock.toml", "conda-lock.yml", TOOLS, "packages.txt")


def cloned(folder: Path) -> Path:
    """Return a clone of this checkout."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def lock(root: Path, *options: str) -> tuple[float, float]:
    """Lock everything, and return the seconds and the processor seconds that it took."""
    before, start = _used(), time.monotonic()
    argv = [sys.executable, str(TOOL), "lock", *options]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(argv)}\n{done.stderr[-2000:]}")
    return time.monotonic() - start, _used() - before


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def changed(root: Path) -> list[str]:
    """Return the files that differ from what is committed."""
    argv = ["git", "status", "--porcelain"]
    return subprocess.run(argv, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def texts(root: Path) -> dict[str, bytes]:
    """Return path -> bytes of the locks of environments."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "environments").rglob("*"))
        if path.name in LOCKS
    }


def replay(day: str, names: list[str], folder: Path) -> dict[str, object]:
    """Lock environments, all if none is named, as of a day in two clones, and say whether they are equal."""
    locks = []
    for name in ("first", "other"):
        root = cloned(folder / name)
        for path in texts(root):
            if Path(path).name != TOOLS:
                (root / path).unlink()
        lock(root, *names, "--exclude-newer", day)
        locks.append(texts(root))
    first, other = locks
    differ = sorted(path for path in first.keys() | other.keys() if first.get(path) != other.get(path))
    today = texts(ROOT)
    moved = sum(text != today.get(path) for path, text in first.items())
    return {"day": day, "files": len(first), "other_than_today": moved, "differ": differ}


def main() -> None:
    """Measure, print, and fail where a lock changes or a replay differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", metavar="DATE", help="lock as of a day, twice, e.g. 2026-11-21")
    parser.add_argument("names", nargs="*", metavar="ENVIRONMENT", help="replay these only")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lock-warm-") as name:
        root = cloned(Path(name) / "checkout")
        rounds = [lock(root) for _ in range(2)]
        result: dict[str, object] = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
        result |= {key: round(value, 1) for key, value in zip(("seconds", "processor_s"), rounds[-1], strict=True)}
        result["first_s"] = round(rounds[0][0], 1)
        result["changed"] = changed(root)
        if asked.replay:
            result["replay"] = replay(asked.replay, asked.names, Path(name))
    print(json.dumps(result, indent=2))
    if result["changed"] or (asked.replay and result["replay"]["differ"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
