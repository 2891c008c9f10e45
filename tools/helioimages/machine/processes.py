"""Processes that outlive the one that started them, known by their pid and start time; and those that threads wait for.

A pid alone may have been given to another process since; with its start time it names one process for ever. The start
is counted in the kernel's ticks since boot. psutil gives the time of day, which moves when the clock is set, and calls
a process ended when its first thread has, though others still hold its ports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A process; ``started`` is in clock ticks since boot."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.started != 0 and started_at(self.pid) == self.started


def find(name: str, pid: int) -> Background:
    """Return the process that has a pid now; ``alive`` says whether there is one."""
    return Background(name=name, pid=pid, started=started_at(pid) or 0)


def spawn(name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> Background:
    """Start a program in a session of its own, so that Ctrl-C in this terminal does not reach it.

    Args:
        argv: with the program's path first.
        log: gets its output, readable by its owner only.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return find(name, pid)


def end(processes: Sequence[Background], *, seconds: float) -> None:
    """Ask processes to end, all at once, and kill those that have not after so many seconds."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        for process in processes:
            if process.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(process.alive for process in processes):
            time.sleep(0.05)
    for process in processes:
        # A child of ours that ended stays in the process table until it is waited for.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def started_at(pid: int) -> int | None:
    """Return a process's start; None when it is gone. Spec: proc(5), /proc/pid/stat, fields 3, 20 and 22."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the command's name, may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    # The first thread may have ended before the others, and these still hold the process's files and ports.
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


class Waited:
    """Programs that threads of this process wait for: an interrupt reaches its main thread alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], umask: int = -1, pass_fds: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, and return what it printed.

        Raises:
            InterruptedError: all were ended; none begins after that.
        """
        pipe = subprocess.PIPE
        # A program that has begun, and is not yet among those that run, would be missed by `end`.
        with self._lock:
            if self._ended:
                raise InterruptedError(f"`{argv[0]}` was not started")
            process = subprocess.Popen(
                argv, stdout=pipe, stderr=pipe, text=True, env=env, umask=umask, pass_fds=tuple(pass_fds)
            )
            self._running.add(process)
        with process:
            try:
                printed, told = process.communicate()
            except BaseException:
                process.kill()
                raise
            finally:
                self._running.discard(process)
        return subprocess.CompletedProcess(process.args, process.returncode, printed, told)

    def end(self) -> None:
        """Kill what runs, and let nothing begin."""
        with self._lock:
            self._ended = True
            for process in tuple(self._running):
                process.kill()
