"""One layer from its packages: link, compile, merge, write. What worker processes run.

Everything a worker needs is in its task, and everything it makes goes to the store under a key that names its inputs;
so workers may run in any number and order, here or in another run, and never see each other.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..conda import link as conda_link
from ..conda.lock import CondaPackage
from ..core.digest import key_of
from ..core.entries import Entry, Kind, merge
from ..core.errors import HelioError, Stage
from ..locks.package import Package
from ..machine.store import Store, has
from ..oci.layer import LIBDEFLATE_6, Layer, write_layer
from ..pypi import pyc
from ..pypi import wheel as wheel_link
from ..pypi.lock import Wheel
from .plan import LINKER_VERSION, LayerPlan

PREFIX = "/srv/conda/envs/notebook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One package of a layer: how the plan sees it, its record in the lock, and its file."""

    package: Package
    record: CondaPackage | Wheel
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One layer to make.

    Attributes:
        key: of the layer; see `LayerPlan.key`.
        python: ``3.13``, for noarch packages and script headers.
        interpreter: compiles .pyc.
        platform: conda's subdir, e.g. ``linux-64``.
    """

    plan: LayerPlan
    key: str
    sources: tuple[Source, ...]
    python: str
    interpreter: pyc.Interpreter
    interpreter_id: str
    platform: str
    store: Path


def make_layer(task: Task) -> Layer:
    """Return the layer of a task, from the store if it was made before.

    Raises:
        HelioError: a package is malformed, or two packages of the layer clash.
    """
    store = Store(task.store)
    known = recall(store, task.key)
    if known is not None:
        return known
    entries: list[Entry] = []
    for source in task.sources:
        entries += package_entries(store, source, task)
    return write(store, task.key, merge(entries))


def package_entries(store: Store, source: Source, task: Task) -> tuple[Entry, ...]:
    """Return one package's entries with their .pyc, less what another package wins."""
    package = source.package
    if package.kind == "conda":
        linked = conda_link.link(
            source.path, source.record, prefix=PREFIX, python_version=task.python, platform=task.platform
        )
    else:
        linked = wheel_link.link(source.path, source.record, prefix=PREFIX, python_version=task.python)
    kept = without(linked, package)
    compiled = _compiled(store, kept, package, task)
    return (*kept, *compiled) if package.kind == "conda" else wheel_link.with_compiled(kept, compiled)


def without(entries: tuple[Entry, ...], package: Package) -> tuple[Entry, ...]:
    """Return a package's entries less those that another package wins.

    Raises:
        HelioError: a pattern of ``x-helioimages.clobber`` matches nothing of it.
    """
    lost: set[str] = set()
    for pattern in package.dropped:
        found = fnmatch.filter((entry.path for entry in entries), f"{PREFIX[1:]}/{pattern}")
        if not found:
            raise HelioError(
                Stage.LINK,
                f"`{package.origin}` has no {pattern}",
                detail="x-helioimages.clobber says that another package wins this path",
                hint="remove the entry from environment.yml",
            )
        lost.update(found)
    return tuple(entry for entry in entries if entry.path not in lost)


def _compiled(store: Store, entries: tuple[Entry, ...], package: Package, task: Task) -> tuple[Entry, ...]:
    """Return the package's .pyc entries; compiled once, whichever layer or image asks again."""
    key = key_of(
        [LINKER_VERSION, package.kind, package.sha256, package.file_name, sorted(package.dropped), task.interpreter_id]
    )
    cached = store.cached("pyc", key)
    try:
        # An empty one is as good as none: a package without modules costs nothing to compile.
        if kept := cached.read_bytes():
            return pyc.unpack(kept, package.origin)
    except (FileNotFoundError, ValueError):
        pass
    made = pyc.compile_entries(entries, task.interpreter)
    with store.writing(cached) as file:
        file.write(pyc.pack(made))
    return made


def recall(store: Store, key: str) -> Layer | None:
    """Return a layer made before, if its blob and the list of its files are still there, and whole."""
    known = store.recall("layer", key)
    if known is None:
        return None
    # Stores of earlier versions do not say how long the list is.
    listed = known.pop("listed", None)
    if not has(store.blob(known["digest"]), known["size"]) or not has(store.cached("files", key), listed):
        return None
    return Layer(**known)


def write(store: Store, key: str, entries: Iterable[Entry], *, jobs: int = 1) -> Layer:
    """Write merged entries as a layer's blob, with the list of its files, and remember both under ``key``."""
    entries = tuple(entries)
    # The digest is known only when the blob is written.
    with store.writing(lambda: store.blob(layer.digest)) as file:
        layer = write_layer(entries, file, jobs=jobs, compressor=LIBDEFLATE_6)
    with store.writing(store.cached("files", key)) as file:
        for entry in entries:
            if entry.kind is not Kind.DIR:
                held = hashlib.sha256(entry.content.read()).hexdigest() if entry.content else entry.target
                file.write(f"{entry.origin}\t{held}\t{entry.path}\n".encode("utf-8", "surrogateescape"))
        listed = file.tell()
    store.remember("layer", key, {**dataclasses.asdict(layer), "listed": listed})
    return layer


def files_of(store: Store, key: str) -> dict[str, tuple[str, str]]:
    """Return path -> (origin, sha256 of the content or target of the link) of a layer, without directories."""
    text = store.cached("files", key).read_bytes().decode("utf-8", "surrogateescape")
    rows = (line.split("\t", 2) for line in text.splitlines())
    return {path: (origin, held) for origin, held, path in rows}
