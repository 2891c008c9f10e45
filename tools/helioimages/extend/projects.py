"""Source -> wheel, in the image that is extended: its Python, its compilers, no network, nothing of this machine.

Build requirements are pinned by uv and given to the container as files. Wheels are repacked (`pypi.repack`), and the
store remembers each by its source, its tools and the image.

Spec: PEP 517, PEP 518.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from ..core import archives
from ..core.digest import key_of
from ..core.entries import Content, Entry, Kind
from ..core.errors import HelioError, Stage
from ..core.progress import say, stage
from ..core.reading import load_toml
from ..engines.engine import Engine
from ..machine.store import Store, has
from ..make import provision
from ..pypi import repack
from ..pypi.index import PackageIndex
from ..pypi.lock import Sdist, Wheel
from ..pypi.resolve import Request, resolve
from .asked import FileLine, SourceProject
from .containers import Command, files_of, session
from .git import clone, commit_of
from .lock_file import WheelOrigin
from .parent import Parent
from .repository import Repository, walk
from .solve import Local

#: Raised when the bytes of wheels may change though none of their inputs does.
VERSION = 1
_DEFAULT_REQUIRES = ("setuptools>=40.8.0", "wheel")
_ENV = {
    "SOURCE_DATE_EPOCH": "315532800",
    "PYTHONHASHSEED": "0",
    "CFLAGS": "-g0 -ffile-prefix-map=/tmp/source=.",
    "CXXFLAGS": "-g0 -ffile-prefix-map=/tmp/source=.",
    "LDFLAGS": "-Wl,--build-id=none",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
_PIP = ("python", "-m", "pip", "wheel", "--no-index", "--find-links", "/tmp/tools", "--no-deps", "--no-cache-dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What building needs.

    Attributes:
        timeout_s: seconds that one build may take.
    """

    parent: Parent
    store: Store
    engine: Callable[[], Engine]
    index: Callable[[], PackageIndex]
    jobs: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """One source: its files, what names it, and who asks for it."""

    entries: tuple[Entry, ...]
    sha256: str
    commit: str
    place: FileLine


def of_projects(
    shop: Shop, repository: Repository, projects: Sequence[SourceProject], commits: Mapping[tuple[str, str, str], str]
) -> tuple[Local, ...]:
    """Return a wheel of each project.

    Args:
        commits: (address, ref, folder) -> commit, of the repository's lock: a branch stays there.

    Raises:
        HelioError: a repository cannot be cloned, or something does not build.
    """
    made = []
    for project in projects:
        with tempfile.TemporaryDirectory(prefix="project-", dir=shop.store.root / "tmp") as scratch:
            locked = commits.get((project.url, project.ref, project.folder), "")
            source = _fetched(repository, project, locked, Path(scratch) / "clone")
            wheel, path = _built(shop, source)
        named = WheelOrigin(name=wheel.name, version=wheel.version, project=project, commit=source.commit)
        made.append(Local(wheel=wheel, path=path, source=named, sha256=source.sha256))
    return tuple(made)


def of_sdists(shop: Shop, sdists: Sequence[Sdist], where: str) -> tuple[tuple[Wheel, Path], ...]:
    """Return the wheels of source archives of the index.

    Raises:
        HelioError: one cannot be had, or does not build.
    """
    paths = provision.sdists(shop.store, sdists, where, shop.index, jobs=shop.jobs)
    made = []
    for sdist in sdists:
        place = FileLine(file=where)
        wheel, path = _built(
            shop,
            _Files(entries=_unpacked(paths[sdist.sha256], sdist, place), sha256=sdist.sha256, commit="", place=place),
        )
        if wheel.name != sdist.name:
            raise place.fault(f"`{sdist.file_name}` built a wheel of something else", detail=wheel.file_name)
        made.append((wheel, path))
    return tuple(made)


def _fetched(repository: Repository, project: SourceProject, locked: str, scratch: Path) -> _Files:
    if not project.url:
        files = below(repository.files, project.folder)
        if not files:
            raise project.place.fault(f"there is no folder `{project.folder}` in the repository")
        return _Files(entries=files, sha256=_digest(files), commit="", place=project.place)
    clone(project.url, locked or project.ref, scratch, where=str(project.place))
    commit = commit_of(scratch)
    files = below(walk(scratch), project.folder)
    if not files:
        raise project.place.fault(f"there is no folder `{project.folder}` in `{project.url}`")
    sha256 = key_of(["git", project.url, project.folder, commit])
    return _Files(entries=files, sha256=sha256, commit=commit, place=project.place)


def below(files: Sequence[Entry], folder: str) -> tuple[Entry, ...]:
    """Return the entries below a folder, their paths relative to it; without locks, which say what is built of it."""
    head = "" if folder == "." else f"{folder}/"
    return tuple(
        replace(entry, path=entry.path.removeprefix(head))
        for entry in files
        if entry.path.startswith(head)
        and not (entry.path.endswith(".toml") and entry.path.rpartition("/")[2].startswith("pylock."))
    )


def _digest(files: Sequence[Entry]) -> str:
    return key_of(
        [
            [file.path, file.kind.value, file.mode, file.target, file.content.sha256 if file.content else ""]
            for file in files
        ]
    )


def _unpacked(path: Path, sdist: Sdist, place: FileLine) -> tuple[Entry, ...]:
    """Return the files of a source archive without its one folder. Spec: PEP 625 (a gzipped tar)."""
    entries = []
    try:
        with archives.reading(), tarfile.open(path) as tar:
            for member in archives.members(tar):
                relative = member.name.partition("/")[2]
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None and relative and ".." not in relative.split("/"):
                    mode = 0o755 if member.mode & 0o100 else 0o644
                    entries.append(Entry(path=relative, kind=Kind.FILE, mode=mode, content=Content.of(content.read())))
    except archives.ArchiveError as error:
        raise place.fault(f"`{sdist.file_name}` is not a source archive", detail=str(error)) from error
    return tuple(entries)


def _built(shop: Shop, source: _Files) -> tuple[Wheel, Path]:
    """Return the wheel of a source, from the store if it was built before."""
    tools = _tools(shop, source)
    parent, store = shop.parent, shop.store
    key = key_of(["extend", VERSION, source.sha256, sorted(tool.sha256 for tool in tools), parent.image.digest])
    known = store.recall("extend-wheel", key)
    if known and has(path := store.artefact(known["sha256"]), known["size"]):
        return Wheel(**known), path
    where = source.place
    command = Command(
        argv=(*_PIP, "--wheel-dir", "/tmp/wheels", "/tmp/source"),
        folder="/tmp",
        env=_ENV,
        network="none",
        timeout_s=shop.timeout_s,
        what=f"the build that {where} asks for",
    )
    paths = provision.wheels(store, tools, str(where), shop.index, jobs=shop.jobs)
    with (
        stage(f"wheel that {where} asks for"),
        session(shop.engine(), parent.reference, command, store.root / "tmp") as box,
        tempfile.TemporaryDirectory(prefix="wheel-", dir=store.root / "tmp") as scratch,
    ):
        place = _folders("source", "tools")
        given = [
            Entry(
                path=f"tools/{tool.file_name}",
                kind=Kind.FILE,
                content=Content(paths[tool.sha256].stat().st_size, paths[tool.sha256].read_bytes),
            )
            for tool in tools
        ]
        files = [_moved(entry, "source") for entry in source.entries]
        box.put("/tmp", [*place, *given, *files], parent.uid)
        if code := box.run():
            raise HelioError(
                Stage.BUILD,
                f"what {where} asks for does not build",
                where=str(where),
                detail=f"{box.log()}\npip ended with exit status {code}",
                hint="it is built in the image itself, without network, with what its [build-system] requires",
            )
        with box.archive("/tmp/wheels") as tar:
            (raw,) = files_of(tar, ".whl", Path(scratch))
        wheel = repack.plan(raw, f"linux_{parent.platform.machine}")
        final = Path(scratch) / "normal.whl"
        with open(final, "wb") as file:
            repack.write(wheel, file)
        sha256, size = store.put_artefact(final), final.stat().st_size
    name, version, _, _ = parse_wheel_filename(wheel.file_name)
    row = {
        "name": name,
        "version": str(version),
        "file_name": wheel.file_name,
        "sha256": sha256,
        "size": size,
        "built": True,
    }
    store.remember("extend-wheel", key, row)
    say(f"    built {wheel.file_name}")
    return Wheel(**row), store.artefact(sha256)  # type: ignore[arg-type]


def _folders(*names: str) -> list[Entry]:
    return [Entry(path=name, kind=Kind.DIR, mode=0o755) for name in names]


def _moved(entry: Entry, folder: str) -> Entry:
    return replace(entry, path=f"{folder}/{entry.path}")


def _tools(shop: Shop, source: _Files) -> tuple[Wheel, ...]:
    """Return the pinned build requirements of a source, those that its own file names.

    Raises:
        HelioError: the file cannot be read, or the requirements have no solution.
    """
    requires: tuple[str, ...] = _DEFAULT_REQUIRES
    held = {entry.path: entry.content for entry in source.entries}
    text = content.read() if (content := held.get("pyproject.toml")) else None
    if text is None and "setup.py" not in held:
        raise source.place.fault("there is nothing to build", detail="expected a pyproject.toml or a setup.py")
    if text is not None:
        try:
            system = load_toml(text.decode(), "pyproject.toml").table("build-system")
            told = system.strings_or_none("requires")
        except (UnicodeDecodeError, HelioError) as error:
            detail = f"{error.where}: {error.detail}" if isinstance(error, HelioError) else str(error)
            raise source.place.fault("its pyproject.toml cannot be read", detail=detail) from error
        requires = _DEFAULT_REQUIRES if told is None else told
    if not requires:
        return ()
    parent = shop.parent
    lock = resolve(
        Request(
            where=f"{source.place} (its build requirements)",
            requirements=requires,
            python=parent.python,
            platform=parent.platform,
            glibc=parent.glibc,
        ),
        shop.index().sizes,
    )
    if lock.sdists:
        names = ", ".join(canonicalize_name(sdist.name) for sdist in lock.sdists)
        raise source.place.fault(f"its build requirements have no wheel: {names}")
    return lock.wheels
