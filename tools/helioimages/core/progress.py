"""Progress on stderr: rows with a clock in a terminal, a line a step in a log, an object a line for machines.

What lasts has a name from its first moment. In a terminal a row appears after a moment, with the clock, and where the
amount is known with a bar and the time left; when the step ends it becomes a line, which is all that a log gets.
`HELIOIMAGES_PROGRESS` chooses: ``auto``, ``plain`` (as in a log), or ``json`` (events).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from .words import count, human_size

if TYPE_CHECKING:
    from .rows import Screen

VARIABLE = "HELIOIMAGES_PROGRESS"
#: Seconds of a step that a log tells of.
_LINE_S = 1.0
#: Seconds between two events of one step.
_EVENT_S = 1.0
_NOTHING = lambda _n: None  # noqa: E731


def say(text: str) -> None:
    """Print one log line on stderr."""
    mode = _mode()
    if mode == "json":
        _event("say", text=text)
    elif mode == "bars":
        _screen().say(text)
    else:
        _line(text)


@contextlib.contextmanager
def bar(label: str, total: int, *, unit: str = "item") -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs and yield ``advance(n)``; ``unit`` is ``bytes`` or one of what is counted.

    One line is printed at the end, with the seconds.
    """
    with _step(label, total=total, unit=unit) as advance:
        start = time.monotonic()
        yield advance
    if _mode() != "json":
        amount = human_size(total) if unit == "bytes" else count(total, unit)
        say(f"{label}: {amount} in {time.monotonic() - start:.1f} s")


@contextlib.contextmanager
def stage(label: str) -> Iterator[None]:
    """Say that a stage begins, and how long it took."""
    start = time.monotonic()
    if _mode() != "json":
        say(f"==> {label}")
    with _step(label):
        yield
    if _mode() != "json":
        say(f"    {label}: {time.monotonic() - start:.1f} s")


@contextlib.contextmanager
def step(label: str, *, always: bool = False, told: bool = True) -> Iterator[None]:
    """Show that something goes on whose amount is not known; if it took a second or more, a line says how long.

    Args:
        always: say it of a short one, too.
        told: false where whoever calls says what came of it.
    """
    start = time.monotonic()
    with _step(label):
        yield
    seconds = time.monotonic() - start
    if told and (always or seconds >= _LINE_S) and _mode() != "json":
        say(f"    {label}: {seconds:.1f} s")


def close() -> None:
    """Take the rows away, for a process that ends while threads still work."""
    if _screen.cache_info().currsize:
        _screen().close()


@cache
def _screen() -> Screen:
    # What draws rows takes a tenth of the time that a command needs to start, and a log has none.
    from .rows import screen

    return screen


def _mode() -> str:
    """Return ``bars``, ``plain`` or ``json``."""
    asked = os.environ.get(VARIABLE, "auto")
    if asked in ("plain", "json"):
        return asked
    return "bars" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"


@contextlib.contextmanager
def _step(label: str, *, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], None]]:
    mode = _mode()
    if mode == "json":
        with _events(label, total, unit) as advance:
            yield advance
    elif mode == "bars":
        with _screen().row(label, total, unit) as advance:
            yield advance
    else:
        yield _NOTHING


@contextlib.contextmanager
def _events(label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    start = last_told = time.monotonic()
    amount = {} if total is None else {"total": total, "unit": unit}
    done, lock = 0, threading.Lock()
    _event("begin", step=label, **amount)

    def advance(count: int) -> None:
        nonlocal done, last_told
        with lock:
            done += count
            if (now := time.monotonic()) - last_told >= _EVENT_S:
                last_told = now
                _event("progress", step=label, done=done, **amount)

    ok = False
    try:
        yield advance
        ok = True
    finally:
        _event("end", step=label, seconds=round(time.monotonic() - start, 3), ok=ok)


def _event(kind: str, **fields: object) -> None:
    _line(json.dumps({"event": kind, **fields}, ensure_ascii=False))


def _line(text: str) -> None:
    # One write a line: threads tell of theirs at once.
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
