"""benchmarks/travel.py: what counts bytes leaves nobody waiting, and the peer's cache can have its step."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import peers
import travel


@contextlib.contextmanager
def relayed(serve, rate: float | None = None) -> Iterator[travel.Relay]:
    """Give a relay to a server that does with each connection what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    serve(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        relay = travel.Relay(server.getsockname()[1], rate=rate)
        yield relay
        relay.close()
        server.shutdown(socket.SHUT_RDWR)


def connected(relay: travel.Relay) -> socket.socket:
    host, port = relay.host.split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_bytes_of_both_directions_are_counted():
    def echo(there: socket.socket) -> None:
        with there:
            there.sendall(there.recv(100) * 2)

    with relayed(echo) as relay, connected(relay) as here:
        here.sendall(b"12345")
        assert b"".join(iter(lambda: here.recv(100), b"")) == b"1234512345"
        assert relay.moved == 15


def test_a_slow_wire_is_one_for_all_connections():
    def give(there: socket.socket) -> None:
        with there:
            there.sendall(bytes(1 << 20))

    def read() -> None:
        with connected(relay) as here:
            while here.recv(1 << 20):
                pass

    with relayed(lambda there: threading.Thread(target=give, args=(there,)).start(), rate=4 << 20) as relay:
        start = time.monotonic()
        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        # Two MiB at four a second.
        assert time.monotonic() - start >= 0.5
    assert relay.moved == 2 << 20


def test_who_sends_to_a_server_that_is_gone_is_told():
    with relayed(lambda there: there.close()) as relay, connected(relay) as here, pytest.raises(OSError) as caught:
        while True:
            here.sendall(bytes(1 << 20))
    assert not isinstance(caught.value, TimeoutError)


def test_a_server_that_was_not_there_for_a_moment_is_asked_again():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    relay = travel.Relay(port)
    with connected(relay) as here, contextlib.suppress(ConnectionResetError):
        assert here.recv(1) == b""
    with socket.create_server(("127.0.0.1", port)) as server, connected(relay) as here:
        there, _ = server.accept()
        with there:
            there.sendall(b"x")
            assert here.recv(1) == b"x"
    relay.close()


def test_each_build_of_the_peer_has_its_wheels_from_one_port(monkeypatch, tmp_path):
    """The port is in the text of the RUN, which is what a cache goes by."""
    images = SimpleNamespace(pull=lambda _: None, remove=lambda *_, **__: None)
    engine = SimpleNamespace(client=SimpleNamespace(images=images))
    asked = []

    def peer(_machine, _client, built, _under, folder, tag, *, cache_from=(), at=0):
        with peers.serving(folder, at) as port:
            asked.append((tag, built, bool(cache_from), port))
        return peers.Contender(build_s=1.0, push_s=1.0, layers={}, image=tag, reference="")

    monkeypatch.setattr(travel.engines, "connect", lambda _: engine)
    monkeypatch.setattr(peers, "under", lambda *_: "under")
    monkeypatch.setattr(peers, "docker_pip", peer)
    assert {*travel.one_run(1, tmp_path, None, "before", "after")} == {"unchanged", "changed"}
    assert [row[:3] for row in asked] == [
        ("old", "before", False),
        ("unchanged", "before", True),
        ("changed", "after", True),
    ]
    assert len({row[3] for row in asked}) == 1
