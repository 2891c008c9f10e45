"""Choose conda packages from several channels, wherever they are: rattler's gateway reads what it needs of each.

It reads sharded indexes, else compressed ones, else plain ones, and keeps them in the store. Channels have strict
priority: a package is taken from the first channel that has one of its name, even if a later one has a newer version.
"""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.errors import HelioError, Stage
from ..core.http import without_login
from ..core.words import plural
from .channels import ChannelPlaces
from .lock import CondaPackage, package_url
from .solve import ChosenPackage, CondaQuestion, absent_hint, ask, kept, package_of, refuse_unusable, unusable
from .spec import Refused, among

#: What rattler says -> what it means and the way out.
_REASONS = (
    ("(401 ", "it wants a login", "give one in ~/.rattler/credentials.json or ~/.netrc"),
    ("(403 ", "it refuses this login", "check the login in ~/.rattler/credentials.json or ~/.netrc"),
    (
        "(404 ",
        "it has no index there of those that are read: repodata_shards.msgpack.zst, repodata.json.zst, "
        "repodata.json.bz2, repodata.json",
        "",
    ),
    ("repodata_version", "its index is newer than what is understood", "update helioimages, or name another mirror"),
    # rattler does not say what was wrong with the connection.
    (
        "error sending request",
        "no connection",
        "where a proxy reads HTTPS, SSL_CERT_FILE names its authority",
    ),
    ("No such file", "it has no index there", "give a folder that has noarch/repodata.json"),
    ("parse", "its index is damaged or cut", "ask for it again later, or name another mirror"),
)


#: How a file is unpacked, by the end of its name, and kept.
_UNPACK = {"zst": "zstd -d", "bz2": "bunzip2 -k", "gz": "gunzip -k"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Who is asked.

    Attributes:
        names: as locks have them, the first has priority.
        strict: a package comes from the first channel that has its name, else the best of all channels is taken.
        folders: a channel's name -> a folder that stands for it, instead of its addresses.
        places: where the other channels are.
        cache: a folder for the channels' indexes.
    """

    names: Sequence[str]
    strict: bool
    folders: Mapping[str, Path]
    places: ChannelPlaces
    cache: Path

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a channel, best first, logins included: not for locks, logs or messages."""
        if name in self.folders:
            return (self.folders[name].resolve().as_uri(),)
        return self.places.addresses(name)


def solve_channels(question: CondaQuestion, channels: Channels) -> tuple[tuple[CondaPackage, ...], int]:
    """Return the packages that answer, sorted by name, and the newest one's time in seconds since 1970 UTC.

    Args:
        question: its specs may be ``channel::package`` too.

    Raises:
        HelioError: not satisfiable (with the solver's explanation), a bad spec, or channels that cannot be read: all
            of them, with their addresses and without their logins.
    """
    understood, refused = [], []
    for spec in question.specs:
        try:
            understood.append(
                among(spec, lambda text: channels.places.name(text, question.where), tuple(channels.names))
            )
        except Refused as error:
            refused.append((error.spec, error.reason, error.hint))
    if refused:
        raise unusable(refused, question.where)
    request = question.request() | {
        "specs": [spec for spec, _ in understood],
        "of": [name for _, name in understood],
        "channels": [
            [name, [list(channels.places.of_port(url)) for url in channels.addresses(name)]] for name in channels.names
        ],
        "strict": channels.strict,
        "cache": str(channels.cache),
        "progress": sys.stderr.isatty(),
    }
    _refuse_packed(channels, question)
    answer = ask(request, ", ".join(channels.names))
    if "unreachable" in answer.names():
        raise _unreachable(answer.take("unreachable", list), question.where)
    if "unsatisfiable" in answer.names():
        names = ", ".join(f"`{name}`" for name in channels.names)
        raise HelioError(
            Stage.LOCK,
            f"no set of packages of the conda channels {names} answers {', '.join(f'`{s}`' for s in question.specs)}",
            where=question.where,
            detail=without_login(answer.text("unsatisfiable").strip()),
            hint=_hint(answer.take("absent", list), channels),
        )
    refuse_unusable(answer, question.where)
    chosen = [ChosenPackage.of(table) for table in answer.tables("packages", required=True)]
    packages = []
    for package in chosen:
        url, at = _place(package)
        packages.append(package_of(replace(package, url=url), package.channel, question.platform, at=at))
    kept(packages, question.pinned, ", ".join(channels.names))
    newest = max((package.timestamp for package in chosen), default=0)
    return tuple(sorted(packages, key=lambda package: package.name)), newest


def _place(package: ChosenPackage) -> tuple[str, str]:
    """Return ``url`` and ``at`` of a lock: without a host, unless the channel's index names another one."""
    url, name = without_login(package.url), package.file_name
    written = package_url(package.channel, package.subdir, name)
    there, folder = urlsplit(url), urlsplit(f"{package.base}/{package.subdir}")
    if (there.scheme, there.netloc) == (folder.scheme, folder.netloc) and not there.query:
        at = posixpath.relpath(there.path, folder.path)
        return written, "" if unquote(at) == name else at
    if there.path.endswith(f"/{package.subdir}/{name}") and not there.query:
        return url, ""
    return written, url


def _refuse_packed(channels: Channels, question: CondaQuestion) -> None:
    """Refuse folders whose index is only there compressed: rattler would take them for empty.

    Raises:
        HelioError: names the first one.
    """
    for name in channels.names:
        for address in channels.addresses(name):
            parts = urlsplit(address)
            for subdir in (question.platform, "noarch") if parts.scheme == "file" else ():
                folder = Path(unquote(parts.path), subdir)
                packed = sorted(path.name for path in folder.glob("repodata*.json.*"))
                if packed and not (folder / "repodata.json").exists():
                    raise HelioError(
                        Stage.LOCK,
                        f"the folder of the conda channel `{name}` has its index only compressed",
                        where=f"{folder}/{packed[0]}",
                        detail="expected repodata.json; compressed indexes are read over http",
                        hint=f"unpack it: `{_UNPACK.get(packed[0].rpartition('.')[2], 'zstd -d')} {packed[0]}`",
                    )


def _hint(absent: Sequence[Sequence[str]], channels: Channels) -> str:
    """Return the way out where nothing answers.

    Args:
        absent: as `solve.absent_hint` takes it.
    """
    if absent:
        return absent_hint(absent)
    hint = "loosen the conda section of environment.yml"
    if not channels.strict or len(channels.names) == 1:
        return hint
    return (
        "a package comes from the first channel that has its name: change the order of channels, write "
        f"`channel::package` or `channel-priority: disabled` under x-helioimages, or {hint}"
    )


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
