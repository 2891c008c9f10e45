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
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from packageurl import PackageURL
from packaging.utils import canonicalize_name

#: What environment.yml calls the PyPI side of a conda package that has none.
NONE = "none"

#: Conda packages that are no Python distribution, told by their names.
_NEVER = re.compile(
    r"(?:r-|lib|_|perl-|ros-|ros2|rb-|go-|font-|fonts-|xorg-|gst-|gtk|octave-|julia-|bioconductor-).*|.*-with-.*|"
    r".*_(?:linux|osx|win)-.*|.*-(?:cos[67]|amd64|x86_64|aarch64|ppc64le|s390x|64|32)(?:-.*)?"
)

#: Ways in which conda packages are named after a distribution.
_AFFIXES = re.compile(r"(?:python-|py-)?(?P<stem>.+?)(?:-python|-py|-base|-core)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMap:
    """Names of one thing on both sides.

    Attributes:
        source, commit, date: where the map is from.
        names: conda package -> its distributions, where they are not of its own name.
        others: conda packages that are no distribution.
    """

    source: str
    commit: str
    date: str
    names: Mapping[str, tuple[str, ...]]
    others: frozenset[str]


@functools.cache
def known() -> NameMap:
    """Return the map that is kept beside this file."""
    kept = json.loads(files(__package__).joinpath("names.json").read_text("utf-8"))
    return NameMap(
        source=kept["source"],
        commit=kept["commit"],
        date=kept["date"],
        names={name: tuple(distributions) for name, distributions in kept["names"].items()},
        others=frozenset(name for line in kept["others"] for name in line.split()),
    )


def distributions(
    name: str, purls: Sequence[str] = (), told: Mapping[str, str] | None = None, *, needs_python: bool = False
) -> tuple[str, ...]:
    """Return the PyPI distributions that a conda package is, normalised; none if it is not a distribution.

    Args:
        purls: of the channel's record.
        told: ``x-helioimages.names``.
        needs_python: its record says so: then what is named like a C library may be a distribution.
    """
    if told and name in told:
        return () if told[name] == NONE else (canonicalize_name(told[name]),)
    if purls:
        parsed = [PackageURL.from_string(purl) for purl in purls]
        return tuple(canonicalize_name(purl.name) for purl in parsed if purl.type == "pypi")
    if found_names := known().names.get(name):
        return found_names
    if name in known().others or (not needs_python and _NEVER.fullmatch(name)):
        return ()
    return (str(canonicalize_name(name)),)


def resembled(name: str, purls: Sequence[str] = (), told: Mapping[str, str] | None = None) -> str | None:
    """Return the distribution that a conda package may be by its name alone, where nobody says what it is.

    >>> resembled("python-heliothing")
    'heliothing'
    """
    if purls or name in known().names or name in known().others or (told and name in told):
        return None
    match = _AFFIXES.fullmatch(name)
    if match is None or _NEVER.fullmatch(name):
        return None
    stem = canonicalize_name(match["stem"])
    return None if stem == canonicalize_name(name) else stem


def derive(mapping: Mapping[str, Sequence[str] | None]) -> tuple[dict[str, list[str]], list[str]]:
    """Return what to keep of parselmouth's map: names (conda package -> its distributions), and those that are none.

    What a package holds for itself (ray-core has a copy of aiohttp) is no name of it: of several names, those that are
    not like its own go, if any is. What looks like another's name and is not is kept, so that nobody is asked.

    Args:
        mapping: conda package -> every distribution found in its files.
    """
    kept: dict[str, list[str]] = {}
    others = []
    for name, listed in sorted(mapping.items()):
        distributions = sorted({str(canonicalize_name(distribution)) for distribution in listed or ()})
        match = _AFFIXES.fullmatch(name)
        stem = str(canonicalize_name(match["stem"])) if match else name
        if len(distributions) > 1:
            distributions = [distribution for distribution in distributions if stem in distribution] or distributions
        if not distributions:
            others += [] if _NEVER.fullmatch(name) else [name]
        elif distributions != [canonicalize_name(name)] or stem != canonicalize_name(name) or _NEVER.fullmatch(name):
            kept[name] = distributions
    return kept, others


def document(mapping: Mapping[str, Sequence[str] | None], *, source: str, commit: str, date: str) -> str:
    """Return the text of ``names.json``.

    Args:
        mapping: parselmouth's ``files/v0/conda-forge/compressed_mapping.json``.
    """
    kept, others = derive(mapping)
    names = ",\n".join(f"    {json.dumps(name)}: {json.dumps(distributions)}" for name, distributions in kept.items())
    lines = ",\n".join(
        f"    {json.dumps(line)}" for line in textwrap.wrap(" ".join(others), 110, break_on_hyphens=False)
    )
    head = {"source": source, "commit": commit, "date": date}
    top = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    return f'{{\n{top}  "names": {{\n{names}\n  }},\n  "others": [\n{lines}\n  ]\n}}\n'
