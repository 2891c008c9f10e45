"""The proxies of the user's Docker config, with passwords in them, reach no container without network."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from helioimages.core.errors import HelioError
from helioimages.debian.lock import AptLock
from helioimages.engines.engine import Engine, RunOptions
from helioimages.machine.store import Store
from helioimages.make.builder import Builder

SECRET = "http://robot:canary-proxy@proxy.example.org:3128"


class Handler(BaseHTTPRequestHandler):
    """An engine that has every image and makes no container."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, [] if "/containers/" in self.path else {"Id": "sha256:" + "0" * 64, "NCPU": 2})

    def do_POST(self):
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(500, {"message": "not today"})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Iterator[tuple[docker.DockerClient, list[dict]]]:
    """Return the client of an engine, and what it was asked to make."""
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": SECRET}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.41")
    try:
        yield client, server.asked
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("network", "there"), [("none", False), ("bridge", True)])
def test_notebooks(asked, network, there):
    client, made = asked
    with pytest.raises(HelioError, match="the engine cannot make a container"):
        Engine(client, "x").run("image", ["true"], RunOptions(network=network, env={"A": "1"}))
    assert "A=1" in made[0]["Env"]
    assert (SECRET in json.dumps(made)) is there


def test_the_builder(asked, tmp_path: Path):
    client, made = asked
    lock = AptLock(suite="trixie", architecture="amd64", timestamp=0, requested=(), packages=())
    builder = Builder(client, Store(tmp_path / "store"), lock, {})
    with contextlib.suppress(HelioError):
        builder.run(["true"], inputs={}, output=tmp_path)
    assert "OUT=/out" in made[0]["Env"]
    assert SECRET not in json.dumps(made)
