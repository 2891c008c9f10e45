"""Locks that are not of what is asked for now: `lock --check` tells of them, and nothing is built of them unasked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..conda.lock import CondaLock
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..pypi.lock import PyPILock
from ..spec.environment import EnvironmentSpec
from ..spec.lineage import lineage
from .channels import LOCAL
from .checkout import Checkout
from .debian import stale_debian
from .patches import with_patches
from .read import Locks
from .state import conda_hash, pypi_hash

#: An environment's conda lock and its pylock, None where there is none.
Pair = tuple[CondaLock | None, PyPILock | None]
_NONE: Pair = (None, None)


def of_environment(
    environments: Mapping[str, EnvironmentSpec], name: str, now: Pair, parent: Pair, files: tuple[str, str]
) -> Iterator[str]:
    """Yield what an environment's locks are not of, a line a lock; a lock that is not there is passed over.

    Args:
        environments: as they are for the platform of the locks.
        parent: the locks of the environment's parent.
        files: how the conda lock and the pylock are called; no name leaves that one out.
    """
    (conda, pypi), environment = now, environments[name]
    if conda and files[0] and conda.content_hash != conda_hash(environments, environment, parent[0]):
        yield f"{files[0]} is not of the present environment.yml and its parent's lock"
    if conda and pypi and files[1] and pypi.content_hash != pypi_hash(environments, environment, conda, parent[1]):
        lacks = _lacking(environment, conda, pypi)
        why = f"; it lacks {', '.join(lacks)}" if lacks else ""
        yield f"{files[1]} is not of the present environment.yml, conda part and parent's lock{why}"


def other_patches(
    root: Path, environments: Mapping[str, EnvironmentSpec], name: str, pypi: PyPILock, file: str
) -> Iterator[str]:
    """Yield what is wrong with the patches of a pylock, which are no part of what it is hashed by.

    Args:
        root: the checkout.
        file: how the pylock is called.
    """
    try:
        if pypi != with_patches(root, lineage(environments, name), pypi):
            yield f"{file} has other patches than x-helioimages.patches names"
    except HelioError as error:
        yield f"{error.where}: {error.message}"


def check(checkout: Checkout, locks: Mapping[str, Locks], *, healed: bool = True, told: bool = True) -> None:
    """Refuse to build images of stale locks; a checkout that is ``frozen`` is built, with a warning.

    Args:
        locks: of the images and of all their ancestors; see `Checkout.locks_of`.
        healed: Debian's part is whole, and the rest was checked before; else it may yet follow its parent's.
        told: the warning is said; whoever looks before anything is started leaves it to the build.

    Raises:
        HelioError: a lock is stale.
    """
    faults = tuple(dict.fromkeys(_faults(checkout, locks, healed)))
    if healed and checkout.frozen:
        # The others were told before.
        before = set(_faults(checkout, locks, healed=False))
        faults = tuple(fault for fault in faults if fault not in before)
    if not faults:
        return
    what = "a lock is stale" if len(faults) == 1 else f"{len(faults)} locks are stale"
    if checkout.frozen:
        if not told:
            return
        for fault in faults:
            say(f"warning: {fault}")
        say(f"warning: {what}: images are built as they were locked, not as they are asked for now (--frozen)")
        return
    raise HelioError(
        Stage.LOCK,
        what,
        detail="\n".join(faults),
        hint="run `buildimages lock`; or --frozen builds the locks as they are, but not in CI",
    )


def _faults(checkout: Checkout, locks: Mapping[str, Locks], healed: bool) -> Iterator[str]:
    subdir = checkout.platform.subdir
    environments = {name: environment.for_platform(subdir) for name, environment in checkout.environments.items()}
    pairs = _pairs(locks)
    # A pylock is made under the local channel's pins, whichever channel the image is of.
    local = checkout.channel == LOCAL
    pins = pairs if local else _pairs(replace(checkout, channel=LOCAL).locks_of(tuple(locks)))
    for lock in locks.values():
        name = lock.image.environment
        parent = environments[name].parent or ""
        conda, pypi = lock.files["conda"], lock.files["pypi"]
        yield from of_environment(environments, name, pairs[name], pairs.get(parent, _NONE), (conda, pypi * local))
        if not local:
            yield from of_environment(environments, name, pins[name], pins.get(parent, _NONE), ("", pypi))
        yield from other_patches(checkout.root, environments, name, lock.pypi, pypi)
        above = locks[lock.image.parent].apt if lock.image.parent and healed else None
        if why := stale_debian(lock.image, above, lock.apt):
            yield f"{lock.files['apt']} is stale: {why}"


def _pairs(locks: Mapping[str, Locks]) -> dict[str, Pair]:
    """Return the locks by environment."""
    return {lock.image.environment: (lock.conda, lock.pypi) for lock in locks.values()}


def _lacking(environment: EnvironmentSpec, conda: CondaLock, pypi: PyPILock) -> tuple[str, ...]:
    """Return what the environment itself asks of PyPI by name and neither lock has: what people look for first."""
    have = {package.name for package in conda.packages} | {file.name for file in pypi.files}
    asked = (Requirement(text) for text in environment.pypi)
    names = (canonicalize_name(requirement.name) for requirement in asked if requirement.marker is None)
    return tuple(dict.fromkeys(name for name in names if name not in have))
