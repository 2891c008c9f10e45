"""An environment of ours from another tool's file: the same packages and versions where they can be had here.

With the local channel, conda brings the interpreter alone, and conda packages that are Python distributions come from
PyPI under PyPI's name; with another channel, conda packages stay what they are. What cannot be kept is a row of a
table, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ..conda import names
from ..conda.channels import UNCLEAR
from ..core.http import without_login
from ..core.platform import Platform
from ..core.words import count
from ..pypi.choose import supported_tags
from ..pypi.index import IndexFile
from ..spec.foreign import Foreign, Item, Row
from .usable import IndexProject, project

#: Names -> the files that the index has of each.
Ask = Callable[[Sequence[str]], Mapping[str, Sequence[IndexFile]]]

#: Conda packages that are there anyhow: parts of the interpreter, and what makes wheels.
_PARTS = frozenset({"python_abi", "python-gil", "cpython", "_python_abi3_support"})
_NO_DISTRIBUTION = (
    "it is not a Python package: wheels bring the C libraries that they need, programs can come from Debian "
    "(`debian.packages` in image.toml)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the environment is made for.

    Attributes:
        channel: where conda packages come from; ``local`` has the interpreter alone, with another one the file's own
            channels are kept, and this one stands where it names none.
        python: ``3.13``.
        platform: what it is for.
        glibc: ``2.41``.
        parent: an environment of the checkout, or None.
    """

    name: str
    channel: str
    python: str
    platform: Platform
    glibc: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of a file.

    Attributes:
        channels: the first has priority.
        conda: match specs.
        pypi: requirements.
        constraints: limits of packages that may or may not be needed.
        kept: how many packages are asked for just as they were.
        rows: the others.
    """

    target: Target
    form: str
    channels: tuple[str, ...]
    conda: tuple[str, ...]
    pypi: tuple[str, ...]
    constraints: tuple[str, ...]
    kept: int
    rows: tuple[Row, ...]

    def environment(self, source: str) -> str:
        """Return the text of environment.yml.

        Args:
            source: the name of the file that it was made of.
        """
        dependencies: list[Any] = list(self.conda)
        if self.pypi:
            dependencies.append({"pip": list(self.pypi)})
        ours: dict[str, Any] = {}
        if self.target.parent:
            ours["parent"] = self.target.parent
        else:
            ours["virtual-packages"] = {"__glibc": self.target.glibc}
        if self.constraints:
            ours["constraints"] = list(self.constraints)
        document = {
            "name": self.target.name,
            "channels": list(self.channels),
            "dependencies": dependencies,
            "x-helioimages": ours,
        }
        head = f"# Made of {source} ({self.form}) by `buildimages import`. Resolved by `buildimages lock`.\n"
        return head + yaml.safe_dump(document, sort_keys=False, width=10_000, allow_unicode=True)

    def lines(self) -> tuple[str, ...]:
        """Return the report for people."""
        packages = count(len(self.conda) + len(self.pypi) + len(self.constraints), "package")
        lost = sum(not row.where.startswith("channels[") for row in self.rows)
        lines = [f"{self.target.name}: {self.form}, {packages}; {self.kept} as they were, {lost} not"]
        lines += [f"  {row.what} -> {row.became}: {row.why} ({row.where})" for row in self.rows if row.became]
        gone: dict[str, list[str]] = {}
        for row in self.rows:
            if not row.became:
                gone.setdefault(row.why, []).append(row.what)
        lines += [f"  left out: {why}:\n    {', '.join(names)}" for why, names in gone.items()]
        return tuple(lines)

    def as_data(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "name": self.target.name,
            "form": self.form,
            "channels": list(self.channels),
            "conda": list(self.conda),
            "pypi": list(self.pypi),
            "constraints": list(self.constraints),
            "kept": self.kept,
            "rows": [{"what": row.what, "where": row.where, "became": row.became, "why": row.why} for row in self.rows],
        }


def name_of(foreign: Foreign, file: str) -> str:
    """Return a name for the environment: the file's own, or its folder's, as names of ours may be."""
    text = foreign.name or file.rpartition("/")[0].rpartition("/")[2] or "imported"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "imported"


def translate(foreign: Foreign, target: Target, ask: Ask | None) -> Imported:
    """Return the environment that asks for the same packages.

    Args:
        ask: the index, which says what can be had; without it every name and version is believed.
    """
    channels, of_channels = _channels(foreign, target)
    rows = [*foreign.rows, *of_channels]
    conda: dict[str, list[str]] = {}
    pypi: dict[str, list[tuple[Item, str]]] = {}
    kept = 0
    for item in foreign.items:
        if item.side == "conda" and item.name == "python":
            spec, row = _python(item, target, channels)
            conda.setdefault("python", []).append(spec)
            rows += [row] if row else []
            kept += row is None
        elif item.side == "conda" and (item.name in _PARTS or item.name.startswith("__")):
            continue
        elif item.side == "conda" and target.channel != "local":
            spec, row = _of_channel(item, channels)
            conda.setdefault(item.name, []).append(spec)
            rows += [row] if row else []
            kept += row is None
        elif item.side == "conda":
            distributions = names.distributions(item.name)
            if not distributions:
                rows.append(Row(what=item.text, where=item.where, became="", why=_NO_DISTRIBUTION))
                continue
            # Of several names for one thing, the one that is most like it.
            name = min(distributions, key=lambda name: (name not in item.name and item.name not in name, len(name)))
            pypi.setdefault(name, []).append((item, name))
        else:
            pypi.setdefault(canonicalize_name(item.name), []).append((item, item.name))
    conda = {"python": conda.pop("python", [f"python={target.python}"]), **conda}
    have = ask(tuple(pypi)) if ask else {}
    tags = supported_tags(target.python, target.platform, _glibc(target.glibc)) if ask else {}
    asked: list[str] = []
    limits: list[str] = []
    for name, items in pypi.items():
        of_index = project(have[name], tags, target.python) if ask else None
        text, more = _requirement(name, items, of_index)
        rows += more
        # Another name for the same version is nothing lost.
        kept += 0 if more else len(items)
        if text:
            (limits if all(item.limit for item, _ in items) else asked).append(text)
    return Imported(
        target=target,
        form=foreign.form,
        channels=tuple(channels),
        conda=tuple(dict.fromkeys(spec for specs in conda.values() for spec in specs)),
        pypi=tuple(asked),
        constraints=tuple(limits),
        kept=kept,
        rows=tuple(rows),
    )


def _glibc(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _channels(foreign: Foreign, target: Target) -> tuple[list[str], list[Row]]:
    """Return the environment's channels, and what is told of those of the file that are not among them."""
    kept: list[str] = []
    rows = []
    for at, text in enumerate(foreign.channels):
        channel = without_login(text.rstrip("/"))
        became, why = "", ""
        if channel == "nodefaults":
            # conda's word against channels of its own settings, of which nothing is taken here.
            kept += [channel] if target.channel != "local" else []
            continue
        if target.channel == "local":
            became = "local"
            why = "conda brings the interpreter alone, from there; --channel conda-forge keeps channels and packages"
        elif channel in UNCLEAR:
            why = "which channels it means is a setting of each machine: add the URLs of those that are meant"
        elif channel == "local":
            why = "it is a folder of the machine where packages were built, and here the name of another channel"
        elif channel.startswith((".", "/", "~")):
            why = "it is a folder of one machine: give it a name and `lock` its folder, --channel-dir NAME=FOLDER"
        else:
            kept.append(channel)
            became = channel
            if channel != text.rstrip("/"):
                why = "a login is not part of an environment: put it into ~/.rattler/credentials.json"
        if why:
            rows.append(Row(what=without_login(text), where=f"channels[{at}]", became=became, why=why))
    if not set(kept) - {"nodefaults"}:
        kept.insert(0, target.channel)
    return list(dict.fromkeys(kept)), rows


def _of_channel(item: Item, channels: list[str]) -> tuple[str, Row | None]:
    """Return a match spec, and what is told of the one channel that it may come from, which is added if it is new.

    Where there is one channel alone, it need not be named.
    """
    place, colons, rest = item.text.partition("::")
    if not colons or "[" in place or " " in place.strip():
        return item.text, None
    channel = without_login(place.strip())
    named = re.sub(r"/(?:noarch|linux-\w+)$", "", channel)
    if named in channels:
        return (item.text.strip() if set(channels) - {named, "nodefaults"} else rest.strip()), None
    channels.append(named)
    spec = f"{channel}::{rest.strip()}"
    return spec, Row(what=item.text, where=item.where, became=spec, why=f"`{named}` is added to channels, as the last")


def _python(item: Item, target: Target, channels: list[str]) -> tuple[str, Row | None]:
    """Return the match spec for the interpreter, and what is told of it."""
    if target.channel != "local":
        return _of_channel(item, channels)
    spec = f"python={target.python}"
    # A series is what can be kept: the channel has one version of it.
    if SpecifierSet(item.bounds).contains(target.python + ".99") and not item.lost:
        return spec, None
    why = f"the channel {target.channel} has Python {target.python}; --channel names another one"
    return spec, Row(what=item.text, where=item.where, became=spec, why=why)


def _requirement(name: str, items: Sequence[tuple[Item, str]], have: IndexProject | None) -> tuple[str, list[Row]]:
    """Return one requirement for all that asks for a project, and what of it could not be kept."""
    rows = []
    bounds = SpecifierSet(",".join(dict.fromkeys(item.bounds for item, _ in items if item.bounds)))
    extras = sorted({extra for item, _ in items for extra in item.extras})
    markers = {item.marker for item, _ in items}
    first, written = items[0]
    suffix = f"[{','.join(extras)}]" if extras else ""
    text = f"{written if first.side == 'pypi' else name}{suffix}"
    if have is not None:
        why = have.why_not(bounds)
        if why and not have.versions:
            return "", [Row(what=item.text, where=item.where, became="", why=why) for item, _ in items]
        if why:
            # What is newer than the version that was asked for is nearer to it than what is older.
            bounds = have.nearest(bounds)
            rows += [Row(what=item.text, where=item.where, became=f"{text}{bounds}", why=why) for item, _ in items]
    for item, _ in items:
        if item.lost:
            rows.append(Row(what=item.text, where=item.where, became=f"{text}{bounds}", why=item.lost))
        elif "*" in item.build:
            why = f"wheels have no build `{item.build}`; pick the variant by its package on PyPI"
            rows.append(Row(what=item.text, where=item.where, became=f"{text}{bounds}", why=why))
    marker = f"; {markers.pop()}" if len(markers) == 1 and "" not in markers else ""
    return str(Requirement(f"{text}{bounds}{marker}")), rows
