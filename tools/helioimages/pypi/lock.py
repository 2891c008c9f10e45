"""The PyPI part of an environment's lock: ``pylock.toml``.

A PEP 751 lock without hosts: a wheel is named by ``path`` (its file name), sha256 and size, and the configured index
supplies the address. A package that PyPI has as source only has its ``sdist``, and the wheel that the builder makes of
it is recorded in the package's ``tool.helioimages.built-wheel``. Changes of ours to a wheel's files are pinned in
``tool.helioimages.patches``; what a package asks for and the image leaves out, in ``tool.helioimages.without``.

Spec: PEP 751 / PyPA "pylock.toml Specification".
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from ..core.digest import is_hex
from ..core.errors import Stage
from ..core.package import Patch, Without
from ..core.platform import Platform
from ..core.reading import PLATFORM, SHA256, Form, Shape, Table, parse_toml
from .choose import variant_of

_FORM = Form(stage=Stage.LOCK, hint="run `buildimages lock`", strange="run `buildimages lock`", comma=False)
_FILE = Shape.of(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+", "a file name")
_PATCH = Shape.of(
    r"environments/(?:(?!\.{1,2}/)[^/\\\x00-\x1f\x7f]+/)+(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+", "a file below environments/"
)
_LINE = Shape.of(r"[^\x00-\x1f\x7f\u0085\u2028\u2029]+", "one line of text")
_NAME = Shape.of(r"[a-z0-9]+(?:-[a-z0-9]+)*", "a normalised name of a distribution")
_PYTHON = Shape.of(r"[0-9]+\.[0-9]+", "a version such as 3.13")


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
        patches: changes of ours to its files, made when it is linked; its own sha256 is without them.
        without: what it asks for and the image leaves out; its METADATA ask no more once it is linked.
    """

    name: str
    version: str
    file_name: str
    sha256: str
    size: int
    uploaded: int = 0
    built: bool = False
    patches: tuple[Patch, ...] = ()
    without: tuple[Without, ...] = ()


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
        platform: what it is for.
        content_hash: of what was asked for; 64 hexadecimal digits.
        timestamp: newest upload, seconds since 1970 UTC.
        wheels: sorted by name; those from the index and those that were built.
        sdists: sorted by name; every one has a wheel with ``built`` once the builder ran.
    """

    python: str
    platform: Platform
    content_hash: str
    wheels: tuple[Wheel, ...]
    sdists: tuple[Sdist, ...] = ()

    @property
    def timestamp(self) -> int:
        """The newest upload of all packages, seconds since 1970 UTC."""
        return max([0, *(wheel.uploaded for wheel in self.wheels), *(sdist.uploaded for sdist in self.sdists)])

    @property
    def files(self) -> tuple[Wheel | Sdist, ...]:
        """Every wheel, then every sdist: an sdist's own wheel is among the former."""
        return (*self.wheels, *self.sdists)

    @property
    def unbuilt(self) -> tuple[Sdist, ...]:
        """The sdists whose wheel is not recorded yet."""
        have = {wheel.name for wheel in self.wheels}
        return tuple(sdist for sdist in self.sdists if sdist.name not in have)


def settled(old: PyPILock | None, new: PyPILock) -> PyPILock:
    """Return ``new`` with the old one's word on each file that both have.

    A lock file changes only when packages do: another index may tell another upload time, or none.
    """
    wheels = {(wheel.file_name, wheel.sha256, wheel.built): wheel for wheel in (old.wheels if old else ())}
    sdists = {(sdist.file_name, sdist.sha256): sdist for sdist in (old.sdists if old else ())}
    return replace(
        new,
        wheels=tuple(wheels.get((wheel.file_name, wheel.sha256, wheel.built), wheel) for wheel in new.wheels),
        sdists=tuple(sdists.get((sdist.file_name, sdist.sha256), sdist) for sdist in new.sdists),
    )


def parse(text: str, where: str) -> PyPILock:
    """Read a ``pylock.toml`` that `dump` wrote.

    Args:
        where: how errors call the file.

    Raises:
        HelioError: not TOML, a key is missing or not understood, or a value is not what its key says.
    """
    document = parse_toml(text, where, _FORM)
    top = Table(document, where, form=_FORM)
    try:
        # The reference parser first: what it refuses, no other installer reads.
        Pylock.from_dict(document)
    except PylockValidationError as error:
        # Its message quotes the file's name, and says no more of it.
        for quoted in error.message.split("'"):
            if variant := variant_of(quoted):
                plain, label = variant
                message = f"expected a wheel for every machine, e.g. {plain}, not the variant `{label}` of it (PEP 825)"
                raise top.error(error.context or "", message) from error
        context = "lock-version" if isinstance(error, PylockUnsupportedVersionError) else error.context or ""
        raise top.error(context, error.message) from error
    for name in ("lock-version", "created-by", "requires-python"):
        top.text(name)
    tool = top.table("tool", required=True)
    ours = tool.table("helioimages", required=True)
    lock = PyPILock(
        python=ours.text("python", shape=_PYTHON),
        platform=Platform.of(ours.text("platform", shape=PLATFORM)),
        content_hash=ours.text("content-hash"),
        wheels=(),
    )
    wheels: list[Wheel] = []
    sdists: list[Sdist] = []
    for package in top.tables("packages", required=True):
        _package(package, wheels, sdists)
    for table in (ours, tool, top):
        table.done()
    if twice := [name for name, count in Counter(wheel.name for wheel in wheels).items() if count > 1]:
        raise top.error("packages", f"`{twice[0]}` is there twice")
    return replace(lock, wheels=tuple(wheels), sdists=tuple(sdists))


def _package(package: Table, wheels: list[Wheel], sdists: list[Sdist]) -> None:
    name, version = package.text("name"), package.text("version")
    if canonicalize_name(name) != name:
        raise package.wrong("name", repr(canonicalize_name(name)), repr(name))
    mine: list[Wheel] = []
    for table in package.tables("wheels"):
        mine.append(_checked(Wheel(name=name, version=version, **_file(table)), table))
    if sdist := package.table_or_none("sdist"):
        sdists.append(Sdist(name=name, version=version, **_file(sdist)))
    patches: tuple[Patch, ...] = ()
    without: tuple[Without, ...] = ()
    if tool := package.table_or_none("tool"):
        ours = tool.table("helioimages", required=True)
        patches = tuple(_patch(table) for table in ours.tables("patches"))
        without = tuple(_left(table) for table in ours.tables("without"))
        # Who changes a wheel of the index has no other word of ours to say.
        if (
            built := ours.table_or_none("built-wheel")
            if patches or without
            else ours.table("built-wheel", required=True)
        ):
            mine.append(_checked(Wheel(name=name, version=version, built=True, **_file(built)), built))
            if sdist is None:
                raise package.error("sdist", "expected the source of the built wheel, found nothing")
        ours.done()
        tool.done()
        if (patches or without) and not mine:
            key = "patches" if patches else "without"
            raise package.error(f"tool.helioimages.{key}", "expected a wheel that they change, found nothing")
    wheels += [replace(wheel, patches=patches, without=without) for wheel in mine]
    package.done()


def _patch(table: Table) -> Patch:
    patch = Patch(
        path=table.text("path", shape=_PATCH),
        sha256=table.text("sha256", shape=SHA256),
        reason=table.text("reason", shape=_LINE),
        upstream=table.text("upstream", shape=_LINE),
    )
    table.done()
    return patch


def _left(table: Table) -> Without:
    left = Without(name=table.text("name", shape=_NAME), reason=table.text("reason", shape=_LINE))
    table.done()
    return left


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
        f"platform = {_text(str(lock.platform))}",
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
        if wheel and wheel.patches:
            lines.append(f"tool.helioimages.patches = [{', '.join(_patch_row(patch) for patch in wheel.patches)}]")
        if wheel and wheel.without:
            rows = ", ".join(
                f"{{ name = {_text(gone.name)}, reason = {_text(gone.reason)} }}" for gone in wheel.without
            )
            lines.append(f"tool.helioimages.without = [{rows}]")
    return "\n".join(lines) + "\n"


def _row(item: Wheel | Sdist) -> str:
    time = datetime.fromtimestamp(item.uploaded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    uploaded = f"upload-time = {time}, " if item.uploaded else ""
    digest = f"hashes = {{ sha256 = {_text(item.sha256)} }}"
    return f"{{ path = {_text(item.file_name)}, size = {item.size}, {uploaded}{digest} }}"


def _patch_row(patch: Patch) -> str:
    words = {"path": patch.path, "sha256": patch.sha256, "reason": patch.reason, "upstream": patch.upstream}
    return "{ " + ", ".join(f"{key} = {_text(value)}" for key, value in words.items()) + " }"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which no name or version has.
    return json.dumps(value, ensure_ascii=False)


def _file(table: Table) -> dict[str, Any]:
    name = table.text("path", shape=_FILE)
    size = table.whole("size", minimum=0)
    hashes = table.take("hashes", dict)
    uploaded = table.take("upload-time", datetime, None)
    table.done()
    sha256 = hashes.get("sha256", "")
    if set(hashes) != {"sha256"} or not isinstance(sha256, str) or not is_hex(sha256):
        raise table.error("hashes", f"expected one sha256 of 64 hexadecimal digits, not {hashes!r}")
    seconds = int(uploaded.timestamp()) if uploaded is not None else 0
    return {"file_name": name, "size": size, "sha256": sha256, "uploaded": seconds}


def _checked(wheel: Wheel, table: Table) -> Wheel:
    try:
        name, version, _, _ = parse_wheel_filename(wheel.file_name)
    except InvalidWheelFilename as error:
        raise table.error("path", str(error)) from error
    if name != wheel.name or str(version) != wheel.version:
        raise table.wrong("path", f"a wheel of {wheel.name} {wheel.version}", wheel.file_name)
    return wheel
