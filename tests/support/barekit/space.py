"""Mounts, processes, control groups and a network of the bare machine's own; nothing of them is left on this one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import network
from .enter import GUEST, PLAN, RESULT

__all__ = ["GUEST", "PLAN", "RESULT", "run"]

_CGROUPS = Path("/sys/fs/cgroup")
_NAMESPACES = ("--mount", "--propagation=private", "--pid", "--fork", "--kill-child=KILL", "--ipc", "--uts", "--cgroup")


def run(tree: Path, *, folders: tuple[Path, ...], own_network: bool) -> int:
    """Start the guest as the first process of the tree, and wait for its end: with it all its processes end.

    Args:
        folders: of this machine, seen inside, read-only.
        own_network: else this machine's network is shared.

    Returns:
        the guest's exit code.
    """
    plan = json.dumps({"tree": str(tree), "folders": [str(folder) for folder in folders]})
    namespaces = (*_NAMESPACES, *(["--net"] if own_network else []))
    # The shell waits until it is in its control groups: unshare makes them the namespace's root.
    enter = 'read -r _; exec setpriv --pdeathsig KILL -- unshare "$@"'
    inner = (sys.executable, str(Path(__file__).resolve().with_name("enter.py")), plan)
    with _cgroups(f"helioimages-bare-{os.getpid()}") as groups:
        child = subprocess.Popen(["sh", "-c", enter, "sh", *namespaces, "--", *inner], stdin=subprocess.PIPE)
        assert child.stdin is not None
        try:
            for group in groups:
                (group / "cgroup.procs").write_text(str(child.pid))
            child.stdin.write(b"\n")
            child.stdin.flush()
            with contextlib.ExitStack() as stack:
                _until_unshared(child)
                _leave_the_top(groups, child.pid)
                if own_network:
                    stack.enter_context(network.way_out(child.pid, f"helioimages-bare-{os.getpid()}"))
                child.stdin.write(b"\n")
                child.stdin.flush()
                return child.wait()
        finally:
            # `--kill-child` ends the first process of the namespace, and the kernel all others with it.
            child.kill()
            child.wait()


def _until_unshared(child: subprocess.Popen[bytes]) -> None:
    mine = os.readlink("/proc/self/ns/uts")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None:
        if os.readlink(f"/proc/{child.pid}/ns/uts") != mine:
            return
        time.sleep(0.01)
    raise RuntimeError("unshare makes no namespaces")


def _leave_the_top(groups: tuple[Path, ...], pid: int) -> None:
    """Move `unshare`, whom the guest cannot see, away: groups below one with processes have no controllers."""
    for group in groups:
        if (_CGROUPS / "cgroup.controllers").exists():
            (group / "outside").mkdir()
            (group / "outside" / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def _cgroups(name: str) -> Iterator[tuple[Path, ...]]:
    """Make a control group in each hierarchy, and remove it with all below it."""
    made: list[Path] = []
    try:
        for group in _places(Path("/proc/self/cgroup").read_text(), name):
            if not group.parent.is_dir():
                continue
            group.mkdir()
            made.append(group)
            # Of the first version: a new set of processors is empty, and takes no process.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if group.parent.joinpath(setting).exists() and not (_CGROUPS / "cgroup.controllers").exists():
                    (group / setting).write_text((group.parent / setting).read_text())
        yield tuple(made)
    finally:
        for group in made:
            _remove(group)


def _places(text: str, name: str) -> tuple[Path, ...]:
    """Return where the control groups are made, from /proc/self/cgroup. Spec: cgroups(7).

    Of the second version at its root: below a group that has processes none may have controllers.
    """
    places = []
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root = _CGROUPS if (_CGROUPS / "cgroup.controllers").exists() else _CGROUPS / "unified"
            places.append(root / name)
        else:
            places.append(_CGROUPS / controllers.removeprefix("name=") / path.lstrip("/") / name)
    return tuple(places)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 20
    while group.exists():
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if time.monotonic() > deadline:
            print(f"note: the control group {group} stays: it is in use", file=sys.stderr)
            return
        time.sleep(0.05)
