"""Resolve helio as of days in the past, for year.py: what it was then, had today's environment.yml been there.

Needs an index that says when files were uploaded, and a store in which helio was built: packages that the index has as
source only are taken at today's version all year, since each would have to be compiled to be asked what it needs.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from layerings import Wheel

from helioimages.core.progress import say
from helioimages.locks.checkout import Checkout
from helioimages.locks.pypi import glibc
from helioimages.machine.store import Store, default_root
from helioimages.pypi import resolve
from helioimages.spec.environment import EnvironmentSpec
from helioimages.spec.lineage import lineage

#: Bounds of today that leave no solution for earlier days.
LOOSER = {"s3fs>=2026": "s3fs>=2025"}


def asked(environments: Sequence[EnvironmentSpec]) -> tuple[str, ...]:
    """Return what environments ask for, without today's bounds."""
    texts = (text for environment in environments for text in environment.pypi)
    return tuple(dict.fromkeys(LOOSER.get(text, text) for text in texts))


def record(root: Path, days: Sequence[str]) -> tuple[list[tuple[Wheel, ...]], Mapping[str, int]]:
    """Return the packages of each day, and name -> how many need it on the last one."""
    checkout, store = Checkout.of(root), Store(default_root())
    line = lineage(checkout.environments, "helio")
    base = tuple(environment for environment in line if environment.name == "base")
    locks = checkout.locks_of(checkout.selected(("helio",)))["helio"]
    built = [wheel for wheel in locks.pypi.wheels if wheel.built]
    size = {wheel.name: wheel.size for wheel in locks.pypi.wheels}
    request = resolve.Request(
        where="year.py",
        requirements=asked(line),
        python=locks.python.version,
        platform=locks.pypi.platform,
        glibc=glibc(line[-1]),
        built={wheel.file_name: store.artefact(wheel.sha256) for wheel in built},
        excluded=frozenset(name for environment in line for name in environment.without),
    )
    limits = tuple(dict.fromkeys(text for environment in line for text in environment.constraints))
    fixed = tuple(f"{wheel.name}=={wheel.version}" for wheel in built)
    months = []
    for day in days:
        then = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
        request = replace(request, exclude_newer=then, requirements=asked(line), constraints=limits + fixed)
        files = resolve.resolve(request, lambda rows: dict.fromkeys((sha256 for sha256, _ in rows), 0)).files
        pins = tuple(f"{file.name}=={file.version}" for file in files)
        low = resolve.versions(replace(request, requirements=asked(base), constraints=limits + pins)) or {}
        # Of a source, the wheel that is built of it has no size there.
        wheels = {
            file.name: Wheel(
                name=file.name, version=file.version, size=file.size or size[file.name], base=file.name in low
            )
            for file in files
        }
        months.append(tuple(wheels[name] for name in sorted(wheels)))
        say(f"{day}: {len(wheels)} packages, {len(low)} of base")
    return months, dependents(resolve.askers(request) or {})


def dependents(askers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return name -> how many packages need it, directly or not."""
    dependents = {}
    for name in askers:
        above: set[str] = set()
        ahead = list(askers[name])
        while ahead:
            dependent = ahead.pop()
            if dependent not in above:
                above.add(dependent)
                ahead += askers.get(dependent, ())
        dependents[name] = len(above - {name})
    return dependents
