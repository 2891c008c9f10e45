"""What an engine is given to pull with: the same logins that our own client of registries finds."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import docker
import pytest
from engine_api import EngineHandler, serving

from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.engines import engine as engines
from helioimages.engines import logins
from helioimages.engines.engine import Engine
from helioimages.engines.hub import parts as hub_parts
from helioimages.oci.transport import Credential
from helioimages.publish.credentials import from_docker_config
from helioimages.verbs import command

DIGEST = "sha256:" + "0" * 64
IMAGE = f"registry.example/org/helio@{DIGEST}"
ADA = {"auth": base64.b64encode(b"ada:s3cret").decode()}


class Handler(EngineHandler):
    """An engine that gets every image that is pulled with a login that it knows."""

    def do_GET(self) -> None:
        if urlsplit(self.path).path.endswith("/version"):
            self.answer(200, {"Components": self.server.components, "ApiVersion": "1.41"})
        else:
            self.answer(200 if self.server.there else 404, {"Id": "x", "message": "No such image"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not urlsplit(self.path).path.endswith(("/images/create", "/images/pull")):
            self.answer(500, {"message": "no containers here"})
            return
        header = self.headers.get("X-Registry-Auth")
        given = json.loads(base64.urlsafe_b64decode(header)) if header is not None else None
        self.server.given.append(given)
        self.server.there = bool(given) or self.server.public
        self.answer(200, {"status": "done"} if self.server.there else {"error": "denied: who are you?"})


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with serving(Handler, given=[], components=[], there=False, public=False) as server:
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Let every usual place for logins be an empty one."""
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def engine(server, home) -> Iterator[Engine]:
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.41")
    yield Engine(client, "tcp://x", from_docker_config())
    client.close()


def write(path: Path, **auths: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths}))


def in_runtime(home: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home / "run" / "containers" / "auth.json"


def by_variable(home: Path, monkeypatch) -> Path:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "mine.json"))
    return home / "mine.json"


def in_configuration(home: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "conf"))
    return home / "conf" / "containers" / "auth.json"


PLACES = {
    "runtime": in_runtime,
    "variable": by_variable,
    "xdg-config": in_configuration,
    "config": lambda home, _: home / ".config" / "containers" / "auth.json",
    "docker": lambda home, _: home / ".docker" / "config.json",
}


@pytest.mark.parametrize("components", [[], [{"Name": "Podman Engine"}]], ids=["docker", "podman"])
@pytest.mark.parametrize("key", ["registry.example", "registry.example/org", "registry.example/org/helio"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_login_of_podmans_is_handed_to_the_engine(
    engine, server, home, monkeypatch, place: Callable, key, components
):
    server.components = components
    write(place(home, monkeypatch), **{key: ADA, "other.example": {"auth": "eDp5"}})
    engine.pull(IMAGE)
    assert server.given == [{"username": "ada", "password": "s3cret", "serveraddress": "registry.example"}]


def test_loopback_by_podman_too(engine, server, home, monkeypatch):
    server.components = [{"Name": "Podman Engine"}]
    write(by_variable(home, monkeypatch), **{"127.0.0.1:5000": ADA})
    engine.pull(f"127.0.0.1:5000/helio@{DIGEST}")
    assert server.given == [{"username": "ada", "password": "s3cret", "serveraddress": "127.0.0.1:5000"}]


def test_without_a_login_nothing_is_handed_over(engine, server, home):
    with pytest.raises(HelioError) as caught:
        engine.pull(IMAGE)
    assert caught.value.detail == "denied: who are you?"
    server.public = True
    engine.pull(IMAGE)
    assert not any(server.given)


def test_an_image_that_is_there_needs_no_login(engine, server, home, monkeypatch):
    by_variable(home, monkeypatch).parent.mkdir()
    (home / "mine.json").write_text("{")
    server.there = True
    engine.pull(IMAGE)
    assert server.given == []


def test_a_broken_file_is_told_only_where_a_login_is_needed(engine, server, home, monkeypatch):
    path = by_variable(home, monkeypatch)
    path.parent.mkdir()
    path.write_text("{")
    server.public = True
    engine.pull(IMAGE)
    server.there = server.public = False
    with pytest.raises(HelioError) as caught:
        engine.pull(IMAGE)
    assert caught.value.message == f"cannot read `{path}`"


@pytest.mark.parametrize(
    ("repository", "place", "server"),
    [
        ("ghcr.io/org/helio", "ghcr.io/org/helio", "ghcr.io"),
        ("docker.io/debian", "docker.io/library/debian", "https://index.docker.io/v1/"),
        ("index.docker.io/org/helio", "docker.io/org/helio", "https://index.docker.io/v1/"),
        ("[::1]:5000/helio", "[::1]:5000/helio", "[::1]:5000"),
    ],
)
def test_places_are_asked_for_as_the_client_asks(repository, place, server):
    asked = []

    def credential(text: str) -> Credential:
        asked.append(text)
        return Credential(username="", secret="t0ken")

    assert logins.auth_config(credential, repository) == {"identitytoken": "t0ken", "serveraddress": server}
    assert asked == [place]


def test_secrets_are_not_shown(engine, home, monkeypatch):
    write(by_variable(home, monkeypatch), **{"registry.example": ADA})
    assert "s3cret" not in repr(engine)


def test_connect_takes_the_logins(tmp_path, monkeypatch):
    engine = Engine(SimpleNamespace(), "unix:///x")
    monkeypatch.setattr(engines, "running", lambda store: engine)
    credential = from_docker_config(())
    assert engines.connect(tmp_path, credential).credentials is credential


def test_verbs_have_a_machine_with_logins(home, monkeypatch):
    write(by_variable(home, monkeypatch), **{"registry.example": ADA})
    monkeypatch.setenv("HELIOIMAGES_STORE", str(home / "store"))
    common = command.Common(
        names=(), root=home, jobs=1, platform=Platform.of("linux/amd64"), channel="local", as_data=False
    )
    login = Credential(username="ada", secret="s3cret")
    assert common.machine().credentials("registry.example/org/helio") == login
    engine = Engine(SimpleNamespace(), "unix:///x")
    monkeypatch.setattr(engines, "running", lambda store: engine)
    assert common.machine().engine.credentials("registry.example/org/helio") == login


def test_a_hubs_programs_get_them_by_variable(server, home, monkeypatch, tmp_path):
    """What runs a cluster's process pulls the image, if another than the notebook's is chosen."""
    write(by_variable(home, monkeypatch), **{"registry.example": ADA})
    logins_found = logins.of(from_docker_config(), ["registry.example/org/helio", "public.example/x"])
    login = {"username": "ada", "password": "s3cret", "serveraddress": "registry.example"}
    assert logins_found == {"registry.example/org/helio": login}
    monkeypatch.setenv("HELIOIMAGES_HUB_LOGINS", json.dumps(logins_found))
    address = f"tcp://127.0.0.1:{server.server_port}"
    argv = [sys.executable, hub_parts.SOURCE / "in_image.py", address, "{}", tmp_path, "/tmp/x", IMAGE, "true"]
    ended = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    assert "no containers here" in ended.stderr
    assert server.given == [login]
