"""Choose conda packages from several channels, wherever they are: rattler's gateway reads what it needs of each.

It reads sharded indexes, else compressed ones, else plain ones, and keeps them in the store. Channels have strict
priority: a package is taken from the first channel that has one of its name, even if a later one has a newer version.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.http import without_login
from ..core.words import plural
from .channels import Places
from .lock import CondaPackage, package_url
from .solve import ask, kept, package_of, unusable
from .spec import Refused, advice, among

#: What rattler says -> what it means and the way out.
_REASONS = (
    ("(401 ", "it wants a login", "give one in ~/.rattler/credentials.json or ~/.netrc"),
    ("(403 ", "it refuses this login", "check the login in ~/.rattler/credentials.json or ~/.netrc"),
    ("(404 ", "it has no index there", ""),
    ("parse", "its index is damaged or cut", "ask for it again later, or name another mirror"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of channels.

    Attributes:
        specs: conda match specs as in environment.yml, also ``channel::package``.
        channels: names as locks have them, the first has priority.
        folders: a channel's name -> a folder that stands for it, instead of its addresses.
        places: where the other channels are.
        platform: e.g. ``linux-64``.
        virtual_packages: name -> version; no others exist.
        locked: chosen again where that is possible.
        pinned: chosen as they are, or the solve fails.
        exclude_newer: packages made after this moment, or with no time at all, do not exist.
        cache: a folder for the channels' indexes.
        where: the file that has specs and channels, for messages.
    """

    specs: Sequence[str]
    channels: Sequence[str]
    folders: dict[str, Path]
    places: Places
    platform: str
    virtual_packages: dict[str, str]
    locked: Sequence[CondaPackage]
    pinned: Sequence[CondaPackage]
    exclude_newer: datetime | None
    cache: Path
    where: str


def solve_channels(question: Question) -> tuple[tuple[CondaPackage, ...], int]:
    """Return the packages that answer, sorted by name, and the newest one's time in seconds since 1970 UTC.

    Raises:
        HelioError: not satisfiable (with the solver's explanation), a bad spec, or channels that cannot be read: all
            of them, with their addresses and without their logins.
    """
    understood, refused = [], []
    for spec in question.specs:
        try:
            understood.append(
                among(spec, lambda text: question.places.name(text, question.where), tuple(question.channels))
            )
        except Refused as error:
            refused.append((error.spec, error.reason, error.hint))
    if refused:
        raise unusable(refused, question.where)
    answer = ask(
        {
            "specs": [spec for spec, _ in understood],
            "of": [name for _, name in understood],
            "channels": [[name, list(_addresses(question, name))] for name in question.channels],
            "platform": question.platform,
            "virtual_packages": question.virtual_packages,
            "locked": [[package.name, package.sha256] for package in question.locked],
            "pinned": [[package.name, package.sha256] for package in question.pinned],
            "exclude_newer": question.exclude_newer.timestamp() if question.exclude_newer else None,
            "cache": str(question.cache),
            "progress": sys.stderr.isatty(),
        },
        ", ".join(question.channels),
    )
    if "unreachable" in answer:
        raise _unreachable(answer["unreachable"], question.where)
    if "unsatisfiable" in answer:
        names = ", ".join(f"`{name}`" for name in question.channels)
        raise HelioError(
            Stage.LOCK,
            f"no set of packages of the conda channels {names} answers {', '.join(f'`{s}`' for s in question.specs)}",
            where=question.where,
            detail=without_login(answer["unsatisfiable"].strip()),
            hint="a package comes from the first channel that has its name: change the order of channels, write "
            "`channel::package`, or loosen the conda section of environment.yml",
        )
    if "unusable" in answer:
        raise unusable([(spec, why.strip(), advice(spec)) for spec, why in answer["unusable"]], question.where)
    packages = []
    for item in answer["packages"]:
        # What lies where its channel says has no host in the lock; `base_url` of an index may say another place.
        item["url"] = (
            package_url(item["channel"], item["subdir"], item["file_name"])
            if item["there"]
            else without_login(item["url"])
        )
        packages.append(package_of(item, item["channel"], question.platform))
    kept(packages, question.pinned, ", ".join(question.channels))
    return tuple(sorted(packages, key=lambda package: package.name)), max(
        (item["timestamp"] for item in answer["packages"]), default=0
    )


def _addresses(question: Question, channel: str) -> tuple[str, ...]:
    if channel in question.folders:
        return (question.folders[channel].resolve().as_uri(),)
    return question.places.addresses(channel)


def _unreachable(faults: Sequence[tuple[str, Sequence[tuple[str, str]]]], where: str) -> HelioError:
    lines, hints = [], []
    for name, tried in faults:
        for address, why in tried:
            text = " ".join(without_login(why).split())
            meaning, hint = next(((m, h) for word, m, h in _REASONS if word in text), ("", ""))
            lines.append(f"`{name}` at {without_login(address)}: {meaning + ': ' if meaning else ''}{text}")
            hints.append(hint)
    hints.append("say in ~/.condarc where the channel is (custom_channels, mirrored_channels)")
    hints.append("check its name under channels, or give its folder with --channel-dir NAME=FOLDER")
    names = ", ".join(f"`{name}`" for name, _ in faults)
    return HelioError(
        Stage.LOCK,
        f"cannot read the conda {plural(len(faults), 'channel')} {names}",
        where=f"{where} at channels",
        detail="\n".join(lines),
        hint="; ".join(hint for hint in dict.fromkeys(hints) if hint),
    )
