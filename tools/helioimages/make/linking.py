"""One layer from its packages: link, compile, merge, write. What worker processes run.

Everything a worker needs is in its task, and everything it makes goes to the store under a key that names its inputs;
so workers may run in any number and order, here or in another run, and never see each other.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..conda import captured
from ..conda import link as conda_link
from ..conda.lock import CondaPackage
from ..core.digest import key_of
from ..core.entries import LINKER_VERSION, Content, Entry, Kind, merge
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Subdir
from ..machine.store import Store, has
from ..oci.layer import Layer, write_layer
from ..pypi import patching, pyc
from ..pypi import wheel as wheel_link
from ..pypi.lock import Wheel
from . import notes
from .plan import COMPRESSOR, PREFIX, LayerPlan

#: The memos of layers, and the lists of their files: origin, content and path, each ended by NUL.
LAYERS, LISTS = "layer-2", "files-2"
#: As earlier versions wrote them: a line a file, with tabs. They are read, and not written any more.
OLD_LAYERS, OLD_LISTS = "layer", "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPackage:
    """One package of a layer.

    Attributes:
        package: how the plan sees it; ``record`` is how the lock does.
        path: its file; ``patches`` are those of its patches.
        ran: what its post-link script wrote; None if none ran.
    """

    package: Package
    record: CondaPackage | Wheel
    path: Path
    patches: tuple[Path, ...] = ()
    ran: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One layer to make.

    Attributes:
        python: ``3.13``, for noarch packages and script headers.
        interpreter: compiles .pyc.
        platform: conda's subdir, e.g. ``linux-64``.
        scripts: sha256 of conda packages' scripts that people read.
        site_packages: of a Python whose package names another folder than ``lib/python<version>/site-packages``.
    """

    plan: LayerPlan
    sources: tuple[LayerPackage, ...]
    python: str
    interpreter: pyc.Interpreter
    interpreter_id: str
    platform: Subdir
    store: Path
    site_packages: str | None = None
    scripts: frozenset[str] = frozenset()


def make_layer(task: Task) -> Layer:
    """Return the layer of a task, from the store if it was made before.

    Raises:
        HelioError: a package is malformed, or two packages of the layer clash.
    """
    store = Store(task.store)
    known = recall(store, task.plan.key)
    if known is not None:
        return known
    entries: list[Entry] = []
    for source in task.sources:
        entries += package_entries(store, source, task)
    return write(store, task.plan.key, merge(entries))


def package_entries(store: Store, source: LayerPackage, task: Task) -> tuple[Entry, ...]:
    """Return one package's entries with their .pyc, less what another package wins."""
    package = source.package
    if isinstance(source.record, CondaPackage):
        linked = conda_link.link(
            source.path,
            source.record,
            conda_link.Prefix(
                path=PREFIX,
                python_version=task.python,
                site_packages=task.site_packages,
                platform=task.platform,
                scripts=task.scripts,
            ),
        )
        lost = _paths(linked, (*package.dropped, *package.left_out), package)
        kept = tuple(entry for entry in linked if entry.path not in lost)
        kept = conda_link.forgetting(linked, kept, source.record, PREFIX)
        if source.ran is not None:
            kept = captured.applied(
                kept, captured.parse(source.ran.read_bytes(), package.origin), source.record, PREFIX
            )
        return conda_link.with_compiled(kept, _compiled(store, kept, package, task), source.record, PREFIX)
    linked = wheel_link.link(source.path, source.record, prefix=PREFIX, python_version=task.python)
    for patch, path in zip(package.patches, source.patches, strict=True):
        linked = patching.apply(linked, path.read_bytes(), patch.path, package.origin)
    linked = wheel_link.asking_less(linked, {left.name for left in package.without}, package.origin)
    linked = wheel_link.forgetting(linked, _paths(linked, package.left_out, package))
    kept = without(linked, package)
    return wheel_link.with_compiled(kept, _compiled(store, kept, package, task))


def without(entries: tuple[Entry, ...], package: Package) -> tuple[Entry, ...]:
    """Return a package's entries less those that another package wins.

    Raises:
        HelioError: a pattern of ``x-helioimages.clobber`` matches nothing of it.
    """
    lost = _paths(entries, package.dropped, package)
    return tuple(entry for entry in entries if entry.path not in lost)


def _paths(entries: tuple[Entry, ...], patterns: Iterable[str], package: Package) -> frozenset[str]:
    """Return the paths of a package that patterns of ``x-helioimages.clobber`` match, each at least one."""
    paths: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter((entry.path for entry in entries), f"{PREFIX[1:]}/{pattern}")
        if not matches:
            raise HelioError(
                Stage.LINK,
                f"`{package.origin}` has no {pattern}",
                detail="x-helioimages.clobber says that another package wins this path",
                hint="remove the entry from environment.yml",
            )
        paths.update(matches)
    return frozenset(paths)


def _compiled(store: Store, entries: tuple[Entry, ...], package: Package, task: Task) -> tuple[Entry, ...]:
    """Return the package's .pyc entries; compiled once, whichever layer or image asks again."""
    key = key_of(
        [
            *(LINKER_VERSION, package.kind, package.sha256, package.file_name, sorted(package.dropped)),
            task.interpreter_id,
            *([[patch.sha256 for patch in package.patches]] if package.patches else []),
            *([{"ran": package.ran}] if package.ran else []),
            *([{"left-out": sorted(package.left_out)}] if package.left_out else []),
        ]
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
    known = _remembered(store, key)
    return known and known[0]


def write(store: Store, key: str, entries: Iterable[Entry], *, jobs: int = 1) -> Layer:
    """Write merged entries as a layer's blob, with the list of its files, and remember both under ``key``."""
    entries = tuple(entries)
    hashes: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    # The digest is known only when the blob is written.
    with store.writing(lambda: store.blob(layer.digest)) as file:
        layer = write_layer(_noting(entries, hashes, kept), file, jobs=jobs, compressor=COMPRESSOR)
    with store.writing(store.cached(notes.NOTES, key)) as file:
        file.write(notes.dump(kept, entries))
    with store.writing(store.cached(LISTS, key)) as file:
        for entry in entries:
            if entry.kind is not Kind.DIR:
                held = hashes[entry.path] if entry.content else entry.target
                # A path and a link's target may have any character but NUL.
                row = f"{entry.origin}\0{held}\0{entry.path}\0"
                file.write(row.encode("utf-8", "surrogateescape"))
        listed = file.tell()
    store.remember(LAYERS, key, {**dataclasses.asdict(layer), "listed": listed})
    return layer


def adopt(store: Store, key: str, layer: Layer, rows: bytes, *, origin: str, signer: str = "") -> None:
    """Remember a layer that another machine made; only a store that is opened as ``travelled`` counts it.

    Args:
        layer: its blob is in the store.
        rows: the list of its files, as `write` makes it.
        origin: the address that it came from.
        signer: the key that had signed it there, and was asked for.
    """
    with store.writing(store.cached(LISTS, key)) as file:
        file.write(rows)
    store.remember(LAYERS, key, {**dataclasses.asdict(layer), "listed": len(rows), "from": origin, "signer": signer})


def list_of(store: Store, key: str) -> bytes | None:
    """Return the list of a layer's files as `write` keeps it; None where this machine did not make the layer."""
    known = _remembered(store, key)
    if known is None or key in store.lent or (store.recall(LAYERS, key) or {}).get("from") is not None:
        return None
    rows = (f"{origin}\0{held}\0{path}\0" for path, (origin, held) in known[1]().items())
    return "".join(rows).encode("utf-8", "surrogateescape")


def rows_of(data: bytes) -> dict[str, tuple[str, str]]:
    """Return path -> (origin, sha256 of the content or target of the link) of a list of files."""
    words = iter(data.decode("utf-8", "surrogateescape").split("\0"))
    return {name: (origin, held) for origin, held, name in zip(words, words, words, strict=False)}


def files_of(store: Store, key: str) -> dict[str, tuple[str, str]]:
    """Return path -> (origin, sha256 of the content or target of the link) of a layer, without directories.

    Raises:
        HelioError: the store lost the layer.
    """
    known = _remembered(store, key)
    if known is None:
        raise HelioError(
            Stage.LINK,
            "the store lost a layer while it was used",
            where=str(store.cached(LISTS, key)),
            hint="run the command again",
        )
    return known[1]()


def _noting(entries: Iterable[Entry], hashes: dict[str, str], kept: dict[str, bytes]) -> Iterator[Entry]:
    """Yield the entries; ``hashes`` learns the sha256 of each content, from who made it or as the layer reads it.

    Args:
        kept: learns the content of those that `notes` wants.
    """
    for entry in entries:
        if entry.content is not None:
            hashes[entry.path] = entry.content.sha256
            wanted = notes.wanted(entry.path)
            if not entry.content.sha256 or wanted:
                learns = kept if wanted else None
                entry = dataclasses.replace(entry, content=_noted(entry.path, entry.content, hashes, learns))
        yield entry


def _noted(path: str, content: Content, hashes: dict[str, str], kept: dict[str, bytes] | None) -> Content:
    def read() -> bytes:
        data = content.read()
        if kept is not None:
            kept[path] = data
        hashes[path] = hashlib.sha256(data).hexdigest()
        return data

    return Content(content.size, read)


def _remembered(store: Store, key: str) -> tuple[Layer, Callable[[], dict[str, tuple[str, str]]]] | None:
    """Return a layer made before and what reads the list of its files, if all of it is there, and whole.

    One that is lent is where it is, whole or not: whoever wants its bytes has the run begin again without it.
    """
    if (lent := store.lent.get(key)) is not None:
        return lent.layer, partial(rows_of, lent.rows)
    for kind, lists, parse in ((LAYERS, LISTS, _rows), (OLD_LAYERS, OLD_LISTS, _old_rows)):
        known = store.recall(kind, key)
        if known is None:
            continue
        came, signer = known.pop("from", None) is not None, known.pop("signer", "")
        if came and not store.counts(signer):
            continue
        # The oldest stores do not say how long the list is.
        listed, path = known.pop("listed", None), store.cached(lists, key)
        if not has(store.blob(known["digest"]), known["size"]) or not has(path, listed):
            continue
        if kind == OLD_LAYERS and not _exact(path.read_bytes()):
            continue
        return Layer(**known), partial(parse, path)
    return None


def _rows(path: Path) -> dict[str, tuple[str, str]]:
    return rows_of(path.read_bytes())


def _old_rows(path: Path) -> dict[str, tuple[str, str]]:
    rows = (line.split("\t", 2) for line in _text(path).split("\n") if line)
    return {name: (origin, held) for origin, held, name in rows}


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _exact(data: bytes) -> bool:
    """Say whether an old list can be read in one way only; else its layer is made again."""
    return data.count(b"\t") == 2 * data.count(b"\n")
