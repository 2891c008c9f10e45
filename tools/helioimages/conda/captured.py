"""What a package's post-link script wrote, as one file that a lock names by its digest. Pure.

The script runs once, when it is locked (see make/link_scripts.py); layers are made of what it left, as they are made of
packages. The file is a line of JSON, then the contents in its order::

    {"files": [["share/x/cache", "file", 420, 17], ["bin/x", "symlink", 511, "y"]], "removed": [], "version": 1}

Paths are relative to the prefix. Times, owners and special bits are left out, as they are of packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from .link import forgetting, with_compiled
from .lock import CondaPackage

_KINDS = (Kind.DIR, Kind.FILE, Kind.SYMLINK)


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
    try:
        document = json.loads(head)
        if document["version"] != 1:
            raise ValueError("another version")
        return Captured(
            written=tuple(_entries(document["files"], rest, where)),
            removed=tuple(check_path(path, where) for path in document["removed"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HelioError(
            Stage.LINK,
            f"what the post-link script of `{where}` wrote cannot be read",
            detail=f"{type(error).__name__}: {error}",
            hint="delete the file from the store and run again",
        ) from error


def _entries(rows: Iterable[tuple[str, str, int, int | str]], data: bytes, origin: str) -> Iterator[Entry]:
    offset = 0
    for path, word, mode, held in rows:
        kind = Kind(word)
        if kind not in _KINDS or mode not in (0o644, 0o755, 0o777):
            raise ValueError(f"{path}: {word} {mode}")
        if isinstance(held, int):
            content = Content.of(data[offset : offset + held])
            if content.size != held:
                raise ValueError("it is cut")
            offset += held
            yield Entry(path=check_path(path, origin), kind=kind, mode=mode, content=content, origin=origin)
        else:
            yield Entry(path=check_path(path, origin), kind=kind, mode=mode, target=held, origin=origin)
    if offset != len(data):
        raise ValueError("it is longer than it says")


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
