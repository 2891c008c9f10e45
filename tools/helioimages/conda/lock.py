"""The conda part of an environment's lock: ``conda-lock.yml``, version 1.

The file is one that stock conda-lock and micromamba read. What that format has no field for is kept in its
``metadata.custom_metadata``, a mapping of text to text:

* ``size:<subdir>/<file>``: the package's size in bytes;
* ``depends:<subdir>/<file>``: the package's dependencies as JSON, where the mapping of name to constraint that the
  format has cannot hold them (two constraints on one name);
* ``virtual:<platform>:<name>``: a virtual package that the solver was told of, and its version.

A package of the ``local`` channel has the URL ``local/<subdir>/<file>``: no host and no folder of any machine. It is
relative to the folder in which the channel lies; conda-lock takes channel and platform from its last parts. A package
of another channel has its genuine URL.

Spec: conda-lock 4.0, ``conda_lock/lockfile/v1/models.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from ..core.digest import is_hex
from ..core.errors import HelioError, Stage

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MD5 = re.compile(r"[0-9a-f]{32}")
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
        url: ``local/<subdir>/<file_name>``, or the genuine URL.
        sha256, md5: lower-case hexadecimal digits.
        size: bytes; None when the channel does not tell.
        depends: match specs, e.g. ``libzlib >=1.3``.
    """

    name: str
    version: str
    build: str
    platform: str
    subdir: str
    channel: str
    file_name: str
    url: str
    sha256: str
    md5: str
    size: int | None
    depends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaLock:
    """A whole conda lock.

    Attributes:
        channel: the one channel that all packages come from.
        platforms: conda's platforms, sorted.
        packages: sorted by platform and name.
        content_hash: of what was asked for; 64 hexadecimal digits.
        virtual_packages: platform -> virtual package -> version (``x86_64`` and the like for ``__archspec``).
        timestamp: seconds since 1970 (UTC); becomes SOURCE_DATE_EPOCH.
    """

    channel: str
    platforms: tuple[str, ...]
    packages: tuple[CondaPackage, ...]
    content_hash: str
    virtual_packages: Mapping[str, Mapping[str, str]]
    timestamp: int

    def for_platform(self, platform: str) -> tuple[CondaPackage, ...]:
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


def package_url(channel: str, subdir: str, file_name: str) -> str:
    """Return the host-free URL of a package in a channel that has no place on the network."""
    return f"{channel}/{subdir}/{file_name}"


def dump(lock: CondaLock) -> str:
    """Return the lock as YAML; equal locks give equal text."""
    custom: dict[str, str] = {}
    for platform, packages in lock.virtual_packages.items():
        custom |= {f"virtual:{platform}:{name}": version for name, version in packages.items()}
    records = []
    for package in sorted(lock.packages, key=_order):
        where = f"{package.subdir}/{package.file_name}"
        if package.size is not None:
            custom[f"size:{where}"] = str(package.size)
        dependencies = _constraints(package.depends)
        if _depends(dependencies) != package.depends:
            custom[f"depends:{where}"] = json.dumps(package.depends)
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
        "channels": [{"url": lock.channel, "used_env_vars": []}],
        "platforms": sorted(lock.platforms),
        "sources": ["environment.yml"],
        "time_metadata": {"created_at": datetime.fromtimestamp(lock.timestamp, UTC).strftime(_TIME)},
        "custom_metadata": dict(sorted(custom.items())),
    }
    document = {"version": 1, "metadata": metadata, "package": records}
    head = (
        "# Written by `buildimages lock`; do not edit. conda-lock and micromamba read it as well (format version 1).\n"
    )
    return head + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a reader of a diff should not have to look a value up."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _order(package: CondaPackage) -> tuple[str, str]:
    return package.platform, package.name


def _constraints(depends: Iterable[str]) -> dict[str, str]:
    """Return name -> constraint, the first of each name (which is what conda-lock can say)."""
    found: dict[str, str] = {}
    for spec in depends:
        name, _, rest = spec.partition(" ")
        found.setdefault(name, rest)
    return found


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
    try:
        value = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise HelioError(
            Stage.LOCK, f"`{where}` is not YAML", where=where, detail=str(error), hint="run `buildimages lock`"
        ) from error
    top = _Reader(value, where, "")
    if (version := top.get("version", int)) != 1:
        raise top.wrong("version", f"expected 1 not {version}")
    metadata, records = top.child("metadata"), top.children("package")
    top.finish()
    hashes = metadata.get("content_hash", dict)
    channel = _channel(metadata)
    platforms = tuple(_texts(metadata, "platforms"))
    if not platforms or platforms != tuple(sorted(set(platforms))):
        raise metadata.wrong("platforms", "expected platforms, sorted and each once")
    texts = {str(text) for text in hashes.values()}
    if set(hashes) != set(platforms) or len(texts) != 1 or not is_hex(min(texts)):
        raise metadata.wrong("content_hash", "expected one hash of 64 hexadecimal digits, given for each platform")
    if (sources := _texts(metadata, "sources")) != ["environment.yml"]:
        raise metadata.wrong("sources", f"expected ['environment.yml'] not {sources}")
    time = metadata.child("time_metadata")
    created = time.get("created_at", str)
    try:
        timestamp = int(datetime.strptime(created, _TIME).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise time.wrong("created_at", f"expected a time such as 2026-11-21T00:00:00Z not {created}") from None
    time.finish()
    custom = metadata.child("custom_metadata")
    metadata.finish()
    virtual: dict[str, dict[str, str]] = {platform: {} for platform in platforms}
    for key in [key for key in custom.keys if key.startswith("virtual:")]:
        platform, _, name = key.removeprefix("virtual:").partition(":")
        if platform not in virtual or not name.startswith("__"):
            raise custom.wrong(key, "expected virtual:<platform>:__<name>")
        virtual[platform][name] = custom.get(key, str)
    packages = tuple(_package(record, channel, platforms, custom) for record in records)
    for record in records:
        record.finish()
    custom.finish()
    keys = [_order(package) for package in packages]
    for index, key in enumerate(keys):
        if index and key <= keys[index - 1]:
            raise records[index].wrong("name", f"expected packages sorted, each once: {key[1]} is out of order")
    return CondaLock(
        channel=channel,
        platforms=platforms,
        packages=packages,
        content_hash=min(texts),
        virtual_packages={platform: found for platform, found in virtual.items() if found},
        timestamp=timestamp,
    )


def _channel(metadata: _Reader) -> str:
    channels = metadata.children("channels")
    if len(channels) != 1:
        raise metadata.wrong("channels", f"expected one channel not {len(channels)}")
    channel = channels[0].get("url", str)
    if used := channels[0].get("used_env_vars", list):
        raise channels[0].wrong("used_env_vars", f"expected [] not {used}")
    channels[0].finish()
    return channel


def _texts(reader: _Reader, key: str) -> list[str]:
    values = reader.get(key, list)
    if not all(isinstance(value, str) for value in values):
        raise reader.wrong(key, "expected a list of str")
    return values


def _package(record: _Reader, channel: str, platforms: tuple[str, ...], custom: _Reader) -> CondaPackage:
    if (manager := record.get("manager", str)) != "conda":
        raise record.wrong("manager", f"expected conda not {manager}")
    if (category := record.get("category", str)) != "main" or record.get("optional", bool):
        raise record.wrong("category", f"expected main, not optional, not {category}")
    url = record.get("url", str)
    subdir, _, file_name = url.rpartition("/")
    subdir = subdir.rpartition("/")[2]
    platform = record.get("platform", str)
    if platform not in platforms:
        raise record.wrong("platform", f"expected one of {', '.join(platforms)} not {platform}")
    if subdir not in (platform, "noarch") or not _FILE.fullmatch(file_name):
        raise record.wrong("url", f"expected …/{platform}/<file> or …/noarch/<file> not {url}")
    if "://" not in url and url != package_url(channel, subdir, file_name):
        raise record.wrong("url", f"expected {package_url(channel, subdir, file_name)} not {url}")
    hashes = record.child("hash")
    sha256, md5 = hashes.get("sha256", str), hashes.get("md5", str)
    if not is_hex(sha256):
        raise hashes.wrong("sha256", f"expected 64 hexadecimal digits not {sha256}")
    if not _MD5.fullmatch(md5):
        raise hashes.wrong("md5", f"expected 32 hexadecimal digits not {md5}")
    hashes.finish()
    key = f"{subdir}/{file_name}"
    size = custom.optional(f"size:{key}", str)
    if size is not None and not re.fullmatch(r"[1-9][0-9]{0,17}|0", size):
        raise custom.wrong(f"size:{key}", f"expected a number of bytes not {size}")
    return CondaPackage(
        name=record.get("name", str),
        version=record.get("version", str),
        build=record.get("build", str),
        platform=platform,
        subdir=subdir,
        channel=channel,
        file_name=file_name,
        url=url,
        sha256=sha256,
        md5=md5,
        size=None if size is None else int(size),
        depends=_read_depends(record, custom, f"depends:{key}"),
    )


def _read_depends(record: _Reader, custom: _Reader, key: str) -> tuple[str, ...]:
    constraints = record.get("dependencies", dict)
    for name, constraint in constraints.items():
        if not isinstance(constraint, str):
            raise record.wrong(f"dependencies.{name}", f"expected str not {type(constraint).__name__}")
    if (exact := custom.optional(key, str)) is None:
        return _depends(constraints)
    try:
        depends = json.loads(exact)
    except json.JSONDecodeError:
        depends = None
    if not isinstance(depends, list) or not all(isinstance(spec, str) for spec in depends):
        raise custom.wrong(key, "expected a JSON list of match specs")
    if _constraints(depends) != constraints:
        raise custom.wrong(key, "expected the same constraints as the package's dependencies")
    return tuple(depends)


class _Loader(yaml.SafeLoader):
    """YAML that keeps times as text and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if strange := [key for key in keys if not isinstance(key, str)]:
            raise yaml.constructor.ConstructorError(None, None, f"the key {strange[0]!r} is not text", node.start_mark)
        if len(set(keys)) < len(keys):
            twice = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Reader:
    """Typed access to a mapping; ``finish`` refuses what nobody asked for."""

    def __init__(self, value: Any, where: str, path: str) -> None:
        self._where, self._path = where, path
        if not isinstance(value, dict):
            raise self.wrong("", f"expected a mapping not {type(value).__name__}")
        self._value, self._seen = value, set()

    @property
    def keys(self) -> list[str]:
        return [str(key) for key in self._value]

    def optional(self, key: str, kind: type) -> Any:
        self._seen.add(key)
        value = self._value.get(key)
        # bool is an int to Python, but not to a reader of the file.
        if value is not None and type(value) is not kind:
            raise self.wrong(key, f"expected {kind.__name__} not {type(value).__name__}")
        return value

    def get(self, key: str, kind: type) -> Any:
        if (value := self.optional(key, kind)) is None:
            raise self.wrong(key, f"expected {kind.__name__}, found nothing")
        return value

    def child(self, key: str) -> _Reader:
        return _Reader(self.get(key, dict), self._where, self._at(key))

    def children(self, key: str) -> list[_Reader]:
        return [
            _Reader(value, self._where, f"{self._at(key)}[{index}]") for index, value in enumerate(self.get(key, list))
        ]

    def finish(self) -> None:
        for key in self._value:
            if key not in self._seen:
                raise self.wrong(str(key), "not understood")

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path and key else self._path or key

    def wrong(self, key: str, detail: str) -> HelioError:
        return HelioError(
            Stage.LOCK,
            f"`{self._where}` is not a lock that this version reads",
            where=f"{self._where} at {self._at(key)}" if self._at(key) else self._where,
            detail=detail,
            hint="do not edit locks; run `buildimages lock`",
        )
