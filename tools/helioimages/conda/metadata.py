"""Read the JSON and text files in a package's ``info/``. Pure: bytes in, values out.

Spec: conda CEP 34; conda-build's ``info/files``, ``has_prefix`` and ``no_link``.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from ..core.entries import Kind, check_path
from ..core.errors import HelioError, Stage
from ..core.reading import SHA256, Form, Table, literal

#: The members of ``info/`` that say how to install.
FILES = ("info/index.json", "info/paths.json", "info/link.json", "info/files", "info/has_prefix", "info/no_link")

#: What packages that name a file in has_prefix without a placeholder were built for.
OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"

#: How folders of channels call processors that ``arch`` calls otherwise.
_BITS = {"x86_64": "64", "x86": "32"}

_HINT = "the package is malformed or malicious; do not use it"

_KINDS = {"hardlink": Kind.FILE, "softlink": Kind.SYMLINK, "directory": Kind.DIR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a package says about one of its files.

    Attributes:
        path: relative to the prefix (to the package for noarch python).
        kind: FILE, SYMLINK or DIR; None when the package does not tell.
        sha256, size: None when the package does not tell; never told for a symbolic link.
        told_sha256, told_size: as written, also of a symbolic link, for the record.
        placeholder: the prefix to replace, else empty.
        file_mode: ``text`` or ``binary`` when there is a placeholder.
        no_link: to be copied by installers that would hard link.
    """

    path: str
    kind: Kind | None = None
    sha256: str | None = None
    size: int | None = None
    told_sha256: str | None = None
    told_size: int | None = None
    placeholder: str = ""
    file_mode: str = ""
    no_link: bool = False


def malformed(name: str, what: str, detail: str = "") -> HelioError:
    """Return the error for a package that is broken or means harm."""
    return HelioError(
        Stage.LINK,
        f"the conda package `{name}` is malformed: {what}",
        where=name,
        detail=detail,
        hint=_HINT,
    )


def check_format(data: bytes, name: str) -> None:
    """Check a ``.conda`` file's ``metadata.json``.

    Spec: CEP 35, ".conda".
    """
    table = _table(_json({"metadata.json": data}, "metadata.json", name), "metadata.json", name)
    table.version("conda_pkg_format_version", 2)


def read_index(texts: dict[str, bytes], name: str) -> dict[str, Any]:
    """Return info/index.json, its needed fields checked.

    A package without ``depends`` depends on nothing. One without ``subdir`` is for what its older fields say, or for
    the folder of the channel that it lies in; then the value has no ``subdir`` either.

    Spec: CEP 34, "info/index.json"; rattler and conda read both as optional.
    """
    index = _json(texts, "info/index.json", name)
    table = _table(index, "info/index.json", name)
    for key in ("name", "version", "build"):
        table.text(key)
    table.whole("build_number")
    index["depends"] = list(table.strings("depends"))
    if subdir := table.text("subdir", "") or _older_subdir(index):
        index["subdir"] = subdir
    else:
        index.pop("subdir", None)
    return index


def _older_subdir(index: dict[str, Any]) -> str | None:
    """Return the folder that an index without ``subdir`` names in the words of before conda 4.3."""
    if index.get("noarch"):
        return "noarch"
    platform, arch = index.get("platform"), index.get("arch")
    if not isinstance(platform, str) or not isinstance(arch, str):
        return None
    return f"{platform}-{_BITS.get(arch, arch)}"


def read_link(texts: dict[str, bytes], name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the noarch type and the entry points: from link.json, or from the index of a package that has none."""
    where = "info/link.json"
    if where not in texts:
        return _noarch(_json(texts, "info/index.json", name).get("noarch"), name), ()
    section = _table(_json(texts, where, name), where, name).table_or_none("noarch")
    if section is None:
        return None, ()
    return _noarch(section.take("type", object, None), name), section.strings("entry_points")


def _noarch(value: Any, name: str) -> str | None:
    # Before conda 4.3 `noarch: true` meant generic; some builders wrote it as Python's text.
    noarch: str | None = {"true": "generic", "false": None}.get(str(value).lower(), value)
    if noarch not in (None, "python", "generic"):
        raise malformed(name, f"its noarch type is {value!r}, expected python or generic")
    return noarch


def read_listed(texts: dict[str, bytes], name: str) -> tuple[Listed, ...]:
    """Return what the package lists, in its order, from paths.json or from the older files.

    Raises:
        HelioError: a path given twice or that may not be in a layer, or a field that is not understood.
    """
    listed = _from_paths_json(texts, name) if "info/paths.json" in texts else _from_files(texts, name)
    seen: set[str] = set()
    for item in listed:
        check_path(item.path, name)
        if item.path.startswith("conda-meta/"):
            raise malformed(name, f"it brings {item.path}, which is the installer's to write")
        if item.path in seen:
            raise malformed(name, f"it lists {item.path} twice")
        seen.add(item.path)
    return listed


def _from_paths_json(texts: dict[str, bytes], name: str) -> tuple[Listed, ...]:
    where = "info/paths.json"
    document = _table(_json(texts, where, name), where, name)
    document.version("paths_version", 1)
    listed = []
    for item in document.tables("paths", required=True):
        path, path_type = item.text("_path"), item.text("path_type")
        kind = _KINDS.get(path_type)
        if kind is None:
            raise item.wrong("path_type", "hardlink, softlink or directory", path_type)
        sha256 = item.text("sha256", "", SHA256) or None
        size = item.whole_or_none("size_in_bytes", minimum=0)
        placeholder, file_mode = item.text("prefix_placeholder", ""), item.take("file_mode", object, "")
        if placeholder and file_mode not in ("text", "binary"):
            raise item.wrong("file_mode", "text or binary", file_mode)
        if not placeholder.isascii():
            raise item.wrong("prefix_placeholder", "ASCII", placeholder)
        # Of a symbolic link, builders write the digest and size of the link's text, of its target, or of nothing.
        is_file = kind is Kind.FILE
        listed.append(
            Listed(
                path=path,
                kind=kind,
                sha256=sha256 if is_file else None,
                size=size if is_file else None,
                told_sha256=sha256,
                told_size=size,
                placeholder=placeholder,
                file_mode=file_mode if placeholder else "",
                no_link=bool(item.take("no_link", object, False)),
            )
        )
    return tuple(listed)


def _from_files(texts: dict[str, bytes], name: str) -> tuple[Listed, ...]:
    if "info/files" not in texts:
        raise malformed(name, "it has neither info/paths.json nor info/files")
    prefixes: dict[str, tuple[str, str]] = {}
    for line in _lines(texts, "info/has_prefix"):
        fields = shlex.split(line) if line.count(" ") >= 2 else [line]
        if len(fields) == 1:
            prefixes[fields[0]] = (OLD_PLACEHOLDER, "text")
        elif len(fields) == 3 and fields[1] in ("text", "binary"):
            prefixes[fields[2]] = (fields[0], fields[1])
        else:
            raise malformed(name, f"info/has_prefix: expected `placeholder mode path` not {line!r}")
    no_link = set(_lines(texts, "info/no_link"))
    listed = []
    for path in _lines(texts, "info/files"):
        placeholder, file_mode = prefixes.pop(path, ("", ""))
        if not placeholder.isascii():
            raise malformed(name, f"info/has_prefix: expected ASCII not {placeholder!r}")
        listed.append(Listed(path=path, placeholder=placeholder, file_mode=file_mode, no_link=path in no_link))
    if prefixes:
        raise malformed(name, f"info/has_prefix names {min(prefixes)}, which info/files does not")
    return tuple(listed)


def _lines(texts: dict[str, bytes], path: str) -> list[str]:
    # Not splitlines: a path may have what Python takes for the end of a line.
    return [line for line in texts.get(path, b"").decode().replace("\r\n", "\n").split("\n") if line]


def _json(texts: dict[str, bytes], path: str, name: str) -> dict[str, Any]:
    if path not in texts:
        raise malformed(name, f"it has no {path}")
    try:
        value = json.loads(texts[path])
    except (ValueError, RecursionError) as error:
        raise malformed(name, f"{path} is not JSON", str(error)) from error
    if not isinstance(value, dict):
        raise malformed(name, f"{path}: expected a mapping")
    return value


def _table(value: dict[str, Any], where: str, name: str) -> Table:
    """Return a member's document to be read key by key; what is null counts as absent, as conda and rattler have it."""
    form = Form(
        stage=Stage.LINK,
        message=literal(f"the conda package `{name}` is malformed"),
        hint=_HINT,
        comma=False,
        null_is_absent=True,
        json=True,
    )
    return Table(value, f"{name} at {where}", form=form)
