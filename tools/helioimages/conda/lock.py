"""The conda part of an environment's lock: ``conda-lock.yml``, version 1.

The file is one that stock conda-lock and micromamba read. What that format has no field for is kept in its
``metadata.custom_metadata``, a mapping of text to text:

* ``size:<subdir>/<file>``: the package's size in bytes;
* ``depends:<subdir>/<file>``: the package's dependencies as JSON, where the mapping of name to constraint that the
  format has cannot hold them (two constraints on one name);
* ``virtual:<platform>:<name>``: a virtual package that the solver was told of, and its version;
* ``clobber:<platform>:<path>``: who wins a path that several packages bring, and whom it is taken from;
* ``script:<platform>:<name>``: sha256 of a package's script that people read; of two (pre-link and post-link), both;
* ``ran:<platform>:<name>``: sha256 of what that script wrote, where it was run (see captured.py);
* ``channel:<subdir>/<file>``: the package's channel, where a lock is of several and the URL does not begin with it;
* ``at:<subdir>/<file>``: where the package lies, where its channel's index says another place (``base_url``): relative
  to the channel's folder ``<subdir>/``, e.g. ``../pkgs/x-1-0.conda``, else a URL.

A package has the URL ``<channel>/<subdir>/<file>``, e.g. ``local/noarch/x-1-0.conda``: no host and no folder of any
machine, unless environment.yml itself gives the channel as a URL. conda-lock takes channel and platform from its last
parts. A package that its channel's index says lies on another host has its genuine URL, if that ends like this.

Spec: conda-lock 4.0, ``conda_lock/lockfile/v1/models.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import yaml
from packageurl import PackageURL

from ..core.digest import is_hex
from ..core.errors import HelioError, Stage
from ..core.platform import Subdir
from ..core.reading import SHA256, Form, Shape, Table, load_yaml

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MD5 = Shape.of(r"[0-9a-f]{32}", "32 lower-case hexadecimal digits")
_FORM = Form(
    stage=Stage.LOCK,
    message="`{file}` is not a lock that this version reads",
    hint="do not edit locks; run `buildimages lock`",
    strange="do not edit locks; run `buildimages lock`",
    comma=False,
)
_PLACE = re.compile(r"[^\s?#]+")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-+!~]*(\.conda|\.tar\.bz2)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """One locked conda package, for one platform.

    Attributes:
        name, version, build: as in the package's index.
        platform: what it was locked for, e.g. ``linux-64``.
        subdir: the channel's folder that it is in: ``platform`` or ``noarch``.
        channel: the channel's name, e.g. ``local``.
        file_name: e.g. ``python-3.13.5-h1_0.conda``.
        url: ``<channel>/<subdir>/<file_name>``, or the genuine URL.
        sha256, md5: lower-case hexadecimal digits.
        size: bytes; None when the channel does not tell.
        depends: match specs, e.g. ``libzlib >=1.3``.
        purls: what it is elsewhere, e.g. ``pkg:pypi/torch``, where the channel says it.
        at: where it lies, as a reference that is relative to the channel's folder ``<subdir>/``; empty where that is
            its file name, or where ``url`` says it.
    """

    name: str
    version: str
    build: str
    platform: Subdir
    subdir: str
    channel: str
    file_name: str
    url: str
    sha256: str
    md5: str
    size: int | None
    depends: tuple[str, ...]
    purls: tuple[str, ...] = ()
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaLock:
    """A whole conda lock.

    Attributes:
        channels: what packages may come from, the first has priority: names, or URLs that have none.
        platforms: conda's platforms, sorted.
        packages: sorted by platform and name.
        content_hash: of what was asked for; 64 hexadecimal digits.
        virtual_packages: platform -> virtual package -> version (``x86_64`` and the like for ``__archspec``).
        timestamp: seconds since 1970 (UTC); becomes SOURCE_DATE_EPOCH.
        clobbers: platform -> path in the prefix -> ``winner over loser, loser``: names of packages.
        scripts: platform -> package -> sha256 of each of its scripts that an installer would run and that people read,
            sorted.
        ran: platform -> package -> sha256 of what that script wrote, of those that were run; the others are only files.
    """

    channels: tuple[str, ...]
    platforms: tuple[Subdir, ...]
    packages: tuple[CondaPackage, ...]
    content_hash: str
    virtual_packages: Mapping[str, Mapping[str, str]]
    timestamp: int
    clobbers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    scripts: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    ran: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        """The channels in one word, for labels and messages."""
        return ",".join(self.channels)

    def reviewed(self, subdir: Subdir) -> frozenset[str]:
        """Return the sha256 of all scripts of one platform that people read."""
        return frozenset(sha256 for digests in self.scripts.get(subdir, {}).values() for sha256 in digests)

    def for_platform(self, platform: Subdir) -> tuple[CondaPackage, ...]:
        """Return the packages of one platform, sorted by name.

        Raises:
            HelioError: the lock has no such platform.
        """
        if platform not in self.platforms:
            raise HelioError(
                Stage.LOCK,
                f"the conda lock has no platform `{platform}`",
                detail=f"expected one of {', '.join(self.platforms)}",
                hint=f"run `buildimages lock --platform {platform}`",
            )
        return tuple(package for package in self.packages if package.platform == platform)


def settled(old: CondaLock | None, new: CondaLock) -> CondaLock:
    """Return ``new`` with the old one's time where the packages are the same.

    A lock file, and the images' time with it, changes only when packages do: a channel may be indexed again, or not be
    whole, and tell other times.
    """
    if old is not None and old.packages == new.packages:
        return replace(new, timestamp=old.timestamp)
    return new


def package_url(channel: str, subdir: str, file_name: str) -> str:
    """Return a package's URL in a lock: it begins with the channel's name, and what that means is asked later."""
    return f"{channel}/{subdir}/{file_name}"


def dump(lock: CondaLock) -> str:
    """Return the lock as YAML; equal locks give equal text."""
    custom: dict[str, str] = {}
    for platform, packages in lock.virtual_packages.items():
        custom |= {f"virtual:{platform}:{name}": version for name, version in packages.items()}
    for platform, paths in lock.clobbers.items():
        custom |= {f"clobber:{platform}:{path}": text for path, text in paths.items()}
    for platform, names in lock.scripts.items():
        custom |= {f"script:{platform}:{name}": " ".join(digests) for name, digests in names.items()}
    for platform, written in lock.ran.items():
        custom |= {f"ran:{platform}:{name}": sha256 for name, sha256 in written.items()}
    records = []
    for package in sorted(lock.packages, key=_order):
        where = f"{package.subdir}/{package.file_name}"
        if package.size is not None:
            custom[f"size:{where}"] = str(package.size)
        if package.url != package_url(package.channel, package.subdir, package.file_name) and len(lock.channels) > 1:
            custom[f"channel:{where}"] = package.channel
        if package.at:
            custom[f"at:{where}"] = package.at
        dependencies = _constraints(package.depends)
        if _depends(dependencies) != package.depends:
            custom[f"depends:{where}"] = json.dumps(package.depends)
        if package.purls:
            custom[f"purls:{where}"] = " ".join(package.purls)
        records.append(
            {
                "name": package.name,
                "version": package.version,
                "build": package.build,
                "manager": "conda",
                "platform": package.platform,
                "dependencies": dependencies,
                "url": package.url,
                "hash": {"md5": package.md5, "sha256": package.sha256},
                "category": "main",
                "optional": False,
            }
        )
    metadata = {
        "content_hash": dict.fromkeys(sorted(lock.platforms), lock.content_hash),
        "channels": [{"url": channel, "used_env_vars": []} for channel in lock.channels],
        "platforms": sorted(lock.platforms),
        "sources": ["environment.yml"],
        "time_metadata": {"created_at": datetime.fromtimestamp(lock.timestamp, UTC).strftime(_TIME)},
        "custom_metadata": dict(sorted(custom.items())),
    }
    document = {"version": 1, "metadata": metadata, "package": records}
    head = (
        "# Written by `buildimages lock`; do not edit. conda-lock and micromamba read it as well (format version 1).\n"
    )
    return head + yaml.dump(document, Dumper=_LockDumper, sort_keys=False, width=10_000, allow_unicode=True)


class _LockDumper(yaml.SafeDumper):
    """YAML without anchors: a reader of a diff should not have to look a value up."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _order(package: CondaPackage) -> tuple[str, str]:
    return package.platform, package.name


def _constraints(depends: Iterable[str]) -> dict[str, str]:
    """Return name -> constraint, the first of each name (which is what conda-lock can say)."""
    constraints: dict[str, str] = {}
    for spec in depends:
        name, _, rest = spec.partition(" ")
        constraints.setdefault(name, rest)
    return constraints


def _depends(constraints: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name} {constraint}" if constraint else name for name, constraint in constraints.items())


def parse(text: str, where: str) -> CondaLock:
    """Read a lock that ``dump`` wrote. Anything not understood is an error.

    Args:
        text: YAML.
        where: the file's name, for messages.

    Raises:
        HelioError: with the file and the key path.
    """
    top = load_yaml(text, where, _FORM)
    top.version("version", 1)
    metadata, records = top.table("metadata", required=True), top.tables("package", required=True)
    top.done()
    hashes = metadata.mapping("content_hash")
    named = _channels(metadata)
    platforms = tuple(Subdir(word) for word in metadata.strings("platforms", required=True))
    if not platforms or platforms != tuple(sorted(set(platforms))):
        raise metadata.error("platforms", "expected platforms, sorted and each once")
    texts = set(hashes.values())
    if set(hashes) != set(platforms) or len(texts) != 1 or not is_hex(min(texts)):
        raise metadata.error("content_hash", "expected one hash of 64 hexadecimal digits, given for each platform")
    if (sources := list(metadata.strings("sources", required=True))) != ["environment.yml"]:
        raise metadata.wrong("sources", "['environment.yml']", sources)
    time = metadata.table("time_metadata", required=True)
    created = time.text("created_at")
    try:
        timestamp = int(datetime.strptime(created, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise time.wrong("created_at", "a time such as 2026-11-21T00:00:00Z", created) from None
    time.done()
    custom = _Custom(metadata)
    metadata.done()
    virtual: dict[str, dict[str, str]] = {platform: {} for platform in platforms}
    for key in [key for key in custom.values if key.startswith("virtual:")]:
        platform, _, name = key.removeprefix("virtual:").partition(":")
        if platform not in virtual or not name.startswith("__"):
            raise custom.error(key, "expected virtual:<platform>:__<name>")
        virtual[platform][name] = custom.values[key]
        custom.used.add(key)
    packages = tuple(_package(record, named, platforms, custom) for record in records)
    clobbers = _clobbers(custom, packages)
    scripts = _digests("script", custom, packages)
    ran = {
        platform: {name: digests[0] for name, digests in names.items()}
        for platform, names in _digests("ran", custom, packages, most=1).items()
    }
    for platform, names in ran.items():
        if other := names.keys() - scripts.get(platform, {}).keys():
            raise custom.error(f"ran:{platform}:{min(other)}", "expected the script too, as script:<platform>:<name>")
    for key in custom.values.keys() - custom.used:
        raise metadata.strange(f"custom_metadata.{key}")
    keys = [_order(package) for package in packages]
    for index, order in enumerate(keys):
        if index and order <= keys[index - 1]:
            raise records[index].error("name", f"expected packages sorted, each once: {order[1]} is out of order")
    return CondaLock(
        channels=named,
        platforms=platforms,
        packages=packages,
        content_hash=min(texts),
        virtual_packages={platform: versions for platform, versions in virtual.items() if versions},
        timestamp=timestamp,
        clobbers=clobbers,
        scripts=scripts,
        ran=ran,
    )


class _Custom:
    """``custom_metadata``: several records may ask for one key, since a noarch file is locked for each platform."""

    def __init__(self, metadata: Table) -> None:
        self.values, self.used = metadata.mapping("custom_metadata"), set[str]()
        self._metadata = metadata

    def get(self, key: str) -> str | None:
        self.used.add(key)
        return self.values.get(key)

    def error(self, key: str, detail: str) -> HelioError:
        return self._metadata.error(f"custom_metadata.{key}", detail)


def _clobbers(custom: _Custom, packages: Iterable[CondaPackage]) -> dict[str, dict[str, str]]:
    """Return who wins which path, where packages bring different files of it."""
    names: dict[str, set[str]] = {}
    for package in packages:
        names.setdefault(package.platform, set()).add(package.name)
    virtual: dict[str, dict[str, str]] = {}
    for key in [key for key in custom.values if key.startswith("clobber:")]:
        platform, _, path = key.removeprefix("clobber:").partition(":")
        winner, over, losers = custom.values[key].partition(" over ")
        sides = (winner, *losers.split(", "))
        if not path or not over or len(set(sides)) < len(sides) or not names.get(platform, set()).issuperset(sides):
            raise custom.error(
                key, f"expected `winner over loser, loser`, all of them packages, not {custom.values[key]!r}"
            )
        virtual.setdefault(platform, {})[path] = custom.values[key]
        custom.used.add(key)
    return virtual


def _digests(
    word: str, custom: _Custom, packages: Iterable[CondaPackage], *, most: int = 2
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return platform -> package -> digests, of the keys ``<word>:<platform>:<package>``."""
    names = {(package.platform, package.name) for package in packages}
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    for key in [key for key in custom.values if key.startswith(f"{word}:")]:
        platform, _, name = key.removeprefix(f"{word}:").partition(":")
        text = custom.values[key]
        digests = text.split(" ")
        sound = digests == sorted(set(digests)) and len(digests) <= most and all(is_hex(sha256) for sha256 in digests)
        if (platform, name) not in names or not sound:
            raise custom.error(key, f"expected a package's name, and 64 lower-case hexadecimal digits, not {text!r}")
        table.setdefault(platform, {})[name] = tuple(digests)
        custom.used.add(key)
    return table


def _channels(metadata: Table) -> tuple[str, ...]:
    unknown: list[str] = []
    for table in metadata.tables("channels", required=True):
        if (channel := table.text("url")) in unknown:
            raise table.error("url", f"expected each channel once: {channel} is given twice")
        if used := table.take("used_env_vars", list):
            raise table.wrong("used_env_vars", "[]", used)
        table.done()
        unknown.append(channel)
    if not unknown:
        raise metadata.wrong("channels", "one channel or more", 0)
    return tuple(unknown)


def _package(record: Table, channels: tuple[str, ...], platforms: tuple[Subdir, ...], custom: _Custom) -> CondaPackage:
    if (manager := record.text("manager")) != "conda":
        raise record.wrong("manager", "conda", manager)
    if (category := record.text("category")) != "main" or record.flag("optional"):
        raise record.error("category", f"expected main, not optional, not {category}")
    url = record.text("url")
    subdir, _, file_name = url.rpartition("/")
    subdir = subdir.rpartition("/")[2]
    platform = Subdir(record.text("platform"))
    if platform not in platforms:
        raise record.wrong("platform", f"one of {', '.join(platforms)}", platform)
    if subdir not in (platform, "noarch") or not _FILE.fullmatch(file_name):
        raise record.wrong("url", f"…/{platform}/<file> or …/noarch/<file>", url)
    key = f"{subdir}/{file_name}"
    channel = next((base for base in channels if url == package_url(base, subdir, file_name)), "")
    if not channel and "://" not in url:
        raise record.wrong("url", " or ".join(package_url(base, subdir, file_name) for base in channels), url)
    if not channel and (channel := channels[0] if len(channels) == 1 else custom.get(f"channel:{key}") or "") == "":
        raise record.error("url", "expected the channel's name in it, or in metadata.custom_metadata")
    if channel not in channels:
        raise custom.error(f"channel:{key}", f"expected one of {', '.join(channels)} not {channel}")
    hashes = record.table("hash", required=True)
    sha256, md5 = hashes.text("sha256", shape=SHA256), hashes.text("md5", shape=_MD5)
    hashes.done()
    size = custom.get(f"size:{key}")
    if size is not None and not re.fullmatch(r"[1-9][0-9]{0,17}|0", size):
        raise custom.error(f"size:{key}", f"expected a number of bytes not {size}")
    package = CondaPackage(
        name=record.text("name"),
        version=record.text("version"),
        build=record.text("build"),
        platform=platform,
        subdir=subdir,
        channel=channel,
        file_name=file_name,
        url=url,
        sha256=sha256,
        md5=md5,
        size=None if size is None else int(size),
        depends=_read_depends(record, custom, f"depends:{key}"),
        purls=_read_purls(custom, f"purls:{key}"),
        at=_read_at(custom, f"at:{key}", file_name),
    )
    record.done()
    return package


def _read_purls(custom: _Custom, key: str) -> tuple[str, ...]:
    purls = tuple((custom.get(key) or "").split())
    for text in purls:
        try:
            PackageURL.from_string(text)
        except ValueError:
            raise custom.error(key, f"expected package URLs, not {text!r}") from None
    return purls


def _read_at(custom: _Custom, key: str, file_name: str) -> str:
    at = custom.get(key)
    if at is not None and (not _PLACE.fullmatch(at) or unquote(at.rpartition("/")[2]) != file_name or at == file_name):
        raise custom.error(key, f"expected another place of {file_name}, not {at!r}")
    return at or ""


def _read_depends(record: Table, custom: _Custom, key: str) -> tuple[str, ...]:
    constraints = record.mapping("dependencies")
    if (exact := custom.get(key)) is None:
        return _depends(constraints)
    try:
        depends = json.loads(exact)
    except (ValueError, RecursionError):
        depends = None
    if not isinstance(depends, list) or not all(isinstance(spec, str) for spec in depends):
        raise custom.error(key, "expected a JSON list of match specs")
    if _constraints(depends) != constraints:
        raise custom.error(key, "expected the same constraints as the package's dependencies")
    return tuple(depends)
