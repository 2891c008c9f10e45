"""The builder: a container of a pinned Debian root file system, without network, where sources become packages.

Its packages are locked in ``channel/apt-lock.json``; the engine gets the root file system once, under a tag that names
its content. A run sees its inputs read-only in ``$IN``, leaves its results in ``$OUT``, and is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.errors
import requests
from docker.types import Mount

from ..core.digest import key_of
from ..core.errors import HelioError, Stage
from ..core.progress import say, step
from ..debian.lock import AptLock
from ..engines import leftovers, stream
from ..machine.store import Store
from .rootfs import RootfsWorks, build_rootfs

REPOSITORY = "helioimages-builder"
#: Of a processor that several containers want, in the engine's units (others have 1024): notebooks go first, since an
#: image waits for them, while what is built is of the next one.
_SHARES = 256
_LINES = 40


def key(lock: AptLock) -> str:
    """Return 64 digits naming the builder of these Debian packages: what it makes depends on them."""
    return key_of(["builder", 1, lock.key])


class Builder:
    """Runs commands in the builder.

    Args:
        client: a Docker SDK client (``docker.DockerClient``).
        lock: the builder's Debian packages.
        debs: sha256 (hex) -> file, of every package of the lock.
    """

    def __init__(self, client: Any, store: Store, lock: AptLock, debs: Mapping[str, Path], *, jobs: int = 4) -> None:
        self._client, self._lock = client, lock
        self._works = RootfsWorks(store=store, debs=debs, jobs=jobs)
        self.key = key(lock)

    def image(self) -> str:
        """Return the engine's name of the builder's image, imported if the engine lacks it.

        Raises:
            HelioError: the root file system cannot be made, or the engine does not take it.
        """
        tag = self.key[:16]
        reference = f"{REPOSITORY}:{tag}"
        with _engine("cannot import the builder's root file system"):
            try:
                self._client.images.get(reference)
            except docker.errors.ImageNotFound:
                tar = build_rootfs(self._works, self._lock)
                say("==> builder: importing its root file system")
                # The engine answers 200 before it unpacks; whether it could is said in what follows.
                with step("import"):
                    answer = self._client.api.import_image_from_file(str(tar), repository=REPOSITORY, tag=tag)
                    stream.follow(stream.rows_of(answer), self._client)
                self._client.images.get(reference)
        return reference

    def run(
        self,
        argv: Sequence[str],
        *,
        inputs: Mapping[str, Path],
        output: Path,
        env: Mapping[str, str] | None = None,
        memory: str | None = None,
        timeout_s: float = 3600,
    ) -> str:
        """Run a command and return what it printed.

        Args:
            argv: the command, run by root in ``/``; ``/build`` is empty, in memory, and may hold programs.
            inputs: name -> file or folder, seen read-only as ``$IN/<name>``.
            output: an existing folder, seen as ``$OUT``.
            env: further variables.
            memory: the most it may use, e.g. ``4g``; no limit if None.

        Raises:
            HelioError: the command failed, ran out of memory or of time; its last lines are in the detail.
        """
        mounts = [
            Mount(f"/in/{name}", str(path.resolve()), type="bind", read_only=True) for name, path in inputs.items()
        ]
        mounts.append(Mount("/out", str(output.resolve()), type="bind"))
        environment = {
            "IN": "/in",
            "OUT": "/out",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **(env or {}),
        }
        what = f"the builder's `{' '.join(argv[:3])}`"
        image = self.image()
        leftovers.sweep(self._client)
        with _engine(f"cannot start {what}"):
            container = self._client.containers.create(
                image,
                # One stream for all that is printed: the engine keeps no order between two.
                ["sh", "-c", 'exec env -u PWD "$@" 2>&1', "sh", *argv],
                environment=environment,
                mounts=mounts,
                network_mode="none",
                # Else the SDK sets the proxies of the user's Docker config, with the passwords in them.
                use_config_proxy=False,
                # A compile writes many small files; they need not reach the disk.
                tmpfs={"/tmp": "exec,mode=1777", "/build": "exec,mode=1777"},
                working_dir="/",
                user="0:0",
                mem_limit=memory,
                # Else what does not fit in memory goes to the host's swap, and the limit says little.
                memswap_limit=memory,
                # An engine without the controller, as one of an ordinary user may be, would refuse the container.
                cpu_shares=_SHARES if self._client.info().get("CPUShares") else None,
                hostname="builder",
                security_opt=["no-new-privileges"],
                labels=leftovers.label(),
            )
        try:
            with _engine(f"cannot start {what}"):
                container.start()
            try:
                code = container.wait(timeout=timeout_s)["StatusCode"]
            except requests.RequestException as error:
                raise HelioError(
                    Stage.BUILD,
                    f"{what} took over {timeout_s:.0f} s",
                    detail=_tail(container),
                    hint="the machine may be busy; run it again",
                ) from error
            with _engine(f"cannot read what {what} printed"):
                log = container.logs().decode("utf-8", "replace")
                container.reload()
            starved = container.attrs.get("State", {}).get("OOMKilled", False)
        finally:
            with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                container.remove(force=True)
            self._give_back(output)
        if code:
            why = f"ran out of memory ({memory})" if starved else f"failed with {code}"
            raise HelioError(
                Stage.BUILD,
                f"{what} {why}",
                detail="\n".join(log.splitlines()[-_LINES:]),
                hint="the command ran in a container without network; its sources or packages may be too old",
            )
        return str(log)

    def abandon(self) -> None:
        """End what this process waits for: it was interrupted."""
        self._works.programs.end()
        leftovers.abandon(self._client)

    def _give_back(self, output: Path) -> None:
        """Make the caller the owner of what the builder's root wrote; an ordinary user could not even remove it."""
        mine = os.geteuid()
        if mine == 0 or all(path.lstat().st_uid == mine for path in output.rglob("*")):
            return
        with _engine("cannot take over what the builder wrote"):
            container = self._client.containers.create(
                self.image(),
                ["chown", "-hR", f"{mine}:{os.getegid()}", "/out"],
                mounts=[Mount("/out", str(output.resolve()), type="bind")],
                network_mode="none",
                use_config_proxy=False,
                user="0:0",
                labels=leftovers.label(),
            )
            try:
                container.start()
                container.wait(timeout=600)
            finally:
                container.remove(force=True)


def _tail(container: Any) -> str:
    try:
        text: str = container.logs(tail=_LINES).decode("utf-8", "replace")
        return text
    except (docker.errors.APIError, requests.RequestException):
        return ""


@contextlib.contextmanager
def _engine(message: str) -> Iterator[None]:
    """Turn what the engine refuses into an error of ours."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(Stage.ENGINE, message, detail=str(error), hint="run `buildimages doctor`") from error
