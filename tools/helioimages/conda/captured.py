"""What a package's post-link script wrote, as one file that a lock names by its digest. Pure.

The script runs once, when it is locked (see make/link_scripts.py); layers are made of what it left, as they are made of
packages. The file is a line of JSON, then the contents in its order::

    {"files": [["share/x/cache", "file", 420, 17], ["bin/x", "symlink", 511, "y"]], "removed": [], "version": 1}

Paths are relative to the prefix. Times, owners and special bits are left out, as they are of packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import Stage
from ..core.reading import Form, Table, load_json
from .link import forgetting, with_compiled
from .lock import CondaPackage

_KINDS = {kind.value: kind for kind in (Kind.DIR, Kind.FILE, Kind.SYMLINK)}
_MODES = (0o644, 0o755, 0o777)
_FORM = Form(
    stage=Stage.LINK,
    message="what the post-link script of `{file}` wrote cannot be read",
    hint="delete the file from the store and run again",
    comma=False,
    json=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What a script left.

    Attributes:
        written: new and changed files, links and folders, sorted; paths are relative to the prefix.
        removed: files of the package itself that it took away, sorted.
    """

    written: tuple[Entry, ...]
    removed: tuple[str, ...]


def dump(captured: Captured) -> bytes:
    """Return the file; equal values give equal bytes."""
    rows: list[list[object]] = []
    contents = []
    for entry in captured.written:
        if entry.content is not None:
            contents.append(entry.content.read())
            rows.append([entry.path, entry.kind.value, entry.mode, entry.content.size])
        else:
            rows.append([entry.path, entry.kind.value, entry.mode, entry.target])
    head = json.dumps({"version": 1, "files": rows, "removed": list(captured.removed)}, sort_keys=True)
    return b"".join((head.encode(), b"\n", *contents))


def parse(data: bytes, where: str) -> Captured:
    """Read what `dump` made.

    Args:
        where: whose it is, for messages; its entries have it as their origin.

    Raises:
        HelioError: it is something else.
    """
    head, _, rest = data.partition(b"\n")
    table = load_json(head, where, _FORM)
    table.version("version", 1)
    return Captured(
        written=tuple(_entries(table, rest)),
        removed=tuple(check_path(path, where) for path in table.strings("removed", required=True)),
    )


def _entries(table: Table, data: bytes) -> Iterator[Entry]:
    """Yield what the document's rows say, with their contents, which lie one behind the other in ``data``."""
    offset = 0
    for index, (path, word, mode, held) in enumerate(table.rows("files", str, str, int, object)):
        key, origin = f"files[{index}]", table.file
        path = check_path(path, origin)
        if word not in _KINDS:
            raise table.wrong(f"{key}[1]", f"one of {', '.join(_KINDS)}", repr(word))
        if mode not in _MODES:
            raise table.wrong(f"{key}[2]", f"one of {', '.join(map(str, _MODES))}", str(mode))
        kind = _KINDS[word]
        if kind is not Kind.FILE:
            if not isinstance(held, str):
                raise table.wrong(f"{key}[3]", "a target as a string", repr(held))
            yield Entry(path=path, kind=kind, mode=mode, target=held, origin=origin)
            continue
        if type(held) is not int or not 0 <= held <= len(data) - offset:
            raise table.wrong(f"{key}[3]", f"a size of at most {len(data) - offset}", repr(held))
        yield Entry(path=path, kind=kind, mode=mode, content=Content.of(data[offset : offset + held]), origin=origin)
        offset += held
    if offset != len(data):
        raise table.wrong("files", f"contents of {offset} bytes", str(len(data)))


def applied(entries: tuple[Entry, ...], captured: Captured, package: CondaPackage, prefix: str) -> tuple[Entry, ...]:
    """Return a package's entries with what its script wrote.

    The package's record tells of its own files as they are now. New ones are no part of it, as with conda.

    Args:
        entries: what `link.link` gave, or less.
        prefix: absolute.
    """
    start = prefix.removeprefix("/") + "/"
    written = [
        Entry(
            path=start + entry.path,
            kind=entry.kind,
            mode=entry.mode,
            content=entry.content,
            target=entry.target,
            origin=entry.origin,
        )
        for entry in captured.written
    ]
    kinds = {entry.path: entry.kind for entry in written}
    # A file that became a link, or a link that became a file, is another thing of the same name.
    gone = {start + path for path in captured.removed}
    gone |= {entry.path for entry in entries if (now := kinds.get(entry.path)) and {entry.kind, now} != {Kind.FILE}}
    kept = forgetting(entries, tuple(entry for entry in entries if entry.path not in gone), package, prefix)
    return with_compiled(kept, written, package, prefix)
