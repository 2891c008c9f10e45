#!/usr/bin/env python3
"""What the .pyc of images' packages cost: a fork for each source, and one process a package; the bytes are compared.

The packages must be in the store, as after a build. Processor seconds, of user and system, of the locked interpreter;
which way goes first alternates from package to package.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

bootstrap.ensure()

from helioimages.core.entries import Entry  # noqa: E402
from helioimages.locks.checkout import Checkout  # noqa: E402
from helioimages.machine.store import Store, default_root  # noqa: E402
from helioimages.make import toolchain  # noqa: E402
from helioimages.make.plan import PREFIX  # noqa: E402
from helioimages.pypi import pyc, wheel  # noqa: E402


def timed(work: Callable[[], dict[str, bytes]]) -> tuple[float, dict[str, bytes]]:
    """Return the processor seconds of programs that a function ran, and its result."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, made


def in_forks(entries: Iterable[Entry], interpreter: pyc.Interpreter) -> dict[str, bytes]:
    """Return path -> .pyc, each made in a fork of its own."""
    with mock.patch.object(pyc, "_KNOWN", ()):
        return as_usual(entries, interpreter)


def as_usual(entries: Iterable[Entry], interpreter: pyc.Interpreter) -> dict[str, bytes]:
    """Return path -> .pyc as images have them."""
    made = pyc.compile_entries(entries, interpreter)
    return {entry.path: entry.content.read() for entry in made if entry.content}


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="helio")
    parser.add_argument("--only", nargs="*", default=[], metavar="PACKAGE")
    asked = parser.parse_args()
    checkout, store = Checkout.of(ROOT), Store(default_root())
    locks = checkout.locks_of(checkout.selected((asked.image,)))
    oldest, lock = next(iter(locks.values())), locks[asked.image]
    interpreter = toolchain.interpreter_in(store.root / "toolchain" / toolchain.key(oldest), lock.python_version)
    forks = usual = 0.0
    files, other = 0, []
    wheels = [record for record in lock.pypi.wheels if not asked.only or record.name in asked.only]
    for number, record in enumerate(wheels):
        entries = wheel.link(store.artefact(record.sha256), record, prefix=PREFIX, python_version=lock.python_version)
        ways = [in_forks, as_usual][:: 1 if number % 2 else -1]
        timings = {way: timed(partial(way, entries, interpreter)) for way in ways}
        forks, usual = forks + timings[in_forks][0], usual + timings[as_usual][0]
        files += len(timings[in_forks][1])
        if timings[in_forks][1] != timings[as_usual][1]:
            other.append(record.name)
    print(f"{asked.image}: {files:,} .pyc of {len(wheels)} wheels")
    print(f"a fork for each {forks:.1f} CPU-s, as images are made {usual:.1f} CPU-s ({usual / forks:.2f})")
    if other:
        sys.exit(f"error: other bytes: {', '.join(other)}")
    print("equal bytes")


if __name__ == "__main__":
    main()
