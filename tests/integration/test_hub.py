"""A real hub: `buildimages hub` starts it, people use it with published images, and its end leaves their homes only.

JupyterHub, DockerSpawner, configurable-http-proxy and Dask Gateway are the real ones, from the hub's own locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import docker.errors
import engine_lists
import hubkit
import pytest
import yarl
from debian_support import needs
from git_support import commit, git_server

from helioimages.core.errors import HelioError, Stage
from helioimages.core.words import count
from helioimages.engines.hub import parts as hub_parts
from helioimages.engines.hub import server as hub_server
from helioimages.publish import documents
from helioimages.publish import push as publish
from helioimages.spec import tags
from helioimages.verbs import hub as verbs_hub
from helioimages.verbs.catalogue import CatalogueOptions

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]
ROOT = Path(__file__).parents[2]
NAMES, PREFIX = ("base", "helio"), "test-hub/"
PASSWORD = "sun and heliosphere"
WHERE = "import os, sys; print(os.environ['HELIOCLOUD_ENV'], sys.prefix, os.getuid(), os.getcwd())"
VERSION = "import jupyterhub; print(jupyterhub.__version__)"
LOGIN_SHELL = (
    'echo "found=$(shopt -q login_shell && echo login) $(command -v python) $CONDA_DEFAULT_ENV $HOME"; echo do""ne'
)
CLUSTER = """
import os, sys, time
import dask.array
from dask_gateway import Gateway

def where():
    return os.environ["HELIOCLOUD_ENV"], sys.prefix, os.getuid()

with Gateway().new_cluster() as cluster:
    cluster.scale(2)
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=60)
        numbers = dask.array.arange(1, 1001, chunks=100)
        print("sum", int((numbers**2).sum().compute()))
        print("workers", sorted(client.run(where).values()))
        print("scheduler", client.run_on_scheduler(where))
    while not os.path.exists("/home/jovyan/seen"):
        time.sleep(0.1)
"""
KINDS = {"jupyterhub-singleuser": 1, "dask scheduler": 1, "dask worker": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A hub that the verb started."""

    process: subprocess.Popen
    address: str
    name: str
    folder: Path
    log: Path


@pytest.fixture(scope="module")
def references(workspace, tmp_path_factory) -> Iterator[dict[str, str]]:
    """Publish this checkout's images under a prefix of their own, and return them by name."""
    pushed = {}
    with workspace.registry(None) as client:
        for name, built in workspace.build(NAMES).items():
            pushed[name] = workspace.push(client, built, PREFIX).reference
            repository, digest = PREFIX + name, built.image.digest
            known = publish.existing_tags(client, repository)
            day = datetime.datetime.fromtimestamp(built.locks.epoch, datetime.UTC).date()
            wanted = tags.plan(digest=digest, day=day, lock=built.locks.digest, existing=known)
            publish.promote(client, repository, digest, wanted.missing)
            # A document that is a file of the catalogue.
            documents.attach(client, repository, built, tmp_path_factory.mktemp("no report"), workspace.store)
    yield pushed
    for reference in pushed.values():
        # Other names of the same image stay.
        with contextlib.suppress(docker.errors.ImageNotFound):
            workspace.engine.client.images.remove(reference)


@pytest.fixture(scope="module")
def hub(workspace, references, tmp_path_factory) -> Iterator[Running]:
    """Run the verb itself, as in a terminal."""
    folder = tmp_path_factory.mktemp("hub")
    log = folder / "stderr"
    argv = ["hub", *NAMES, "--prefix", PREFIX, "--port", "0", "--json", "--folder", str(folder)]
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "buildimages.py"), *argv],
            env=os.environ | {"HELIOIMAGES_HUB_PASSWORD": PASSWORD},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            # A shell lets what runs in its background ignore Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    # What says nothing is ended, and then this fails; it does not wait for ever.
    silent = threading.Timer(600, process.kill)
    silent.start()
    try:
        # Its end is an end of the document, too: whoever says nothing must not be waited for.
        document = "".join(itertools.takewhile(lambda line: line != "}\n", process.stdout))
        said = json.loads(document + "}")
        silent.cancel()
        yield Running(process=process, address=said["address"], name=said["name"], folder=folder, log=log)
    finally:
        silent.cancel()
        process.send_signal(signal.SIGINT)
        process.wait(90)
        process.stdout.close()
        remove_homes(workspace, folder)


def remove_homes(workspace, folder: Path) -> None:
    """Delete the volumes of a hub, which its own end leaves."""
    name = hub_server.name_of(folder)
    for volume in workspace.engine.client.volumes.list(filters={"name": f"{name}-"}):
        volume.remove()


def containers(workspace, name: str) -> list:
    """Return the containers of a hub."""
    label = f"{hub_server.LABEL}={name}"
    return engine_lists.containers(workspace.engine.client, label=label)


def none_left(workspace, name: str) -> bool:
    """Wait until a hub's containers are gone: the engine itself removes them, a moment after they ended."""
    deadline = time.monotonic() + 30
    while containers(workspace, name) and time.monotonic() < deadline:
        time.sleep(0.1)
    return containers(workspace, name) == []


def pids_of(container) -> list[int]:
    """Return a container's processes, none if it has just ended."""
    try:
        top = container.top()
    except docker.errors.APIError:
        return []
    at = top["Titles"].index("PID")
    return [int(row[at]) for row in top["Processes"] or ()]


def choice(page: str, reference: str, folder: Path) -> str:
    """Return the choice on the hub's page that means an image."""
    (line,) = [line for line in (folder / "images.py").read_text().splitlines() if line.endswith(f": {reference!r},")]
    text = line.strip().partition("': '")[0].lstrip("'")
    assert f'name="image" value="{text}"' in page
    return text


def test_a_person_works_in_the_images(workspace, hub, references, tmp_path):
    """Log in, choose by digest, kernel, login shell, nbgitpuller; another image later finds the same home."""
    repository = tmp_path / "course.git"
    commit(repository, "lesson.txt", "Parker spiral\n")

    async def work(address: str) -> None:
        async with hubkit.person(hub.address, "ada") as ada:
            assert not await ada.login("wrong")
            assert await ada.login(PASSWORD)
            base = choice(await ada.choices(), references["base"], hub.folder)
            await ada.spawn(base)
            (server,) = containers(workspace, hub.name)
            assert server.attrs["Config"]["Image"] == references["base"]
            assert await ada.run(WHERE) == "helio-notebook-base /srv/conda/envs/notebook 1000 /home/jovyan\n"
            screen = await ada.terminal(LOGIN_SHELL, "done")
            assert re.search(r"found=(.*?)\r?\n", screen.partition("done")[0].replace(LOGIN_SHELL, ""))[1] == (
                "login /srv/conda/envs/notebook/bin/python notebook /home/jovyan"
            )
            told = await ada.pull(address)
            assert told[-1]["phase"] == "finished", told
            assert await ada.contents("course/lesson.txt") == "Parker spiral\n"
            await ada.run("open('notes.txt', 'w').write('flare at 12:03')")
            await ada.stop()
            assert none_left(workspace, hub.name)

            commit(repository, "second.txt", "coronal hole\n")
            await ada.spawn(choice(await ada.choices(), references["helio"], hub.folder))
            (server,) = containers(workspace, hub.name)
            assert server.attrs["Config"]["Image"] == references["helio"]
            assert await ada.run(WHERE) == "helio-notebook-py /srv/conda/envs/notebook 1000 /home/jovyan\n"
            assert await ada.contents("notes.txt") == "flare at 12:03"
            told = await ada.pull(address)
            assert told[-1]["phase"] == "finished", told
            assert await ada.contents("course/second.txt") == "coronal hole\n"
            await ada.stop()

    with git_server(tmp_path) as server:
        asyncio.run(work(f"{server}/course.git"))


def test_a_cluster_has_the_notebooks_image(workspace, hub, references):
    """Dask Gateway's local backend runs scheduler and workers in the image of the notebook that asks for them."""
    if "FAKETIME" in os.environ:
        pytest.skip("the gateway's certificate would be of next year, and the clock of containers is today's")
    # By it the engine tells a container's processes.
    needs("ps")
    seen: dict[str, set[str]] = {}
    addresses: set[str] = set()
    images: set[str] = set()

    def counted() -> dict[str, int]:
        return {name: len(ids) for name, ids in seen.items()}

    async def watch(grace: hubkit.Person) -> None:
        """Look at the containers as long as they are there; they stay until all were seen."""
        told = False
        while True:
            for container in await asyncio.to_thread(containers, workspace, hub.name):
                addresses.update(hubkit.listening(pids_of(container)))
                seen.setdefault(" ".join(container.attrs["Config"]["Cmd"][:2]), set()).add(container.id)
                images.add(container.attrs["Image"])
            if counted() == KINDS and not told:
                await grace.run("open('/home/jovyan/seen', 'w').close()")
                told = True
            await asyncio.sleep(0.2)

    async def work() -> str:
        async with hubkit.person(hub.address, "grace") as grace:
            assert await grace.login(PASSWORD)
            await grace.spawn(choice(await grace.choices(), references["base"], hub.folder))
            watching = asyncio.create_task(watch(grace))
            try:
                return await asyncio.wait_for(grace.run(CLUSTER), 240)
            finally:
                watching.cancel()
                await asyncio.wait([watching])
                assert watching.cancelled(), watching.exception()

    place = "('helio-notebook-base', '/srv/conda/envs/notebook', 1000)"
    said = asyncio.run(work())
    assert said.splitlines() == ["sum 333833500", f"workers [{place}, {place}]", f"scheduler {place}"], said
    assert counted() == KINDS
    assert images == {workspace.engine.client.images.get(references["base"]).id}
    addresses |= hubkit.listening(process.pid for process in hub_server.read(hub.folder).processes)
    # Processes of containers show their sockets to root only.
    assert addresses == {"127.0.0.1"}


def test_the_form_leads_to_what_is_in_the_images(workspace, hub, references):
    """The hub serves the catalogue to whoever sees the form; what somebody pushed gets no script, and no cookie."""

    async def look() -> None:
        async with hubkit.person(hub.address, "caroline") as caroline:
            assert await caroline.login(PASSWORD)
            page = await caroline.choices()
            links = re.findall(r'<a href="/hub/(catalogue/[^"]+/tags/[^"]+)" target="_blank"', page)
            assert len(links) >= len(references)
        # Without a cookie: pages that may ask nothing have none to show.
        async with aiohttp.ClientSession() as anybody:
            for link in links:
                async with anybody.get(f"{hub.address}hub/{link}") as answer:
                    text, rules = await answer.text(), answer.headers["Content-Security-Policy"]
                    assert answer.status == 200 and "Use it" in text
                    assert rules.startswith("sandbox ") and "allow-same-origin" not in rules
            up = links[0].partition("/tags/")[0]
            async with anybody.get(f"{hub.address}hub/{up}/assets/app.js") as answer:
                assert answer.status == 200 and answer.headers["X-Content-Type-Options"] == "nosniff"
            pushed = next((hub.folder / "catalogue" / "files").rglob("*.json")).relative_to(hub.folder / "catalogue")
            async with anybody.get(f"{hub.address}hub/{up}/{pushed}") as answer:
                assert answer.status == 200 and "script" not in answer.headers["Content-Security-Policy"]
            for other in ("catalogue/index.html", f"{up}/../settings.json", f"{up}/%2e%2e/settings.json"):
                async with anybody.get(yarl.URL(f"{hub.address}hub/{other}", encoded=True)) as answer:
                    assert "proxy_token" not in await answer.text() and answer.status in (403, 404), other

    asyncio.run(look())


def test_its_end(workspace, hub, references):
    """Ctrl-C ends the servers, the proxies and the hub, while homes stay."""

    async def leave() -> None:
        """Start a server and go, as people do."""
        async with hubkit.person(hub.address, "annie") as annie:
            assert await annie.login(PASSWORD)
            await annie.spawn(choice(await annie.choices(), references["base"], hub.folder))

    asyncio.run(leave())
    assert containers(workspace, hub.name) != []
    # Those of the tests before this one, too: not each runs everywhere.
    homes = {volume.name for volume in workspace.engine.client.volumes.list(filters={"name": f"{hub.name}-"})}
    assert f"{hub.name}-annie" in homes
    mine = hub_server.read(hub.folder).processes
    settings = json.loads((hub.folder / "settings.json").read_text())
    open_ports = [value for name, value in settings.items() if name.endswith("port")]
    assert len(open_ports) == 4 and all(map(answers, open_ports))
    hub.process.send_signal(signal.SIGINT)
    assert hub.process.wait(90) == 0, hub.log.read_text()
    assert none_left(workspace, hub.name)
    assert not any(process.alive for process in mine)
    assert not any(map(answers, open_ports))
    line, kept = f"buildimages hub --delete-homes --folder {hub.folder}", count(len(homes), "home")
    assert hub.log.read_text().endswith(f"Ctrl-C ends it.\n{kept} kept; delete what people saved: {line}\n")
    assert homes == set(hub_server.volumes(hub_server.Hub(**said(hub, workspace))))
    for words, told in (((), f"{kept} deleted\n"), (("--json",), '{\n  "deleted": []\n}\n')):
        argv = [sys.executable, str(ROOT / "tools" / "buildimages.py"), *line.split()[1:], *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, told), done.stderr
    assert hub_server.volumes(hub_server.Hub(**said(hub, workspace))) == ()


def said(hub: Running, workspace) -> dict[str, object]:
    """Return what is known of a hub that ended."""
    engine = workspace.engine.address
    return {"name": hub.name, "address": hub.address, "password": PASSWORD, "engine": engine, "processes": ()}


def answers(port: int) -> bool:
    """Return whether somebody listens at a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def logged_warning(folder: Path, outside: str, inside: str) -> bool:
    """Say whether a hub of version ``outside`` warned of a server of version ``inside``."""
    return (
        f"jupyterhub version {outside} != jupyterhub-singleuser version {inside}. "
        "This could cause failure to authenticate and result in redirect loops!"
    ) in (folder / "hub.log").read_text()


def version_of(python: Path) -> str:
    """Return the version of an environment's JupyterHub."""
    done = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def with_jupyterhub_of(workspace, python: Path, reference: str, folder: Path) -> Iterator[str]:
    """Make an image that has the JupyterHub of another environment in the place of its own."""
    (source,) = python.parents[1].glob("lib/python*/site-packages")
    for path in (source / "jupyterhub", *source.glob("jupyterhub-*.dist-info")):
        shutil.copytree(path, folder / "other" / path.name)
    (folder / "Dockerfile").write_text(
        f"FROM {reference}\nUSER 0\nCOPY other /tmp/other\n"
        "RUN cd $(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))') "
        "&& rm -r jupyterhub jupyterhub-*.dist-info && cp -r /tmp/other/. . && rm -r /tmp/other\nUSER 1000\n"
    )
    name = f"{hub_server.name_of(folder)}:other"
    workspace.engine.client.images.build(path=str(folder), tag=name, rm=True)
    try:
        yield name
    finally:
        workspace.engine.client.images.remove(name)


def test_an_image_one_major_behind(workspace, references, tmp_path):
    """The hub warns and works, as it does when it is the older one."""
    folder, context = tmp_path / "hub", tmp_path / "context"
    context.mkdir()
    older = hub_parts.parts(workspace.store, lock=ROOT / "tests" / "support" / "hub-older.lock")
    offered = verbs_hub.offered(
        workspace.checkout, workspace.machine, CatalogueOptions(names=NAMES, host=None, prefix=PREFIX)
    )
    parts = hub_parts.parts(workspace.store)
    with with_jupyterhub_of(workspace, older.python, references["base"], context) as behind:
        offered = dataclasses.replace(offered, images=offered.images.replace(references["base"], behind))
        made = hub_server.start(folder, parts, offered, engine=workspace.engine.address, port=0)
        try:

            async def work() -> str:
                async with hubkit.person(made.address, "henrietta") as henrietta:
                    assert await henrietta.login(made.password)
                    await henrietta.spawn(choice(await henrietta.choices(), behind, folder))
                    return await henrietta.run(VERSION)

            inside, outside = asyncio.run(work()).strip(), version_of(parts.python)
            assert inside == version_of(older.python)
            assert int(outside.partition(".")[0]) - int(inside.partition(".")[0]) == 1
            assert logged_warning(folder, outside, inside)
        finally:
            hub_server.stop(folder)
            remove_homes(workspace, folder)


def test_a_hub_one_major_behind(workspace, references, tmp_path):
    """The hub warns and works; and when it is killed, its end still takes away what it started."""
    folder = tmp_path / "hub"
    older = hub_parts.parts(workspace.store, lock=ROOT / "tests" / "support" / "hub-older.lock")
    offered = verbs_hub.offered(
        workspace.checkout, workspace.machine, CatalogueOptions(names=NAMES, host=None, prefix=PREFIX)
    )
    made = hub_server.start(folder, older, offered, engine=workspace.engine.address, port=0)
    try:
        with pytest.raises(HelioError) as caught:
            hub_server.start(folder, older, offered, engine=workspace.engine.address, port=0)
        assert str(caught.value) == (
            f"a hub runs already at {made.address}\n\nhint: end it with `buildimages hub --stop`"
        )
        assert caught.value.stage == Stage.USAGE

        async def work() -> str:
            async with hubkit.person(made.address, "mary") as mary:
                assert await mary.login(made.password)
                await mary.spawn(choice(await mary.choices(), references["base"], folder))
                return await mary.run(VERSION)

        inside, outside = asyncio.run(work()).strip(), version_of(older.python)
        assert int(inside.partition(".")[0]) - int(outside.partition(".")[0]) == 1
        assert logged_warning(folder, outside, inside)
        for process in made.processes:
            os.kill(process.pid, signal.SIGKILL)
        assert len(containers(workspace, made.name)) == 1
    finally:
        assert hub_server.stop(folder) == made
        assert hub_server.stop(folder) is None
        with pytest.raises(docker.errors.NotFound):
            workspace.engine.client.containers.get(f"{made.name}-mary")
        assert hub_server.volumes(made) == (f"{made.name}-mary",)
        remove_homes(workspace, folder)
