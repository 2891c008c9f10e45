"""The embedded registry: Debian's ``docker-registry`` on loopback, with its data in the store.

Started in the background and found again by later runs; only a process that this module started is ever ended, known
by its pid together with its start time, since a pid alone may have been given to another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
import yaml

from .errors import HelioError, Stage

DEFAULT_PORT = 5000
_ADDRESS = "127.0.0.1"
_PROGRAMS = ("docker-registry", "registry")
_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryServer:
    """A running registry.

    Attributes:
        pid, started: the process and its start time in clock ticks since boot.
        reused: it ran already.
    """

    port: int
    pid: int
    started: int
    reused: bool = False

    @property
    def host(self) -> str:
        """``127.0.0.1:<port>``, what references begin with."""
        return f"{_ADDRESS}:{self.port}"


def start(root: Path, *, port: int | None = None) -> RegistryServer:
    """Return the store's registry, started if it does not run.

    Args:
        root: the store's folder; data goes to ``registry/``, pid, config and log to ``run/``.
        port: tried first; by default the one used last time, so that references stay right, else 5000. When it is
            taken, the next free one.

    Raises:
        HelioError: it is not installed, or does not come up; shows the end of its log.
    """
    with _locked(root):
        if (server := _recorded(root)) is not None:
            if _healthy(server):
                return server
            _end(server)
        program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
        if program is None:
            raise HelioError(
                Stage.HOST,
                "`docker-registry` is not installed",
                detail="the embedded registry is Debian's",
                hint="run `apt-get install docker-registry`, or name another registry with --registry",
            )
        first = port or _last_port(root) or DEFAULT_PORT
        for candidate in range(first, first + 50):
            if not _free(candidate):
                continue
            server = _spawn(root, program, candidate)
            if _wait_ready(server):
                return server
            _end(server)
            if b"address already in use" not in _tail(root):
                break
        raise HelioError(
            Stage.HOST,
            "the embedded registry does not start",
            where=str(_log(root)),
            detail=_tail(root).decode(errors="replace").strip() or f"no free port from {first} to {first + 49}",
            hint=f"look into {_log(root)}",
        )


def running(root: Path) -> RegistryServer | None:
    """Return the store's registry if it runs and answers, without starting it."""
    server = _recorded(root)
    return server if server is not None and _healthy(server) else None


def stop(root: Path) -> bool:
    """End the registry that `start` started, and say whether there was one. Its data stays."""
    with _locked(root):
        server = _recorded(root)
        if server is not None:
            _end(server)
        (root / "run" / "registry.json").unlink(missing_ok=True)
        return server is not None


def _spawn(root: Path, program: str, port: int) -> RegistryServer:
    config = root / "run" / "registry.yml"
    data = root / "registry"
    data.mkdir(parents=True, exist_ok=True)
    document = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "inmemory"},
        },
        # The secret signs upload addresses; kept, so that an upload survives a restart.
        "http": {"addr": f"{_ADDRESS}:{port}", "secret": _secret(root)},
    }
    _write(config, yaml.safe_dump(document, sort_keys=True).encode(), 0o600)
    # REGISTRY_* variables would override this file.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "OTEL_"))}
    environment["OTEL_TRACES_EXPORTER"] = "none"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    # A session of its own, so that Ctrl-C in our terminal does not end it.
    pid = os.posix_spawn(
        program,
        [program, "serve", str(config)],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(_log(root)), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    server = RegistryServer(port=port, pid=pid, started=_start_time(pid) or 0)
    record = {name: value for name, value in asdict(server).items() if name != "reused"}
    _write(root / "run" / "registry.json", json.dumps(record).encode(), 0o644)
    _write(root / "run" / "registry.port", str(port).encode(), 0o644)
    return server


def _recorded(root: Path) -> RegistryServer | None:
    """Return what the record names, if that very process still lives."""
    try:
        record = json.loads((root / "run" / "registry.json").read_bytes())
        server = RegistryServer(
            port=int(record["port"]), pid=int(record["pid"]), started=int(record["started"]), reused=True
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return server if _alive(server) else None


def _alive(server: RegistryServer) -> bool:
    # A child of ours that ended stays in the process table until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)
    return server.started != 0 and _start_time(server.pid) == server.started


def _start_time(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot; None when it is gone or a zombie.

    Spec: proc(5), /proc/pid/stat, fields 3 and 22.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the command's name, may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _healthy(server: RegistryServer) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://{server.host}/v2/", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _wait_ready(server: RegistryServer) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and _alive(server):
        if _healthy(server):
            return True
        time.sleep(0.05)
    return False


def _end(server: RegistryServer) -> None:
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5.0)):
        if not _alive(server):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and _alive(server):
            time.sleep(0.02)


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_ADDRESS, port))
        except OSError:
            return False
        return True


def _last_port(root: Path) -> int | None:
    try:
        return int((root / "run" / "registry.port").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _secret(root: Path) -> str:
    path = root / "run" / "registry.secret"
    if not path.exists():
        _write(path, secrets.token_hex(32).encode(), 0o600)
    return path.read_text()


def _log(root: Path) -> Path:
    return root / "run" / "registry.log"


def _tail(root: Path) -> bytes:
    try:
        return b"\n".join(_log(root).read_bytes().splitlines()[-5:])
    except FileNotFoundError:
        return b""


def _write(path: Path, data: bytes, mode: int) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(half, path)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Let one run at a time start or stop."""
    folder = root / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "registry.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
