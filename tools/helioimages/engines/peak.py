"""How much memory a container needed at most: its control group says, read from outside while it runs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


class Peak:
    """Follows a container's cgroup while it runs; the kernel keeps the peak."""

    def __init__(self, container: str) -> None:
        self.value: int | None = None
        self._container = container
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _files(self) -> list[Path]:
        root, name = Path("/sys/fs/cgroup"), self._container
        return [
            root / "memory" / "docker" / name / "memory.max_usage_in_bytes",
            root / "docker" / name / "memory.peak",
            root / "system.slice" / f"docker-{name}.scope" / "memory.peak",
            root / "system.slice" / f"docker-{name}.scope" / "memory.current",
            root / "docker" / name / "memory.current",
        ]

    def _follow(self) -> None:
        while True:
            for path in self._files():
                with contextlib.suppress(OSError, ValueError):
                    self.value = max(self.value or 0, int(path.read_text()))
                    break
            if self._stop.wait(0.2):
                return
