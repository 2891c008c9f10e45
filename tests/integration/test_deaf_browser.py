"""The tests' own browser keeps its requests while networks and containers come and go on this machine."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.network]

#: Asks until it is told that it is enough: [failed, asked]. Chromium has six connections; what waits for one is lost.
ASK = """async () => {
  let failed = 0, asked = 0, enough = false
  while (!enough) {
    await Promise.all([...Array(12).keys()].map(async () => {
      asked++
      try { enough = (await (await fetch("/again" + Math.random())).text()) === "enough" || enough } catch { failed++ }
    }))
  }
  return [failed, asked]
}"""


class Answers(BaseHTTPRequestHandler):
    """Answers late, so that there is always a request to lose."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/":
            self.server.enough.wait(0.05)
        body = b"enough" if self.server.enough.is_set() else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.enough = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.enough.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_request_is_lost_while_addresses_come_and_go(browser, engine, server):
    gone = []

    def come_and_go():
        try:
            # A container's interface does the same, a second or two after it came.
            for number in range(3):
                network = engine.client.networks.create(f"deaf-browser-{uuid.uuid4().hex[:12]}")
                time.sleep(0.5)
                network.remove()
                gone.append(number)
        finally:
            server.enough.set()

    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    networks = threading.Thread(target=come_and_go)
    networks.start()
    failed, asked = page.evaluate(ASK)
    networks.join()
    assert len(gone) == 3
    assert asked > 20
    assert failed == 0
