"""What a container used of its machine: its control group says, read from outside while it runs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

#: Of cgroup v2 by systemd and by the engine itself, then of v1; a container's id stands for ``{}``.
_GROUPS = ("system.slice/docker-{}.scope", "docker/{}", "memory/docker/{}", "cpuacct/docker/{}")


class Usage:
    """Follows a container's control group while it runs.

    Attributes:
        peak_memory_bytes: the most that all its processes had at once, None where the engine does not tell.
        cpu_seconds: what they took of the processors, None where the engine does not tell.
    """

    def __init__(self, container: str, root: Path = Path("/sys/fs/cgroup")) -> None:
        self.peak_memory_bytes: int | None = None
        self.cpu_seconds: float | None = None
        self._groups = [root / group.format(container) for group in _GROUPS]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while True:
            self.look()
            if self._stop.wait(0.2):
                return

    def look(self) -> None:
        """Take what is to be read now: the group goes with the container."""
        # Linux before 5.19 keeps no peak; v1 calls it otherwise.
        for name in ("memory.peak", "memory.max_usage_in_bytes", "memory.current"):
            if text := self._text(name):
                self.peak_memory_bytes = max(self.peak_memory_bytes or 0, int(text))
                break
        if text := self._text("cpu.stat"):
            rows = dict(line.split() for line in text.splitlines())
            self.cpu_seconds = int(rows["usage_usec"]) / 1e6
        elif text := self._text("cpuacct.usage"):
            self.cpu_seconds = int(text) / 1e9

    def _text(self, name: str) -> str:
        """Return a file of the first group that has it; empty where none has, or it went just now."""
        for group in self._groups:
            with contextlib.suppress(OSError):
                return (group / name).read_text()
        return ""
