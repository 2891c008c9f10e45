"""Apply reviewed patches to the files of a linked wheel. Pure.

A patch is a unified diff whose paths begin in ``site-packages``. It is applied exactly or not at all: every hunk at the
line it names, every line of context as it stands, no fuzz and no offset; so a new version of the package is never
changed by accident. Files may be changed and added, nothing else. RECORD says afterwards what is there.

Spec: POSIX, ``diff -u`` (Diff -u Output Format); git's extended header lines are passed over or refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..core.entries import Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from .wheel import with_contents

_RANGE = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: .*)?")
#: git's words for what is not done here.
_REFUSED = (b"rename ", b"copy ", b"deleted file", b"old mode", b"new mode", b"GIT binary patch", b"Binary files ")
_NO_NEWLINE = b"\\ No newline at end of file"
_NOWHERE = "/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """One change of a file.

    Attributes:
        line: of the diff, for errors; from 1.
        start: first line of the old file that it replaces, from 0.
        old, new: lines with their ends.
    """

    line: int
    start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """What a patch does to one file; ``added`` says that there was none."""

    path: str
    added: bool
    hunks: tuple[Hunk, ...]


def apply(entries: Iterable[Entry], diff: bytes, name: str, package: str) -> tuple[Entry, ...]:
    """Return a wheel's entries after a patch.

    Args:
        entries: of `wheel.link`, without .pyc.
        diff: the patch.
        name: of the patch, for messages.
        package: of the wheel, for messages.

    Raises:
        HelioError: the patch cannot be read, or does not fit to the letter.
    """
    entries = tuple(entries)
    site = _site(entries)
    files = {entry.path: entry for entry in entries if entry.kind is Kind.FILE}
    contents: dict[str, bytes] = {}
    for change in parse(diff, name):
        path = check_path(posixpath.join(site, change.path), name)
        there = files.get(path)
        if change.added and there:
            raise _unfit(name, package, change.path, "it is there already, and the patch adds it")
        if not change.added and there is None:
            raise _unfit(name, package, change.path, "there is no such file")
        before = there.content.read() if there and there.content else b""
        contents[path] = changed(before, change, name, package)
    return with_contents(entries, contents, package)


def parse(diff: bytes, name: str) -> tuple[FileDiff, ...]:
    """Read a unified diff.

    Args:
        name: for messages.

    Raises:
        HelioError: it is none, changes nothing, or does what is not done here (renames, deletes, modes, binaries).
    """
    lines = diff.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    diffs: list[FileDiff] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(_REFUSED):
            raise _malformed(name, at, "expected changed and added text files only", lines[at])
        if lines[at].startswith(b"@@"):
            raise _malformed(name, at, "expected `---` and `+++` before it", lines[at])
        # Words for people before a file's diff, and git's header.
        if not lines[at].startswith(b"--- "):
            at += 1
            continue
        if at + 1 == len(lines) or not lines[at + 1].startswith(b"+++ "):
            raise _malformed(name, at, "expected `+++` after it", lines[at])
        path, added = _path(name, at, lines[at], lines[at + 1])
        head, (at, hunks) = at, _hunks(name, lines, at + 2)
        if not hunks or (added and (len(hunks) > 1 or hunks[0].old)):
            raise _malformed(name, head, f"expected {'one hunk' if added else 'hunks'} of {path}")
        if path in (known.path for known in diffs):
            raise _malformed(name, head, f"expected {path} once")
        diffs.append(FileDiff(path=path, added=added, hunks=hunks))
    if not diffs:
        raise _malformed(name, 0, "expected a unified diff", diff[:60])
    return tuple(diffs)


def _path(name: str, at: int, old: bytes, new: bytes) -> tuple[str, bool]:
    """Return the path of a file's diff, and whether it is added."""
    before, after = (line[4:].split(b"\t")[0].decode("utf-8", "replace") for line in (old, new))
    added = before == _NOWHERE
    path = after.removeprefix("b/")
    if not after.startswith("b/") or not (added or before == f"a/{path}"):
        raise _malformed(name, at, f"expected `--- a/PATH` (or {_NOWHERE}) and `+++ b/PATH` of one PATH", old)
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or parts[0].endswith(".dist-info"):
        raise _malformed(name, at + 1, "expected a path of the package's own files", new)
    return path, added


def _hunks(name: str, lines: list[bytes], at: int) -> tuple[int, tuple[Hunk, ...]]:
    hunks = []
    while at < len(lines) and (match := _RANGE.fullmatch(lines[at].rstrip(b"\r"))):
        first = at
        start, old_count, _, new_count = (int(group or b"1") for group in match.groups())
        old: list[bytes] = []
        new: list[bytes] = []
        at += 1
        while at < len(lines) and (len(old) < old_count or len(new) < new_count):
            sign, text = lines[at][:1], lines[at][1:] + b"\n"
            if sign not in (b" ", b"-", b"+"):
                raise _malformed(name, at, "expected a line with a space, - or + before it", lines[at])
            end = at + 1 < len(lines) and lines[at + 1].rstrip(b"\r") == _NO_NEWLINE
            text = text[:-1] if end else text
            if sign != b"+":
                old.append(text)
            if sign != b"-":
                new.append(text)
            at += 2 if end else 1
        if (len(old), len(new)) != (old_count, new_count):
            told = f"expected {old_count} old and {new_count} new lines, found {len(old)} and {len(new)}"
            raise _malformed(name, first, told, lines[first])
        # A range without lines names the line before it.
        hunks.append(Hunk(line=first + 1, start=start - 1 if old else start, old=tuple(old), new=tuple(new)))
    return at, tuple(hunks)


def changed(before: bytes, change: FileDiff, name: str, package: str) -> bytes:
    """Return a file's content after its diff; arguments and errors as in `apply`."""
    lines = _lines(before)
    done: list[bytes] = []
    at = 0
    for hunk in change.hunks:
        end = hunk.start + len(hunk.old)
        if hunk.start < at or tuple(lines[hunk.start : end]) != hunk.old:
            wrong = next(
                (i for i, line in enumerate(hunk.old) if hunk.start + i >= len(lines) or lines[hunk.start + i] != line),
                0,
            )
            there = lines[hunk.start + wrong] if hunk.start + wrong < len(lines) else b""
            told = f"line {hunk.start + wrong + 1}: expected {_shown(hunk.old[wrong] if hunk.old else b'')}"
            raise _unfit(name, package, change.path, f"{told} not {_shown(there)}", hunk.line)
        done += [*lines[at : hunk.start], *hunk.new]
        at = end
    return b"".join([*done, *lines[at:]])


def _lines(data: bytes) -> list[bytes]:
    """Return lines as diff counts them: only a line feed ends one."""
    *whole, rest = data.split(b"\n")
    return [*(line + b"\n" for line in whole), *([rest] if rest else [])]


def _site(entries: Iterable[Entry]) -> str:
    """Return the folder that holds the wheel's .dist-info."""
    record = next(entry.path for entry in entries if entry.path.endswith(".dist-info/RECORD"))
    return posixpath.dirname(posixpath.dirname(record))


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", "replace"))


def _malformed(name: str, at: int, expected: str, line: bytes = b"") -> HelioError:
    shown = f", found {_shown(line[:120])}" if line else ""
    return HelioError(Stage.SPEC, "a patch cannot be read", where=f"{name} at line {at + 1}", detail=expected + shown)


def _unfit(name: str, package: str, path: str, detail: str, line: int = 0) -> HelioError:
    return HelioError(
        Stage.LINK,
        f"a patch does not fit `{package}`",
        where=f"{name}{f' at line {line}' if line else ''}, file {path}",
        detail=detail,
        hint="make the diff anew against the locked version, or drop it from x-helioimages.patches",
    )
