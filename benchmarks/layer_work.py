#!/usr/bin/env python3
"""What layers cost beyond the work that cannot be avoided, in processor seconds; a change that costs more is refused.

Ours is `linking.make_layer` of wheels that are made up: Python's own library, and data of a fixed seed. The reference
does with the same bytes, once each, what no way of making layers can leave out, by the libraries that ours calls too:
inflate and hash each file, compile each source, write, hash and compress the tar stream (libdeflate, level 6), hash
what comes of it. Both run in one process one after the other, several times, and the least of each counts, so the ratio
of the two says little of the machine, its load and its Python.

* ``--most RATIO`` fails where ours takes more than so many times the reference.
* ``--against TOOLS`` measures another checkout's ``tools`` too, in turns, and fails where ours costs over 10 % more.

Everything is in memory or in a temporary folder; neither network, engine nor store is asked.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: A change may cost so much more.
ALLOWED = 1.10
#: Bytes of Python's library that are taken, and of made-up data.
_SOURCES, _DATA = 6_000_000, 32_000_000
_CHUNK = 4 << 20
_COMPILE = """
import marshal, struct, sys
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while size := read(4):
    made = marshal.dumps(compile(read(*struct.unpack("<I", size)), "x", "exec", dont_inherit=True, optimize=0))
    write(struct.pack("<I", len(made)) + made)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Processor seconds, user's and system's, of this project and of the reference."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        """How many times the reference ours takes."""
        return self.ours / self.reference


def least_of(costs: Mapping[str, Sequence[Cost]]) -> dict[str, Cost]:
    """Return the least that each checkout took, and that the reference took in the whole run.

    What is above the least the machine did, not the program.
    """
    reference = min(cost.reference for rows in costs.values() for cost in rows)
    return {side: Cost(ours=min(cost.ours for cost in rows), reference=reference) for side, rows in costs.items()}


def fault(cost: Cost, *, most: float | None, before: Cost | None) -> str:
    """Say what is wrong with a cost; empty if nothing is.

    Args:
        most: times the reference that ours may take.
        before: what another checkout took in the same run.
    """
    if most is not None and cost.ratio > most:
        return f"layers cost {cost.ratio:.2f} times the reference, expected at most {most:.2f}"
    if before is not None and cost.ratio > before.ratio * ALLOWED:
        return (
            f"layers cost {cost.ratio / before.ratio:.2f} times what they cost before "
            f"({cost.ratio:.2f} not {before.ratio:.2f} times the reference), expected at most {ALLOWED:.2f}"
        )
    return ""


def files() -> Iterator[tuple[str, bytes]]:
    """Yield path -> content: sources of Python's library, small ones and large ones, and data that shrinks by half."""
    library, size = Path(os.__file__).parent, 0
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        if {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages"} & {*inside.parts}:
            continue
        data = path.read_bytes()
        size += len(data)
        if size > _SOURCES:
            break
        yield f"taken/{inside.as_posix()}", data
    dice = random.Random(7)
    words = [dice.randbytes(dice.randint(4, 40)) for _ in range(5000)]
    left = _DATA
    while left > 0:
        part = b"".join(dice.choices(words, k=dice.choice((20, 200, 40_000))))
        part += dice.randbytes(len(part) // 4)
        yield f"made/data-{left}.bin", part
        left -= len(part)


def write_wheel(folder: Path, name: str, contents: Mapping[str, bytes]) -> Path:
    """Write a wheel, and return its path."""
    info = f"{name}-1.0.dist-info"
    whole = {
        **contents,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
    }
    rows = [f"{path},sha256={_short(data)},{len(data)}" for path, data in whole.items()]
    whole[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    made = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in whole.items():
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    return made


def _short(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def write_wheels(folder: Path) -> tuple[Path, ...]:
    """Write wheels with all `files`, by their first folder."""
    parts: dict[str, dict[str, bytes]] = {}
    for path, data in files():
        parts.setdefault(path.split("/")[0], {})[path] = data
    return tuple(write_wheel(folder, name, contents) for name, contents in parts.items())


def reference(wheels: Sequence[Path]) -> int:
    """Do what cannot be avoided, and return the bytes of the layer."""
    import deflate

    site = "srv/conda/envs/notebook/lib/python3.13/site-packages"
    contents: dict[str, bytes] = {}
    hashes = []
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                data = archive.read(info)
                hashes.append(hashlib.sha256(data).hexdigest())
                contents[f"{site}/{info.filename}"] = data
    sources = [path for path in contents if path.endswith(".py")]
    asked = b"".join(len(contents[path]).to_bytes(4, "little") + contents[path] for path in sources)
    argv = [sys.executable, "-S", "-B", "-W", "ignore", "-c", _COMPILE]
    answers = io.BytesIO(subprocess.run(argv, input=asked, capture_output=True, check=True).stdout)
    for path in sources:
        contents[f"{path}c"] = answers.read(int.from_bytes(answers.read(4), "little"))
        hashes.append(hashlib.sha256(contents[f"{path}c"]).hexdigest())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(contents):
            info = tarfile.TarInfo(path)
            info.size = len(contents[path])
            tar.addfile(info, io.BytesIO(contents[path]))
    whole, packed = hashlib.sha256(), hashlib.sha256()
    size = 0
    with stream.getbuffer() as view:
        for start in range(0, len(view), _CHUNK):
            chunk = bytes(view[start : start + _CHUNK])
            whole.update(chunk)
            member = bytes(deflate.gzip_compress(chunk, 6))
            packed.update(member)
            size += len(member)
    return size


def ours(wheels: Sequence[Path], folder: Path) -> int:
    """Make the layer as images have it, in a new store, and return its bytes."""
    from helioimages.core.package import Package
    from helioimages.make.linking import LayerPackage, Task, make_layer
    from helioimages.make.plan import LayerKind, LayerPlan
    from helioimages.pypi import pyc
    from helioimages.pypi.lock import Wheel

    sources = []
    for path in wheels:
        name, size = path.name.split("-")[0], path.stat().st_size
        record = Wheel(
            name=name, version="1.0", file_name=path.name, sha256=name.encode().hex().ljust(64, "0"), size=size
        )
        package = Package(
            kind="wheel", name=name, version="1.0", file_name=path.name, sha256=record.sha256, size=record.size
        )
        sources.append(LayerPackage(package=package, record=record, path=path))
    plan = LayerPlan(
        image="x",
        kind=LayerKind.PACKAGES,
        name="x",
        key="0" * 64,
        comment="",
        size=sum(source.package.size for source in sources),
        packages=tuple(source.package for source in sources),
    )
    # Called as the interpreter of images is, of which it is known that one process may compile many sources.
    interpreter = pyc.Interpreter(argv=(sys.executable,), env={"PATH": os.defpath}, cache_tag="cpython-313")
    task = Task(
        plan=plan,
        sources=tuple(sources),
        python="3.13",
        interpreter=interpreter,
        interpreter_id="0" * 64,
        platform="linux-64",
        store=folder,
    )
    return make_layer(task).size


def seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of a function and of the programs that it ran."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def once(wheels: Sequence[Path]) -> Cost:
    """Measure both sides one time, in this process."""
    with tempfile.TemporaryDirectory(prefix="layer-work-", dir=wheels[0].parent) as name:
        # What is imported or compiled at the first call is no work on layers.
        ours(_some(wheels, Path(name)), Path(name) / "first")
        mine = seconds(lambda: ours(wheels, Path(name) / "store"))
    return Cost(ours=mine, reference=seconds(lambda: reference(wheels)))


def _some(wheels: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    return (write_wheel(folder, "small", {"small/__init__.py": b"x = 1\n"}),)


def measured(tools: Path, wheels: Sequence[Path]) -> Cost:
    """Measure the tools of a checkout one time, in a process of its own.

    Raises:
        SystemExit: they cannot be measured so.
    """
    argv = [sys.executable, __file__, "--tools", str(tools), "--wheels", *map(str, wheels)]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode:
        raise SystemExit(f"error: cannot measure {tools}\n{done.stderr[-2000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure, print, and fail where layers cost too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=float, metavar="RATIO", help="times the reference that layers may cost")
    parser.add_argument("--against", type=Path, metavar="TOOLS", help="the tools of the checkout before a change")
    parser.add_argument("--tools", type=Path, default=ROOT / "tools", help=argparse.SUPPRESS)
    parser.add_argument("--wheels", type=Path, nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.tools))
    from helioimages.machine import bootstrap

    bootstrap.ensure()
    if asked.wheels:
        cost = once(asked.wheels)
        print(json.dumps({"ours": cost.ours, "reference": cost.reference}))
        return
    sides = {"ours": asked.tools} | ({"before": asked.against} if asked.against else {})
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(prefix="layer-work-") as name:
        wheels = write_wheels(Path(name))
        for number in range(asked.rounds):
            # Who goes first alternates.
            for side in [*sides][:: 1 if number % 2 else -1]:
                costs[side].append(measured(sides[side], wheels))
    least = least_of(costs)
    for side, cost in least.items():
        print(f"{side:<8}{cost.ours:6.2f} CPU-s, reference {cost.reference:6.2f} CPU-s: {cost.ratio:.3f}")
    if said := fault(least["ours"], most=asked.most, before=least.get("before")):
        sys.exit(f"error: {said}")


if __name__ == "__main__":
    main()
