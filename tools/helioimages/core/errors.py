"""Errors that say what, where, expected and actual, then a hint apart.

One exit code per stage, so that CI logs can be read by machines:
2 usage, 3 spec, 4 lock, 5 fetch, 6 link, 7 build, 8 smoke, 9 publish, 10 engine, 11 host, 12 check.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

_ADDRESS = re.compile(r"<([^<>]*?)(?: object)? at 0x[0-9a-fA-F]+>")


class Stage(enum.IntEnum):
    """The stage an error belongs to; its value is the process exit code."""

    USAGE = 2
    SPEC = 3
    LOCK = 4
    FETCH = 5
    LINK = 6
    BUILD = 7
    SMOKE = 8
    PUBLISH = 9
    ENGINE = 10
    HOST = 11
    CHECK = 12


class HelioError(Exception):
    """An error a person can act on.

    Args:
        stage: where in the pipeline; gives the exit code.
        message: one line: what is wrong, with the name of the thing in backquotes.
        where: file and key, e.g. ``environments/helio/pylock.toml at packages[3].wheels[0]``.
        detail: further lines, e.g. ``expected sha256:… not sha256:…``.
        hint: what to do, usually a command.
    """

    def __init__(self, stage: Stage, message: str, *, where: str = "", detail: str = "", hint: str = "") -> None:
        message = without_addresses(message)
        super().__init__(message)
        self.stage = stage
        self.message = message
        self.where = where
        self.detail = without_addresses(detail)
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.where:
            lines.append(f"  in {self.where}")
        lines += [f"  {line}" for line in self.detail.splitlines()]
        if self.hint:
            lines += ["", f"hint: {self.hint}"]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Callable[..., HelioError], tuple[Stage, str, str, str, str]]:
        return (_rebuild, (self.stage, self.message, self.where, self.detail, self.hint))


def without_addresses(text: str) -> str:
    """Return a text without the places of objects in memory, which libraries put into theirs.

    They tell nobody anything, and two runs that fail alike would not say the same.

    >>> without_addresses("Max retries (Caused by Timeout(<Connection(host='h') at 0x7fc9458914d0>, 'timed out'))")
    "Max retries (Caused by Timeout(Connection(host='h'), 'timed out'))"
    """
    return _ADDRESS.sub(r"\1", text)


def _rebuild(stage: Stage, message: str, where: str, detail: str, hint: str) -> HelioError:
    # Errors cross process pools, and keyword-only arguments do not survive the default pickling.
    return HelioError(stage, message, where=where, detail=detail, hint=hint)
