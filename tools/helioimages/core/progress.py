"""Progress for people, on stderr; silent when stderr is not a terminal but for one line a stage."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print one log line on stderr."""
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def bar(label: str, total: int, *, unit: str = "items") -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs and yield ``advance(n)``; ``unit`` is ``bytes`` or ``items``.

    When stderr is not a terminal (CI), one line is printed at the end instead, with the seconds.
    """
    start = time.monotonic()
    if not sys.stderr.isatty():
        yield lambda _n: None
        amount = (
            f"{total / 1e6:.1f} MB" if unit == "bytes" else f"{total} {unit if total != 1 else unit.removesuffix('s')}"
        )
        say(f"{label}: {amount} in {time.monotonic() - start:.1f} s")
        return
    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn(), console=console
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
