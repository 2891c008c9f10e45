"""A wire between a registry and who asks it: every byte is counted, and it may be as slow as a network is."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Relay:
    """A port on loopback that hands everything on to another one, and counts it.

    Args:
        port: the other one.
        rate: bytes a second that the other side sends at most, over all connections, as a network between has it; None
            is as fast as it goes.
    """

    def __init__(self, port: int, *, rate: float | None = None) -> None:
        self._to, self.moved, self._lock = port, 0, threading.Lock()
        self._rate, self._free = rate, 0.0
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._between, args=(client, server), daemon=True).start()

    def _between(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            back = threading.Thread(target=self._hand, args=(server, client, self._rate), daemon=True)
            back.start()
            self._hand(client, server)
            back.join()

    def _hand(self, source: socket.socket, sink: socket.socket, rate: float | None = None) -> None:
        try:
            while data := source.recv(1 << 18):
                # Before it is sent: who has got it finds it counted.
                with self._lock:
                    self.moved += len(data)
                    wait = self._turn(len(data), rate) if rate else 0.0
                time.sleep(wait)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Where one side is gone the other one is told: else it would wait for ever.
            for side in (source, sink):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def _turn(self, size: int, rate: float) -> float:
        """Return the seconds until so many bytes may be sent: the wire is taken that long, one after another."""
        now = time.monotonic()
        self._free = max(self._free, now) + size / rate
        return self._free - now

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
