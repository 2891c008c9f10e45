"""The container engine, through the Docker SDK: one that runs already, or our own dockerd.

`connect` prefers what the environment names, then the system's socket, then an engine of this store (`own_engine`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.auth
import docker.errors
import requests
from docker.models.containers import Container

from ..core.errors import HelioError, Stage
from ..core.progress import say, step
from ..machine.host import listens, sockets
from ..machine.store import Store
from ..oci.reference import is_loopback
from ..oci.transport import anonymous
from . import devices, leftovers, logins, own_engine, stream
from .usage import Usage

_READY_S = 60
# Between a server's word and its first answer.
_ANSWERS_S = 10
_TIMEOUT = 1800
_HELLO = 20
#: What podman says where it lacks a program that makes its networks.
_NETWORKING = re.compile(
    r"could not find (\w+), the network namespace|netavark: .*unable to execute (\w+): No such file"
)
_PACKAGES = {"pasta": "passt", "nft": "nftables"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One container's end.

    Attributes:
        log: stdout and stderr together.
        seconds: from start to end.
        peak_memory_bytes: of all its processes, None where the engine does not tell.
        cpu_seconds: of processors, by all its processes, None where the engine does not tell.
    """

    exit_code: int
    log: str
    seconds: float
    peak_memory_bytes: int | None
    timed_out: bool
    oom_killed: bool
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a container is given, and what it may use.

    Attributes:
        user: name or number; the image's own if empty.
        network: ``none`` or ``bridge``.
        memory: as Docker writes it, e.g. ``4g``; there is no swap beyond it.
        pids: processes and threads at once.
        mounts: path in the container -> (path here, ``ro`` or ``rw``).
        tmpfs: path in the container -> mount options.
        workdir: the image's own if None.
        timeout_s: seconds after which the container is killed.
        gpus: how many NVIDIA GPUs it gets, a number or ``all``; None or ``none`` gives none.
    """

    user: str = ""
    network: str = "none"
    memory: str = "4g"
    cpus: float = 2.0
    pids: int = 4096
    mounts: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    workdir: str | None = None
    timeout_s: float = 600
    gpus: str | None = None


#: As an image is, without the network.
USUAL = RunOptions()


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine.

    Attributes:
        client: the SDK's.
        address: where it was found.
        credentials: logins of registries that images are pulled from, by ``host/repository``.
    """

    client: docker.DockerClient
    address: str
    credentials: logins.Logins = anonymous

    def pull(self, reference: str) -> None:
        """Pull an image by digest, unless the engine has it.

        Raises:
            HelioError: the registry or the engine refuses.
        """
        unread = None
        try:
            with contextlib.suppress(docker.errors.ImageNotFound):
                self.client.images.get(reference)
                return
            repository, _, digest = reference.partition("@")
            login, unread = logins.tolerant(self.credentials, repository)
            with step(f"the engine pulls {repository}"):
                if is_loopback(repository.partition("/")[0]) and self._is_podman():
                    self._pull_plain(reference, login)
                else:
                    answer = self.client.api.pull(repository, tag=digest, stream=True, decode=True, auth_config=login)
                    stream.follow(answer, self.client)
            self.client.images.get(reference)
        except (docker.errors.DockerException, requests.RequestException) as error:
            if unread is not None:
                raise unread from error
            raise HelioError(
                Stage.ENGINE,
                f"the engine cannot pull `{reference}`",
                detail=str(error)[:600],
                hint=f"run `{self.client_words()} pull {reference}`",
            ) from error

    def kind(self) -> str:
        """Return the engine's program and version, e.g. ``docker 26.1.5``."""
        return f"{'podman' if self._is_podman() else 'docker'} {self.client.version().get('Version', '')}".strip()

    def client_words(self) -> str:
        """Return how the engine's own client is told where it is, for people to type."""
        # Errors say it too, perhaps of an engine that answers no more.
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            if self._is_podman():
                return f"podman --url {self.address}"
        return f"docker -H {self.address}"

    def _is_podman(self) -> bool:
        return devices.is_podman(self.client.version())

    def _tmpfs(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Return what this engine can do: podman's tmpfs is root's, so a user's folder is the container's own there."""
        if not any("uid=" in options for options in wanted.values()) or not self._is_podman():
            return dict(wanted)
        return {where: options for where, options in wanted.items() if "uid=" not in options}

    def _pull_plain(self, reference: str, login: Mapping[str, str] | None) -> None:
        """Pull without TLS, as docker does from loopback by itself: podman's own API has a word for it."""
        response = self.client.api.post(
            f"{self.client.api.base_url}/v4.0.0/libpod/images/pull",
            params={"reference": reference, "tlsVerify": "false", "quiet": "true"},
            headers={"X-Registry-Auth": docker.auth.encode_header(login)} if login else {},
            timeout=_TIMEOUT,
        )
        stream.follow(stream.rows_of(response.text), self.client)

    def run(self, image: str, argv: Sequence[str], options: RunOptions = USUAL) -> RunResult:
        """Run a command in a fresh container and remove the container, whatever happens.

        Raises:
            HelioError: the engine cannot start the container, or has no GPU to give.
        """
        volumes = {str(here): {"bind": there, "mode": mode} for there, (here, mode) in options.mounts.items()}
        leftovers.sweep(self.client)
        try:
            container = self.client.containers.create(
                image,
                list(argv),
                user=options.user or None,
                network_mode=options.network,
                # The user's Docker config may have proxies with passwords in them; reports are published.
                use_config_proxy=options.network != "none",
                mem_limit=options.memory,
                memswap_limit=options.memory,
                # The engine's own processors: it may be bound to fewer than this process sees.
                nano_cpus=int(min(options.cpus, self.client.info()["NCPU"]) * 1e9),
                pids_limit=options.pids,
                volumes=volumes,
                tmpfs=self._tmpfs(options.tmpfs),
                environment=dict(options.env),
                read_only=options.read_only,
                working_dir=options.workdir,
                security_opt=["no-new-privileges"],
                device_requests=devices.requests(self.client, options.gpus),
                labels=leftovers.label(),
            )
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise HelioError(
                Stage.ENGINE, f"the engine cannot make a container of `{image}`", detail=str(error)
            ) from error
        usage = Usage(str(container.id))
        start = time.monotonic()
        timed_out = False
        try:
            started_with(container, options.gpus)
            with usage:
                try:
                    code = container.wait(timeout=options.timeout_s)["StatusCode"]
                except (requests.ConnectionError, requests.ReadTimeout):
                    timed_out, code = True, 124
                    container.kill()
                    container.wait(timeout=60)
            seconds = time.monotonic() - start
            container.reload()
            return RunResult(
                exit_code=code,
                log=container.logs().decode("utf-8", "replace"),
                seconds=seconds,
                peak_memory_bytes=usage.peak_memory_bytes,
                timed_out=timed_out,
                oom_killed=bool(container.attrs["State"].get("OOMKilled")),
                cpu_seconds=usage.cpu_seconds,
            )
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise HelioError(Stage.ENGINE, f"the engine lost a container of `{image}`", detail=str(error)) from error
        finally:
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                container.remove(force=True)

    def room(self) -> tuple[int, int]:
        """Return the engine's processors and bytes of memory: those of its machine, which may be another one.

        Raises:
            HelioError: it does not tell.
        """
        try:
            told = self.client.info()
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise HelioError(Stage.ENGINE, "the engine does not tell what it has", detail=str(error)) from error
        return int(told["NCPU"]), int(told["MemTotal"])

    def end_served(self, port: int | None = None) -> int:
        """Stop and remove every container of `serve`, or the one at a port, and return how many there were."""
        return leftovers.served(self.client, ended=False, port=port)

    def abandon(self) -> None:
        """Remove the containers that this process waits for: it was interrupted."""
        leftovers.abandon(self.client)

    def serve(
        self, reference: str, *, port: int, gpus: str | None = None, desk: Mapping[str, Any] | None = None
    ) -> str:
        """Start an image's own command in the background and return the address to open.

        Args:
            gpus: as in `RunOptions`.
            desk: a folder in it, and whom it runs as; see `desk.Desk.server`.

        Raises:
            HelioError: the port is taken, the engine has no GPU to give, or the server does not come up.
        """
        self.pull(reference)
        leftovers.served(self.client, ended=True)
        try:
            container = self.client.containers.create(
                reference,
                ports={"8888/tcp": ("127.0.0.1", port)},
                labels=leftovers.SERVED,
                device_requests=devices.requests(self.client, gpus),
                **(desk or {}),
            )
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise HelioError(
                Stage.ENGINE, f"the engine cannot make a container of `{reference}`", detail=str(error)
            ) from error
        try:
            started_with(container, gpus)
        except HelioError:
            container.remove(force=True)
            raise
        except (docker.errors.DockerException, requests.RequestException) as error:
            container.remove(force=True)
            raise _not_started(reference, port, error) from error
        try:
            token = _token(container)
            if token is not None and self.address.startswith("unix:"):
                _await(port, time.monotonic() + _ANSWERS_S)
            if token is None:
                log = container.logs(tail=20).decode("utf-8", "replace")
                what = "ended without an address" if _ended(container) else f"printed no address in {_READY_S} s"
                container.remove(force=True)
                raise HelioError(Stage.ENGINE, f"`{reference}` {what}", detail=log)
        except KeyboardInterrupt:
            container.remove(force=True)
            raise
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise HelioError(
                Stage.ENGINE,
                f"the container of `{reference}` was lost while it started",
                detail=str(error),
                hint="`buildimages run --stop` and `buildimages down` end it; run this again",
            ) from error
        # Not by the engine's own client, which need not be here.
        say(f"stop it: buildimages run --stop --port {port}")
        return f"http://127.0.0.1:{port}/lab?token={token}"


def _token(container: Container) -> str | None:
    """Return what a server says that its visitors need, once it says so; None if it does not, or ends."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        container.reload()
        for line in container.logs().decode("utf-8", "replace").splitlines():
            if "http://127.0.0.1:8888/lab?token=" in line:
                return line.rpartition("token=")[2].strip()
        if _ended(container):
            break
        time.sleep(0.3)
    return None


def _ended(container: Container) -> bool:
    """Say whether a container had ended when the engine was last asked for it."""
    return container.status in ("exited", "dead")


def _await(port: int, deadline: float) -> None:
    """Wait until a server of this machine answers: a browser that comes before it does shows an error for good.

    Args:
        deadline: then it is let be, for a socket of this machine may lead to an engine of another one.
    """
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            # No proxy that the environment names has this machine's own ports.
            session.trust_env = False
            session.get(f"http://127.0.0.1:{port}/api", timeout=2)
            return
        time.sleep(0.1)


def started_with(container: Container, gpus: str | None) -> None:
    """Start a container; an engine that has no GPU to give, or no network, says so only now.

    Raises:
        HelioError: GPUs were asked for, and the engine has none; or it lacks the program of its networks.
    """
    try:
        container.start()
    except docker.errors.APIError as error:
        if lacks := _NETWORKING.search(str(error)):
            program = lacks[1] or lacks[2]
            raise HelioError(
                Stage.ENGINE,
                f"podman starts no container without `{program}`, which makes its networks",
                detail=error.explanation or str(error),
                hint=f"run `apt-get install {_PACKAGES.get(program, program)}`",
            ) from error
        if gpus is None or not any(word in str(error).lower() for word in ("gpu", "nvidia", "device driver", "cdi")):
            raise
        raise HelioError(
            Stage.ENGINE,
            f"the engine has no GPU to give (`--gpus {gpus}`)",
            detail=error.explanation or str(error),
            hint="install NVIDIA's driver and container toolkit (`nvidia-ctk runtime configure`; for podman "
            "`nvidia-ctk cdi generate`), or say --gpus none: every image runs on the processor too",
        ) from error


def _not_started(reference: str, port: int, error: Exception) -> HelioError:
    """Return why a server does not start; of a port that is taken, an engine tells half a page."""
    if any(words in str(error).lower() for words in ("already allocated", "already in use")):
        return HelioError(
            Stage.ENGINE,
            f"port {port} of 127.0.0.1 is taken",
            hint="choose another --port, or leave it out to have any free one; `buildimages run --stop` ends what it "
            "started",
        )
    if "iptables failed" in str(error):
        return HelioError(
            Stage.ENGINE,
            f"the engine cannot open port {port} of 127.0.0.1",
            detail=str(error),
            hint="another program removed its firewall rules, or changes its own: run this again, then restart the "
            "engine (`buildimages down` ends this project's own, and the next run starts it)",
        )
    return HelioError(Stage.ENGINE, f"cannot start `{reference}`", detail=str(error), hint="choose another --port")


def connect(store: Store, credentials: logins.Logins = anonymous) -> Engine:
    """Return an engine, started if none answers.

    Args:
        credentials: logins of registries that images are pulled from, by ``host/repository``.

    Raises:
        HelioError: there is none and none can be started; the hint says what to install or to run.
    """
    engine = running(store) or own_engine.start(store, _answering)
    return dataclasses.replace(engine, credentials=credentials)


def running(store: Store) -> Engine | None:
    """Return the engine that `connect` would take, None if it would have to start one.

    Raises:
        HelioError: the environment names an engine that does not answer.
    """
    if address := os.environ.get("DOCKER_HOST"):
        engine = _answering(address)
        if engine is None:
            raise HelioError(
                Stage.ENGINE, f"no engine answers at {address}", hint="unset DOCKER_HOST, or start that engine"
            )
        return engine
    for address in (*(f"unix://{path}" for path in sockets()), own_engine.address(store)):
        if engine := _answering(address):
            return engine
    return None


def _answering(address: str) -> Engine | None:
    if address.startswith("unix://") and not listens(address.removeprefix("unix://")):
        return None
    try:
        # It may take its time for its work, but not to say that it is there.
        docker.DockerClient(base_url=address, timeout=_HELLO, version="auto").ping()
        client = docker.DockerClient(base_url=address, timeout=_TIMEOUT, version="auto")
    except (docker.errors.DockerException, requests.RequestException, OSError):
        return None
    return Engine(client, address)
