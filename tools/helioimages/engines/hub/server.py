"""A real hub on loopback, for an admin to try images: JupyterHub, DockerSpawner, its proxy, and Dask Gateway.

Three processes and the containers that they start. All are recorded in the hub's folder and carry its name as a label,
so that `stop` ends exactly these, also after a crash. What users saved lies in named volumes, which stay.

Servers share the host's network, because only there can a container listen on loopback alone. So a user of this hub
reaches whatever listens on this machine's loopback: it is a hub to try images, not one to offer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.models.containers import Container

from ...core import files
from ...core.errors import HelioError, Stage
from ...core.progress import step
from ...machine import processes as background
from ...machine.host import is_free, listens
from ...machine.processes import Background
from .parts import SOURCE, Parts

LABEL = "io.helioimages.hub"
#: In a hub's folder: the pages that say what is in the images.
CATALOGUE = "catalogue"
_ADDRESS = "127.0.0.1"
#: JupyterHub's own limit, of which it tells when it is started.
_LEAST_PASSWORD = 8
_READY_S = 60
_STOP_S = 45
_GONE_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A hub that runs, or ran.

    Attributes:
        name: of the containers' label, and what the volumes' names begin with.
        address: to open in a browser.
        engine: the address of the engine that runs the containers.
    """

    name: str
    address: str
    password: str
    engine: str
    processes: tuple[Background, ...]

    @property
    def running(self) -> bool:
        """Whether all of it runs."""
        return all(process.alive for process in self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOffer:
    """What the hub offers, as `profiles` writes it.

    Attributes:
        images: a fragment of jupyterhub_config.py.
        gateway: a fragment of dask_gateway_config.py.
        home: where users' volumes are mounted.
        sizes: name -> ``memory`` as JupyterHub writes it and ``cpus`` that a server may take.
        catalogue: the hub serves its folder `CATALOGUE` below ``/hub/catalogue/`` and this word, which nobody guesses:
            only who sees the form finds it. Empty for nothing.
        logins: what images are pulled with, as engines want it, by ``host/repository``.
    """

    images: str
    gateway: str
    home: str
    logins: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    sizes: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict, hash=False)
    catalogue: str = ""


def check_port(port: int) -> None:
    """Refuse a port that somebody has; 0 is any free one.

    Raises:
        HelioError: it is taken.
    """
    if port and not is_free(port):
        raise HelioError(
            Stage.USAGE, f"port {port} of {_ADDRESS} is taken", hint="choose another --port, or 0 for any free one"
        )


def check_password(password: str) -> None:
    """Refuse a password that JupyterHub refuses; an empty one is made.

    Raises:
        HelioError: it is too short.
    """
    if password and len(password) < _LEAST_PASSWORD:
        raise HelioError(
            Stage.USAGE,
            "the hub's password is too short",
            where="--password or HELIOIMAGES_HUB_PASSWORD",
            detail=f"expected at least {_LEAST_PASSWORD} characters not {len(password)}",
            hint="leave it out, and one is made",
        )


def start(folder: Path, parts: Parts, offered: HubOffer, *, engine: str, port: int, password: str = "") -> Hub:
    """Start a hub and return it once it answers.

    Args:
        folder: for its settings, database and logs; one hub a folder.
        port: on loopback; 0 is any free one.
        password: of every user; made if empty.

    Raises:
        HelioError: one runs in this folder, the port is taken, or the hub does not come up.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Of two that begin at once, the second finds what the first has started.
    with files.held(folder.with_name(f".{folder.name}.lock")):
        return _start(folder, parts, offered, engine, port, password)


def _start(folder: Path, parts: Parts, offered: HubOffer, engine: str, port: int, password: str) -> Hub:
    if (known := read(folder)) is not None:
        if known.running:
            raise HelioError(
                Stage.USAGE, f"a hub runs already at {known.address}", hint="end it with `buildimages hub --stop`"
            )
        stop(folder)
    check_port(port)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    name = name_of(folder)
    with _ports(4) as (own, hub_port, proxy_port, gateway_port):
        settings: dict[str, Any] = {
            "name": name,
            "labels": {LABEL: name},
            "home": offered.home,
            "sizes": {name: dict(size) for name, size in offered.sizes.items()},
            "catalogue": offered.catalogue,
            "engine": engine,
            "port": port or own,
            "hub_port": hub_port,
            "proxy_port": proxy_port,
            "gateway_port": gateway_port,
            "proxy_token": secrets.token_hex(32),
            "gateway_token": secrets.token_hex(32),
            "password": password or secrets.token_urlsafe(9),
        }
    # Whoever used this hub before is known by the volumes; the rest would only be stale.
    (folder / "hub.sqlite").unlink(missing_ok=True)
    _private(folder / "settings.json", json.dumps(settings))
    _private(folder / "images.py", offered.images)
    _private(folder / "gateway_options.py", offered.gateway)
    hub = Hub(
        name=name,
        address=f"http://{_ADDRESS}:{settings['port']}/",
        password=settings["password"],
        engine=engine,
        processes=(),
    )
    try:
        for process in _spawned(folder, parts, settings, offered.logins):
            hub = dataclasses.replace(hub, processes=(*hub.processes, process))
            _private(folder / "hub.json", json.dumps(dataclasses.asdict(hub)))
        _wait(hub, folder)
    except BaseException:
        with contextlib.suppress(HelioError):
            stop(folder)
        raise
    return hub


def default_folder(store: Path) -> Path:
    """Return the folder of the hub that is started without one."""
    return store / "hub"


def name_of(folder: Path) -> str:
    """Return the name that a folder's hub gives to its containers and volumes."""
    return "helioimages-hub-" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]


def read(folder: Path) -> Hub | None:
    """Return the hub that was started in a folder and not stopped, if there is one."""
    try:
        known = json.loads((folder / "hub.json").read_text("utf-8"))
        return Hub(**known | {"processes": tuple(Background(**process) for process in known["processes"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stop(folder: Path) -> Hub | None:
    """End a folder's hub and its containers, and return it if there was one. Volumes stay.

    Raises:
        HelioError: the engine that runs the containers does not answer.
    """
    hub = read(folder)
    if hub is None:
        return None
    # The hub ends the servers, the gateway its clusters; the proxy goes on until both have said so.
    proxies = [process for process in hub.processes if process.name == "proxy"]
    background.end([process for process in hub.processes if process not in proxies], seconds=_STOP_S)
    background.end(proxies, seconds=5)
    with _client(hub.engine) as client:
        for left in _containers(client, hub):
            with contextlib.suppress(docker.errors.APIError):
                left.remove(force=True)
        # The engine itself removes those that end, a moment later; their volumes are in use until then.
        deadline = time.monotonic() + _GONE_S
        while _containers(client, hub) and time.monotonic() < deadline:
            time.sleep(0.1)
    (folder / "hub.json").unlink(missing_ok=True)
    return hub


def _containers(client: docker.DockerClient, hub: Hub) -> list[Container]:
    return client.containers.list(all=True, filters={"label": f"{LABEL}={hub.name}"}, ignore_removed=True)


def volumes(hub: Hub) -> tuple[str, ...]:
    """Return the names of the volumes that hold this hub's users' homes."""
    with _client(hub.engine) as client:
        return tuple(_homes(client, hub.name))


def delete_homes(folder: Path, engine: str) -> tuple[str, ...]:
    """Delete what users of a folder's hubs saved, and return the names of their volumes.

    Args:
        engine: the address of the one that has them.

    Raises:
        HelioError: a hub runs there, or the engine does not answer or refuses.
    """
    if (hub := read(folder)) is not None and hub.running:
        raise HelioError(Stage.USAGE, f"a hub runs at {hub.address}", hint="end it first with `buildimages hub --stop`")
    with _client(engine) as client:
        homes = _homes(client, name_of(folder))
        try:
            for volume in homes.values():
                volume.remove(force=True)
        except docker.errors.APIError as error:
            raise HelioError(Stage.ENGINE, "the engine keeps a home", detail=error.explanation or str(error)) from error
    return tuple(homes)


def _homes(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """Return the volumes of the hubs of one name, by their names in order."""
    volumes_by_name = {volume.name: volume for volume in client.volumes.list(filters={"name": f"{name}-"})}
    return {key: volumes_by_name[key] for key in sorted(volumes_by_name) if key.startswith(f"{name}-")}


def log_tail(folder: Path) -> str:
    """Return the last lines of what the processes said."""
    lines = []
    for path in sorted(folder.glob("*.log")):
        lines += [f"{path.stem}: {line}" for line in path.read_text("utf-8", "replace").splitlines()[-8:]]
    return "\n".join(lines)


def _spawned(
    folder: Path, parts: Parts, settings: Mapping[str, Any], logins: Mapping[str, Mapping[str, str]]
) -> Iterator[Background]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER", "CONFIGPROXY"))
    }
    env |= {"HELIOIMAGES_HUB": str(folder), "DOCKER_HOST": settings["engine"], "NO_PROXY": _ADDRESS}
    # Secrets stay out of the folder; who may read a process's variables may read the files that they are from.
    env["HELIOIMAGES_HUB_LOGINS"] = json.dumps(dict(logins))
    api = f"http://{_ADDRESS}:{settings['hub_port']}/hub"
    proxy = [
        *parts.proxy,
        *("--ip", _ADDRESS, "--port", str(settings["port"])),
        *("--api-ip", _ADDRESS, "--api-port", str(settings["proxy_port"])),
        *("--error-target", f"{api}/error"),
    ]
    python = str(parts.python)
    token = {"CONFIGPROXY_AUTH_TOKEN": settings["proxy_token"]}
    yield background.spawn("proxy", proxy, env=env | token, log=folder / "proxy.log")
    hub = [python, "-m", "jupyterhub", "-f", str(SOURCE / "jupyterhub_config.py")]
    yield background.spawn("hub", hub, env=env, log=folder / "hub.log")
    gateway = [python, "-m", "dask_gateway_server", "-f", str(SOURCE / "dask_gateway_config.py")]
    service = {
        "JUPYTERHUB_API_URL": f"{api}/api",
        "JUPYTERHUB_API_TOKEN": settings["gateway_token"],
        "JUPYTERHUB_SERVICE_NAME": "dask-gateway",
    }
    yield background.spawn("gateway", gateway, env=env | service, log=folder / "gateway.log")


def _wait(hub: Hub, folder: Path) -> None:
    deadline = time.monotonic() + _READY_S
    waiting = {f"{hub.address}hub/api/", f"{hub.address}services/dask-gateway/api/health"}
    with requests.Session() as session:
        session.trust_env = False
        with step("the hub starts"):
            while waiting and time.monotonic() < deadline and hub.running:
                for url in sorted(waiting):
                    with contextlib.suppress(requests.RequestException):
                        if session.get(url, timeout=5).status_code == 200:
                            waiting.remove(url)
                if waiting:
                    time.sleep(0.1)
    if not waiting:
        return
    ended = [process.name for process in hub.processes if not process.alive]
    raise HelioError(
        Stage.HOST,
        "the hub does not start",
        where=str(folder),
        detail=f"{f'{ended[0]} ended' if ended else f'no answer in {_READY_S} s'}\n{log_tail(folder)}",
        hint=f"look into the logs in {folder}",
    )


@contextlib.contextmanager
def _client(address: str) -> Iterator[docker.DockerClient]:
    gone = HelioError(
        Stage.ENGINE,
        f"no engine answers at {address}",
        detail="it runs the servers of the hub",
        hint="start that engine and run `buildimages hub --stop` again",
    )
    if address.startswith("unix://") and not listens(address.removeprefix("unix://")):
        raise gone
    try:
        client = docker.DockerClient(base_url=address)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise gone from error
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _ports(count: int) -> Iterator[tuple[int, ...]]:
    """Yield ports that were free; held together, so that they differ."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind((_ADDRESS, 0))
        yield tuple(sock.getsockname()[1] for sock in held)


def _private(path: Path, text: str) -> None:
    files.write(path, text, mode=0o600)
