"""The PyPI part of an environment's lock: ``pylock.toml``.

A PEP 751 lock without hosts: a wheel is named by ``path`` (its file name), sha256 and size, and the configured index
supplies the address. A package that PyPI has as source only has its ``sdist``, and the wheel that the builder makes of
it is recorded in the package's ``tool.helioimages.built-wheel``.

Spec: PEP 751 / PyPA "pylock.toml Specification".
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from ..core.digest import is_hex
from ..core.errors import HelioError, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One locked wheel.

    Attributes:
        name: normalised as PEP 503 says.
        file_name: e.g. ``numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl``.
        sha256: 64 hexadecimal digits.
        size: bytes.
        uploaded: seconds since 1970 UTC, 0 where it is not known.
        built: made by the builder from the sdist of this name, not from the index.
    """

    name: str
    version: str
    file_name: str
    sha256: str
    size: int
    uploaded: int = 0
    built: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdist:
    """One locked source archive of a package without a wheel; attributes as in `Wheel`."""

    name: str
    version: str
    file_name: str
    sha256: str
    size: int
    uploaded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PyPILock:
    """A whole PyPI lock, for one platform.

    Attributes:
        python: e.g. ``3.13``.
        platform: e.g. ``linux/amd64``.
        content_hash: of what was asked for; 64 hexadecimal digits.
        timestamp: newest upload, seconds since 1970 UTC.
        wheels: sorted by name; those from the index and those that were built.
        sdists: sorted by name; every one has a wheel with ``built`` once the builder ran.
    """

    python: str
    platform: str
    content_hash: str
    wheels: tuple[Wheel, ...]
    sdists: tuple[Sdist, ...] = ()

    @property
    def timestamp(self) -> int:
        """The newest upload of all packages, seconds since 1970 UTC."""
        return max((item.uploaded for item in (*self.wheels, *self.sdists)), default=0)

    @property
    def unbuilt(self) -> tuple[Sdist, ...]:
        """The sdists whose wheel is not recorded yet."""
        have = {wheel.name for wheel in self.wheels}
        return tuple(sdist for sdist in self.sdists if sdist.name not in have)


def parse(text: str, where: str) -> PyPILock:
    """Read a ``pylock.toml`` that `dump` wrote.

    Args:
        where: how errors call the file.

    Raises:
        HelioError: not TOML, a key is missing or not understood, or a value is not what its key says.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _fault(where, "", str(error)) from error
    try:
        # The reference parser first: what it refuses, no other installer reads.
        Pylock.from_dict(document)
    except PylockValidationError as error:
        context = "lock-version" if isinstance(error, PylockUnsupportedVersionError) else error.context or ""
        raise _fault(where, context, error.message) from error
    top = _Reader(document, where, "")
    top.take("lock-version", str)
    top.take("created-by", str)
    top.take("requires-python", str)
    ours = _Reader(_Reader(top.take("tool", dict), where, "tool").take("helioimages", dict), where, "tool.helioimages")
    python, platform = ours.take("python", str), ours.take("platform", str)
    content_hash = ours.take("content-hash", str)
    ours.done()
    wheels: list[Wheel] = []
    sdists: list[Sdist] = []
    for index, row in enumerate(top.take("packages", list)):
        package = _Reader(row, where, f"packages[{index}]")
        name, version = package.take("name", str), package.take("version", str)
        if canonicalize_name(name) != name:
            raise _fault(where, f"packages[{index}].name", f"expected {canonicalize_name(name)!r} not {name!r}")
        for at, value in enumerate(package.take("wheels", list, [])):
            key = f"packages[{index}].wheels[{at}]"
            wheels.append(Wheel(name=name, version=version, **_file(value, where, key)))
            _check_wheel(wheels[-1], where, key)
        if (value := package.take("sdist", dict, None)) is not None:
            sdists.append(Sdist(name=name, version=version, **_file(value, where, f"packages[{index}].sdist")))
        if (tool := package.take("tool", dict, None)) is not None:
            key = f"packages[{index}].tool"
            ours_reader = _Reader(tool, where, key)
            built = _Reader(ours_reader.take("helioimages", dict), where, f"{key}.helioimages")
            value = built.take("built-wheel", dict)
            built.done()
            ours_reader.done()
            key += ".helioimages.built-wheel"
            wheels.append(Wheel(name=name, version=version, built=True, **_file(value, where, key)))
            _check_wheel(wheels[-1], where, key)
            if "sdist" not in row:
                raise _fault(where, f"packages[{index}].sdist", "expected the source of the built wheel, found nothing")
        package.done()
    top.done()
    names = [wheel.name for wheel in wheels]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise _fault(where, "packages", f"`{twice}` is there twice")
    return PyPILock(
        python=python, platform=platform, content_hash=content_hash, wheels=tuple(wheels), sdists=tuple(sdists)
    )


def dump(lock: PyPILock) -> str:
    """Return the file's text, one line a file, so that a git diff reads well."""
    lines = [
        "# Written by `buildimages lock`; do not edit. Files are named without a host: the configured index has them.",
        'lock-version = "1.0"',
        'created-by = "helioimages"',
        f"requires-python = {_text(f'=={lock.python}.*')}",
        *(() if lock.wheels or lock.sdists else ("packages = []",)),
        "",
        "[tool.helioimages]",
        f"python = {_text(lock.python)}",
        f"platform = {_text(lock.platform)}",
        f"content-hash = {_text(lock.content_hash)}",
    ]
    sdists = {sdist.name: sdist for sdist in lock.sdists}
    wheels = {wheel.name: wheel for wheel in lock.wheels}
    for name in sorted({**sdists, **wheels}):
        sdist, wheel = sdists.get(name), wheels.get(name)
        lines += ["", "[[packages]]", f"name = {_text(name)}", f"version = {_text((sdist or wheels[name]).version)}"]
        if sdist:
            lines.append(f"sdist = {_row(sdist)}")
        if wheel and wheel.built:
            lines.append(f"tool.helioimages.built-wheel = {_row(wheel)}")
        elif wheel:
            lines.append(f"wheels = [{_row(wheel)}]")
    return "\n".join(lines) + "\n"


def _row(item: Wheel | Sdist) -> str:
    time = datetime.fromtimestamp(item.uploaded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    uploaded = f"upload-time = {time}, " if item.uploaded else ""
    digest = f"hashes = {{ sha256 = {_text(item.sha256)} }}"
    return f"{{ path = {_text(item.file_name)}, size = {item.size}, {uploaded}{digest} }}"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which no name or version has.
    return json.dumps(value, ensure_ascii=False)


def _file(value: Any, where: str, key: str) -> dict[str, Any]:
    reader = _Reader(value, where, key)
    name, size = reader.take("path", str), reader.take("size", int)
    hashes = reader.take("hashes", dict)
    uploaded = reader._left.pop("upload-time", None)
    reader.done()
    if "/" in name or name in ("", ".", ".."):
        raise _fault(where, f"{key}.path", f"expected a file name not {name!r}")
    sha256 = hashes.get("sha256", "")
    if set(hashes) != {"sha256"} or not isinstance(sha256, str) or not is_hex(sha256):
        raise _fault(where, f"{key}.hashes", f"expected one sha256 of 64 hexadecimal digits, not {hashes!r}")
    seconds = int(uploaded.timestamp()) if uploaded is not None else 0
    return {"file_name": name, "size": size, "sha256": sha256, "uploaded": seconds}


def _check_wheel(wheel: Wheel, where: str, key: str) -> None:
    try:
        name, version, _, _ = parse_wheel_filename(wheel.file_name)
    except InvalidWheelFilename as error:
        raise _fault(where, f"{key}.path", str(error)) from error
    if name != wheel.name or str(version) != wheel.version:
        raise _fault(where, f"{key}.path", f"expected a wheel of {wheel.name} {wheel.version} not {wheel.file_name}")


@dataclass(slots=True)
class _Reader:
    value: Any
    where: str
    key: str
    _left: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.value, Mapping):
            raise _fault(self.where, self.key, f"expected a table not {type(self.value).__name__}")
        self._left = dict(self.value)

    def take(self, name: str, kind: type, default: Any = ...) -> Any:
        key = f"{self.key}.{name}" if self.key else name
        if name not in self._left:
            if default is ...:
                raise _fault(self.where, key, "expected this key, found nothing")
            return default
        value = self._left.pop(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _fault(self.where, key, f"expected {kind.__name__} not {type(value).__name__}")
        return value

    def done(self) -> None:
        for name in self._left:
            raise _fault(self.where, f"{self.key}.{name}" if self.key else name, "this key is not understood")


def _fault(where: str, key: str, detail: str) -> HelioError:
    return HelioError(
        Stage.LOCK,
        f"cannot read `{where}`",
        where=f"{where} at {key}" if key else where,
        detail=detail,
        hint="run `buildimages lock`",
    )
