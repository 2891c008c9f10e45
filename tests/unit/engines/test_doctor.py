"""What `doctor` tries and says; its servers are real ones on loopback."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.engines import doctor
from helioimages.locks import mirror
from helioimages.machine import host
from helioimages.machine.store import Store

# What a Docker engine answers to who asks whether it is there.
ENGINE = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24", "Components": [{"Name": "Engine"}]}


class Answers(BaseHTTPRequestHandler):
    """An index, a mirror and an engine in one."""

    def do_GET(self) -> None:
        text = {
            "/simple/pip/": "<a>pip</a>",
            "/debian/dists/trixie/InRelease": "Origin: Debian",
            "/version": json.dumps(ENGINE),
            "/_ping": "OK",
        }.get(self.path.removeprefix("/v1.41"))
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write((text or "").encode())

    do_HEAD = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def dead() -> Iterator[int]:
    """Hold a port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Make this machine one with every program, and no engine; its own settings are not looked at."""
    for name in ("DOCKER_HOST", "UV_INDEX_URL", "UV_INDEX", "PIP_INDEX_URL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mmdebstrap", "newuidmap", "dockerd", "docker-registry"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)  # uv looks for one
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("helioimages.machine.host.SOCKETS", ())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    mirror.of_this_machine.cache_clear()
    yield
    mirror.of_this_machine.cache_clear()


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, port: int) -> int:
    """Name an index and a mirror that answer."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"http://127.0.0.1:{port}/debian")
    return port


def told(store: Store) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks(store)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_machine_that_lacks_nothing_has_nothing_to_mend(store, reached, monkeypatch):
    monkeypatch.setattr(doctor, "ROOM_NEW", 0)
    lines = told(store)
    lines.pop("Debian's archive keys")  # of this very machine
    assert [check.name for check in lines.values() if not check.ok] == []
    assert lines["package index"].found == f"http://127.0.0.1:{reached}/simple"
    assert lines["Debian mirror"].found == f"http://127.0.0.1:{reached}/debian"
    assert lines["container engine"].found == "none runs; `up` starts one of this project's own"
    assert lines["registry"].found == "none runs; `up` starts one of this project's own"


def test_an_engine_that_does_not_answer_is_a_lack(store, reached, dead, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{dead}")
    check = told(store)["container engine"]
    assert check.found == f"no engine answers at tcp://127.0.0.1:{dead} (DOCKER_HOST)"
    assert doctor.mend((check,)) == ("unset DOCKER_HOST",)


def test_an_engine_that_answers_says_its_version_and_address(store, reached, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{reached}")
    check = told(store)["container engine"]
    assert (check.ok, check.found) == (True, f"docker 20.10.24, at tcp://127.0.0.1:{reached}")


def test_one_command_installs_all_packages_that_lack(store, reached, monkeypatch, tmp_path):
    for name in ("mmdebstrap", "dockerd", "docker-registry"):
        (tmp_path / "bin" / name).unlink()
    monkeypatch.setattr(host, "dockerd", lambda: None)
    checks = tuple(check for check in doctor.checks(store) if check.package and check.name != "Debian's archive keys")
    assert [check.found for check in checks] == [
        "missing: Debian root file system",
        "missing: builder and smoke notebooks",
        "missing: embedded registry",
    ]
    (line,) = doctor.mend(checks)
    assert line.endswith("--no-install-recommends mmdebstrap docker.io docker-registry iptables pigz")


def test_podman_without_its_service_is_no_engine(store, reached, monkeypatch, tmp_path):
    (tmp_path / "bin" / "dockerd").rename(tmp_path / "bin" / "podman")
    monkeypatch.setattr(host, "dockerd", lambda: None)
    assert told(store)["container engine"].package == "docker.io"
    assert "docker.io" in [need.package for need in host.missing()]


def test_podman_without_its_service_is_told_how_to_start_it(monkeypatch, tmp_path):
    """Who works with published images wants no other engine installed."""
    (tmp_path / "bin" / "dockerd").rename(tmp_path / "bin" / "podman")
    monkeypatch.setattr(host, "dockerd", lambda: None)
    with pytest.raises(HelioError) as caught:
        host.ensure_engine(registry=False)
    assert caught.value.message == "podman is here, but its service does not listen"
    assert caught.value.hint.endswith("start podman.socket`")


def test_a_published_image_needs_an_engine_and_nothing_else(monkeypatch, tmp_path):
    for name in ("mmdebstrap", "newuidmap", "docker-registry"):
        (tmp_path / "bin" / name).unlink()
    asked: list[str] = []
    monkeypatch.setattr(host, "command", lambda packages: asked.extend(packages) or ["false"])
    host.ensure_engine(registry=False)
    assert asked == []
    with pytest.raises(HelioError):
        host.ensure_engine(registry=True)
    assert asked == ["docker-registry"]


@pytest.mark.parametrize("name", ["docker.sock", "podman/podman.sock"])
def test_an_engine_of_the_user_is_found(monkeypatch, tmp_path, name):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    monkeypatch.setattr(host, "dockerd", lambda: None)
    assert not host._engine()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a Unix socket is short, a test's folder is not.
        server.bind(name)
        server.listen()
        monkeypatch.setenv("XDG_RUNTIME_DIR", ".")
        assert host._engine()


@pytest.mark.parametrize(("path", "fault"), [("", "404 Not Found"), (None, "ConnectionError")])
def test_servers_that_do_not_have_what_theirs_have(store, port, dead, monkeypatch, path, fault):
    address = f"http://127.0.0.1:{dead if path is None else port}"
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{address}/other")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"{address}/other")
    lines = told(store)
    assert lines["package index"].found == lines["Debian mirror"].found == f"{address}/other: {fault}"
    assert "UV_DEFAULT_INDEX" in lines["package index"].mend
    assert "HELIOIMAGES_DEBIAN_MIRROR" in lines["Debian mirror"].mend


def test_a_password_in_an_address_is_not_shown(store, reached, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://me:secret@127.0.0.1:{reached}/simple")
    assert told(store)["package index"].found == f"http://127.0.0.1:{reached}/simple"


def test_a_mirror_in_a_folder(store, reached, monkeypatch, tmp_path):
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"file://{tmp_path}/debian")
    assert told(store)["Debian mirror"].found == f"file://{tmp_path}/debian: not found"
    (tmp_path / "debian/dists/trixie").mkdir(parents=True)
    (tmp_path / "debian/dists/trixie/InRelease").touch()
    assert told(store)["Debian mirror"].ok


@pytest.mark.parametrize(("new", "mend"), [(True, "export HELIOIMAGES_STORE="), (False, "buildimages prune")])
def test_a_disk_that_is_too_small(store, reached, monkeypatch, new, mend):
    monkeypatch.setattr(doctor, "ROOM_NEW" if new else "ROOM_MORE", 10**18)
    if not new:
        (store.root / "blobs" / "sha256" / "00").touch()
    check = told(store)["disk"]
    assert re.fullmatch(
        rf"[0-9.,]+ (MB|GB|TB) free for the store, {re.escape(str(store.root))}; expected 1,000,000 TB", check.found
    )
    assert check.mend.startswith(mend)
