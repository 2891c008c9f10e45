"""Every command of README.md and docs/ is run as it stands there, but for the names of registries, tags and ports.

tests/support/pages.py finds the blocks; tests/unit/test_pages.py looks at those that are not run. A page is read from
its top: what a block leaves is there for the next one. Two registries on loopback stand for those that the text names,
tests/support/frozen.py for the Debian archive and the package index (with ``--world``: today's own).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import frozen as frozen_world
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pages import PAGES, Block, blocks, commands
from ports import free
from workspace import Workspace

from helioimages.engines import registry_server
from helioimages.engines.hub import parts as hub_parts
from helioimages.machine import bootstrap
from helioimages.machine.store import Store, default_root
from helioimages.publish import documents
from helioimages.publish import push as publish
from helioimages.spec import tags

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.engine, pytest.mark.network]

# A checkout with base alone: where locks without a name are all locks, and cheap.
SMALL = ("docs/maintainers.md",)
OLD, NEW, DIGEST = "2026.11.19", "2026.11.21", "sha256:[0-9a-f]{64}"
# What the examples build, by names of their own.
MADE = ("base-with-sgp4", "helio-datalab")
#: A block that takes longer hangs: with other work beside it `lock` was seen to take five minutes.
HANGS_S = 1200
ADVISORY = {
    "id": "CVE-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "an advisory of no package here",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "no-such-package"}, "versions": ["1.0"]}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the commands find.

    Attributes:
        whole, small: copies of this checkout; the second has base alone.
        words: what is put in the place of the documents' names.
        container: runs the base image, for the commands that people run in it.
    """

    whole: Path
    small: Path
    words: dict[str, str]
    environment: dict[str, str]
    wheels: Path
    container: str

    def place(self, block: Block) -> Path:
        """Return the checkout that a block's commands run in."""
        return self.small if block.page in SMALL else self.whole

    def spoken(self, text: str) -> str:
        """Return a text with the names of this world, in one pass: a value may contain another's name."""
        names = "|".join(map(re.escape, self.words))
        spoken = re.sub(rf"{names}|{DIGEST}", lambda match: self.words.get(match[0], self.words[DIGEST]), text)
        assert not re.search(r"ghcr\.io|example\.org", spoken), "nothing stands for this registry"
        return spoken

    def run(self, argv: list[str], place: Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program; both outputs together. What does not end is ended with all that it started."""
        with subprocess.Popen(
            argv,
            cwd=place,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(text, timeout=HANGS_S)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            return subprocess.CompletedProcess(argv, process.returncode, output)


def copied(target: Path, *, only_base: bool) -> Path:
    """Copy the files that git knows or would take, and make a repository of them with two commits."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        room, _, rest = name.partition("/")
        one_of_many = room in ("images", "environments", "smoke-notebooks") and "/" in rest
        if (only_base and one_of_many and not rest.startswith("base/")) or not (ROOT / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        # A link as a link: it is one in the image, too.
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    # `publish` runs no notebooks that passed in this very image before and whose report is at hand: `up` left it here.
    report = target / "_report" / "base"
    if (ROOT / "_report" / "base" / "report.json").exists():
        shutil.copytree(ROOT / "_report" / "base", report)
    else:
        report.mkdir(parents=True)
        (report / "report.html").write_text("<!doctype html><title>report</title>")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"], ["commit", "-qm", "two", "--allow-empty"]):
        subprocess.run([*git, *argv], cwd=target, check=True)
    return target


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> Iterator[list[str]]:
    """Run the two registries that the documents speak of."""
    for program in ("docker", "skopeo", "docker-registry"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (`tests/needs` installs it)")
    folder, addresses = tmp_path_factory.mktemp("registries"), []
    with contextlib.ExitStack() as stack:
        for name, port in (("from", 5480), ("to", 5490)):
            stack.callback(registry_server.stop, folder / name)
            addresses.append(registry_server.start(folder / name, port=port).host)
        yield addresses
    # Pytest keeps what its last runs left, and this is gigabytes.
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def world(engine, tmp_path_factory, built, frozen, hosts) -> Iterator[World]:
    """Return the world; what it started is ended, and what the commands made in the engine is removed."""
    # `hub` installs its programs once, from where this machine gets everything.
    hub_parts.parts(Store(default_root()))
    folder = tmp_path_factory.mktemp("commands")
    whole, small = copied(folder / "whole", only_base=False), copied(folder / "small", only_base=True)
    environment = tools(folder, hosts, engine.address) | frozen
    wheels = folder / "wheels"
    wheels.mkdir()
    # What people add by pip comes from a folder there.
    frozen_world.stand_in(wheels, "sgp4")
    (whole / "osv").mkdir()
    (whole / "osv" / "CVE-2026-1.json").write_text(json.dumps(ADVISORY))
    day = datetime.datetime.fromtimestamp(built.locks.epoch, datetime.UTC).date()
    name = f"helioimages-commands-{os.getpid()}"
    docker = ["docker", "-H", engine.address]
    try:
        signing = ["--key", str(key_pair(whole))]
        argv = [
            *buildimages(whole),
            "publish",
            "base",
            "--registry",
            hosts[0],
            "--prefix",
            "heliocloud/",
            *signing,
            "--json",
        ]
        done = subprocess.run(argv, cwd=whole, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (first,) = json.loads(done.stdout)
        image = f"{hosts[0]}/heliocloud/base@{built.image.digest}"
        limits = [
            "--network",
            "none",
            "-e",
            "PIP_NO_INDEX=1",
            "-e",
            "PIP_FIND_LINKS=/wheels",
            "-v",
            f"{wheels}:/wheels:ro",
        ]
        start = [*docker, "run", "--rm", "-d", "--name", name, *limits, image, "sleep", "infinity"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        yield World(
            whole=whole,
            small=small,
            words={
                "ghcr.io --prefix": f"{hosts[0]} --prefix",
                "ghcr.io/": f"{hosts[0]}/",
                "mirror.example.org --prefix": f"{hosts[1]} --prefix",
                "mirror.example.org/": f"{hosts[1]}/",
                "buildimages hub": f"buildimages hub --folder {folder / 'hub'}",
                "--port 8001": "--port 0",
                # The index as it was when the lock was made: what came since is no business of this test.
                "--exclude-newer 2026-11-21": f"--exclude-newer {day + datetime.timedelta(days=1)}",
                OLD: first["tags"][0],
                NEW: successor(folder, hosts[0]),
                DIGEST: built.image.digest,
                **{made: f"{made}-{os.getpid()}" for made in MADE},
            },
            environment=environment,
            wheels=wheels,
            container=name,
        )
    finally:
        ours = [f"{made}-{os.getpid()}" for made in MADE]
        stop = [*buildimages(whole), "hub", "--folder", str(folder / "hub"), "--stop"]
        remove = ([*docker, "rm", "-f", name, *ours], [*docker, "rmi", "-f", *ours])
        for argv in (stop, *remove):
            subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        listing = [*docker, "images", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"]
        known = subprocess.run(listing, capture_output=True, text=True).stdout.split()
        if pulled := [image for image in known if image.startswith(f"{hosts[0]}/") and "<none>" not in image]:
            subprocess.run([*docker, "rmi", *pulled], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder)


def key_pair(folder: Path) -> Path:
    """Write cosign.key and cosign.pub, as the maintainers have them, and return the first."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = serialization.Encoding.PEM
    (folder / "cosign.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "cosign.pub").write_bytes(key.public_key().public_bytes(pem, public))
    return folder / "cosign.key"


def buildimages(root: Path) -> list[str]:
    """Return the command in the tool's own environment, which people run: the tests' has more, and starts slower."""
    return [str(bootstrap.environment(bootstrap.LOCK)), str(root / "tools" / "buildimages.py")]


def tools(folder: Path, hosts: list[str], address: str) -> dict[str, str]:
    """Return an environment with `buildimages` on PATH, and a skopeo that knows that these registries have no TLS."""
    conf = folder / "registries.conf"
    conf.write_text("".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts))
    scripts = {
        # The checkout is the one that the command runs in.
        "buildimages": f'exec "{bootstrap.environment(bootstrap.LOCK)}" "$PWD/tools/buildimages.py" "$@"',
        "skopeo": f'exec "{shutil.which("skopeo")}" --registries-conf "{conf}" --insecure-policy "$@"',
    }
    (folder / "bin").mkdir()
    for name, line in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "DOCKER_HOST": address, "GIT_PAGER": "cat", "COSIGN_PASSWORD": ""}


def successor(folder: Path, host: str) -> str:
    """Publish another build of base, one whose message of the day differs, and return its dated tag."""
    other = copied(folder / "other", only_base=True)
    with open(other / "images/base/files/etc/motd", "a") as file:
        file.write("Another build.\n")
    workspace = Workspace.of(other, Store(default_root()), jobs=os.cpu_count() or 2)
    made = workspace.build(("base",))["base"]
    with workspace.registry(host) as client:
        workspace.push(client, made, "heliocloud/")
        documents.attach(client, "heliocloud/base", made, other / "_report" / "base", workspace.store)
        plan = tags.plan(
            digest=made.image.digest,
            day=datetime.datetime.fromtimestamp(made.locks.epoch, datetime.UTC).date(),
            lock=made.locks.digest,
            existing=publish.existing_tags(client, "heliocloud/base"),
        )
        publish.promote(client, "heliocloud/base", made.image.digest, plan.missing)
    return plan.wanted[0]


# -- the steps between the commands that a person would do by hand ---------------------------------------------------


def add_sgp4(root: Path) -> None:
    path = root / "environments/base/environment.yml"
    path.write_text(path.read_text().replace("  - pip:\n", "  - pip:\n      - sgp4\n", 1))


def break_notebook(root: Path) -> None:
    path = root / "smoke-notebooks/orbits/01-skyfield.ipynb"
    path.write_text(path.read_text().replace("2451545.00074", "0"))


STEPS: dict[str, Callable[[Path], None]] = {
    "adding sgp4 to environments/base/environment.yml": add_sgp4,
    "breaking smoke-notebooks/orbits/01-skyfield.ipynb": break_notebook,
}


def wanted() -> list:
    """Return the blocks that are run or written here, in the order of the pages."""
    cases = []
    for page in PAGES:
        for block in blocks(page):
            runs = block.language == "sh" or block.run == "in the image"
            if block.file or (runs and not block.reason and not block.run.startswith("by ")):
                cases.append(pytest.param(block, id=block.name))
    return cases


@pytest.mark.parametrize("block", wanted())
def test_it_works(world: World, block: Block):
    place = world.place(block)
    if block.file:
        write(world, block, place)
        return
    if block.run == "in the image":
        if block.language == "sh":
            done = world.run(["docker", "exec", "-i", world.container, "bash", "-leu"], place, block.text)
        else:
            # As a cell: what it starts by multiprocessing asks for no file of this program.
            done = world.run(["docker", "exec", world.container, "ipython", "-c", block.text], place)
        assert done.returncode == 0, done.stdout
        return
    absent = {
        words[0] for words in commands(block.text) if words[0] in ("curl", "openssl") and not shutil.which(words[0])
    }
    if absent:
        pytest.skip(f"{', '.join(absent)} is not installed")
    if block.run == "until it serves":
        serve(world, block, place)
        return
    asked = re.fullmatch(r"(?:after (?P<step>[^,]+))?(?:, )?(?:ends with (?P<code>\d+))?", block.run)
    if asked["step"]:
        STEPS[asked["step"]](place)
    text = world.spoken(block.text).replace("127.0.0.1:10000", f"127.0.0.1:{free()}")
    done = world.run(["bash", "-euo", "pipefail", "-c", text], place)
    assert done.returncode == int(asked["code"] or 0), f"{text}\n{done.stdout}"


def write(world: World, block: Block, place: Path) -> None:
    """Write a file that the text shows; a Dockerfile takes its wheels from a folder: it may have no network."""
    target = place / block.file
    target.parent.mkdir(parents=True, exist_ok=True)
    text = world.spoken(block.text)
    if block.language == "dockerfile" and "pip install" in text:
        shutil.copytree(world.wheels, target.parent / "wheels")
        offline = "COPY wheels /wheels\nRUN PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels pip install"
        text = text.replace("RUN pip install", offline)
    target.write_text(text)


def serve(world: World, block: Block, place: Path) -> None:
    """Start a server, ask it for its version at the address that it prints, and stop it."""
    port = free()
    text = (
        world.spoken(block.text)
        .replace("127.0.0.1:8888:", f"127.0.0.1:{port}:")
        .replace("--port 8888", f"--port {port}")
    )
    log, api = place / "server.log", f"http://127.0.0.1:{port}/api"
    with (
        open(log, "w") as stream,
        subprocess.Popen(
            ["bash", "-c", f"exec {text}"], cwd=place, env=world.environment, stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            answer = None
            # `docker run` prints the address before anybody listens there. `buildimages run` ends when it answers.
            while answer is None and time.monotonic() < deadline:
                assert process.poll() in (None, 0), log.read_text()
                if "/lab?token=" in log.read_text():
                    with contextlib.suppress(OSError), urllib.request.urlopen(api, timeout=30) as response:
                        answer = json.load(response)
                time.sleep(0.2)
            assert "version" in (answer or ()), log.read_text()
        finally:
            process.terminate()
    # `buildimages run` leaves its container, and says how it is removed.
    if stop := re.search(r"stop it: (buildimages .*)", log.read_text()):
        assert world.run(["bash", "-c", stop[1]], place).returncode == 0
