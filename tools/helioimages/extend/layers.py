"""The layers that a repository adds to its parent: its new packages, its files, and what its postBuild changed.

Packages become layers as those of every image do (`make.plan`, `make.linking`), so two repositories share what they
have in common, with each other and with the images of a checkout.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ..core.digest import key_of
from ..core.entries import Content, Entry, Kind, check_path, directory, merge, symlink
from ..core.errors import HelioError, Stage
from ..core.progress import bar
from ..machine import workers
from ..machine.store import Store
from ..make import linking
from ..make.plan import COMPRESSOR, MAX_LAYERS, PREFIX, LayerKind, LayerPlan, plan_layers
from ..oci.image import Addition
from ..oci.layer import Layer, write_layer
from ..pypi.ecosystem import PYPI
from ..pypi.lock import PyPILock, Wheel
from . import covered
from .interpreter import interpreter
from .parent import Parent
from .repository import Repository

#: Where the files of the repository are besides the home, which a hub hides behind a volume.
PLACE = "/srv/repository"
#: Raised when the same files would give another layer.
VERSION = 1
#: Artefacts of at least so many bytes have a layer of their own; more where the parent has many layers already.
_ALONE = (8 << 20, 64 << 20, 512 << 20, 1 << 60)
_BUCKETS = 4
#: The files, postBuild's, and some for whoever extends the result.
_RESERVE = 6
_LEAVE_OUT = "leave one of them out: pip would let whichever comes last overwrite the other's file"
#: What postBuild leaves there is not kept.
_TEMPORARY = ("/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys", "/etc", "/var/cache", "/var/log")
#: What engines write into JSON where bytes are no text.
_REPLACED = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """New packages: the wheels, and their files by sha256."""

    wheels: tuple[Wheel, ...]
    paths: Mapping[str, Path]


def of_packages(
    parent: Parent, added: Added, store: Store, jobs: int, below: Callable[[], covered.Held]
) -> list[Addition]:
    """Return the layers of the new packages, lowest first.

    Args:
        below: returns the files of the parent.

    Raises:
        HelioError: a wheel is malformed, it clashes with another or the parent, or there is no room for more layers.
    """
    if not added.wheels:
        return []
    lock = PyPILock(python=parent.minor, platform=parent.platform, content_hash="", wheels=added.wheels)
    packages = PYPI.packages(lock)
    room = MAX_LAYERS - _RESERVE - len(parent.image.layers)
    for alone in _ALONE:
        groups = plan_layers(packages, alone_bytes=alone, buckets=_BUCKETS)
        if len(groups) <= room:
            break
    else:
        raise HelioError(
            Stage.BUILD,
            f"`{parent.name}` has too many layers to be extended",
            detail=f"expected room for {len(groups)} of {MAX_LAYERS}, it has {len(parent.image.layers)}",
            hint="extend the image that it extends",
        )
    # Conda's artefact where the SBOM names it, so that layers are those of a checkout's images; else its layer.
    python = parent.named("conda", "python").sha256 or parent.image.digest
    plans = [
        LayerPlan(
            image="extension",
            kind=LayerKind.PACKAGES,
            name=group.name,
            key=group.key(prefix=PREFIX, interpreter=python, compressor=COMPRESSOR.name),
            comment=f"{group.name}: " + ", ".join(f"{package.name} {package.version}" for package in group.packages),
            size=group.size,
            packages=group.packages,
        )
        for group in groups
    ]
    made = {plan.key: layer for plan in plans if (layer := linking.recall(store, plan.key))}
    if missing := [plan for plan in plans if plan.key not in made]:
        made |= _linked(parent, added, store, missing, jobs)
    covered.check(_check_clashes(store, plans), below())
    return [_addition(plan.name, plan.comment, made[plan.key]) for plan in plans]


def _linked(parent: Parent, added: Added, store: Store, missing: Sequence[LayerPlan], jobs: int) -> dict[str, Layer]:
    records = {wheel.sha256: wheel for wheel in added.wheels}
    compiler = interpreter(parent, store)
    tasks = [
        linking.Task(
            plan=plan,
            sources=tuple(
                linking.LayerPackage(package=package, record=records[package.sha256], path=added.paths[package.sha256])
                for package in plan.packages
            ),
            python=parent.minor,
            interpreter=compiler,
            interpreter_id=parent.named("conda", "python").sha256 or parent.image.digest,
            platform=parent.platform.subdir,
            store=store.root,
        )
        for plan in sorted(missing, key=lambda plan: -plan.size)
    ]
    made = {}
    with bar("layers", sum(plan.size for plan in missing), unit="bytes") as advance:
        try:
            for task, layer in workers.run(linking.make_layer, tasks, jobs=jobs, what="layers of the new packages"):
                made[task.plan.key] = layer
                advance(task.plan.size)
        except HelioError as error:
            if "both bring" in error.message:
                error.hint = _LEAVE_OUT
            raise
    return made


def _check_clashes(store: Store, plans: Sequence[LayerPlan]) -> covered.Held:
    """Return the files of the new packages; refuse two that bring different ones of one name, in other layers too.

    Raises:
        HelioError: names both, as `entries.merge` does where they share a layer.
    """
    seen: dict[str, tuple[str, str]] = {}
    for plan in plans:
        for path, (origin, held) in linking.files_of(store, plan.key).items():
            other, other_held = seen.setdefault(path, (origin, held))
            # Of what is compiled its source says it.
            if other_held != held and "/__pycache__/" not in path:
                raise HelioError(Stage.LINK, f"`{other}` and `{origin}` both bring {path}", hint=_LEAVE_OUT)
    return seen


def _addition(name: str, comment: str, layer: Layer) -> Addition:
    return Addition(layer=layer, created_by=f"ADD {name}", comment=comment if len(comment) < 200 else "")


def of_files(parent: Parent, repository: Repository, programs: Sequence[str], store: Store) -> Addition:
    """Return the layer of the repository's files: in the home, as Binder has them, and below `PLACE`.

    Args:
        programs: paths that are made executable: postBuild and start.
    """
    key = key_of(
        ["extend-files", VERSION, repository.digest, parent.home, parent.uid, sorted(programs), COMPRESSOR.name]
    )
    layer = linking.recall(store, key)
    if layer is None:
        layer = linking.write(store, key, merge(_files(parent, repository, programs)))
    return _addition("files", f"files of {repository.name}", layer)


def _files(parent: Parent, repository: Repository, programs: Sequence[str]) -> Iterator[Entry]:
    home, place, origin = parent.home.strip("/"), PLACE.strip("/"), repository.name
    # As in the images: whoever a hub starts with another uid is in group 0.
    yield directory(home, mode=0o775, uid=parent.uid, origin=origin)
    yield directory(place, origin=origin)
    for entry in repository.files:
        mode = entry.mode | 0o111 if entry.path in programs else entry.mode
        # The modes of a link are nobody's.
        open_mode = mode if entry.kind is Kind.SYMLINK else mode | 0o020 | (mode & 0o100) >> 3
        yield replace(entry, path=f"{home}/{entry.path}", mode=open_mode, uid=parent.uid, origin=origin)
        yield replace(entry, path=f"{place}/{entry.path}", mode=mode, origin=origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDifference:
    """What a container changed: the home's archive, and what the engine says of each path."""

    home: str
    tar: IO[bytes]
    changed: Mapping[str, int]


def of_difference(difference: ContainerDifference, store: Store) -> Addition | None:
    """Return the layer of what postBuild changed in the home; None if it changed nothing there.

    Raises:
        HelioError: a path may not be in a layer.
    """
    home = difference.home.rstrip("/")
    above = home.rpartition("/")[0]
    changed = {path: kind for path, kind in difference.changed.items() if path == home or path.startswith(f"{home}/")}
    if not any(path != home for path in changed):
        return None
    if odd := [path for path in changed if _REPLACED in path]:
        raise HelioError(
            Stage.BUILD,
            f"postBuild made or removed `{odd[0]}`, whose name is not UTF-8",
            detail="the engine does not tell such names, so the image would lack the file",
            hint="give it another name",
        )
    needed = set(changed)
    for path in changed:
        while path != home:
            path = path.rpartition("/")[0]
            needed.add(path)
    entries: list[Entry] = []
    with tarfile.open(fileobj=difference.tar) as tar:
        for member in tar:
            path = f"{above}/{member.name.rstrip('/')}"
            if path in needed and (entry := _member(tar, member, path.strip("/"))):
                entries.append(entry)
        merged = merge(entries)
        gone = [
            Entry(
                path=_whiteout(path.strip("/")), kind=Kind.FILE, mode=0o644, content=Content.of(b""), origin="postBuild"
            )
            for path, kind in changed.items()
            if kind == 2
        ]
        everything = sorted([*merged, *gone], key=lambda entry: entry.path.split("/"))
        # Nothing makes it again, so nothing is remembered of it.
        with store.writing(lambda: store.blob(layer.digest)) as file:
            layer = write_layer(everything, file, compressor=COMPRESSOR)
    return _addition("postBuild", "what postBuild changed in the home: made once, not reproducible", layer)


def left_out(difference: ContainerDifference) -> tuple[str, ...]:
    """Return what postBuild changed elsewhere, which the image does not have."""
    home = difference.home.rstrip("/")
    parents = {path for changed in difference.changed for path in _above(changed)}
    return tuple(
        sorted(
            path
            for path in difference.changed
            if path not in parents
            and not f"{path}/".startswith(f"{home}/")
            and not any(f"{path}/".startswith(f"{folder}/") for folder in _TEMPORARY)
        )
    )


def _above(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _whiteout(path: str) -> str:
    """Return the file that takes a path of a lower layer away. Spec: image-spec v1.1, layer.md, "Whiteouts"."""
    folder, _, name = check_path(path, "postBuild").rpartition("/")
    return f"{folder}/.wh.{name}"


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry | None:
    made = {"path": path, "mode": member.mode & 0o7777, "uid": member.uid, "gid": member.gid, "origin": "postBuild"}
    if member.isdir():
        return Entry(kind=Kind.DIR, **made)  # type: ignore[arg-type]
    if member.issym():
        return replace(symlink(path, member.linkname, origin="postBuild"), uid=member.uid, gid=member.gid)
    if not (member.isfile() or member.islnk()):
        # Sockets and pipes are of programs that are gone.
        return None
    # A hard link is written as a file of its own: what it links to may be of a lower layer.
    size = tar.getmember(member.linkname).size if member.islnk() else member.size

    def read() -> bytes:
        content = tar.extractfile(member)
        assert content is not None
        return content.read()

    return Entry(kind=Kind.FILE, content=Content(size, read), **made)  # type: ignore[arg-type]
