"""Fixtures that the tests of several rooms share. What they are made of is in support/."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import signal
import socketserver
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

import frozen as frozen_world
import late
from debian_support import needs
from pypi_support import PLACES, IndexServer, environment_of, serving, wheel_bytes, wheel_of

from helioimages.core.errors import HelioError
from helioimages.engines import engine as engines
from helioimages.engines import own_engine
from helioimages.machine import host
from helioimages.machine.store import Store, default_root

late.put_off()
# What some machines set for every Python; users' machines do not, and it hides what is never flushed.
os.environ.pop("PYTHONUNBUFFERED", None)
# Python's servers send an answer's head and body apart, and each body then waits 40 ms for the client's delayed ACK.
socketserver.StreamRequestHandler.disable_nagle_algorithm = True
# And ending one waits until it next looks whether it is to end: half a second, where hundreds of tests have their own.
socketserver.BaseServer.serve_forever.__defaults__ = (0.01,)
# A shell gives what it runs in the background no ears for Ctrl-C, and children have their parents': tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wheel_maker(folder: Path):
    """Return what writes a wheel into a folder under a name like the store's and returns (path, record)."""

    def write(files: Mapping[str, bytes], *, name: str = "demo", version: str = "1.0", **options):
        data = wheel_bytes(files, name=name, version=version, **options)
        path = folder / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return path, wheel_of(data, name=name, version=version)

    return write


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail where tests left something running in their folders: each is a server for good.

    It is here, not beside some of the tests, so that it is the first fixture of the run and therefore ends as the last:
    what other fixtures of the run hold until its end is no fault.
    """
    yield
    folder = os.fsencode(tmp_path_factory.getbasetemp()) + b"/"
    left = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        # A worker's folder is below that of the whole run, and this very run may name it in its arguments.
        if folder in command and int(path.parent.name) != os.getpid():
            left.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))
    assert left == [], "processes that tests started and did not end"


@pytest.fixture
def make_wheel(tmp_path: Path):
    """Write a wheel under a name like the store's and return (path, record)."""
    return wheel_maker(tmp_path)


@pytest.fixture(scope="module")
def make_module_wheel(tmp_path_factory: pytest.TempPathFactory):
    """Write wheels as `make_wheel` does, for what a whole module shares."""
    return wheel_maker(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def package_index(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[IndexServer]:
    """Run a package index on loopback that uv is configured for."""
    cache, known = tmp_path / "uv-cache", tmp_path_factory.getbasetemp() / "uv-interpreters"
    # Each cache is new, but for what uv asked this Python about itself: that takes longer than most of its answers.
    for folder in known.glob("*"):
        shutil.copytree(folder, cache / folder.name)
    with serving() as index:
        for name in PLACES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment_of(index, str(cache)).items():
            monkeypatch.setenv(name, value)
        yield index
    if not known.exists():
        for folder in cache.glob("interpreter-*"):
            shutil.copytree(folder, known / folder.name)


@pytest.fixture(scope="session")
def engine() -> engines.Engine:
    """Return the container engine that the product itself would use, started if none runs."""
    host.ensure()
    try:
        return engines.connect(Store(default_root()))
    except HelioError as error:
        pytest.skip(f"no container engine: {error.message}")


@pytest.fixture(scope="session")
def frozen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Return the variables of a Debian archive and a package index that never change; none of them with ``--world``."""
    if request.config.getoption("--world"):
        yield {}
        return
    needs("gpg", "dpkg-deb", "apt-get")
    with frozen_world.world(tmp_path_factory.mktemp("frozen"), Store(default_root())) as variables:
        yield variables


@pytest.fixture(scope="module")
def in_frozen_world(frozen: Mapping[str, str]) -> Iterator[None]:
    """Let what runs in this process, and what it starts, see the frozen world."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in frozen.items():
            patch.setenv(name, value)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--world", action="store_true", help="ask today's index and Debian archive, not frozen ones")
    parser.addoption(
        "--long", action="store_true", help="every fault, not a slice of each kind; and what takes minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: runs with --long only, by hand or once a week")
    if not hasattr(config, "workerinput"):
        config.stash[OURS] = own_engine.running(Store(default_root()))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the engine that this run started, and no other."""
    if config.stash.get(OURS, None) is False:
        own_engine.stop(Store(default_root()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, and begin with the longest files: a worker that gets one last has all wait for it."""
    if not config.getoption("--long"):
        longer = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=longer)
        items[:] = [item for item in items if item not in longer]
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """Let the search for garbage pass over what was collected: thousands of tests, which stay until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


LONGEST = (
    "test_commands.py",
    "test_hub.py",
    "test_healing_whole.py",
    "test_image_contract.py",
    "test_servers.py",
    "test_catalogue.py",
    "test_debian.py",
    "test_disk.py",
    "test_smoke.py",
    "test_pypi_oracle.py",
    "test_making.py",
    "test_kills.py",
    "test_canaries.py",
    "test_cosign.py",
    "test_trust.py",
    "test_push.py",
)
OURS = pytest.StashKey[bool]()
