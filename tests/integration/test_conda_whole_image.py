"""An image from three conda channels over HTTP on loopback: our own, one of arch packages, one behind a login.

lock, build, Dockerfile, publish, a notebook in it, run, verify, and the same digest from an empty store, but for the
root file system, of which test_debian.py says that. The arch package with a `.pyc` of its own, activation scripts and
prefixes is rattler-build's where that can be had, else written here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import recipe_build
from conda_support import PLACEHOLDER, agree, write_package
from context_support import assert_built_alike
from debian_support import needs
from workspace import Workspace

from helioimages.conda import lock as conda_lock
from helioimages.conda.pack import write_repodata
from helioimages.conda.read import read_archive
from helioimages.core.platform import Platform
from helioimages.engines import registry_server
from helioimages.engines.engine import Engine
from helioimages.locks import locking
from helioimages.machine.store import Store
from helioimages.make import images, relocking
from helioimages.make.building import Built
from helioimages.oci.reference import Reference
from helioimages.oci.registry import Registry
from helioimages.prove import verify
from helioimages.publish import attach, documents, push
from helioimages.smoke.stage import smoke

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ROOT = Path(__file__).parents[2]
ACTIVATE = "usr/local/lib/helioimages/activate.sh"
PREFIX = "/srv/conda/envs/notebook"
Files = Mapping[str, tuple[bytes | str, int]]
SITE = "lib/python3.13/site-packages"
#: What an installer would run, and what was read and found needless.
SCRIPT = b"echo thank you\n"
#: What is to be run while locking, with the interpreter that its package needs.
RUN = b"""
"$PREFIX/bin/python" -c 'import pathlib, solver; pathlib.Path("../share/index").write_text(f"{solver.ANSWER}")'
"""
PASSWORD = "only-in-the-file-of-logins"
ENVIRONMENT = """\
name: stack
channels: [{ours}, arch, closed]
dependencies:
  - python=3.13
  - solver
  - closed::tables
  - pip: [papermill, ipykernel]
x-helioimages:
  virtual-packages: {{__glibc: "2.41"}}
  link-scripts:
    - {{package: libsolver, sha256: {script}, reason: it would only print a word}}
    - {{package: solver, sha256: {run}, reason: it writes an index of its modules, run: true}}
"""
IMAGE = """\
name = "stack"
title = "T"
description = "D"
environment = "stack"
licenses = "MIT"

[debian]
packages = []

[config]
workdir = "/"
entrypoint = ["bash", "-c", '. /usr/local/lib/helioimages/activate.sh && exec "$@"', "start"]

[config.env]
HOME = "/home/jovyan"
NB_PYTHON_PREFIX = "/srv/conda/envs/notebook"
CONDA_ENV = "notebook"
PATH = "/srv/conda/envs/notebook/bin:/usr/bin:/bin"
"""
#: What the scripts, the compiled module and the library of the second channel see once they are activated.
SAYS = """
import json, os, pathlib, shutil, solver, ssl, sys, sysconfig, tables
print(json.dumps({
    "data": os.environ["SOLVER_DATA"],
    "library": pathlib.Path(sys.prefix, "lib/libsolver.so").read_bytes().split(b"\\0")[1].decode(),
    "script": pathlib.Path(shutil.which("solve")).read_text().splitlines()[0],
    "pc": pathlib.Path(sys.prefix, "lib/pkgconfig/solver.pc").read_text(),
    "winner": pathlib.Path(sys.prefix, "etc/shared").read_text(),
    "ran": pathlib.Path(sys.prefix, "share/index").read_text(),
    "cached": solver.__cached__,
    "module": (solver.ANSWER, tables.ROWS),
    "channel": ssl.OPENSSL_VERSION.split()[0],
}))
"""


PREFIXES = {
    "bin/solve": "text",
    "lib/libsolver.so": "binary",
    "lib/pkgconfig/solver.pc": "text",
    "etc/conda/activate.d/solver.sh": "text",
}
#: What the smoke stage runs in the image: the kernel sees what the packages set when they are activated.
NOTEBOOK = """
import os, solver, tables
assert os.environ["SOLVER_DATA"] == "/srv/conda/envs/notebook/share/solver"
print("answer", solver.ANSWER, tables.ROWS)
"""


class Channels(SimpleHTTPRequestHandler):
    """Folders are channels; ``closed`` wants the login."""

    def do_GET(self) -> None:
        login = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.path.startswith("/closed/") and self.headers.get("Authorization") != login:
            self.send_error(401)
        else:
            super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_arguments: object) -> None:
        pass


def fill(folder: Path, tool: Path | None) -> None:
    """Write the second and the third channel.

    Args:
        tool: rattler-build, if it is there.
    """
    at = PLACEHOLDER.encode()
    solver = {
        "bin/solve": (b"#!" + at + b"/bin/python\nimport solver\n", 0o755),
        "lib/libsolver.so": (b"\x7fELF\0" + at + b"/share/solver\0" + b"\0" * 8, 0o755),
        "lib/pkgconfig/solver.pc": (b"prefix=" + at + b"\n", 0o644),
        "etc/conda/activate.d/solver.sh": (b'export SOLVER_DATA="' + at + b'/share/solver"\n', 0o644),
        "etc/conda/deactivate.d/solver.sh": (b"unset SOLVER_DATA\n", 0o644),
        "etc/shared": (b"solver", 0o644),
        "bin/.solver-post-link.sh": (RUN, 0o755),
        f"{SITE}/solver.py": (b"ANSWER = 42\n", 0o644),
        f"{SITE}/__pycache__/solver.cpython-313.pyc": (b"of the machine that made the package", 0o644),
    }
    depends = ["python >=3.13,<3.14.0a0", "libsolver >=1"]
    if tool:
        scratch = folder / "recipe"
        scratch.mkdir(parents=True)
        recipe_build.build(tool, folder / "arch", "solver", solver, depends, scratch)
    else:
        write_package(folder / "arch", "solver", solver, index={"depends": depends}, prefixes=PREFIXES)
    # Both have a file of one path: who needs the other wins.
    libsolver: Files = {"etc/shared": (b"libsolver", 0o644), "bin/.libsolver-post-link.sh": (SCRIPT, 0o755)}
    write_package(folder / "arch", "libsolver", libsolver, as_bz2=True)
    # Of a later channel: not taken though it is newer.
    write_package(folder / "closed", "libsolver", {"etc/shared": (b"newer", 0o644)}, version="2.0")
    tables: Files = {"site-packages/tables.py": (b"ROWS = 7\n", 0o644)}
    noarch = {"info/link.json": b'{"noarch": {"type": "python"}, "package_metadata_version": 1}'}
    write_package(folder / "closed", "tables", tables, noarch="python", index={"depends": ["python"]}, info=noarch)
    for name in ("arch", "closed"):
        write_repodata(folder / name, ("linux-64", "noarch"))


@pytest.fixture(scope="session")
def rattler_build() -> Path | None:
    """rattler-build, of the index that people have, not of the frozen one."""
    return recipe_build.fetched()


def test_rattler_build_s_package_is_linked_as_rattler_installs_it(rattler_build: Path | None, tmp_path: Path) -> None:
    if rattler_build is None:
        pytest.skip("no index here gives rattler-build")
    fill(tmp_path / "channels", rattler_build)
    [package] = (tmp_path / "channels/arch/linux-64").glob("solver-*")
    listed = read_archive(package, package.name).members
    modes = {member.listed.path: member.listed.file_mode for member in listed if member.listed.placeholder}
    assert modes == PREFIXES
    alone = tmp_path / "alone"
    for subdir in ("linux-64", "noarch"):
        (alone / subdir).mkdir(parents=True)
    shutil.copy(package, alone / "linux-64")
    # The script would have to run: rattler is told not to, and we are told that it is read.
    scripts = frozenset((hashlib.sha256(RUN).hexdigest(),))
    agree(alone, tmp_path, python_version="3.13", scripts=scripts)


@pytest.fixture(scope="module")
def served(rattler_build: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of our own channel; the others are where conda's and rattler's own files say."""
    folder = tmp_path_factory.mktemp("channels")
    fill(folder, rattler_build)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Channels, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (folder / "condarc").write_text(f"channel_alias: http://127.0.0.1:{server.server_port}\n")
    login = {"BasicHTTP": {"username": "me", "password": PASSWORD}}
    (folder / "logins.json").write_text(json.dumps({"127.0.0.1": login}))
    command = [sys.executable, "tools/buildimages.py", "channel", "--serve"]
    ours = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert ours.stdout is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONDA_CHANNEL_ALIAS", raising=False)
        patch.setenv("CONDARC", str(folder / "condarc"))
        patch.setenv("RATTLER_AUTH_FILE", str(folder / "logins.json"))
        try:
            yield ours.stdout.readline().strip()
        finally:
            ours.terminate()
            ours.wait()
            ours.stdout.close()
            server.shutdown()
            server.server_close()
            thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The image, and where it was made."""

    workspace: Workspace
    built: Built
    ours: str

    @property
    def texts(self) -> dict[str, str]:
        """What was written into the checkout."""
        files = (path for path in self.workspace.root.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.name: path.read_text() for path in files}


def other_machine(root: Path, folder: Path, engine: Engine) -> Workspace:
    """Return a machine with an empty store; it has the tests' engine, where each store would start one of its own."""
    workspace = Workspace.of(root, Store(folder), jobs=2)
    vars(workspace.machine)["engine"] = engine
    return workspace


@pytest.fixture(scope="module")
def made(engine: Engine, served: str, in_frozen_world: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    needs("mmdebstrap", "apt-get", "git")
    folder = tmp_path_factory.mktemp("whole")
    root = folder / "checkout"
    for name in ("environments/stack/environment.yml", "images/stack/image.toml"):
        (root / name).parent.mkdir(parents=True)
    (root / "environments/stack/environment.yml").write_text(
        ENVIRONMENT.format(ours=served, script=hashlib.sha256(SCRIPT).hexdigest(), run=hashlib.sha256(RUN).hexdigest())
    )
    (root / "images/stack/image.toml").write_text(IMAGE)
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": NOTEBOOK}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": [cell]}
    (root / "smoke-notebooks/stack").mkdir(parents=True)
    (root / "smoke-notebooks/stack/01-solver.ipynb").write_text(json.dumps(notebook))
    for source, target in (
        (f"images/base/files/{ACTIVATE}", f"images/stack/files/{ACTIVATE}"),
        *((name, name) for name in (images.TEMPLATE, "channel/apt-lock.json")),
    ):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, root / target)
    workspace = other_machine(root, folder / "store", engine)
    relocking.lock(workspace.checkout, workspace.machine, ("stack",), locking.Wish())
    return Made(workspace=workspace, built=workspace.build(("stack",))["stack"], ours=served)


def test_the_lock_names_channels_and_who_wins(made: Made) -> None:
    text = made.texts["conda-lock.yml"]
    lock = conda_lock.parse(text, "conda-lock.yml")
    assert lock.channels == (made.ours, "arch", "closed")
    channels = {package.name: package.channel for package in lock.packages}
    mine = {name: channel for name, channel in channels.items() if channel != made.ours}
    assert mine == {"libsolver": "arch", "solver": "arch", "tables": "closed"}
    assert {"python", "openssl", "libzlib"} <= channels.keys()
    assert lock.clobbers == {"linux-64": {"etc/shared": "solver over libsolver"}}
    digests = {"libsolver": (hashlib.sha256(SCRIPT).hexdigest(),), "solver": (hashlib.sha256(RUN).hexdigest(),)}
    assert lock.scripts == {"linux-64": digests}
    assert lock.ran["linux-64"].keys() == {"solver"}
    assert PASSWORD not in "".join(made.texts.values())


def test_the_dockerfile_names_channel_and_build_of_each_package(made: Made) -> None:
    images.render(made.workspace.root, {"stack": made.built}, check=False)
    text = made.texts["Dockerfile"].replace("\n#   ", " ")
    for package in made.built.locks.conda.packages:
        assert f"{package.channel}::{package.name} {package.version} {package.build}" in text
    assert PASSWORD not in text
    images.render(made.workspace.root, {"stack": made.built}, check=True)


def test_an_empty_store_gives_the_same_image(made: Made, engine: Engine, tmp_path: Path) -> None:
    again = other_machine(made.workspace.root, tmp_path / "store", engine)
    tar = Path("cache", "rootfs")
    shutil.copytree(made.workspace.store.root / tar, again.store.root / tar, copy_function=os.link)
    built = again.build(("stack",))["stack"]
    assert (built.image.digest, built.fresh) == (made.built.image.digest, len(made.built.layers))


@pytest.fixture(scope="module")
def client(made: Made) -> Iterator[Registry]:
    """A registry of this machine."""
    server = registry_server.start(made.workspace.store.root, port=5600)
    try:
        with Registry(server.host) as client:
            yield client
    finally:
        registry_server.stop(made.workspace.store.root)


@pytest.fixture(scope="module")
def reference(made: Made, client: Registry, engine: Engine) -> Iterator[str]:
    """The image, published, and pulled by the engine."""
    reference = made.workspace.push(client, made.built, "").reference
    engine.pull(reference)
    yield reference
    engine.client.images.remove(reference, force=True)


def test_docker_build_of_its_context_gives_the_same_files(made: Made, engine, reference, tmp_path: Path) -> None:
    images.context(made.workspace.root, made.workspace.store, made.built, tmp_path / "context")
    assert_built_alike(engine, tmp_path / "context", reference)


def test_it_is_published_runs_and_verifies(made: Made, client, engine, reference, tmp_path: Path) -> None:
    store, image = made.workspace.store, made.built.image
    ran = engine.run(reference, ["bash", "-c", f". /{ACTIVATE} && exec python -c '{SAYS}'"])
    assert ran.exit_code == 0, ran.log
    assert json.loads(ran.log) == {
        "data": f"{PREFIX}/share/solver",
        "library": f"{PREFIX}/share/solver",
        "script": f"#!{PREFIX}/bin/python",
        "pc": f"prefix={PREFIX}\n",
        "winner": "solver",
        "ran": "42",
        "cached": f"{PREFIX}/{SITE}/__pycache__/solver.cpython-313.pyc",
        "module": [42, 7],
        "channel": "OpenSSL",
    }
    workspace = made.workspace
    report = smoke(workspace.checkout, workspace.machine, made.built, reference, tmp_path)
    assert [(result.name, result.status) for result in report.results] == [("stack/01-solver", "passed")]
    assert "answer 42 7" in (tmp_path / "01-solver.ipynb").read_text()
    documents.attach(client, "stack", made.built, tmp_path, store)
    subject = attach.Subject(client=client, repository="stack", built=made.built, root=made.workspace.root, store=store)
    attach.attach(subject, key=None)
    push.promote(client, "stack", image.digest, ("latest",))
    latest = Reference.parse(f"{client.host}/stack:latest")
    published = verify.fetch(client, latest, Platform.of("linux/amd64"))
    with verify.folder(store) as text:
        _, faults = verify.published(client, latest, published, Path(text))
        faults += verify.rebuilt(made.built, published, Path(text), store)
    assert (published.digest, faults) == (image.digest, ())
