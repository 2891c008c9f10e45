"""The host: which programs the pipeline needs, whether they are here, and how to get them.

`ensure` installs what lacks with apt (through sudo for an ordinary user) and touches nothing else.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.progress import say, step
from ..core.words import human_size

# Where a system's own engine listens: dockerd, and podman's service.
SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
# And where one of an ordinary user's own does, below the folder of the session.
_USERS = ("docker.sock", "podman/podman.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing the pipeline needs of the host.

    Attributes:
        name: for people.
        why: the stage that needs it.
        package: Debian's package that brings it.
        there: says whether it is here.
    """

    name: str
    why: str
    package: str
    there: Callable[[], bool]


def is_free(port: int) -> bool:
    """Say whether a server could listen at a port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listens(path: str) -> bool:
    """Return whether somebody answers at a Unix socket, whose file outlives its engine."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        return True
    return False


def dockerd() -> str | None:
    """Return the program that an engine of our own is started with; it lies where an ordinary user's PATH is not."""
    return shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def sockets() -> tuple[str, ...]:
    """Return where engines listen, the system's before the user's own."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return (*SOCKETS, *(f"{folder}/{name}" for name in _USERS if folder))


def _engine_answers() -> bool:
    return bool(os.environ.get("DOCKER_HOST") or any(listens(path) for path in sockets()))


def _engine() -> bool:
    # podman without its service is none: `connect` would start dockerd.
    return _engine_answers() or bool(dockerd())


def _program(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name) for name in names)


NEEDS: tuple[Need, ...] = (
    Need(name="mmdebstrap", why="Debian root file system", package="mmdebstrap", there=_program("mmdebstrap")),
    Need(
        name="Debian's archive keys",
        why="checking what Debian signed",
        package="debian-archive-keyring",
        there=lambda: any(Path("/usr/share/keyrings").glob("debian-archive-*keyring*")),
    ),
    Need(
        name="newuidmap",
        why="Debian root file system as an ordinary user",
        package="uidmap",
        there=lambda: os.geteuid() == 0 or bool(shutil.which("newuidmap")),
    ),
    (_ENGINE := Need(name="a container engine", why="builder and smoke notebooks", package="docker.io", there=_engine)),
    (
        REGISTRY := Need(
            name="docker-registry",
            why="embedded registry",
            package="docker-registry",
            there=_program("docker-registry"),
        )
    ),
)


def missing(needs: Sequence[Need] = NEEDS) -> tuple[Need, ...]:
    """Return the needs that this host does not meet."""
    return tuple(need for need in needs if not need.there())


def command(packages: Sequence[str]) -> list[str]:
    """Return the command that installs Debian packages here."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    return [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *apt, *packages]


def with_helpers(packages: Sequence[str]) -> list[str]:
    """Return packages and what they are of no use without."""
    # dockerd without its firewall and compression helpers starts, but can't make a bridge or extract fast.
    return [*packages, *(("iptables", "pigz") if "docker.io" in packages else ())]


def ensure_engine(*, registry: bool) -> None:
    """Install what lacks for work with published images: less than a build needs.

    Args:
        registry: the embedded one takes part.

    Raises:
        HelioError: podman is here and its service is not; or as `ensure` does.
    """
    if not _engine_answers() and not dockerd() and shutil.which("podman"):
        raise HelioError(
            Stage.HOST,
            "podman is here, but its service does not listen",
            hint=f"run `systemctl {'' if os.geteuid() == 0 else '--user '}start podman.socket`",
        )
    ensure((_ENGINE, REGISTRY) if registry else (_ENGINE,))


def ensure(needs: Sequence[Need] = NEEDS) -> None:
    """Install what lacks.

    Raises:
        HelioError: no apt here, or apt failed.
    """
    lacks = missing(needs)
    if not lacks:
        return
    packages = with_helpers([need.package for need in lacks])
    argv = command(packages)
    hint = f"run `{' '.join(argv)}`"
    if not shutil.which("apt-get"):
        names = ", ".join(need.name for need in lacks)
        raise HelioError(Stage.HOST, f"this machine lacks {names}", hint=f"install Debian's {', '.join(packages)}")
    say(f"==> installing {', '.join(packages)}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    with step("apt-get"):
        subprocess.run([*sudo, "apt-get", "update", "-qq"], check=False)
        result = subprocess.run(argv, capture_output=True, text=True)
    if result.returncode or any(not need.there() for need in lacks):
        raise HelioError(
            Stage.HOST,
            f"cannot install {', '.join(packages)}",
            detail="\n".join(result.stderr.splitlines()[-8:]),
            hint=hint,
        )


def facts() -> dict[str, str]:
    """Return what doctor prints about the machine: system, processor, memory, Python."""
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "system": release.get("PRETTY_NAME", platform.platform()),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "memory": human_size(pages),
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else f"uid {os.geteuid()}",
    }
