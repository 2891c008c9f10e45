"""The locks of a checkout as they are: read, named by the question they answer, checked, written whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from packaging.utils import canonicalize_name

from ..conda.ecosystem import CONDA
from ..conda.lock import CondaLock
from ..core import files, progress
from ..core.digest import key_of
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..core.progress import say
from ..debian.ecosystem import DEBIAN
from ..debian.lock import AptLock
from ..machine.store import Store
from ..pypi.ecosystem import PYPI
from ..pypi.lock import PyPILock, Sdist, Wheel
from ..spec.environment import EnvironmentSpec
from ..spec.lineage import lineage
from . import file_names
from .file_names import CONDA_LOCK

#: Runs the reviewed post-link scripts of packages that it is given by name: a lock, sha256 -> file of its packages
#: -> package -> sha256 of what its script wrote, which the store has.
Scripts = Callable[[CondaLock, Mapping[str, Path], Sequence[str]], Mapping[str, str]]

P = ParamSpec("P")
T = TypeVar("T")
Lock = TypeVar("Lock", CondaLock, PyPILock)

#: Builds source-only packages: environment, sdists without a wheel, build tools (None: those of its build-lock.toml)
#: -> their wheels.
Builder = Callable[[EnvironmentSpec, tuple[Sdist, ...], PyPILock | None], tuple[Wheel, ...]]


@dataclass(slots=True, kw_only=True)
class LockRun:
    """One run of `lock`; see there.

    Attributes:
        channel_dirs: folders of the channel that ``--channel`` names.
        channel_folders: other channel -> the folder that stands for it.
        rebuild: wheels of source-only packages are built again, of the same sources.
        lost: sha256 of locked files that the index no longer has.
        gone: sha256 of locked files that are to go: the lost ones, and yanked ones if that was asked for.
        tools: environment -> its build tools, where those are renewed.
        seconds: step -> how long it took.
        read: (file, text) -> the lock that the text is: reading one takes a second, and each is asked for five times.
    """

    root: Path
    store: Store
    channel: str
    platform: Platform
    update: tuple[str, ...]
    exclude_newer: datetime | None
    channel_dirs: tuple[Path, ...]
    channel_folders: Mapping[str, Path]
    build_wheels: Builder | None
    run_scripts: Scripts | None = None
    rebuild: bool = False
    lost: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    tools: dict[str, PyPILock] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    read: dict[tuple[str, str], CondaLock | PyPILock] = field(default_factory=dict)

    def timed(self, step: str, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Return what a function returns, after saying how long it took."""
        start = time.monotonic()
        with progress.step(step, always=True):
            result = function(*arguments, **keywords)
        self.seconds[step] = time.monotonic() - start
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """One environment's locks; ``conda`` is of the channel that was asked for."""

    conda: CondaLock
    pypi: PyPILock


def packages(conda: CondaLock | None, pypi: PyPILock | None) -> tuple[Package, ...]:
    """Return what an environment's locks are about, for tables and diffs: what is built here as its source."""
    rows = CONDA.packages(conda) if conda else ()
    if pypi:
        sources = PYPI.sources(pypi)
        names = {source.name for source in sources}
        rows += (*(package for package in PYPI.packages(pypi) if package.name not in names), *sources)
    return rows


def debs(lock: AptLock | None) -> tuple[Package, ...]:
    """Return what a Debian lock installs."""
    return DEBIAN.packages(lock) if lock else ()


def current_locks(run: LockRun, name: str, *, strict: bool = False) -> tuple[CondaLock | None, PyPILock | None]:
    """Return an environment's locks as they are; one that cannot be read is none, but for a check."""
    folder = f"environments/{name}"
    conda = f"{folder}/{file_names.of(CONDA_LOCK[run.channel], run.platform)}"
    pypi = f"{folder}/{file_names.of(file_names.PYLOCK, run.platform)}"
    return _current(run, conda, CONDA.parse, strict), _current(run, pypi, PYPI.parse, strict)


def _current(run: LockRun, file: str, parse: Callable[[str, str], Lock], strict: bool) -> Lock | None:
    text = read_text(run.root / file)
    if text is None:
        return None
    try:
        if (file, text) not in run.read:
            run.read[file, text] = parse(text, file)
        return cast(Lock, run.read[file, text])
    except HelioError as error:
        if strict:
            raise
        say(f"warning: {error.message}; it is locked anew")
        return None


def parent_locks(run: LockRun, environment: EnvironmentSpec, solved: Mapping[str, Solved]) -> Solved | None:
    """Return the locks of the parent environment, as this run solved them or as they are; None without a parent.

    Raises:
        HelioError: the parent is not locked.
    """
    if environment.parent is None:
        return None
    if environment.parent in solved:
        return solved[environment.parent]
    conda, pypi = current_locks(run, environment.parent, strict=True)
    if conda is None or pypi is None:
        raise HelioError(
            Stage.LOCK,
            f"the parent environment `{environment.parent}` is not locked",
            where=where_of(environment),
            hint=f"run `buildimages lock {environment.parent} {environment.name}`",
        )
    return Solved(conda=conda, pypi=pypi)


def forgotten(name: str, update: Iterable[str]) -> bool:
    """Say whether ``--update`` names a package, or all."""
    return "all" in update or canonicalize_name(name) in update


def descendants(environments: Mapping[str, EnvironmentSpec], name: str) -> tuple[EnvironmentSpec, ...]:
    """Return the environments that contain one: its children, and theirs."""
    return tuple(
        child
        for other, child in environments.items()
        if other != name and name in (parent.name for parent in lineage(environments, other))
    )


def where_of(environment: EnvironmentSpec) -> str:
    """Return how errors call an environment's file."""
    return f"environments/{environment.name}/environment.yml"


def contradiction(child: EnvironmentSpec, what: str, parents: str, would: str) -> HelioError:
    """Return the error of a child that would not have what its parent has.

    Args:
        what: a package, as messages begin with it.
        parents, would: what the parent has of it, and what the child would have.
    """
    return HelioError(
        Stage.LOCK,
        f"{what} contradicts the parent environment",
        where=where_of(child),
        detail=f"`{child.parent}` has {parents}, `{child.name}` would have {would}",
        hint=f"lock both: run `buildimages lock {child.parent} {child.name}`",
    )


def read_text(path: Path) -> str | None:
    """Return a file's text, None where there is no file."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


def write_text(path: Path, text: str) -> bool:
    """Write a lock whole or not at all; returns whether it changed."""
    if read_text(path) == text:
        return False
    files.write(path, text)
    return True


def conda_hash(
    environments: Mapping[str, EnvironmentSpec], environment: EnvironmentSpec, parent: CondaLock | None
) -> str:
    """Return what names the question that a conda lock answers: the environments' conda part, and the parent's lock."""
    line = lineage(environments, environment.name)
    return key_of(
        [
            "conda",
            [
                [
                    ancestor.conda,
                    ancestor.channels,
                    dict(ancestor.virtual_packages),
                    # Not where it is the default: locks of before this key stay current.
                    *([ancestor.channel_priority] if ancestor.channel_priority != "strict" else []),
                    *(
                        [
                            [
                                (script.package, script.sha256, *(["run"] if script.run else []))
                                for script in ancestor.link_scripts
                            ]
                        ]
                        * bool(ancestor.link_scripts)
                    ),
                ]
                for ancestor in line
            ],
            sorted(package.sha256 for package in parent.packages) if parent else None,
        ]
    )


def pypi_hash(
    environments: Mapping[str, EnvironmentSpec],
    environment: EnvironmentSpec,
    conda: CondaLock,
    parent: PyPILock | None,
) -> str:
    """Return what names the question that a pylock answers.

    It is the environments' PyPI part, the parent's lock, and the names and versions (not the builds) of the conda part.
    """
    line = lineage(environments, environment.name)
    asked = [
        [
            ancestor.pypi,
            ancestor.constraints,
            dict(ancestor.prefer),
            dict(ancestor.virtual_packages),
            {name: [build.requires, dict(build.env), build.after] for name, build in ancestor.build.items()},
            # Not where nobody says it: locks of before this key stay current.
            *([dict(ancestor.names)] if ancestor.names else []),
            *([["without", dict(ancestor.without)]] if ancestor.without else []),
            *([["nothing", ancestor.left_out]] if ancestor.left_out else []),
        ]
        for ancestor in line
    ]
    return key_of(
        [
            "pypi",
            asked,
            sorted([package.name, package.version] for package in conda.packages),
            sorted(item.sha256 for item in parent.files) if parent else None,
        ]
    )
