"""A registry's bad days: an HTTP proxy before a real registry that does one wrong thing to some requests.

Which request meets which fault comes from a seed. Tokens are the proxy's own: it asks for one, and forgets it after a
few requests.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = (
    "drop before",  # closes the connection unread
    "drop body",  # reads half of the body, then closes
    "lost answer",  # the registry has done it, the client never hears
    "429",
    "500",
    "503",
    "truncate",  # Content-Length of the whole, half of the bytes
    "lie header",  # another Docker-Content-Digest
    "lie body",  # other bytes
    "html",  # 200 with a page of a captive portal
)


class Proxy:
    """State of one proxy; ``rate`` is the share of requests that meet a fault."""

    def __init__(self, upstream: str, *, seed: int, rate: float, kinds: tuple[str, ...] = KINDS, token_uses: int = 0):
        self.upstream, self.rate, self.kinds, self.token_uses = upstream, rate, kinds, token_uses
        self.chance = random.Random(seed)
        self.injected: Counter[str] = Counter()
        self.tokens: dict[str, int] = {}
        self.expired = 0
        self.requests = 0
        self.logins: set[str] = set()
        self.lock = threading.Lock()
        self.host = ""

    def fault(self) -> str:
        """Return what goes wrong with the next request, or nothing."""
        with self.lock:
            self.requests += 1
            if self.chance.random() >= self.rate:
                return ""
            kind = self.chance.choice(self.kinds)
            self.injected[kind] += 1
            return kind

    def admits(self, header: str) -> bool:
        """Say whether a request has a token that is still good, and use it once."""
        if not self.token_uses:
            return True
        with self.lock:
            token = header.removeprefix("Bearer ")
            if self.tokens.get(token, 0) > 0:
                self.tokens[token] -= 1
                return True
            self.expired += token in self.tokens
            return False

    def token(self) -> str:
        """Return a new token."""
        with self.lock:
            token = f"token{len(self.tokens)}"
            self.tokens[token] = self.token_uses
            return token


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        proxy = self.proxy
        length = int(self.headers.get("Content-Length") or 0)
        if self.path.startswith("/token"):
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            proxy.logins.add(base64.b64decode(given).decode())
            self.answer(200, json.dumps({"token": proxy.token()}).encode(), {"Content-Type": "application/json"})
            return
        if not proxy.admits(self.headers.get("Authorization", "")):
            self.rfile.read(length)
            challenge = f'Bearer realm="http://{proxy.host}/token",service="proxy"'
            self.answer(401, b"{}", {"WWW-Authenticate": challenge})
            return
        kind = proxy.fault()
        if kind == "drop before":
            self.cut()
            return
        body = self.rfile.read(length // 2 if kind == "drop body" else length)
        if kind == "drop body":
            self.cut()
            return
        if kind in ("429", "500", "503"):
            self.answer(int(kind), b'{"errors":[{"code":"BUSY"}]}', {"Retry-After": "1"} if kind == "429" else {})
            return
        if kind == "html":
            self.answer(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
            return
        status, headers, data = self.forward(body)
        if kind == "lost answer":
            self.cut()
            return
        if kind == "lie header" and "Docker-Content-Digest" in headers:
            headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
        if kind == "lie body" and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        if kind == "truncate" and data:
            headers["Content-Length"] = str(len(data))
            self.answer(status, data[: len(data) // 2], headers)
            self.cut()
            return
        self.answer(status, data, headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {key: value for key, value in self.headers.items() if key not in ("Authorization", "Connection")}
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        with contextlib.closing(connection):
            # The registry makes upload addresses from the Host it is asked by, so these come back through the proxy.
            connection.request(self.command, self.path, body=body or None, headers=headers)
            response = connection.getresponse()
            dropped = ("connection", "transfer-encoding", "date", "server")
            headers_kept = {key: value for key, value in response.getheaders() if key.lower() not in dropped}
            return response.status, headers_kept, response.read()

    def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        # A client that gives up on a broken answer is what this is for.
        pass


@contextlib.contextmanager
def before(upstream: str, **options) -> Iterator[Proxy]:
    """Run a proxy before a registry while the block runs; options are those of `Proxy`."""
    proxy = Proxy(upstream, **options)
    server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"proxy": proxy}))
    proxy.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
