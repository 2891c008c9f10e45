"""The embedded registry: Debian's ``docker-registry`` on loopback, with its data in the store.

Started in the background and found again by later runs; only a process that this module started is ever ended, known
by its pid together with its start time, since a pid alone may have been given to another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from ..core import files
from ..core.errors import HelioError, Stage
from ..machine import processes
from ..machine.host import is_free
from ..machine.processes import Background

DEFAULT_PORT = 5000
_ADDRESS = "127.0.0.1"
_PROGRAMS = ("docker-registry", "registry")
#: What a registry answers with: whose it is. Absent in one that an earlier version started.
_STORE = "X-Helioimages-Store"
_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryServer:
    """A running registry.

    Attributes:
        reused: it ran already.
    """

    port: int
    process: Background
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
        if (server := _recorded(root) or _orphan(root)) is not None:
            if _healthy(root, server):
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
            if not is_free(candidate):
                continue
            server = _spawn(root, program, candidate)
            if _wait_ready(root, server):
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
    return server if server is not None and _healthy(root, server) else None


def stop(root: Path) -> bool:
    """End the registry that `start` started, and say whether there was one. Its data stays."""
    with _locked(root):
        server = _recorded(root) or _orphan(root)
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
        "http": {"addr": f"{_ADDRESS}:{port}", "secret": _secret(root), "headers": {_STORE: [_name(root)]}},
    }
    files.write(config, yaml.safe_dump(document, sort_keys=True), mode=0o600)
    # REGISTRY_* variables would override this file.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "OTEL_"))}
    environment["OTEL_TRACES_EXPORTER"] = "none"
    process = processes.spawn("registry", [program, "serve", str(config)], env=environment, log=_log(root))
    return _record(root, RegistryServer(port=port, process=process))


def _record(root: Path, server: RegistryServer) -> RegistryServer:
    process = server.process
    record = {"port": server.port, "pid": process.pid, "started": process.started}
    files.write(root / "run" / "registry.json", json.dumps(record))
    files.write(root / "run" / "registry.port", str(server.port))
    return server


def _orphan(root: Path) -> RegistryServer | None:
    """Return the registry of a run that was killed before it could record it: a second one would share its data."""
    config = root / "run" / "registry.yml"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            if path.read_bytes().split(b"\0")[1:3] == [b"serve", os.fsencode(config)]:
                port = int(yaml.safe_load(config.read_text())["http"]["addr"].rpartition(":")[2])
                process = processes.find("registry", int(path.parent.name))
                return _record(root, RegistryServer(port=port, process=process, reused=True))
    return None


def _recorded(root: Path) -> RegistryServer | None:
    """Return what the record names, if that very process still lives."""
    try:
        record = json.loads((root / "run" / "registry.json").read_bytes())
        process = Background(name="registry", pid=int(record["pid"]), started=int(record["started"]))
        server = RegistryServer(port=int(record["port"]), process=process, reused=True)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return server if process.alive else None


def _healthy(root: Path, server: RegistryServer) -> bool:
    """Say whether the store's registry answers; another one may have taken the port before ours could listen."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(f"http://{server.host}/v2/", timeout=5)
            return answer.status_code == 200 and answer.headers.get(_STORE, _name(root)) == _name(root)
    except requests.RequestException:
        return False


def _name(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def _wait_ready(root: Path, server: RegistryServer) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and server.process.alive:
        if _healthy(root, server):
            return True
        time.sleep(0.05)
    return False


def _end(server: RegistryServer) -> None:
    processes.end([server.process], seconds=_STOP_SECONDS)


def _last_port(root: Path) -> int | None:
    try:
        return int((root / "run" / "registry.port").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _secret(root: Path) -> str:
    path = root / "run" / "registry.secret"
    if not path.exists():
        files.write(path, secrets.token_hex(32), mode=0o600)
    return path.read_text()


def _log(root: Path) -> Path:
    return root / "run" / "registry.log"


def _tail(root: Path) -> bytes:
    try:
        return b"\n".join(_log(root).read_bytes().splitlines()[-5:])
    except FileNotFoundError:
        return b""


def _locked(root: Path) -> contextlib.AbstractContextManager[object]:
    """Let one run at a time start or stop."""
    folder = root / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return files.held(folder / "registry.lock")
