"""Read the JSON and text files in a package's ``info/``. Pure: bytes in, values out.

Spec: conda CEP 34; conda-build's ``info/files``, ``has_prefix`` and ``no_link``.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from ..core.digest import is_hex
from ..core.entries import Kind, check_path
from ..core.errors import HelioError, Stage

#: The members of ``info/`` that say how to install.
FILES = ("info/index.json", "info/paths.json", "info/link.json", "info/files", "info/has_prefix", "info/no_link")

#: What packages that name a file in has_prefix without a placeholder were built for.
OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"

#: How folders of channels call processors that ``arch`` calls otherwise.
_BITS = {"x86_64": "64", "x86": "32"}

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
        hint="the package is malformed or malicious; do not use it",
    )


def check_format(data: bytes, name: str) -> None:
    """Check a ``.conda`` file's ``metadata.json``.

    Spec: CEP 35, ".conda".
    """
    version = _json({"metadata.json": data}, "metadata.json", name).get("conda_pkg_format_version")
    if version != 2:
        raise malformed(name, f"metadata.json at conda_pkg_format_version: expected 2 not {version!r}")


def read_index(texts: dict[str, bytes], name: str) -> dict[str, Any]:
    """Return info/index.json, its needed fields checked.

    A package without ``depends`` depends on nothing. One without ``subdir`` is for what its older fields say, or for
    the folder of the channel that it lies in; then the value has no ``subdir`` either.

    Spec: CEP 34, "info/index.json"; rattler and conda read both as optional.
    """
    index = _json(texts, "info/index.json", name)
    for key in ("name", "version", "build"):
        _typed(index, key, str, name, "info/index.json")
    _typed(index, "build_number", int, name, "info/index.json")
    if index.get("depends") is None:
        index["depends"] = []
    for spec in _typed(index, "depends", list, name, "info/index.json"):
        if not isinstance(spec, str):
            raise malformed(name, "info/index.json at depends: expected a list of str")
    if index.get("subdir") is None:
        index.pop("subdir", None)
        if subdir := _older_subdir(index):
            index["subdir"] = subdir
    else:
        _typed(index, "subdir", str, name, "info/index.json")
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
    link = _json(texts, where, name)
    section = link.get("noarch")
    if section is None:
        return None, ()
    if not isinstance(section, dict):
        raise malformed(name, f"{where} at noarch: expected a mapping")
    entry_points = section.get("entry_points", [])
    if not isinstance(entry_points, list) or not all(isinstance(line, str) for line in entry_points):
        raise malformed(name, f"{where} at noarch.entry_points: expected a list of str")
    return _noarch(section.get("type"), name), tuple(entry_points)


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
    document = _json(texts, where, name)
    if (version := document.get("paths_version")) != 1:
        raise malformed(name, f"{where} at paths_version: expected 1 not {version!r}")
    listed = []
    for index, item in enumerate(_typed(document, "paths", list, name, where)):
        at = f"{where} at paths[{index}]"
        if not isinstance(item, dict):
            raise malformed(name, f"{at}: expected a mapping")
        path, path_type = _typed(item, "_path", str, name, at), _typed(item, "path_type", str, name, at)
        kind = _KINDS.get(path_type)
        if kind is None:
            raise malformed(name, f"{at}.path_type: expected hardlink, softlink or directory not {path_type!r}")
        sha256, size = item.get("sha256"), item.get("size_in_bytes")
        if sha256 is not None and not (isinstance(sha256, str) and is_hex(sha256)):
            raise malformed(name, f"{at}.sha256: expected 64 hexadecimal digits not {sha256!r}")
        if size is not None and not (type(size) is int and size >= 0):
            raise malformed(name, f"{at}.size_in_bytes: expected a number of bytes not {size!r}")
        placeholder, file_mode = item.get("prefix_placeholder") or "", item.get("file_mode") or ""
        if placeholder and (file_mode not in ("text", "binary") or not isinstance(placeholder, str)):
            raise malformed(name, f"{at}.file_mode: expected text or binary not {file_mode!r}")
        if not placeholder.isascii():
            raise malformed(name, f"{at}.prefix_placeholder: expected ASCII not {placeholder!r}")
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
                no_link=bool(item.get("no_link", False)),
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


def _typed(mapping: dict[str, Any], key: str, kind: type, name: str, where: str) -> Any:
    value = mapping.get(key)
    if type(value) is not kind:
        raise malformed(name, f"{where} at {key}: expected {kind.__name__} not {type(value).__name__}")
    return value
