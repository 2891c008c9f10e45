"""What conda packages are called on PyPI: one thing must not come twice under two names.

Who says it, the first one that does: environment.yml, the channel's record (its ``purls``), the map that is kept beside
this file, and last the name itself. The map is parselmouth's, of the files in conda-forge's packages; what it leaves
out has the same name on both sides.

Spec: package-url, type ``pypi``; PyPA, "Names and normalization".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

#: What environment.yml calls the PyPI side of a conda package that has none.
NONE = "none"

#: Ways in which conda packages are named after a distribution.
_AFFIXES = re.compile(r"(?:python-|py-)?(?P<stem>.+?)(?:-python|-py|-base|-core)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMap:
    """Names of one thing on both sides.

    Attributes:
        source, commit, date: where the map is from.
        names: conda package -> its distributions, where they are not of its own name; none if it is no distribution.
    """

    source: str
    commit: str
    date: str
    names: Mapping[str, tuple[str, ...]]


@functools.cache
def known() -> NameMap:
    """Return the map that is kept beside this file."""
    document = json.loads(files(__package__).joinpath("names.json").read_text("utf-8"))
    names = {name: tuple(found) for name, found in document["names"].items()}
    return NameMap(source=document["source"], commit=document["commit"], date=document["date"], names=names)


def distributions(name: str, purls: Sequence[str] = (), told: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the PyPI distributions that a conda package is, normalised; none if it is no distribution.

    Args:
        purls: of the channel's record.
        told: ``x-helioimages.names``.
    """
    if told and name in told:
        return () if told[name] == NONE else (canonicalize_name(told[name]),)
    if purls:
        found = [PackageURL.from_string(purl) for purl in purls]
        return tuple(canonicalize_name(one.name) for one in found if one.type == "pypi")
    return known().names.get(name, (str(canonicalize_name(name)),))


def resembled(name: str, purls: Sequence[str] = (), told: Mapping[str, str] | None = None) -> str | None:
    """Return the distribution that a conda package may be by its name alone, where nobody says what it is.

    >>> resembled("python-heliothing")
    'heliothing'
    """
    if purls or name in known().names or (told and name in told):
        return None
    match = _AFFIXES.fullmatch(name)
    assert match is not None
    stem = canonicalize_name(match["stem"])
    return None if stem == canonicalize_name(name) else stem


def derive(mapping: Mapping[str, Sequence[str] | None]) -> dict[str, list[str]]:
    """Return the names to keep of parselmouth's map: conda package -> every distribution found in its files.

    What a package holds for itself (ray-core has a copy of aiohttp) is no name of it: of several names, those that are
    not like its own go, if any is. What looks like another's name and is none is kept, so that nobody is asked.
    """
    normal = {name: sorted({str(canonicalize_name(one)) for one in found or ()}) for name, found in mapping.items()}
    kept: dict[str, list[str]] = {}
    for name, names in sorted(normal.items()):
        match = _AFFIXES.fullmatch(name)
        stem = str(canonicalize_name(match["stem"])) if match else name
        if len(names) > 1:
            names = [one for one in names if stem in one] or names
        same = names == [canonicalize_name(name)]
        if (names and not same) or stem != canonicalize_name(name):
            kept[name] = names
    return kept


def document(mapping: Mapping[str, Any], *, source: str, commit: str, date: str) -> str:
    """Return the text of ``names.json``.

    Args:
        mapping: parselmouth's ``files/v0/conda-forge/compressed_mapping.json``.
    """
    names = derive(mapping)
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(found)}" for name, found in names.items())
    head = {"source": source, "commit": commit, "date": date}
    top = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    return f'{{\n{top}  "names": {{\n{lines}\n  }}\n}}\n'
