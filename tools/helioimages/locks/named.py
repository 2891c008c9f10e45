"""Packages that people name on the command line are ones that a lock has: a misspelt one would change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from packaging.utils import canonicalize_name

from ..conda.ecosystem import CONDA
from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.package import Ecosystem
from ..debian.ecosystem import DEBIAN
from ..pypi.ecosystem import PYPI
from . import file_names
from .checkout import Checkout
from .state import read_text

#: What `--update` takes besides names.
EVERY = frozenset(("all", "debian", "yanked"))


def check(checkout: Checkout, names: Iterable[str]) -> None:
    """Refuse a package that no lock of the checkout has.

    Raises:
        HelioError: there is one, and with it the name that was meant.
    """
    asked = [name for name in names if name not in EVERY]
    if not asked:
        return
    known = _known(checkout)
    for name in asked:
        if canonicalize_name(name) not in known:
            raise HelioError(
                Stage.USAGE,
                f"no lock has a package `{name}`",
                detail=f"expected the name of a package, or one of {', '.join(sorted(EVERY))}",
                hint=meant(canonicalize_name(name), known) or "environments/*/packages.txt list them",
            )


def _known(checkout: Checkout) -> set[str]:
    """Return the names in the locks that can be read, normalised as `--update` compares them."""
    files: list[tuple[Ecosystem[Any], str]] = [
        (kind, f"environments/{name}/{file_names.of(file, checkout.platform)}")
        for name in checkout.environments
        for kind, file in (
            (CONDA, file_names.CONDA_LOCK[checkout.channel]),
            (PYPI, file_names.PYLOCK),
            (PYPI, file_names.BUILD_LOCK),
        )
    ]
    files += [(DEBIAN, file_names.image_lock(name, checkout.platform)) for name in checkout.images]
    known: set[str] = set()
    for kind, file in files:
        text = read_text(checkout.root / file)
        if text is None:
            continue
        try:
            known |= {canonicalize_name(package.name) for package in kind.packages(kind.parse(text, file))}
        except HelioError:
            # What cannot be read is locked anew; nobody can say what it had.
            continue
    return known
