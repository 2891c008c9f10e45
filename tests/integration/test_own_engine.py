"""The engine that the project starts where none runs: found again, ended, killed; and what it leaves of itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest
from as_root import as_root, kill

from helioimages.engines import engine as engines
from helioimages.engines import own_engine
from helioimages.machine import mounts
from helioimages.machine.store import Store

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store of a machine on which no engine runs."""
    if shutil.which("dockerd", path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
        pytest.skip("dockerd is not installed (apt-get install docker.io)")
    as_root("true")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engines, "sockets", lambda: ())
    # A network of its own: dockerd makes its firewall rules anew when it starts, and for a moment the machine's own
    # engine, which other tests use, has none.
    starter = (*own_engine._as_root(), "unshare", "--net")
    monkeypatch.setattr(own_engine, "_as_root", lambda: starter)
    made = Store(tmp_path / "store")
    yield made
    own_engine.stop(made)
    assert mounts.below(tmp_path) == ()


def places(store: Store):
    """Return the folders that are an engine's own."""
    return own_engine._data(store), own_engine._folder(store)


def gone(process) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + 10
    while process.alive:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_is_found_again_and_leaves_no_mount(store):
    first = engines.connect(store)
    assert engines.connect(store).address == first.address
    assert own_engine.running(store)
    data, run = places(store)
    assert mounts.below(data) == (data,)
    assert own_engine.stop(store)
    assert (mounts.below(data), run.exists()) == ((), False)
    assert not own_engine.running(store)
    assert not own_engine.stop(store)


def test_one_that_was_killed_is_started_again_and_then_leaves_no_mount(store):
    engines.connect(store)
    killed = own_engine._recorded(store)[0]
    kill(killed.pid)
    gone(killed)
    data, run = places(store)
    assert mounts.below(data) == (data,)
    engines.connect(store).client.ping()
    assert own_engine._recorded(store)[0] != killed
    assert own_engine.stop(store)
    assert (mounts.below(data), run.exists()) == ((), False)


def test_the_mounts_of_one_that_was_killed_are_taken_away(store):
    engines.connect(store)
    data, run = places(store)
    killed = own_engine._recorded(store)[0]
    kill(killed.pid)
    gone(killed)
    assert not own_engine.stop(store)
    assert (mounts.below(data), run.exists()) == ((), False)


def test_a_pid_file_that_names_a_stranger_is_no_hindrance(store):
    data, run = places(store)
    run.mkdir()
    (run / "pid").write_text(str(os.getpid()))
    engines.connect(store).client.ping()
    assert own_engine._recorded(store)[0].pid != os.getpid()
    assert own_engine.stop(store)
    assert (mounts.below(data), run.exists()) == ((), False)


def test_what_somebody_mounted_for_it_stays(store):
    if os.geteuid():
        pytest.skip("only root may mount")
    data, _ = places(store)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(data)], check=True)
    try:
        engines.connect(store)
        assert own_engine.stop(store)
        assert mounts.below(data) == (data,)
    finally:
        subprocess.run(["umount", str(data)], check=True)
