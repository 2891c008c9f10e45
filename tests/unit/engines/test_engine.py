"""Which engine is used, which is ours to end, and what is said when there is none."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import docker.errors
import pytest
import requests

from helioimages.core.errors import HelioError, Stage
from helioimages.engines import engine, own_engine
from helioimages.machine import host
from helioimages.machine.store import Store
from helioimages.verbs import up


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    (store.root / "run").mkdir(parents=True, exist_ok=True)
    return store


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "3600"])
    yield child
    child.kill()
    child.wait()


def _record(store: Store, pid: int, started: int) -> Path:
    path = store.root / "run" / "engine.json"
    path.write_text(json.dumps({"pid": pid, "started": started, "address": "unix:///nowhere"}))
    return path


def _started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])


def test_the_engine_that_we_started_is_ended(store, process):
    record = _record(store, process.pid, _started(process.pid))
    assert own_engine.running(store)
    assert own_engine.stop(store)
    assert process.wait(timeout=10) == -15
    assert not record.exists()
    assert not own_engine.running(store)


def test_a_process_that_took_the_number_of_ours_is_left_alone(store, process):
    record = _record(store, process.pid, _started(process.pid) - 1)
    assert not own_engine.running(store)
    assert not own_engine.stop(store)
    assert process.poll() is None
    assert not record.exists()


def test_an_engine_that_does_not_end_stays_ours(store, monkeypatch):
    ready = store.root / "ready"
    stubborn = subprocess.Popen(["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"])
    try:
        while not ready.exists():
            time.sleep(0.01)
        record = _record(store, stubborn.pid, _started(stubborn.pid))
        monkeypatch.setattr(own_engine, "_STOP_S", 0.2)
        with pytest.raises(HelioError) as caught:
            own_engine.stop(store)
        assert str(caught.value) == (
            "the engine does not end\n"
            f"  in {store.root}/run/dockerd.log\n"
            f"  process {stubborn.pid} still works after 0.2 s\n\n"
            "hint: run `buildimages down` again"
        )
        assert record.exists() and own_engine.running(store)
    finally:
        stubborn.kill()
        stubborn.wait()


def test_nothing_was_started(store):
    assert not own_engine.running(store)
    assert not own_engine.stop(store)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_damaged_record_is_no_engine(store, text):
    (store.root / "run" / "engine.json").write_text(text)
    assert not own_engine.running(store)


def test_the_engine_that_the_environment_names_must_answer(store, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(HelioError) as caught:
        engine.connect(store)
    assert caught.value.stage is Stage.ENGINE
    assert str(caught.value) == (
        f"no engine answers at unix://{tmp_path}/none.sock\n\nhint: unset DOCKER_HOST, or start that engine"
    )


def test_stopping_and_starting_wait_for_each_other(store):
    """Else the one that stops would tidy the folder away in which the other's engine listens."""
    stopping = threading.Thread(target=own_engine.stop, args=(store,))
    with store.lock("engine"):
        stopping.start()
        stopping.join(0.3)
        assert stopping.is_alive()
    stopping.join(10)
    assert not stopping.is_alive()


def test_an_engine_that_does_not_come_up_is_ended(store, tmp_path, monkeypatch):
    program = tmp_path / "dockerd"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(own_engine, "_as_root", lambda: ())
    monkeypatch.setattr(own_engine, "_folder", lambda _: tmp_path / "run")
    monkeypatch.setattr(own_engine, "_READY_S", 0.3)
    with pytest.raises(HelioError, match="dockerd does not start"):
        own_engine.start(store, lambda _: None)
    assert own_engine._STARTED.pop().returncode == -15


def test_an_engine_that_does_not_come_up_on_a_full_disk_says_so(store, tmp_path, monkeypatch):
    program = tmp_path / "dockerd"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(own_engine, "_as_root", lambda: ())
    monkeypatch.setattr(own_engine, "_folder", lambda _: tmp_path / "run")
    usage = shutil.disk_usage(tmp_path)
    for free, told in ((2_000_000, True), (10**12, False)):
        monkeypatch.setattr(own_engine.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        with pytest.raises(HelioError, match="dockerd does not start") as caught:
            own_engine.start(store, lambda _: None)
        assert ("the disk of the store has 2 MB free" in caught.value.detail) is told
        assert ("HELIOIMAGES_STORE" in caught.value.hint) is told
        own_engine._STARTED.pop()


def test_an_engine_that_is_roots_is_ended_without_a_program_for_it(process, tmp_path, monkeypatch):
    """A small Debian has no `kill` but the shell's."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(own_engine, "_as_root", lambda: ())

    def refused(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as another:
        another.setattr(own_engine.os, "kill", refused)
        own_engine._terminate(process.pid)
    assert process.wait(timeout=10) == -15


def test_no_engine_is_installed(store, monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "sockets", lambda: ())
    monkeypatch.setattr(host, "dockerd", lambda: None)
    with pytest.raises(HelioError) as caught:
        engine.connect(store)
    assert str(caught.value) == (
        "there is no container engine\n\nhint: run `apt-get install docker.io`, or start podman's service"
    )


def test_a_port_that_somebody_took_meanwhile_is_told_in_a_line():
    text = (
        '500 Server Error for http+docker://localhost/v1.43/containers/1/start: Internal Server Error ("driver failed '
        'programming external connectivity: Bind for 127.0.0.1:8888 failed: port is already allocated")'
    )
    error = engine._not_started("127.0.0.1:5000/x@sha256:1", 8888, OSError(text))
    assert (error.message, error.detail) == ("port 8888 of 127.0.0.1 is taken", "")
    assert engine._not_started("x", 8888, OSError("no such image")).detail == "no such image"


def test_an_engine_without_its_firewall_rules_is_told_with_what_helps():
    text = (
        "driver failed programming external connectivity on endpoint x: (iptables failed: iptables --wait -t nat -A "
        "DOCKER -p tcp --dport 8888: iptables: No chain/target/match by that name. (exit status 1))"
    )
    error = engine._not_started("127.0.0.1:5000/x@sha256:1", 8888, OSError(text))
    assert error.message == "the engine cannot open port 8888 of 127.0.0.1"
    assert error.detail == text
    assert "restart the engine" in error.hint


def test_why_plain_docker_lines_need_an_address():
    assert up.plain_lines("unix:///run/own/docker.sock", ours=True) == (
        "For plain `docker …` lines (no engine of this machine ran, so one of this project's own does):\n"
        "  export DOCKER_HOST=unix:///run/own/docker.sock"
    )
    assert "(docker looks elsewhere)" in up.plain_lines("unix:///run/podman/podman.sock", ours=False)


def test_the_command_that_up_prints_finds_the_engine():
    assert up.starting("127.0.0.1:5000/helio@sha256:1", "unix:///var/run/docker.sock") == (
        "docker run --rm -p 127.0.0.1:8888:8888 127.0.0.1:5000/helio@sha256:1"
    )
    assert up.starting("127.0.0.1:5000/helio@sha256:1", "unix:///run/own/docker.sock") == (
        "docker -H unix:///run/own/docker.sock run --rm -p 127.0.0.1:8888:8888 127.0.0.1:5000/helio@sha256:1"
    )


def test_the_engine_tells_its_own_machine_s_room_or_says_that_it_does_not():
    client = SimpleNamespace(info=lambda: {"NCPU": 6, "MemTotal": 8 << 30})
    assert engine.Engine(client, "unix:///x").room() == (6, 8 << 30)

    def gone() -> dict[str, int]:
        raise requests.ConnectionError("gone")

    with pytest.raises(HelioError) as caught:
        engine.Engine(SimpleNamespace(info=gone), "unix:///x").room()
    assert (caught.value.stage, caught.value.detail) == (Stage.ENGINE, "gone")


def test_an_address_is_told_once_it_answers():
    """An engine's proxy takes connections, and hangs up, before the server in the container listens."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Where nobody asks as often as this, the test ends too.
        listener.settimeout(30)

        def serve() -> None:
            for answer in (b"", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(1000).split(b"\r\n")[0])
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        engine._await(listener.getsockname()[1], time.monotonic() + 60)
        told = len(asked)
        thread.join()
    assert (told, set(asked)) == (3, {b"GET /api HTTP/1.1"})


def test_an_address_is_told_in_the_end_where_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    before = time.monotonic()
    engine._await(port, before + 0.3)
    assert time.monotonic() >= before + 0.3


@pytest.mark.parametrize("moment", ["reload", "logs"])
def test_a_server_is_removed_whenever_it_is_interrupted(monkeypatch, moment):
    removed = []

    def interrupted():
        raise KeyboardInterrupt

    calls = {"reload": lambda: None, "logs": lambda: b"", "start": lambda: None, moment: interrupted}
    container = SimpleNamespace(**calls, status="running", remove=lambda force: removed.append(force))
    client = SimpleNamespace(containers=SimpleNamespace(create=lambda *_, **__: container))
    monkeypatch.setattr(engine.Engine, "pull", lambda *_: None)
    monkeypatch.setattr(engine.leftovers, "served", lambda *_, **__: 0)
    monkeypatch.setattr(engine.devices, "requests", lambda *_: [])
    with pytest.raises(KeyboardInterrupt):
        engine.Engine(client, "unix:///x").serve("image", port=1)
    assert removed == [True]


@pytest.mark.parametrize(
    ("said", "program", "package"),
    [
        ("setting up Pasta: could not find pasta, the network namespace can't be configured: exec", "pasta", "passt"),
        ("could not find slirp4netns, the network namespace can't be configured", "slirp4netns", "slirp4netns"),
        ("netavark: nftables error: unable to execute nft: No such file or directory (os error 2)", "nft", "nftables"),
    ],
)
def test_podman_that_lacks_a_program_of_its_networks_is_told_as_that(said, program, package):
    """In its words; Debian only recommends these programs."""

    def start() -> None:
        raise docker.errors.APIError("500 Server Error", explanation=said)

    with pytest.raises(HelioError) as caught:
        engine.started_with(SimpleNamespace(start=start), None)
    assert caught.value.message == f"podman starts no container without `{program}`, which makes its networks"
    assert (caught.value.detail, caught.value.hint) == (said, f"run `apt-get install {package}`")
