"""The engine of a store: a dockerd that `start` starts where none runs and `stop` ends. No other is ever touched."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core import files
from ..core.errors import HelioError, Stage
from ..core.progress import say, step
from ..core.words import human_size
from ..machine import host, mounts, processes
from ..machine.processes import Background
from ..machine.store import Store

_READY_S = 60
_STOP_S = 60
#: With less on its disk it does not start, or soon ends.
_LEAST_BYTES = 50 * 10**6
# Held so that Python does not complain of a child that outlives us, as it is meant to.
_STARTED: list[subprocess.Popen[bytes]] = []
_Engine = TypeVar("_Engine")


def start(store: Store, answering: Callable[[str], _Engine | None]) -> _Engine:
    """Return the engine of a store, started if it does not answer.

    Args:
        answering: asks what listens at an address and returns it; None if nothing answers.

    Raises:
        HelioError: dockerd is not installed or does not start; shows the end of its log.
    """
    at = address(store)
    # Several processes may ask at once, e.g. the workers of a test run: one starts it, the others find it.
    with store.lock("engine"):
        return answering(at) or _start(store, at, answering)


def address(store: Store) -> str:
    """Return where the engine of a store listens, if it runs."""
    return f"unix://{_folder(store) / 'docker.sock'}"


def running(store: Store) -> bool:
    """Return whether the engine that `start` started for this store still runs."""
    known = _recorded(store)
    return known is not None and known[0].alive


def stop(store: Store) -> bool:
    """End the engine that `start` started, and say whether there was one. What it holds stays.

    Raises:
        HelioError: it does not end; it stays ours, to be ended later.
    """
    # Whoever starts one meanwhile would lose its socket to our tidying.
    with store.lock("engine"):
        return _stop(store)


def _stop(store: Store) -> bool:
    known = _recorded(store)
    alive = known is not None and known[0].alive
    if known is not None:
        process, bound = known
        if alive:
            _terminate(process.pid)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline and process.alive:
            time.sleep(0.2)
        if process.alive:
            raise HelioError(
                Stage.ENGINE,
                "the engine does not end",
                where=str(store.root / "run" / "dockerd.log"),
                detail=f"process {process.pid} still works after {_STOP_S} s",
                hint="run `buildimages down` again",
            )
        _tidy(store, bound)
    for child in _STARTED:
        child.poll()
    _record(store).unlink(missing_ok=True)
    return alive


def _start(store: Store, at: str, answering: Callable[[str], _Engine | None]) -> _Engine:
    program = host.dockerd()
    if program is None:
        raise HelioError(
            Stage.ENGINE,
            "there is no container engine",
            hint="run `apt-get install docker.io`, or start podman's service",
        )
    folder, data = _folder(store), _data(store)
    folder.mkdir(parents=True, exist_ok=True)
    _forget(folder / "pid", "dockerd")
    _forget(folder / "exec" / "containerd" / "containerd.pid", "containerd")
    known = _recorded(store)
    # dockerd mounts its folder onto itself, unless something is mounted there: by a killed one before it, or by people.
    bound = (known is not None and known[1]) or data not in mounts.below(data)
    log = store.root / "run" / "dockerd.log"
    argv = [
        *_as_root(),
        program,
        f"--host={at}",
        f"--data-root={data}",
        f"--exec-root={folder / 'exec'}",
        f"--pidfile={folder / 'pid'}",
        f"--group={os.getgid()}",
    ]
    say("==> starting a container engine of this project's own")
    with open(log, "ab") as stream:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
        )
    _STARTED.append(process)
    deadline = time.monotonic() + _READY_S
    with step("dockerd"):
        while time.monotonic() < deadline and process.poll() is None:
            if engine := answering(at):
                ours = processes.find("engine", int((folder / "pid").read_text()))
                row = {"pid": ours.pid, "started": ours.started, "address": at, "bound": bound}
                files.write(_record(store), json.dumps(row))
                return engine
            time.sleep(0.2)
    # One that comes up later would be nobody's, and in the way of the next.
    if process.poll() is None:
        _terminate(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    tail = log.read_text("utf-8", "replace").splitlines()[-12:]
    hint = "run as root, or set DOCKER_HOST to another engine"
    if (free := shutil.disk_usage(store.root).free) < _LEAST_BYTES:
        # It may not even have been able to say so.
        tail.append(f"the disk of the store has {human_size(free)} free")
        hint = "make room there, or name another folder: HELIOIMAGES_STORE"
    raise HelioError(Stage.ENGINE, "dockerd does not start", detail="\n".join(tail), hint=hint)


def _forget(file: Path, program: str) -> None:
    """Remove a dead program's pid file: dockerd takes any process of that pid for it, a zombie or a stranger too."""
    with contextlib.suppress(OSError, ValueError):
        process = processes.find(program, int(file.read_text()))
        comm, deadline = Path(f"/proc/{process.pid}/comm"), time.monotonic() + 5
        # When dockerd was killed, its containerd ends too, but not at once.
        while process.alive and comm.read_text().strip() == program and time.monotonic() < deadline:
            time.sleep(0.05)
        if not process.alive or comm.read_text().strip() != program:
            file.unlink()


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        # An ordinary user started it through sudo, so it is root's.
        # The shell's own `kill`: the program is of procps, which a small Debian has not.
        subprocess.run([*_as_root(), "sh", "-c", 'kill -TERM "$1"', "sh", str(pid)], check=False)


def _tidy(store: Store, bound: bool) -> None:
    """Remove what a dead engine leaves: a mount of its network, and all of its mounts if it was killed."""
    folder = _folder(store)
    if bound:
        mounts.detach(_data(store))
    if not mounts.detach(folder):
        subprocess.run([*_as_root(), "rm", "-rf", "--one-file-system", "--", str(folder)], check=False)


def _recorded(store: Store) -> tuple[Background, bool] | None:
    """Return the engine that we started, alive or dead, and whether it mounted its folder itself."""
    try:
        known = json.loads(_record(store).read_bytes())
        process = Background(name="engine", pid=int(known["pid"]), started=int(known["started"]))
        return process, bool(known.get("bound"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _as_root() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else ("sudo", "-n")


def _folder(store: Store) -> Path:
    """Return where the socket is: a short path, for a Unix socket's may have 107 bytes."""
    name = hashlib.sha256(str(store.root.resolve()).encode()).hexdigest()[:10]
    base = Path("/run") if os.access("/run", os.W_OK) else Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))
    return base / f"helioimages-{name}"


def _data(store: Store) -> Path:
    return store.root.resolve() / "engine"


def _record(store: Store) -> Path:
    return store.root / "run" / "engine.json"
