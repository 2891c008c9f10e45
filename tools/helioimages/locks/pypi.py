"""The PyPI part of a lock: what uv chooses, under the conda part and the parent's versions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from ..conda import names
from ..conda.lock import CondaLock, CondaPackage
from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..core.words import count
from ..pypi import lock as pypi_lock
from ..pypi.choose import variant_of
from ..pypi.index import PackageIndex
from ..pypi.lock import PyPILock, Sdist, Wheel
from ..pypi.resolve import Request, requested_names, resolve, versions
from ..spec.environment import EnvironmentSpec
from ..spec.lineage import lineage
from . import cuda, file_names, without
from .patches import with_patches
from .state import LockRun, Solved, contradiction, current_locks, descendants, forgotten, pypi_hash, where_of
from .withdrawn import files_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PyPIQuestion:
    """What the PyPI part of an environment depends on.

    Attributes:
        environments: all that the checkout has, by name.
        parent: the locks of the parent environment.
        conda: its conda part, which is solved before.
        current: the present lock; what it has is kept where it fits.
    """

    environments: Mapping[str, EnvironmentSpec]
    environment: EnvironmentSpec
    parent: Solved | None
    conda: CondaLock
    current: PyPILock | None


def lock_pypi(run: LockRun, question: PyPIQuestion, index: PackageIndex) -> PyPILock:
    """Return an environment's PyPI part, resolved under its conda part and the parent's packages.

    Args:
        index: gives the sizes of new files.

    Raises:
        HelioError: no solution, or one that contradicts the parent or the conda part.
    """
    environments, environment = question.environments, question.environment
    parent, conda, current = question.parent, question.conda, question.current
    line = lineage(environments, environment.name)
    requirements = tuple(dict.fromkeys(text for ancestor in line for text in ancestor.pypi))
    prefer: dict[str, str] = {
        canonicalize_name(name): side for ancestor in line for name, side in ancestor.prefer.items()
    }
    names_elsewhere = {name: other for ancestor in line for name, other in ancestor.names.items()}
    _refuse_strange(conda, names_elsewhere, where_of(environment))
    provided = provided_by_conda(conda, requirements, prefer, where_of(environment), names_elsewhere)
    if run.channel != "local":
        # The wheels are the same for both channels; the other channel's part may not bring them as well.
        if current is None:
            raise HelioError(
                Stage.LOCK,
                f"`environments/{environment.name}/{file_names.of(file_names.PYLOCK, run.platform)}` is missing",
                hint=f"run `buildimages lock {environment.name}` first",
            )
        refuse_both(conda, current, where_of(environment), names_elsewhere)
        return current
    _refuse_free_threaded(conda, requirements, where_of(environment))
    upgrade = (*run.update, *sorted(going(run, current)))
    if anew := run.rebuild or environment.name in run.tools:
        say(f"    {environment.name}: wheels of source-only packages are built again")
    request = Request(
        where=where_of(environment),
        requirements=requirements,
        constraints=tuple(dict.fromkeys(text for ancestor in line for text in ancestor.constraints)),
        provided=provided,
        inherited=parent.pypi if parent else None,
        from_source=frozenset(canonicalize_name(name) for name in environment.build),
        python=python_version(conda, where_of(environment)),
        platform=run.platform,
        glibc=glibc(environment),
        current=_without_built(current) if anew else current,
        upgrade=upgrade,
        exclude_newer=run.exclude_newer,
        built=_built(run, (current, parent.pypi if parent else None), upgrade) | _kept(run, parent, environment),
        content_hash=pypi_hash(environments, environment, conda, parent.pypi if parent else None),
    )
    request = dataclasses.replace(request, excluded=without.inherited(line, request))
    plain = request
    request = dataclasses.replace(request, excluded=request.excluded | environment.without.keys())
    with threads.pool(1) as pool:
        # uv waits for the index, and does it twice at once.
        checking = pool.submit(without.checked, environment, plain) if environment.without else None
        if children := descendants(environments, environment.name):
            request = run.timed(f"{environment.name}: room for its children", _with_room, run, request, children)
        asked = checking.result() if checking else {}
    resolved = resolve(request, index.sizes)
    _check_cuda(environment, conda, resolved)
    ask_about_names(conda, resolved, where_of(environment), names_elsewhere)
    if parent:
        _refuse_missing(environment, parent.pypi, resolved)
    _say_variants(resolved, index)
    if resolved.unbuilt and run.build_wheels:
        tools = run.tools.get(environment.name)
        built = run.timed(
            f"{environment.name}: wheels from source", run.build_wheels, environment, resolved.unbuilt, tools
        )
        resolved = dataclasses.replace(
            resolved, wheels=tuple(sorted((*resolved.wheels, *built), key=lambda wheel: wheel.name))
        )
    settled = without.recorded(
        environment, asked, parent.pypi if parent else None, pypi_lock.settled(current, resolved)
    )
    return with_patches(run.root, line, settled)


def _say_variants(lock: PyPILock, index: PackageIndex) -> None:
    """Say of what will be built from source that the index has variants of wheels, which nothing here takes."""
    pages = index.many([sdist.name for sdist in lock.unbuilt])
    for sdist in lock.unbuilt:
        variants = [variant for file in pages[sdist.name] if (variant := variant_of(file.name))]
        labels = {label for plain, label in variants if str(parse_wheel_filename(plain)[1]) == sdist.version}
        if labels:
            say(
                f"warning: {sdist.name} {sdist.version} is built from source: the index has variants of its wheel only "
                f"({', '.join(sorted(labels))}; PEP 825), which are for one machine"
            )


def going(run: LockRun, lock: PyPILock | None) -> frozenset[str]:
    """Return the packages of a lock whose files are to go, since the index withdrew them."""
    return frozenset(item.name for item in files_of(lock) if item.sha256 in run.gone)


def _without_built(lock: PyPILock | None) -> PyPILock | None:
    """Return a lock whose source-only packages have no wheel, so that they are built."""
    return lock and dataclasses.replace(lock, wheels=tuple(wheel for wheel in lock.wheels if not wheel.built))


def _kept(run: LockRun, parent: Solved | None, environment: EnvironmentSpec) -> dict[str, Path]:
    """Return file name -> file of the parent's packages that the store has though the index no longer does.

    Raises:
        HelioError: the store does not have them either.
    """
    away = [item for item in files_of(parent.pypi if parent else None) if item.sha256 in run.lost]
    # Of a source, the wheel that was built of it says the same.
    built = {wheel.name: wheel for wheel in parent.pypi.wheels if wheel.built} if parent else {}
    files: list[Wheel | Sdist] = [built.get(item.name, item) for item in away]
    absent = [item for item in files if not run.store.artefact(item.sha256).exists()]
    if absent:
        raise HelioError(
            Stage.LOCK,
            f"the package index no longer has {count(len(absent), 'file')} of the parent environment",
            where=where_of(environment),
            detail="\n".join(item.file_name for item in absent[:20]),
            hint="run `buildimages lock`, which moves the parent and all its children together",
        )
    return {item.file_name: run.store.artefact(item.sha256) for item in files}


def _with_room(run: LockRun, request: Request, children: Sequence[EnvironmentSpec]) -> Request:
    """Return a request for versions that the children can have too, since a child has its parent's.

    The environment and its children are solved as one; what that gives bounds the environment's own solution. Where
    children have no solution in common (two of them may contradict each other), the environment is solved as if it
    had none, and the child that cannot have its versions says so.
    """
    locks = [current_locks(run, child.name)[1] for child in children]
    away = {name for lock in locks for name in going(run, lock)}
    family = dataclasses.replace(
        request,
        requirements=tuple(
            dict.fromkeys((*request.requirements, *(text for child in children for text in child.pypi)))
        ),
        constraints=tuple(
            dict.fromkeys((*request.constraints, *(text for child in children for text in child.constraints)))
        ),
        from_source=request.from_source | {canonicalize_name(name) for child in children for name in child.build},
        current=_joined(request.current, *locks),
        contested=_contested(request.current, *locks),
        upgrade=(*request.upgrade, *sorted(away)),
        built={**request.built, **_built(run, locks, (*request.upgrade, *away))},
    )
    pins = versions(family)
    if pins is None:
        names = ", ".join(child.name for child in children)
        say(f"warning: {names}: no versions fit all of them and their parent together; each is solved for itself")
        return request
    exact = tuple(f"{name}=={version}" for name, version in sorted(pins.items()))
    return dataclasses.replace(request, constraints=(*request.constraints, *exact))


def _joined(*locks: PyPILock | None) -> PyPILock | None:
    """Return a lock of all packages of several, the first one's version of each: what a solution prefers."""
    present = [lock for lock in locks if lock]
    if not present:
        return None
    wheels = {wheel.name: wheel for lock in reversed(present) for wheel in lock.wheels}
    sdists = {sdist.name: sdist for lock in reversed(present) for sdist in lock.sdists}
    return dataclasses.replace(present[0], wheels=tuple(wheels.values()), sdists=tuple(sdists.values()))


def _contested(*locks: PyPILock | None) -> frozenset[str]:
    """Return the packages of which several locks have different versions."""
    versions: dict[str, set[str]] = {}
    for lock in locks:
        for item in lock.files if lock else ():
            versions.setdefault(item.name, set()).add(item.version)
    return frozenset(name for name, those in versions.items() if len(those) > 1)


def _check_cuda(environment: EnvironmentSpec, conda: CondaLock, pypi: PyPILock) -> None:
    """Refuse two CUDA majors; an image's labels say the one there is."""
    everything = [(package.name, package.version) for package in conda.packages]
    everything += [(wheel.name, wheel.version) for wheel in pypi.wheels]
    cuda.find(everything, declared=environment.virtual_packages.get("__cuda"), where=where_of(environment))


def _built(run: LockRun, locks: Iterable[PyPILock | None], upgrade: Collection[str]) -> dict[str, Path]:
    """Return file name -> file of the built wheels that the store has, but for packages that are to be chosen anew."""
    return {
        wheel.file_name: run.store.artefact(wheel.sha256)
        for lock in locks
        if lock and lock.platform == run.platform
        for wheel in lock.wheels
        if wheel.built and not forgotten(wheel.name, upgrade) and run.store.artefact(wheel.sha256).exists()
    }


def provided_by_conda(
    conda: CondaLock,
    requirements: Iterable[str],
    prefer: Mapping[str, str],
    where: str,
    told: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return distribution -> version of the conda packages that are Python distributions, for uv to take as they are.

    Args:
        told: ``x-helioimages.names``.

    Raises:
        HelioError: the pip list asks for one of them too, and ``prefer`` does not say which one to have.
    """
    asked = requested_names(requirements)
    provided: dict[str, str] = {}
    for package in conda.packages:
        for name in _names(package, told):
            if prefer.get(name) == "pypi":
                continue
            if name in asked and name not in prefer:
                raise HelioError(
                    Stage.LOCK,
                    f"a wheel would replace the conda package `{package.name}`",
                    where=where,
                    detail=f"conda brings {package.file_name}, and the `pip` list asks for {name}",
                    hint=f"say `{name}: conda` or `{name}: pypi` under x-helioimages.prefer"
                    + _two_things(package, name),
                )
            provided[name] = package.version
    return provided


def _names(package: CondaPackage, told: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return the distributions that a conda package is: it needs Python, and is not part of the interpreter."""
    needs_python = any(text.split()[0] == "python" for text in package.depends)
    if package.name in ("python_abi", "python-gil", "cpython"):
        return ()
    if needs_python or package.purls or (told and package.name in told):
        return names.distributions(package.name, package.purls, told, needs_python=needs_python)
    return ()


def _two_things(package: CondaPackage, name: str) -> str:
    if name == canonicalize_name(package.name):
        return ""
    return f"; if they are two things, say `{package.name}: none` under x-helioimages.names"


def refuse_both(conda: CondaLock, pypi: PyPILock, where: str, told: Mapping[str, str] | None = None) -> None:
    """Refuse packages that both parts bring, or may bring."""
    wheels = {wheel.name: wheel for wheel in pypi.wheels}
    for package in conda.packages:
        for name in _names(package, told):
            if name in wheels:
                raise HelioError(
                    Stage.LOCK,
                    f"a wheel would replace the conda package `{package.name}`",
                    where=where,
                    detail=f"{conda.channel} brings {package.file_name}, pylock.toml has {wheels[name].file_name}",
                    hint="ask for only one of them in environment.yml" + _two_things(package, name),
                )
    ask_about_names(conda, pypi, where, told)


def ask_about_names(conda: CondaLock, pypi: PyPILock, where: str, told: Mapping[str, str] | None = None) -> None:
    """Refuse conda packages that may be a wheel of the lock by their names, where nobody says whether they are.

    Raises:
        HelioError: asks about all of them at once.
    """
    files = {item.name: item.file_name for item in pypi.files}
    asked = {}
    for package in conda.packages:
        other = names.resembled(package.name, package.purls, told)
        if other in files and _names(package, told):
            asked[package.name] = (other, f"{package.file_name} of conda, {files[other]} of PyPI")
    if asked:
        name, (other, _) = next(iter(asked.items()))
        raise HelioError(
            Stage.LOCK,
            "conda and PyPI may bring one thing under two names",
            where=f"{where} at x-helioimages.names",
            detail="\n".join(text for _, text in asked.values()),
            hint=f"say `{name}: {other}` if they are the same, else `{name}: {names.NONE}`",
        )


def _refuse_strange(conda: CondaLock, told: Mapping[str, str], where: str) -> None:
    """Refuse ``x-helioimages.names`` of packages that the conda part does not have: a slip would go unseen."""
    if strange := sorted(told.keys() - {package.name for package in conda.packages}):
        raise HelioError(
            Stage.LOCK,
            f"`{strange[0]}` is not a locked conda package",
            where=f"{where} at x-helioimages.names.{strange[0]}",
            hint="remove the entry, or name the conda package that is meant",
        )


def _refuse_missing(environment: EnvironmentSpec, parent: PyPILock, child: PyPILock) -> None:
    """Refuse a child that lacks a package of its parent, or has another version of it."""
    mine = {item.name: item.version for item in child.files}
    for item in parent.files:
        if mine.get(item.name) != item.version:
            raise contradiction(environment, f"`{item.name}`", item.version, mine.get(item.name, "none"))


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


def _refuse_free_threaded(conda: CondaLock, requirements: Sequence[str], where: str) -> None:
    """Refuse wheels for a Python without its lock (``cp313t``): wheels are chosen for the usual one.

    conda packages for it are linked as they want, see `conda.read.site_packages_of`.
    """
    for package in conda.packages:
        if requirements and package.name == "python" and re.search(r"_cp3\d+t$", package.build):
            usual = package.build.rpartition("_")[2].removesuffix("t")
            minor = ".".join(package.version.split(".")[:2])
            raise HelioError(
                Stage.LOCK,
                "wheels are not locked for a free-threaded Python",
                where=where,
                detail=f"conda brings {package.file_name}, and there is a `pip` list",
                hint=f"ask for `python={minor}.*=*_{usual}` in dependencies, or take every package from conda",
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
            where=f"{where_of(environment)} at x-helioimages.virtual-packages.__glibc",
            detail=f"expected a version such as 2.41 not {text or 'nothing'}",
        )
    return int(match[1]), int(match[2])
