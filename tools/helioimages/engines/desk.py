"""A folder of this machine in a container, writable, with files that belong to whom the folder belongs to.

Who that is in the container depends on the engine: a rootless one shows its user as root there; else numbers are the
machine's, and whoever is not the image's own user is in group 0, which may write to its home. On machines with SELinux
the folder keeps its label, which is people's own; the container goes without.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.errors
import requests

from ..core.errors import HelioError, Stage
from . import devices, leftovers
from .engine import Engine, started_with

#: Where the folder is in the container, below the home.
WORK = "work"
#: How KubeSpawner and DockerSpawner tell a server its image.
SPEC = "JUPYTER_IMAGE_SPEC"
#: What a server must be told that runs as root.
_ALLOW_ROOT = "--allow-root"
#: Lets a container into folders of the home where SELinux is; means nothing elsewhere.
_UNCONFINED = "label=disable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """An image with a folder in it.

    Attributes:
        reference: the engine has it.
        folder: of this machine; None mounts none.
        user: as an engine is told it, empty for the image's own.
        home: of the image's user, absolute.
        command: the image's own.
    """

    reference: str
    folder: Path | None
    user: str
    home: str
    command: tuple[str, ...] = field(default=())

    @property
    def place(self) -> str:
        """The folder in the container, or the home."""
        return f"{self.home}/{WORK}" if self.folder else self.home

    @property
    def variables(self) -> dict[str, str]:
        """What the container is told of itself, as a hub tells it: `helioimages-info` shows the digest."""
        return {SPEC: self.reference}

    def options(self) -> dict[str, Any]:
        """Return what the Docker SDK is told to make a container of it."""
        told: dict[str, Any] = {"working_dir": self.place, "environment": self.variables}
        if self.folder:
            told["volumes"] = {str(self.folder): {"bind": self.place, "mode": "rw"}}
            told["security_opt"] = [_UNCONFINED]
        if self.user:
            told["user"] = self.user
        return told

    def server(self) -> dict[str, Any]:
        """Return the same for the image's own command, a Jupyter server."""
        as_root = self.user.startswith("0:") and self.command[:1] == ("jupyter",)
        return self.options() | ({"command": [*self.command, _ALLOW_ROOT]} if as_root else {})


def desk(engine: Engine, reference: str, folder: Path | None) -> Desk:
    """Return an image with a folder in it; it is pulled if the engine lacks it.

    Raises:
        HelioError: the folder cannot be mounted, or the engine cannot pull the image.
    """
    if folder is not None and folder == Path(folder.anchor):
        raise HelioError(
            Stage.USAGE,
            f"`{folder}` is not mounted: it is the whole machine",
            hint="change to the folder of your notebooks, or say --no-mount",
        )
    engine.pull(reference)
    try:
        config: Mapping[str, Any] = engine.client.images.get(reference).attrs["Config"]
        told = engine.client.info()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(Stage.ENGINE, f"the engine does not tell of `{reference}`", detail=str(error)) from error
    variables = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    return Desk(
        reference=reference,
        folder=folder,
        user=user_of(folder, str(config.get("User") or "0"), rootless=is_rootless(told)),
        home=variables.get("HOME", "/root"),
        command=tuple(config.get("Cmd") or ()),
    )


def is_rootless(told: Mapping[str, Any]) -> bool:
    """Say whether an engine runs as an ordinary user, by what it tells of itself."""
    # docker says it among its options; podman has a word of its own.
    return bool(told.get("Rootless")) or any("rootless" in option for option in told.get("SecurityOptions") or ())


def user_of(folder: Path | None, own: str, *, rootless: bool) -> str:
    """Return whom a container runs as so that it can write to a folder, and its files are the folder's owner's.

    Args:
        own: the image's user, a number perhaps with a group's.
        rootless: the engine runs as an ordinary user, who is root in its containers.
    """
    if folder is None:
        return ""
    if rootless:
        return "0:0"
    owner = folder.stat().st_uid
    return "" if str(owner) == own.partition(":")[0] else f"{owner}:0"


def shell(engine: Engine, work: Desk, gpus: str | None) -> int:
    """Open a shell in an image and return its exit status; it is the engine's own client that speaks with the terminal.

    Raises:
        HelioError: there is no such client, or it cannot ask for GPUs.
    """
    own = devices.is_podman(engine.client.version())
    # podman's service speaks docker's words as well; docker's does not speak podman's.
    client, podman = (shutil.which("podman") if own else None), own
    if client is None:
        client, podman = shutil.which("docker"), False
    if client is None:
        program = "podman" if own else "docker"
        raise HelioError(
            Stage.HOST,
            f"there is no {program} client",
            hint=f"install {'podman' if own else 'docker-cli'}, or run a server without --shell",
        )
    address = ["--url" if podman else "-H", engine.address]
    terminal = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else ["-i"]
    argv = [client, *address, "run", "--rm", *terminal, "--workdir", work.place]
    argv += [f"--env={name}={value}" for name, value in work.variables.items()]
    argv += ["--user", work.user] if work.user else []
    argv += ["--volume", f"{work.folder}:{work.place}", "--security-opt", _UNCONFINED] if work.folder else []
    argv += devices.words(engine.client, gpus, podman=podman)
    return subprocess.run([*argv, work.reference, "bash", "-l"], check=False).returncode


def command(engine: Engine, work: Desk, argv: Sequence[str], gpus: str | None) -> int:
    """Run a command in an image, its words to stderr as they come, and return its exit status.

    The container ends with it, or with us: whoever presses Ctrl-C waits for no notebook.

    Raises:
        HelioError: the engine cannot start it.
    """
    leftovers.sweep(engine.client)
    try:
        container = engine.client.containers.create(
            work.reference,
            list(argv),
            device_requests=devices.requests(engine.client, gpus),
            labels=leftovers.label(),
            **work.options(),
        )
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(
            Stage.ENGINE, f"the engine cannot make a container of `{work.reference}`", detail=str(error)
        ) from error
    try:
        started_with(container, gpus)
        for piece in container.logs(stream=True, follow=True):
            sys.stderr.write(piece.decode("utf-8", "replace"))
            sys.stderr.flush()
        return int(container.wait()["StatusCode"])
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(
            Stage.ENGINE, f"the engine lost a container of `{work.reference}`", detail=str(error)
        ) from error
    finally:
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            container.remove(force=True)
