"""Why a package is in an image: people ask for it by name, or other packages draw it in, and which.

What people ask for is in environment.yml and image.toml. conda's lock tells what a package needs; a wheel says it
itself, so it is known of wheels that are or were in the store; Debian's lock tells of nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.package import Package
from ..machine.store import Store
from ..spec.lineage import lineage
from .checkout import Checkout
from .held_back import knows, requires
from .read import Locks

#: A package of an image: its kind and its name.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyThere:
    """Why one package is there.

    Attributes:
        asked: environments and images that ask for it by name.
        by: names of packages that need it.
    """

    asked: tuple[str, ...] = ()
    by: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.asked:
            return "asked for"
        return f"drawn in by {_few(self.by)}" if self.by else "drawn in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The packages of an image, who asks for them, and what each needs.

    Attributes:
        packages: of the image, its ancestors' too.
        asked: who asks for it by name.
        needs: package -> packages that it needs; one that nothing is known of is absent.
        whole: whether it is known of every wheel what it needs.
    """

    packages: Mapping[Key, Package]
    asked: Mapping[Key, tuple[str, ...]]
    needs: Mapping[Key, tuple[Key, ...]]
    whole: bool = True

    def reasons(self) -> dict[Key, WhyThere]:
        """Return the reason of each package."""
        by: dict[Key, list[str]] = {}
        for needing, needed in self.needs.items():
            for key in needed:
                by.setdefault(key, []).append(needing[1])
        return {
            key: WhyThere(asked=self.asked.get(key, ()), by=tuple(sorted(set(by.get(key, ())))))
            for key in self.packages
        }

    def alone(self) -> dict[Key, tuple[Key, ...]]:
        """Return, of each package that is asked for, what would be in nobody's closure without it: itself among it."""
        # The one package asked for that draws another in, None where several do: it changes twice at most.
        only: dict[Key, Key | None] = {}
        todo: list[tuple[Key, Key | None]] = [(root, root) for root in self.asked]
        while todo:
            key, root = todo.pop()
            if key in only and only[key] in (root, None):
                continue
            only[key] = None if key in only else root
            todo += [(needed, only[key]) for needed in self.needs.get(key, ())]
        drawn: dict[Key, list[Key]] = {root: [] for root in self.asked}
        for key, owner in only.items():
            if owner is not None:
                drawn[owner].append(key)
        return {root: tuple(sorted(keys)) for root, keys in drawn.items()}


def needs_of(checkout: Checkout, lock: Locks, store: Store) -> Needs:
    """Return what an image's packages need, as far as it is known here."""
    packages = {(package.kind, package.name): package for package in lock.packages}
    names: dict[str, Key] = {canonicalize_name(name): (kind, name) for kind, name in packages if kind == "conda"}
    # A distribution of both kinds is the wheel's: conda's would have been taken out.
    names |= {canonicalize_name(name): (kind, name) for kind, name in packages if kind == "wheel"}
    asked: dict[Key, list[str]] = {}
    extras: dict[Key, set[str]] = {}
    subdir = checkout.platform.subdir
    environments = {name: environment.for_platform(subdir) for name, environment in checkout.environments.items()}
    for environment in lineage(environments, lock.image.environment):
        who = f"environments/{environment.name}"
        for spec in environment.conda:
            if (key := ("conda", _word(spec))) in packages:
                asked.setdefault(key, []).append(who)
        for requirement in map(Requirement, environment.pypi):
            if owner := names.get(canonicalize_name(requirement.name)):
                asked.setdefault(owner, []).append(who)
                extras.setdefault(owner, set()).update(requirement.extras)
    for image in checkout.lineage(lock.image.name):
        for name in image.debian:
            if (key := ("debian", name)) in packages:
                asked.setdefault(key, []).append(f"images/{image.name}")
    needs = {
        ("conda", package.name): tuple(
            ("conda", name) for name in dict.fromkeys(map(_word, package.depends)) if ("conda", name) in packages
        )
        for package in lock.conda.packages
    }
    needs |= _of_wheels(lock, store, names, extras)
    return Needs(
        packages=packages,
        asked={key: tuple(who) for key, who in asked.items()},
        needs=needs,
        whole=all(knows(store, wheel) for wheel in lock.pypi.wheels),
    )


def _of_wheels(
    lock: Locks, store: Store, names: Mapping[str, Key], extras: dict[Key, set[str]]
) -> dict[Key, tuple[Key, ...]]:
    """Return what wheels need: an extra that is asked for is a need of its wheel, too, and may ask for extras."""
    wheels = {("wheel", wheel.name): wheel for wheel in lock.pypi.wheels}
    needs: dict[Key, tuple[Key, ...]] = {}
    todo = list(wheels)
    while todo:
        key = todo.pop()
        wheel = wheels[key]
        left = {gone.name for gone in wheel.without}
        direct: list[Key] = []
        for requirement in requires(store, wheel, lock.pypi, sorted(extras.get(key, ()))):
            name = canonicalize_name(requirement.name)
            if name in left or name not in names:
                continue
            # An extra may be made of others of the same package: `app[all]` asks for `app[fast]`.
            direct += [names[name]] * (names[name] != key)
            if new := set(requirement.extras) - extras.get(names[name], set()):
                extras.setdefault(names[name], set()).update(new)
                todo += [names[name]] if names[name] in wheels else []
        if direct:
            needs[key] = tuple(dict.fromkeys(direct))
    return needs


def _word(spec: str) -> str:
    """Return the name of a match spec.

    >>> _word("libzlib >=1.3"), _word("python=3.13"), _word("conda-forge::zlib")
    ('libzlib', 'python', 'zlib')
    """
    name = spec.rpartition("::")[2].strip()
    for at, letter in enumerate(name):
        if letter in " =<>!~[":
            return name[:at]
    return name


def _few(names: tuple[str, ...]) -> str:
    """Return names, the first of them if they are many.

    >>> _few(("a", "b", "c", "d"))
    'a, b and 2 more'
    """
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
