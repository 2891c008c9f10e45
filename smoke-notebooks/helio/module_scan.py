"""Import every module of many packages, each package in a process of its own, and say what fails.

The first process loads what most packages need; each package is then scanned by a fork of it, so that nothing is
loaded twice and no package sees what another one did. A module has some seconds; one that ends its process or takes
longer is noted, and the rest goes on in a new fork. stdin is closed, nothing is drawn, and every attempt to write below
the environment's folder is noted, also where the package hides it.

    python module_scan.py IMPORTS.toml EXPECTED.toml [--write]

IMPORTS.toml names the packages (imports.toml), EXPECTED.toml the failures that are known, with reasons. The result is
JSON on stdout. ``--write`` adds the patterns of what fails, for people who review EXPECTED.toml.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import selectors
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath

#: Seconds that one module may take.
LIMIT_S = 60.0
#: Loaded once, before the forks.
COMMON = (
    "numpy", "scipy.interpolate", "scipy.signal", "pandas", "xarray", "dask.array", "h5py", "netCDF4", "requests",
    "matplotlib.pyplot", "astropy.coordinates", "astropy.table", "astropy.units", "sunpy.map", "sunpy.net",
)  # fmt: skip
#: Top folders that packages leave in site-packages by mistake; parts of names of tests and of what builds a package.
STRAY = ("benchmarks", "docs", "examples", "misc", "test", "tests")
UNUSED = re.compile(r"__main__|conftest|setup_package|tests?|test_.*|.*_test")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Failures that are known.

    Attributes:
        modules: patterns, see `fits`; every module that one fits has to fail.
        reason: why they cannot be imported, for people.
        absent: a distribution: where it is installed, nothing is expected.
    """

    modules: tuple[str, ...]
    reason: str
    absent: str = ""


@dataclass(kw_only=True)
class Scan:
    """What is known of one package.

    Attributes:
        names: all its modules.
        left: those not tried yet.
        failed: module -> the error's first line.
        writes: module -> paths below the prefix that its import tried to change.
    """

    package: str
    names: tuple[str, ...]
    left: list[str]
    failed: dict[str, str] = field(default_factory=dict)
    writes: dict[str, list[str]] = field(default_factory=dict)


def modules(package: str) -> list[str]:
    """Return the names of a distribution's modules, without its tests."""
    found = set()
    for file in metadata.distribution(package).files or ():
        path = PurePosixPath(file)
        parts = path.with_suffix("").parts
        if path.suffix != ".py" or not all(part.isidentifier() for part in parts):
            continue
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and parts[0] not in STRAY and not any(UNUSED.fullmatch(part) for part in parts):
            found.add(".".join(parts))
    return sorted(found)


def child(names: Iterable[str], out: int) -> None:
    """Import modules, and write a line of JSON before and after each; never returns."""
    sys.argv = ["scan"]
    null = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    sys.stdin, sys.stdout, sys.stderr = (open(os.devnull, mode) for mode in "rww")  # noqa: SIM115
    writes: list[str] = []
    sys.addaudithook(lambda event, words: _audit(event, words, writes))
    with tempfile.TemporaryDirectory() as folder, open(out, "w") as stream:
        for name in names:
            os.chdir(folder)
            print(json.dumps(["begin", name]), file=stream, flush=True)
            text = ""
            writes.clear()
            try:
                importlib.import_module(name)
            except BaseException as error:  # a SystemExit is a failure as well
                text = (f"{type(error).__name__}: {error}".splitlines() or [""])[0][:300]
            print(json.dumps(["end", name, text, sorted(set(writes))]), file=stream, flush=True)
    os._exit(0)


def _audit(event: str, words: tuple[object, ...], writes: list[str]) -> None:
    """Note what would change the environment's folder. Bytecode and numba's caches are written where they can be."""
    if event == "open":
        mode, flags = words[1], words[2]
        changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else "w" in str(mode)
    else:
        changes = event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate")
    if changes and words and isinstance(words[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(words[0]))
        # makedirs(exist_ok=True) of a folder that is there changes nothing.
        idle = event == "os.mkdir" and os.path.isdir(path)
        if path.startswith(sys.prefix + "/") and "__pycache__" not in path and not idle:
            writes.append(path)


def scan(packages: Iterable[str], jobs: int) -> list[Scan]:
    """Scan packages, the ones with most modules first, ``jobs`` at once."""
    for name in COMMON:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    found = [Scan(package=name, names=tuple(names), left=names) for name in packages for names in [modules(name)]]
    waiting = sorted((one for one in found if one.left), key=lambda one: len(one.names))
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        while waiting or running:
            while waiting and len(running) < jobs:
                started = _Child(waiting.pop())
                running[started.handle] = started
                selector.register(started.handle, selectors.EVENT_READ)
            for key, _ in selector.select(timeout=1):
                _read(running[key.fd])
            for handle, one in tuple(running.items()):
                if not one.ended and time.monotonic() - one.since < LIMIT_S:
                    continue
                selector.unregister(handle)
                del running[handle]
                one.close()
                if one.scan.left:
                    waiting.append(one.scan)
    return found


class _Child:
    """A fork that scans what is left of a package."""

    def __init__(self, of: Scan) -> None:
        self.scan = of
        self.handle, out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.handle)
            child(of.left, out)
        os.close(out)
        self.ended, self.since, self.at, self.text = False, time.monotonic(), of.left[0], b""

    def close(self) -> None:
        """End the fork; note the module that it was at, if it did not come to its end by itself."""
        os.close(self.handle)
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if self.scan.left:
            code = os.waitstatus_to_exitcode(status)
            told = f"ended its process with {code}" if self.ended else f"took more than {LIMIT_S:.0f} s"
            self.scan.failed[self.at] = told
            self.scan.left = self.scan.left[self.scan.left.index(self.at) + 1 :]


def _read(one: _Child) -> None:
    data = os.read(one.handle, 1 << 16)
    one.ended = not data
    *lines, one.text = (one.text + data).split(b"\n")
    for line in lines:
        kind, name, *rest = json.loads(line)
        one.since, one.at = time.monotonic(), name
        if kind == "end":
            one.scan.left.remove(name)
            if rest[0]:
                one.scan.failed[name] = rest[0]
            if rest[1]:
                one.scan.writes[name] = rest[1]


def fits(pattern: str, name: str) -> bool:
    """Say whether a pattern names a module: `a.b`, or `a.b.*` for `a.b` and all below it."""
    start = pattern.removesuffix(".*")
    return name == start or (pattern.endswith(".*") and name.startswith(start + "."))


def faults(found: Iterable[Scan], expected: Iterable[Expected], installed: Iterable[str]) -> list[str]:
    """Return what is not as EXPECTED.toml says, a line each: new failures, old ones, writes, idle patterns."""
    told = []
    have = {re.sub(r"[-_.]+", "-", name).lower() for name in installed}
    reasons = {pattern: one.reason for one in expected if one.absent not in have for pattern in one.modules}
    used = set()
    for one in found:
        for name, paths in one.writes.items():
            told.append(f"{name} tries to write {', '.join(paths[:3])}")
        for name in one.names:
            fitting = [pattern for pattern in reasons if fits(pattern, name)]
            used.update(fitting)
            if name in one.failed and not fitting:
                told.append(f"{name} fails: {one.failed[name]}")
            if name not in one.failed and fitting:
                told.append(f"{name} can be imported, though {fitting[0]} is expected to fail: {reasons[fitting[0]]}")
    told += [f"{pattern} is expected to fail, and no package has it" for pattern in reasons if pattern not in used]
    return told


def read_expected(path: Path) -> tuple[Expected, ...]:
    """Read EXPECTED.toml; a table without a reason is an error."""
    tables = tomllib.loads(path.read_text("utf-8"))["expected"]
    found = tuple(
        Expected(modules=tuple(one.pop("modules")), reason=one.pop("reason"), absent=one.pop("absent", ""))
        for one in tables
    )
    if faulty := [one for one in found if not one.reason.strip() or not one.modules] or [one for one in tables if one]:
        raise ValueError(f"{path.name}: expected modules, reason and maybe absent, not {faulty[0]}")
    return found


def patterns(names: Iterable[str], failed: Iterable[str]) -> list[str]:
    """Return the fewest patterns that fit all modules that fail and no other."""
    names, failed, found = set(names), set(failed), []
    for name in sorted(failed, key=lambda name: (name.count("."), name)):
        if any(fits(pattern, name) for pattern in found):
            continue
        parts = name.split(".")
        starts = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        whole = next((start for start in starts if {one for one in names if fits(f"{start}.*", one)} <= failed), "")
        below = {one for one in names if fits(f"{whole}.*", one)}
        found.append(f"{whole}.*" if whole and len(below) > 1 else name)
    return sorted(found)


def main(imports: str, expected: str, *flags: str) -> None:
    """Scan, and write the result to stdout."""
    start = time.monotonic()
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    packages = tomllib.loads(Path(imports).read_text("utf-8"))["imports"]
    found = scan(packages, len(os.sched_getaffinity(0)))
    told = faults(found, read_expected(Path(expected)), (one.name for one in metadata.distributions()))
    result: dict[str, object] = {
        "packages": {one.package: [len(one.names), len(one.failed)] for one in found},
        "faults": told,
        "seconds": round(time.monotonic() - start, 1),
    }
    if "--write" in flags:
        result["patterns"] = {
            one.package: {
                pattern: next(text for name, text in one.failed.items() if fits(pattern, name)) for pattern in fit
            }
            for one in found
            if (fit := patterns(one.names, one.failed))
        }
    os.write(out, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    os.environ |= {"MPLBACKEND": "Agg", "QT_QPA_PLATFORM": "offscreen"}
    sys.dont_write_bytecode = True
    main(*sys.argv[1:])
