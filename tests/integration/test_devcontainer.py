"""The dev container that `devcontainer` writes, started by the command line of those who specify dev containers.

Spec: containers.dev, "Dev Container metadata reference".
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import engine_lists
import pytest
from debian_support import needs
from pages import blocks
from pinned import node_modules

from helioimages.engines.hub import parts as hub_parts

SUPPORT = Path(__file__).parents[1] / "support" / "devcontainer"
COMMAND = [sys.executable, str(Path(__file__).parents[2] / "tools" / "buildimages.py"), "devcontainer"]
FILE = ".devcontainer/devcontainer.json"
#: Nobody here; files of the folder are theirs, and what is written in the container must be, too.
SOMEBODY = 43210
pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a folder that others reach; pytest's own are its user's alone."""
    with tempfile.TemporaryDirectory(prefix="devcontainer-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def program(place, workspace) -> tuple[str, str]:
    """Return the command, installed as its lock says, with the Node.js that the hub of `buildimages hub` has."""
    needs("docker")
    node = Path(hub_parts.parts(workspace.store).proxy[0])
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    modules = node_modules(SUPPORT / "package-lock.json", (str(node), str(npm)))
    # Nobody else reaches our home.
    shutil.copytree(modules, place / "node_modules", symlinks=True)
    shutil.copy(node, place / "node")
    return str(place / "node"), str(place / "node_modules" / "@devcontainers" / "cli" / "devcontainer.js")


@pytest.fixture
def folder(place, image) -> Path:
    """Return a folder of somebody with the file that the verb writes for the image that is tested."""
    work = place / "work"
    work.mkdir()
    written = subprocess.run([*COMMAND, image, "--output", str(work)], capture_output=True, text=True)
    assert (written.returncode, written.stdout) == (0, f"{work / FILE}\n"), written.stderr
    (block,) = [example for example in blocks("docs/scientists.md") if example.file == FILE]
    assert (work / FILE).read_text() == re.sub(r"ghcr\.io/\S+?(?=\")", image, block.text)
    if os.geteuid() == 0:
        for path in (work, work / ".devcontainer", work / FILE):
            os.chown(path, SOMEBODY, SOMEBODY)
    return work


@pytest.fixture
def devcontainer(program, place, folder, engine) -> Iterator[Callable[..., str]]:
    """Return a function that runs the command as the folder's owner, who may speak to the engine."""
    owner = folder.stat().st_uid
    socket = Path(engine.address.removeprefix("unix://"))
    home = place / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, owner, owner)
    # A number without an account has no name to tell; people who sit at a machine have one.
    (place / "bin").mkdir()
    (place / "bin" / "id").write_text(
        '#!/bin/sh\nif [ "$*" = "-u -n" ]; then echo somebody; else exec /usr/bin/id "$@"; fi\n'
    )
    (place / "bin" / "id").chmod(0o755)
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "DOCKER_HOST": engine.address}

    def run(verb: str, *words: str) -> str:
        done = subprocess.run(
            [*program, verb, "--workspace-folder", str(folder), *words],
            env=environment,
            capture_output=True,
            text=True,
            cwd=home,
            timeout=600,
            **({"user": owner, "group": owner, "extra_groups": [socket.stat().st_gid]} if os.geteuid() == 0 else {}),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    label = f"devcontainer.local_folder={folder}"
    for container in engine_lists.containers(engine.client, label=label):
        made = container.image
        container.remove(force=True)
        if any(tag.startswith("vsc-") for tag in made.tags):
            engine.client.images.remove(made.id, force=True)


def test_the_dev_container_is_the_image_with_the_folder(devcontainer, folder):
    said = json.loads(devcontainer("read-configuration"))
    assert said["configuration"]["remoteUser"] == "jovyan"
    up = json.loads(devcontainer("up").splitlines()[-1])
    assert (up["outcome"], up["remoteUser"]) == ("success", "jovyan")
    script = (
        "touch made && id -un && id -u && command -v python && python -c 'import xarray' && touch ~/mine && "
        "python -m pip install --user --no-index x 2>&1 | grep -c 'No matching distribution'"
    )
    said = devcontainer("exec", "bash", "-c", script)
    owner = folder.stat().st_uid
    assert said.splitlines() == ["jovyan", str(owner), "/srv/conda/envs/notebook/bin/python", "1"]
    assert (folder / "made").stat().st_uid == owner
