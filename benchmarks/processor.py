"""Processor seconds of this process, of programs and of all that they start, however they end: of a cgroup of theirs.

What a process asks of its children (`getrusage`, `time`) leaves out workers that a server forks, and daemons. Needs
root and a cgroup 2, which may lie beside the older ones; elsewhere nothing is counted, and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Where the cgroups 2 are: alone, or beside the older ones.
_TOPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


class Used:
    """A cgroup whose processor seconds are counted."""

    def __init__(self) -> None:
        self._top = next((top for top in _TOPS if (top / "cgroup.subtree_control").exists()), _TOPS[0])
        self._folder = self._top / f"helioimages-bench-{os.getpid()}-{id(self):x}"
        try:
            self._folder.mkdir()
            self._there = (self._folder / "cpu.stat").exists()
        except OSError:
            self._there = False

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs a program in the cgroup."""
        if not self._there:
            return [*argv]
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._folder / "cgroup.procs"), *argv]

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Have this process in the cgroup in the block, and what it starts there for ever."""
        if not self._there:
            yield
            return
        before = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self._top / before.removeprefix("0::").lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def seconds(self) -> float | None:
        """What was used till now; None where nothing is counted."""
        if not self._there:
            return None
        rows = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(rows["usage_usec"]) / 1e6

    def close(self) -> None:
        """Remove the cgroup, if what was in it has ended."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()
