"""The rows of a terminal, one for each step that lasts: its name, a clock, and what is left where that can be known."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(stderr=True, highlight=False)
#: Seconds after which a step has a row; what is over sooner would only flicker.
_SHOWN_S = 0.5


class _Amount(ProgressColumn):
    """How much is done, in the unit of the step; nothing where that is not known."""

    _of_bytes, _of_items = DownloadColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        return (self._of_bytes if task.fields["unit"] == "bytes" else self._of_items).render(task)


class _Left(TimeRemainingColumn):
    """How long it will take, where that can be known."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.time_remaining is None:
            return Text("")
        return Text.assemble(super().render(task), " left")


class _Bar(BarColumn):
    """A bar where the amount is known."""

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]
        return Text("") if task.total is None else super().render(task)


class _Rows(Progress):
    """The rows of steps that have lasted a moment."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the table of what is shown now."""
        yield self.make_tasks_table([task for task in self.tasks if (task.elapsed or 0.0) >= _SHOWN_S])


class Screen:
    """The rows of a terminal: steps of several threads share them, and they are there only while a step is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: _Rows | None = None
        self._open = 0

    @contextlib.contextmanager
    def row(self, label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """Show a row while the block runs."""
        with self._lock:
            if self._rows is None:
                columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), _Bar(), _Amount())
                self._rows = _Rows(*columns, TimeElapsedColumn(), _Left(), console=console, transient=True)
                self._rows.start()
            self._open += 1
            rows = self._rows
            task = rows.add_task(label, total=total, unit=unit)
        try:
            yield lambda n: rows.advance(task, n)
        finally:
            with self._lock:
                rows.remove_task(task)
                self._open -= 1
                if not self._open:
                    self._end()

    def say(self, text: str) -> None:
        """Print a line above the rows."""
        console.print(text, markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Take the rows away."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._rows is not None:
            self._rows.stop()
            self._rows = None


screen = Screen()
