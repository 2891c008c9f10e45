"""The lock verb: from what people ask for to exact files.

For each environment, parents first: the conda part with rattler, the PyPI part with uv under the conda pins and the
parent's versions; for each image the Debian part with apt, beside them. Nothing is written before everything is
solved and checked, so a failed run leaves the locks as they were. What is there already is preferred, so a run without
a reason to change changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from . import apt, spec
from .channel import subdir_of
from .conda import lock as conda_lock
from .conda.lock import CondaLock, CondaPackage
from .conda.solve import solve
from .debian import lock as debian_lock
from .debian.lock import AptLock
from .debian_mirror import missing
from .digest import key_of
from .errors import HelioError, Stage
from .heldback import held
from .lockdiff import Change, Held, Locked, diff, silent_downgrades, table
from .locks import CONDA_LOCK
from .progress import say
from .pypi import lock as pypi_lock
from .pypi.index import Index
from .pypi.lock import PyPILock, Sdist, Wheel
from .pypi.resolve import Request, index_url, requested_names, resolve
from .spec import EnvironmentSpec, ImageSpec
from .store import Store

#: Conda packages that are named otherwise on PyPI.
_PYPI_NAMES = {
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "pytables": "tables",
    "pytorch": "torch",
}
_ARCHSPEC = {"amd64": "x86_64", "arm64": "aarch64"}

#: Builds source-only packages: environment, sdists without a wheel -> their wheels.
Builder = Callable[[EnvironmentSpec, tuple[Sdist, ...]], tuple[Wheel, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of `lock` did.

    Attributes:
        changes: environment or image -> what its lock changes.
        held: environment -> packages of which there is a newer version.
        unbuilt: environment -> source-only packages without a wheel.
        written: files that changed, relative to the checkout.
        seconds: step -> how long it took.
    """

    changes: Mapping[str, tuple[Change, ...]]
    held: Mapping[str, tuple[Held, ...]]
    unbuilt: Mapping[str, tuple[str, ...]]
    written: tuple[str, ...]
    seconds: Mapping[str, float]

    def lines(self) -> tuple[str, ...]:
        """Return the report for people."""
        lines: list[str] = []
        for name, changes in self.changes.items():
            lines.append(f"{name}: {_counts(changes)}")
            lines += [f"  {change}" for change in changes]
            lines += [f"  {one}" for one in self.held.get(name, ())]
            lines += [f"  {'unbuilt':<10} {one}" for one in self.unbuilt.get(name, ())]
        return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """One environment's locks; ``conda`` is of the channel that was asked for."""

    conda: CondaLock
    pypi: PyPILock


@dataclass(slots=True, kw_only=True)
class _Run:
    root: Path
    store: Store
    channel: str
    platform: str
    update: tuple[str, ...]
    exclude_newer: datetime | None
    channel_dirs: tuple[Path, ...]
    build_wheels: Builder | None
    seconds: dict[str, float]

    def timed(self, step: str, function: Callable, *arguments, **keywords):
        start = time.monotonic()
        result = function(*arguments, **keywords)
        self.seconds[step] = time.monotonic() - start
        say(f"    {step}: {self.seconds[step]:.1f} s")
        return result


def lock(
    root: Path,
    store: Store,
    names: Sequence[str] = (),
    *,
    channel: str = "local",
    platform: str = "linux/amd64",
    update: Sequence[str] = (),
    exclude_newer: datetime | None = None,
    check: bool = False,
    channel_dirs: Sequence[Path] = (),
    build_wheels: Builder | None = None,
) -> Report:
    """Lock environments and images, or check that their locks are not stale.

    Args:
        root: the checkout.
        names: environments or images, their ancestors not included; all if empty.
        channel: ``local`` or ``conda-forge``; the PyPI and Debian parts are the same for both.
        update: packages whose current version is forgotten; ``all`` forgets every one.
        exclude_newer: packages made later do not exist (conda and PyPI).
        check: write nothing; raise if a lock is not of what is asked for now.
        channel_dirs: folders with the channel's ``<subdir>/repodata.json``.
        build_wheels: makes wheels of source-only packages; without it they stay unbuilt.

    Raises:
        HelioError: no solution, a conflict between parent and child or conda and PyPI, a silent downgrade, a stale
            lock (stage CHECK).
    """
    environments, images = spec.load_environments(root), spec.load_images(root)
    wanted, of_images = _selected(names, environments, images)
    if channel not in CONDA_LOCK:
        raise HelioError(
            Stage.USAGE, f"there is no channel `{channel}`", detail=f"expected one of {', '.join(CONDA_LOCK)}"
        )
    run = _Run(
        root=root,
        store=store,
        channel=channel,
        platform=platform,
        update=tuple(canonicalize_name(name) for name in update),
        exclude_newer=exclude_newer,
        channel_dirs=tuple(channel_dirs),
        build_wheels=build_wheels,
        seconds={},
    )
    if check:
        _check(run, environments, images, wanted, of_images)
        return Report(changes={}, held={}, unbuilt={}, written=(), seconds={})
    return _lock(run, environments, images, wanted, of_images)


def _selected(
    names: Sequence[str], environments: Mapping[str, EnvironmentSpec], images: Mapping[str, ImageSpec]
) -> tuple[list[str], list[str]]:
    """Return the environments and the images that the names mean, parents first."""
    for name in names:
        if name not in environments and name not in images:
            known = ", ".join(dict.fromkeys([*environments, *images]))
            raise HelioError(
                Stage.USAGE, f"there is no environment or image `{name}`", detail=f"expected one of {known}"
            )
    if not names:
        return list(environments), list(images)
    asked = set(names) | {images[name].environment for name in names if name in images}
    return (
        [name for name in environments if name in asked],
        [name for name, image in images.items() if name in names or image.environment in names],
    )


def _lock(
    run: _Run,
    environments: Mapping[str, EnvironmentSpec],
    images: Mapping[str, ImageSpec],
    wanted: Sequence[str],
    of_images: Sequence[str],
) -> Report:
    files: dict[str, str] = {}
    changes: dict[str, tuple[Change, ...]] = {}
    held_back: dict[str, tuple[Held, ...]] = {}
    unbuilt: dict[str, tuple[str, ...]] = {}
    solved: dict[str, _Solved] = {}
    with ThreadPoolExecutor(1) as pool:
        # apt waits for its mirror while uv waits for its index.
        debian = pool.submit(_lock_images, run, images, of_images)
        index = Index(index_url(), run.store.root / "cache" / "index")
        for name in wanted:
            environment = environments[name]
            say(f"==> lock {name}")
            parent = _parent(run, environment, solved)
            before = _current(run, name)
            conda = run.timed(f"{name}: conda", _lock_conda, run, environments, environment, parent, before)
            pypi = run.timed(f"{name}: PyPI", _lock_pypi, run, environments, environment, parent, before, conda, index)
            solved[name] = _Solved(conda=conda, pypi=pypi)
            now = packages(conda, pypi)
            changes[name] = diff(packages(before[0], before[1]), now)
            _refuse_downgrades(environment, changes[name], run.update)
            unbuilt[name] = tuple(f"{one.name} {one.version}" for one in pypi.unbuilt)
            folder = f"environments/{name}"
            files[f"{folder}/{CONDA_LOCK[run.channel]}"] = conda_lock.dump(conda)
            if run.channel == "local":
                files[f"{folder}/pylock.toml"] = pypi_lock.dump(pypi)
                files[f"{folder}/packages.txt"] = table(now)
                line = spec.lineage(environments, name)
                held_back[name] = run.timed(
                    f"{name}: newest versions", held, pypi, line, index, run.store, exclude_newer=run.exclude_newer
                )
        for name, (old, new) in _result(debian).items():
            files[f"images/{name}/apt-lock.json"] = debian_lock.dump(new)
            changes[f"images/{name}"] = diff(_debs(old), _debs(new))
    written = tuple(file for file, text in files.items() if _write(run.root / file, text))
    return Report(changes=changes, held=held_back, unbuilt=unbuilt, written=written, seconds=run.seconds)


def _result(future: Future) -> dict[str, tuple[AptLock | None, AptLock]]:
    return future.result()


# --- conda ------------------------------------------------------------------------------------------------------------


def _lock_conda(
    run: _Run,
    environments: Mapping[str, EnvironmentSpec],
    environment: EnvironmentSpec,
    parent: _Solved | None,
    before: tuple[CondaLock | None, PyPILock | None],
) -> CondaLock:
    line = spec.lineage(environments, environment.name)
    subdir = subdir_of(run.platform)
    specs = tuple(dict.fromkeys(text for one in line for text in one.conda))
    virtual = virtual_packages(environment, run.platform)
    inherited = parent.conda.for_platform(subdir) if parent else ()
    current = before[0].for_platform(subdir) if before[0] and subdir in before[0].platforms else ()
    kept = [one for one in current if not _forgotten(one.name, run.update)]
    found = solve(
        specs,
        channel=run.channel,
        repodata_dirs=run.channel_dirs,
        platform=subdir,
        virtual_packages=virtual,
        locked=kept,
        pinned=inherited,
        exclude_newer=run.exclude_newer,
    )
    chosen = {package.name: package for package in found}
    for package in inherited:
        mine = chosen.get(package.name)
        if mine is None or mine.sha256 != package.sha256:
            raise HelioError(
                Stage.LOCK,
                f"conda package `{package.name}` contradicts the parent environment",
                where=_where(environment),
                detail=f"`{environment.parent}` has {package.file_name}, "
                f"`{environment.name}` would have {mine.file_name if mine else 'none'}",
                hint=f"lock both: run `buildimages lock {environment.parent} {environment.name}`",
            )
    return CondaLock(
        channel=run.channel,
        platforms=(subdir,),
        packages=found,
        content_hash=conda_hash(environments, environment, parent.conda if parent else None),
        virtual_packages={subdir: virtual},
        timestamp=_newest(found, run.channel_dirs),
    )


def virtual_packages(environment: EnvironmentSpec, platform: str) -> dict[str, str]:
    """Return conda's words for what the machine brings: Linux, its processor, and what environment.yml says."""
    processor = platform.partition("/")[2]
    system = {"__unix": "0", "__linux": "0", "__archspec": _ARCHSPEC.get(processor, processor)}
    return system | dict(environment.virtual_packages)


def _newest(found: Iterable[CondaPackage], channel_dirs: Iterable[Path]) -> int:
    """Return the newest timestamp of the packages, seconds since 1970 UTC; conda's index has milliseconds."""
    wanted = {(package.subdir, package.file_name) for package in found}
    newest = 0
    for folder in channel_dirs:
        for subdir in {subdir for subdir, _ in wanted}:
            path = folder / subdir / "repodata.json"
            if not path.is_file():
                continue
            document = json.loads(path.read_bytes())
            for section in ("packages", "packages.conda"):
                for name, record in document.get(section, {}).items():
                    if (subdir, name) in wanted:
                        stamp = record.get("timestamp", 0)
                        newest = max(newest, stamp // 1000 if stamp > 10**11 else stamp)
    return newest


# --- PyPI -------------------------------------------------------------------------------------------------------------


def _lock_pypi(
    run: _Run,
    environments: Mapping[str, EnvironmentSpec],
    environment: EnvironmentSpec,
    parent: _Solved | None,
    before: tuple[CondaLock | None, PyPILock | None],
    conda: CondaLock,
    index: Index,
) -> PyPILock:
    line = spec.lineage(environments, environment.name)
    requirements = tuple(dict.fromkeys(text for one in line for text in one.pypi))
    prefer = {canonicalize_name(name): side for one in line for name, side in one.prefer.items()}
    provided = provided_by_conda(conda, requirements, prefer, _where(environment))
    current = before[1]
    if run.channel != "local":
        # The wheels are the same for both channels; the other channel's part may not bring them as well.
        if current is None:
            raise HelioError(
                Stage.LOCK,
                f"`environments/{environment.name}/pylock.toml` is missing",
                hint=f"run `buildimages lock {environment.name}` first",
            )
        _refuse_both(conda, current, _where(environment))
        return current
    request = Request(
        where=_where(environment),
        requirements=requirements,
        constraints=tuple(dict.fromkeys(text for one in line for text in one.constraints)),
        provided=provided,
        inherited=parent.pypi if parent else None,
        python=python_version(conda, _where(environment)),
        platform=run.platform,
        glibc=glibc(environment),
        current=current,
        upgrade=run.update,
        exclude_newer=run.exclude_newer,
        content_hash=pypi_hash(environments, environment, conda, parent.pypi if parent else None),
    )
    found = resolve(request, index.sizes)
    if parent:
        _refuse_missing(environment, parent.pypi, found)
    if found.unbuilt and run.build_wheels:
        built = run.timed(f"{environment.name}: wheels from source", run.build_wheels, environment, found.unbuilt)
        found = dataclasses.replace(found, wheels=tuple(sorted((*found.wheels, *built), key=lambda one: one.name)))
    return found


def provided_by_conda(
    conda: CondaLock, requirements: Iterable[str], prefer: Mapping[str, str], where: str
) -> dict[str, str]:
    """Return distribution -> version of the conda packages that are Python distributions, for uv to take as they are.

    Raises:
        HelioError: the pip list asks for one of them too, and ``prefer`` does not say which one to have.
    """
    asked = requested_names(requirements)
    provided = {}
    for package in conda.packages:
        name = canonicalize_name(_PYPI_NAMES.get(package.name, package.name))
        if not _is_distribution(package) or prefer.get(name) == "pypi":
            continue
        if name in asked and name not in prefer:
            raise HelioError(
                Stage.LOCK,
                f"a wheel would replace the conda package `{package.name}`",
                where=where,
                detail=f"conda brings {package.file_name}, and the `pip` list asks for {name}",
                hint=f"say `{name}: conda` or `{name}: pypi` under x-helioimages.prefer",
            )
        provided[name] = package.version
    return provided


def _is_distribution(package: CondaPackage) -> bool:
    """Say whether a conda package is a Python distribution: it needs Python, and is no part of the interpreter."""
    needs_python = any(text.split()[0] == "python" for text in package.depends)
    return needs_python and package.name not in ("python_abi", "python-gil", "cpython")


def _refuse_both(conda: CondaLock, pypi: PyPILock, where: str) -> None:
    """Refuse packages that both parts bring."""
    wheels = {wheel.name: wheel for wheel in pypi.wheels}
    for package in conda.packages:
        name = canonicalize_name(_PYPI_NAMES.get(package.name, package.name))
        if _is_distribution(package) and name in wheels:
            raise HelioError(
                Stage.LOCK,
                f"a wheel would replace the conda package `{package.name}`",
                where=where,
                detail=f"{conda.channel} brings {package.file_name}, pylock.toml has {wheels[name].file_name}",
                hint="ask for only one of them in environment.yml",
            )


def _refuse_missing(environment: EnvironmentSpec, parent: PyPILock, child: PyPILock) -> None:
    """Refuse a child that lacks a package of its parent, or has another version of it."""
    mine = {item.name: item.version for item in (*child.wheels, *child.sdists)}
    for item in (*parent.wheels, *parent.sdists):
        if mine.get(item.name) != item.version:
            raise HelioError(
                Stage.LOCK,
                f"`{item.name}` contradicts the parent environment",
                where=_where(environment),
                detail=f"`{environment.parent}` has {item.version}, "
                f"`{environment.name}` would have {mine.get(item.name, 'none')}",
                hint=f"lock both: run `buildimages lock {environment.parent} {environment.name}`",
            )


def python_version(conda: CondaLock, where: str) -> str:
    """Return the locked interpreter's whole version, e.g. ``3.13.5``.

    Raises:
        HelioError: the conda part has no Python.
    """
    for package in conda.packages:
        if package.name == "python":
            return package.version
    raise HelioError(
        Stage.LOCK,
        "the conda part brings no Python",
        where=where,
        hint="add e.g. `python=3.13.*` to dependencies",
    )


def glibc(environment: EnvironmentSpec) -> tuple[int, int]:
    """Return the image's C library version, which decides the wheels that run.

    Raises:
        HelioError: environment.yml does not say it, or not as ``2.41``.
    """
    text = environment.virtual_packages.get("__glibc", "")
    match = re.fullmatch(r"(\d+)\.(\d+)", text)
    if not match:
        raise HelioError(
            Stage.LOCK,
            "the C library of the image is not known",
            where=f"{_where(environment)} at x-helioimages.virtual-packages.__glibc",
            detail=f"expected a version such as 2.41 not {text or 'nothing'}",
        )
    return int(match[1]), int(match[2])


# --- Debian -----------------------------------------------------------------------------------------------------------


def _lock_images(
    run: _Run, images: Mapping[str, ImageSpec], names: Sequence[str]
) -> dict[str, tuple[AptLock | None, AptLock]]:
    """Return image -> its Debian lock before and now."""
    done: dict[str, tuple[AptLock | None, AptLock]] = {}
    for name in names:
        image = images[name]
        parent = None
        if image.parent:
            parent = done[image.parent][1] if image.parent in done else _apt(run.root, image.parent, required=True)
        before = _apt(run.root, name)
        now = run.timed(f"images/{name}: Debian", _lock_debian, run, image, parent, before)
        done[name] = (before, now)
    return done


def _lock_debian(run: _Run, image: ImageSpec, parent: AptLock | None, before: AptLock | None) -> AptLock:
    architecture = run.platform.partition("/")[2]
    whole = bool({"all", "debian"} & set(run.update))
    forgotten = set(run.update)
    prefer = () if whole or before is None else before.packages
    if before is not None and before.architecture == architecture and not forgotten & {deb.name for deb in prefer}:
        fits = not whole and not _stale_debian(image, parent, before)
        if fits and not missing(before.packages):
            return before
    inherited = {deb.name for deb in parent.packages} if parent else set()
    kept = tuple(deb for deb in prefer if deb.name not in inherited and deb.name not in forgotten)
    rest = {"architecture": architecture, "parent": parent}
    try:
        return apt.resolve(image.debian, **rest, prefer=kept)
    except HelioError as error:
        if error.stage is not Stage.LOCK or not kept:
            raise
        # Packages of one source move together: what is there now may be in the way of what is asked.
        return apt.resolve(image.debian, **rest)


def _stale_debian(image: ImageSpec, parent: AptLock | None, current: AptLock) -> str:
    """Return why an image's Debian lock is not of what is asked for now, or nothing."""
    if tuple(sorted(image.debian)) != current.requested:
        return "debian.packages of image.toml changed"
    mine = {deb.name: deb.sha256 for deb in current.packages}
    if parent and any(mine.get(deb.name) != deb.sha256 for deb in parent.packages):
        return f"the Debian packages of `{image.parent}` changed"
    return ""


def _apt(root: Path, name: str, *, required: bool = False) -> AptLock | None:
    file = f"images/{name}/apt-lock.json"
    text = _read(root / file)
    if text is None:
        if required:
            raise HelioError(Stage.LOCK, f"`{file}` is missing", hint=f"run `buildimages lock {name}` first")
        return None
    return debian_lock.parse(text, file)


# --- stale or not -----------------------------------------------------------------------------------------------------


def conda_hash(
    environments: Mapping[str, EnvironmentSpec], environment: EnvironmentSpec, parent: CondaLock | None
) -> str:
    """Return what names the question that a conda lock answers: the environments' conda part, and the parent's lock."""
    line = spec.lineage(environments, environment.name)
    return key_of(
        [
            "conda",
            [[one.conda, one.channels, dict(one.virtual_packages)] for one in line],
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
    line = spec.lineage(environments, environment.name)
    asked = [
        [
            one.pypi,
            one.constraints,
            dict(one.prefer),
            dict(one.virtual_packages),
            {name: [build.requires, dict(build.env)] for name, build in one.build.items()},
        ]
        for one in line
    ]
    return key_of(
        [
            "pypi",
            asked,
            sorted([package.name, package.version] for package in conda.packages),
            sorted(item.sha256 for item in (*parent.wheels, *parent.sdists)) if parent else None,
        ]
    )


def _check(
    run: _Run,
    environments: Mapping[str, EnvironmentSpec],
    images: Mapping[str, ImageSpec],
    wanted: Sequence[str],
    of_images: Sequence[str],
) -> None:
    """Refuse locks that are missing or stale, all of them in one error."""
    faults = []
    for name in wanted:
        environment = environments[name]
        conda_file, pypi_file = f"environments/{name}/{CONDA_LOCK[run.channel]}", f"environments/{name}/pylock.toml"
        conda, pypi = _current(run, name, strict=True)
        up = _current(run, environment.parent, strict=True) if environment.parent else (None, None)
        for file, found in ((conda_file, conda), (pypi_file, pypi)):
            if found is None:
                faults.append(f"{file} is missing")
        if conda and conda.content_hash != conda_hash(environments, environment, up[0]):
            faults.append(f"{conda_file} is not of the present environment.yml and its parent's lock")
        # A pylock is made under the local channel's pins.
        if run.channel == "local" and conda and pypi:
            if pypi.content_hash != pypi_hash(environments, environment, conda, up[1]):
                faults.append(f"{pypi_file} is not of the present environment.yml, conda part and parent's lock")
            faults += [f"{pypi_file} has no wheel of `{one.name}`, which has to be built" for one in pypi.unbuilt]
            if _read(run.root / f"environments/{name}/packages.txt") != table(packages(conda, pypi)):
                faults.append(f"environments/{name}/packages.txt does not say what the locks say")
    for name in of_images:
        found, image = _apt(run.root, name), images[name]
        if found is None:
            faults.append(f"images/{name}/apt-lock.json is missing")
        elif why := _stale_debian(image, _apt(run.root, image.parent) if image.parent else None, found):
            faults.append(f"images/{name}/apt-lock.json is stale: {why}")
    if faults:
        raise HelioError(
            Stage.CHECK,
            f"{len(faults)} locks are stale" if len(faults) > 1 else "a lock is stale",
            detail="\n".join(faults),
            hint="run `buildimages lock`",
        )


def _refuse_downgrades(environment: EnvironmentSpec, changes: Iterable[Change], update: Iterable[str]) -> None:
    bad = silent_downgrades(changes, {*environment.allow_downgrade, *update})
    if bad:
        raise HelioError(
            Stage.LOCK,
            f"`{bad[0].name}` would be downgraded" if len(bad) == 1 else f"{len(bad)} packages would be downgraded",
            where=_where(environment),
            detail="\n".join(f"{one.name} {one.old} -> {one.new}" for one in bad),
            hint="name it in x-helioimages.allow-downgrade or with `--update` if that is meant",
        )


# --- files ------------------------------------------------------------------------------------------------------------


def packages(conda: CondaLock | None, pypi: PyPILock | None) -> tuple[Locked, ...]:
    """Return what a lock installs, for tables and diffs."""
    found = [
        Locked(name=one.name, version=one.version, kind="conda", sha256=one.sha256)
        for one in (conda.packages if conda else ())
    ]
    if pypi:
        sources = {sdist.name: sdist for sdist in pypi.sdists}
        found += [
            Locked(name=one.name, version=one.version, kind="wheel", sha256=one.sha256)
            for one in pypi.wheels
            if one.name not in sources
        ]
        # By the source's digest: a wheel that is recorded later is no change of what people have.
        found += [
            Locked(name=one.name, version=one.version, kind="source", sha256=one.sha256) for one in sources.values()
        ]
    return tuple(found)


def _debs(found: AptLock | None) -> tuple[Locked, ...]:
    debs = found.packages if found else ()
    return tuple(Locked(name=deb.name, version=deb.version, kind="debian", sha256=deb.sha256) for deb in debs)


def _current(run: _Run, name: str, *, strict: bool = False) -> tuple[CondaLock | None, PyPILock | None]:
    """Return an environment's locks as they are; one that cannot be read is none, but for a check."""
    found: list[CondaLock | PyPILock | None] = []
    folder = f"environments/{name}"
    for file, parse in (
        (f"{folder}/{CONDA_LOCK[run.channel]}", conda_lock.parse),
        (f"{folder}/pylock.toml", pypi_lock.parse),
    ):
        text = _read(run.root / file)
        try:
            found.append(parse(text, file) if text is not None else None)
        except HelioError as error:
            if strict:
                raise
            say(f"warning: {error.message}; it is locked anew")
            found.append(None)
    return found[0], found[1]


def _parent(run: _Run, environment: EnvironmentSpec, solved: Mapping[str, _Solved]) -> _Solved | None:
    if environment.parent is None:
        return None
    if environment.parent in solved:
        return solved[environment.parent]
    conda, pypi = _current(run, environment.parent, strict=True)
    if conda is None or pypi is None:
        raise HelioError(
            Stage.LOCK,
            f"the parent environment `{environment.parent}` is not locked",
            where=_where(environment),
            hint=f"run `buildimages lock {environment.parent} {environment.name}`",
        )
    return _Solved(conda=conda, pypi=pypi)


def _forgotten(name: str, update: Iterable[str]) -> bool:
    return "all" in update or canonicalize_name(name) in update


def _where(environment: EnvironmentSpec) -> str:
    return f"environments/{environment.name}/environment.yml"


def _counts(changes: Sequence[Change]) -> str:
    kinds = [change.kind for change in changes]
    said = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return ", ".join(said) or "unchanged"


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> bool:
    """Write a lock whole or not at all; returns whether it changed."""
    if _read(path) == text:
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return True
