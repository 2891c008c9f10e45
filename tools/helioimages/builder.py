"""The builder: a container of a pinned Debian root file system, without network, where sources become packages.

Its packages are locked in ``channel/apt-lock.json``; the engine gets the root file system once, under a tag that names
its content. A run sees its inputs read-only in ``$IN``, leaves its results in ``$OUT``, and is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .debian.lock import AptLock
from .digest import key_of
from .errors import HelioError, Stage
from .progress import say
from .rootfs import build_rootfs
from .store import Store

REPOSITORY = "helioimages-builder"
_LINES = 40


class Builder:
    """Runs commands in the builder.

    Args:
        client: a Docker SDK client (``docker.DockerClient``).
        lock: the builder's Debian packages.
        debs: sha256 (hex) -> file, of every package of the lock.
    """

    def __init__(self, client: Any, store: Store, lock: AptLock, debs: Mapping[str, Path], *, jobs: int = 4) -> None:
        self._client, self._store, self._lock, self._debs, self._jobs = client, store, lock, debs, jobs
        self.key = key_of(["builder", 1, lock.key])

    def image(self) -> str:
        """Return the engine's name of the builder's image, imported if the engine lacks it."""
        from docker.errors import ImageNotFound

        tag = self.key[:16]
        reference = f"{REPOSITORY}:{tag}"
        try:
            self._client.images.get(reference)
        except ImageNotFound:
            tar = build_rootfs(self._store, self._lock, self._debs, jobs=self._jobs)
            say("==> builder: importing its root file system")
            self._client.api.import_image_from_file(str(tar), repository=REPOSITORY, tag=tag)
        return reference

    def run(
        self,
        argv: Sequence[str],
        *,
        inputs: Mapping[str, Path],
        output: Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 3600,
    ) -> str:
        """Run a command and return what it printed.

        Args:
            argv: the command.
            inputs: name -> file or folder, seen read-only as ``$IN/<name>``.
            output: an existing folder, seen as ``$OUT``.
            env: further variables.

        Raises:
            HelioError: the command failed or outran its time; its last lines are in the detail.
        """
        mounts = {str(path.resolve()): {"bind": f"/in/{name}", "mode": "ro"} for name, path in inputs.items()}
        mounts[str(output.resolve())] = {"bind": "/out", "mode": "rw"}
        environment = {
            "IN": "/in",
            "OUT": "/out",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **(env or {}),
        }
        container = self._client.containers.create(
            self.image(),
            list(argv),
            environment=environment,
            volumes=mounts,
            network_mode="none",
            # A compile writes many small files; they need not reach the disk.
            tmpfs={"/tmp": "exec,mode=1777", "/build": "exec,mode=0755"},
            working_dir="/",
        )
        try:
            container.start()
            try:
                code = container.wait(timeout=timeout_s)["StatusCode"]
            except Exception as error:  # the SDK leaks its HTTP library's own time-outs
                raise HelioError(
                    Stage.BUILD, f"the builder's `{argv[0]}` took over {timeout_s:.0f} s", detail=str(error)
                ) from error
            log = container.logs().decode("utf-8", "replace")
        finally:
            with contextlib.suppress(Exception):
                container.remove(force=True)
        if code:
            raise HelioError(
                Stage.BUILD,
                f"the builder's `{' '.join(argv[:3])}` failed with {code}",
                detail="\n".join(log.splitlines()[-_LINES:]),
                hint="the command ran in a container without network; its sources or packages may be too old",
            )
        return log
