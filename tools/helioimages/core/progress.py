"""Progress for people, on stderr; silent when stderr is not a terminal but for one line a stage."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .words import count, human_size

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print one log line on stderr."""
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def bar(label: str, total: int, *, unit: str = "item") -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs and yield ``advance(n)``; ``unit`` is ``bytes`` or one of what is counted.

    When stderr is not a terminal (CI), one line is printed at the end instead, with the seconds.
    """
    start = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda _n: None
        amount = human_size(total) if unit == "bytes" else count(total, unit)
        say(f"{label}: {amount} in {time.monotonic() - start:.1f} s")
        return
    done = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), done, TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task(label, total=total)
        yield lambda n: progress.advance(task, n)


@contextlib.contextmanager
def stage(label: str) -> Iterator[None]:
    """Say that a stage begins, and how long it took."""
    start = time.monotonic()
    say(f"==> {label}")
    yield
    say(f"    {label}: {time.monotonic() - start:.1f} s")
