"""A stream of an engine that ends in an error says so, in the engine's words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import docker
import pytest
from engine_api import EngineHandler, serving

from helioimages.core.errors import HelioError
from helioimages.debian.lock import AptLock
from helioimages.engines.engine import Engine
from helioimages.engines.stream import StreamError, follow, rows_of
from helioimages.machine.store import Store
from helioimages.make import builder

IMAGE = "127.0.0.1:5000/base@sha256:" + "0" * 64
DENIED = {"errorDetail": {"message": "denied: not yours"}, "error": "denied: not yours"}
FULL = "failed to register layer: write /usr/lib/x: no space left on device"


class Handler(EngineHandler):
    """An engine that has no image, and answers 200 before it begins."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/info"):
            self.answer(200, {"DockerRootDir": self.server.folder})
        elif path.endswith("/version"):
            self.answer(200, {"Components": self.server.components})
        else:
            self.answer(404, {"message": f"No such image: {path}"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for row in self.server.rows:
            data = json.dumps(row).encode() + b"\r\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if self.server.breaks:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def server(tmp_path) -> Iterator[ThreadingHTTPServer]:
    with serving(Handler, rows=[], components=[], folder=str(tmp_path), breaks=False) as server:
        yield server


@pytest.fixture
def engine(server) -> Iterator[Engine]:
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{server.server_port}", version="1.41")
    yield Engine(client, "tcp://x")
    client.close()


@pytest.mark.parametrize("components", [[], [{"Name": "Podman Engine"}]], ids=["docker", "podman"])
def test_a_pull_says_why_it_failed(engine, server, components):
    server.rows, server.components = [{"status": "Pulling from base", "id": "x"}, DENIED], components
    with pytest.raises(HelioError) as caught:
        engine.pull(IMAGE)
    assert caught.value.message == f"the engine cannot pull `{IMAGE}`"
    assert caught.value.detail == "denied: not yours"


def test_a_full_disk_says_how_much_is_needed(engine, server):
    server.rows = [
        *({"id": "a", "status": "Downloading", "progressDetail": {"current": n, "total": 2_000_000}} for n in (1, 2)),
        {"id": "b", "status": "Downloading", "progressDetail": {"current": 1, "total": 500_000_000}},
        {"id": "b", "status": "Extracting", "progressDetail": {"current": 1, "total": 500_000_000}},
        {"id": "c", "status": "Pull complete", "progressDetail": {}},
        {"error": FULL},
    ]
    with pytest.raises(HelioError) as caught:
        engine.pull(IMAGE)
    words, needed, free = caught.value.detail.splitlines()
    assert words == FULL
    assert needed == "needed: 502 MB for the layers that it lacks, and about 1.51 GB to unpack them"
    assert re.fullmatch(rf"free: [0-9.,]+ [kMGT]?B at {re.escape(str(server.folder))}", free)


def test_an_answer_that_breaks_off(engine, server):
    server.rows, server.breaks = [{"status": "Pulling"}], True
    with pytest.raises(HelioError) as caught:
        engine.pull(IMAGE)
    assert caught.value.detail.startswith("the engine stopped in the middle of its answer: ")


def test_an_import_says_why_it_failed(engine, server, tmp_path, monkeypatch):
    server.rows = [{"status": "Importing"}, {"errorDetail": {"code": 1, "message": FULL}}]
    (tmp_path / "tar").write_bytes(b"x")
    monkeypatch.setattr(builder, "build_rootfs", lambda *_, **__: tmp_path / "tar")
    lock = AptLock(suite="trixie", architecture="amd64", timestamp=0, requested=(), packages=())
    with pytest.raises(HelioError) as caught:
        builder.Builder(engine.client, Store(tmp_path / "store"), lock, {}).image()
    assert caught.value.message == "cannot import the builder's root file system"
    assert caught.value.detail.startswith(f"{FULL}\nfree: ")


def test_every_stream_has_the_same_words():
    client = SimpleNamespace(info=dict)
    for rows in ([DENIED], [{"error": "denied: not yours"}], [{"stream": "Step 1"}, DENIED, {"aux": {}}]):
        with pytest.raises(StreamError, match=r"^denied: not yours$"):
            follow(rows, client)
    with pytest.raises(StreamError, match=r"^disk quota exceeded$"):
        follow([{"error": "disk quota exceeded"}], client)
    follow([{"status": "Pushed"}, {"progressDetail": None, "errorDetail": None}], client)


def test_text_that_is_no_stream_has_no_rows():
    assert rows_of("") == rows_of("<html>") == []
    assert rows_of('{"a": 1}\r\n{"error": "x"}\n') == [{"a": 1}, {"error": "x"}]
