from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from helioimages.core.errors import HelioError, Stage
from helioimages.machine import fetch
from helioimages.machine.store import Store

DATA = bytes(range(256)) * 5000


class Server(http.server.ThreadingHTTPServer):
    """A file server whose faults are set by the test: each request takes the next one."""

    faults: list[str]
    seen: list[str | None]
    coded: list[str | None]
    go_on: threading.Event


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.headers.get("Range"))
        self.server.coded.append(self.headers.get("Accept-Encoding"))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault == "500":
            self.send_error(500)
            return
        if fault in ("404", "429"):
            self.send_response(int(fault))
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "416":
            self.send_error(416)
            return
        data, status, start = DATA, 200, 0
        if (ranged := self.headers.get("Range")) and fault != "no-range":
            start = int(ranged.removeprefix("bytes=").rstrip("-"))
            status = 206
        if fault == "html":
            data = b"<html>sorry</html>"
        if fault == "flip":
            data = data[:-1] + b"!"
        if fault == "long":
            data = data + b"more"
        body = gzip.compress(data) if fault == "squeezed" else data[start:]
        self.send_response(status)
        if fault in ("coded", "squeezed"):
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "slow":
            self.wfile.write(body[: 1 << 20])
            self.server.go_on.wait(30)
            time.sleep(0.3)
            body = body[1 << 20 :]
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(*faults: str):
    server = Server(("127.0.0.1", 0), Handler)
    server.faults, server.seen, server.coded, server.go_on = list(faults), [], [], threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wanted(server: Server, **changes) -> fetch.WantedFile:
    url = f"http://127.0.0.1:{server.server_port}/file.whl"
    values = dict(
        name="file.whl",
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
        where="pylock.toml at packages[0]",
        urls=lambda: (url,),
    )
    return fetch.WantedFile(**(values | changes))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    # The waits between tries are not what is tested.
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.0)


def temporary(store: Store) -> list[Path]:
    return sorted((store.root / "tmp").iterdir())


def test_a_file_enters_the_store_once(store):
    with serving() as server:
        item = wanted(server)
        paths = fetch.fetch_all([item, item], store)
        assert paths[item.sha256].read_bytes() == DATA
        fetch.fetch_all([item], store)
        assert server.seen == [None]
    assert temporary(store) == []
    assert paths[item.sha256].stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("fault", ["500", "cut", "long"])
def test_a_fault_that_passes_is_tried_again(store, fault):
    with serving(fault) as server:
        item = wanted(server)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert len(server.seen) == 2


@pytest.mark.parametrize("fault", ["coded", "squeezed"])
def test_a_file_is_taken_as_it_is_stored(store, fault):
    """Servers call a stored .tar.gz `Content-Encoding: gzip`; proxies squeeze what nobody asked them to."""
    with serving(fault) as server:
        item = wanted(server)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert len(server.seen) == 1


def test_a_coded_file_whose_size_is_not_known_is_taken_as_it_is(store):
    with serving("coded") as server:
        item = wanted(server, size=None)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA


def test_a_download_that_was_cut_goes_on_with_a_coded_answer(store):
    with serving("cut", "coded") as server:
        item = wanted(server)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == [None, f"bytes={len(DATA) // 2}-"]


@pytest.mark.parametrize("faults", [["cut", "cut"], ["html"], ["no-range"], ["long"], ["cut", "416"], []])
def test_the_bar_counts_each_byte_once(store, monkeypatch, faults):
    told = []

    @contextlib.contextmanager
    def counting(_label, total, **_):
        yield told.append
        assert (sum(told), total) == (len(DATA), len(DATA))

    monkeypatch.setattr(fetch, "bar", counting)
    with serving(*faults) as server:
        item = wanted(server)
        (store.root / "tmp" / f"{item.sha256}.part").write_bytes(DATA[:1000])
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
    assert told


def test_a_server_that_asks_to_wait_is_left_alone(store, monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda _self, timeout=None: waits.append(timeout))
    with serving("429") as server:
        item = wanted(server)
        assert fetch._fetch(item, store, requests.Session(), lambda _n: None, threading.Event()) is None
        assert len(server.seen) == 2
    assert waits.count(7.0) == 1


def test_what_is_not_there_is_asked_for_once(store):
    with serving("404", "404") as server, pytest.raises(HelioError) as caught:
        fetch.fetch_all([wanted(server)], store)
    assert len(server.seen) == 1
    assert caught.value.detail == "http://127.0.0.1/file.whl answered 404 Not Found"


def test_an_interrupted_download_goes_on_where_it_stopped(store):
    with serving() as server:
        item = wanted(server)
        (store.root / "tmp" / f"{item.sha256}.part").write_bytes(DATA[:1000])
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == ["bytes=1000-"]


def test_what_an_earlier_run_left_may_be_bad(store):
    """A power cut, or a page in place of the file that a proxy sent once."""
    with serving() as server:
        item = wanted(server)
        (store.root / "tmp" / f"{item.sha256}.part").write_bytes(b"<html>" * 100)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == ["bytes=600-", None]


def test_a_page_that_comes_once_is_forgotten(store):
    with serving("html") as server:
        item = wanted(server)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA


def test_ctrl_c_leaves_what_waits(store, monkeypatch):
    with serving("slow") as server:
        first = wanted(server)
        others = [wanted(server, sha256=f"{number:064x}", size=1) for number in range(9)]

        def interrupted(*_, **__):
            # In the middle of a file: some of it is there, and the rest comes a moment after the interruption.
            while not any(part.stat().st_size for part in temporary(store)):
                time.sleep(0.01)
            server.go_on.set()
            raise KeyboardInterrupt

        monkeypatch.setattr(fetch, "wait", interrupted)
        # Pieces smaller than what the server sends at once, so that the last one comes after the interruption.
        monkeypatch.setattr(fetch, "_CHUNK", 1 << 16)
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch_all([first, *others], store, jobs=1)
        assert server.seen == [None]
    (part,) = temporary(store)
    assert part.name == f"{first.sha256}.part" and 0 < part.stat().st_size < len(DATA)


def test_a_server_that_does_not_resume(store):
    with serving("no-range") as server:
        item = wanted(server)
        (store.root / "tmp" / f"{item.sha256}.part").write_bytes(DATA[:1000])
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == ["bytes=1000-"]
        # A body that is squeezed on the way has another length and another digest.
        assert server.coded == ["identity"]


def test_a_replaced_file_is_refused(store):
    with serving("flip") as server, pytest.raises(HelioError) as caught:
        fetch.fetch_all([wanted(server)], store)
    flipped = hashlib.sha256(DATA[:-1] + b"!").hexdigest()
    assert str(caught.value) == (
        "digest mismatch for `file.whl`\n"
        "  in pylock.toml at packages[0]\n"
        f"  expected sha256:{hashlib.sha256(DATA).hexdigest()} not sha256:{flipped} (1,280,000 bytes read)\n"
        "\nhint: the index may have replaced this file; run `buildimages lock`"
    )
    assert not any((store.root / "artefacts" / "sha256").iterdir())


def test_a_page_in_place_of_the_file_is_refused(store):
    with serving(*["html"] * 9) as server, pytest.raises(HelioError) as caught:
        fetch.fetch_all([wanted(server, size=None)], store)
    assert caught.value.message == "digest mismatch for `file.whl`"
    assert "(18 bytes read)" in caught.value.detail


def test_a_file_that_cannot_be_had_says_why(store):
    with serving(*["500"] * 99) as server, pytest.raises(HelioError) as caught:
        fetch.fetch_all([wanted(server)], store)
    assert caught.value.stage is Stage.FETCH
    assert caught.value.message == "cannot fetch `file.whl`"
    assert caught.value.detail == "http://127.0.0.1/file.whl answered 500 Internal Server Error"


def test_a_file_address(store, tmp_path):
    path = tmp_path / "x.conda"
    path.write_bytes(DATA)
    with serving() as server:
        item = wanted(server, urls=lambda: (path.as_uri(),))
    assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA


def test_credentials_never_show():
    assert fetch._shown("https://user:secret@index.example/a/b?token=x") == "https://index.example/a/b"


def put(store: Store, item: fetch.WantedFile, data: bytes) -> Path:
    (store.root / "tmp" / f"{item.sha256}.part").write_bytes(data)
    return store.artefact(item.sha256)


def test_bytes_are_on_the_disk_before_they_have_a_name(store, monkeypatch):
    seen, replace = [], fetch.os.replace
    monkeypatch.setattr(fetch.os, "fsync", lambda handle: seen.append(Path(f"/proc/self/fd/{handle}").read_bytes()))
    monkeypatch.setattr(fetch.os, "replace", lambda path, other: (seen.append(other), replace(path, other)))
    with serving() as server:
        item = wanted(server)
        fetch.fetch_all([item], store)
    assert seen == [DATA, store.artefact(item.sha256)]


def test_a_replaced_file_leaves_nothing_to_go_on_from(store):
    with serving("flip") as server:
        item = wanted(server)
        with pytest.raises(HelioError, match="digest mismatch"):
            fetch.fetch_all([item], store)
        assert [path.stat().st_size for path in temporary(store)] == [0]
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == [None, None]


def test_more_than_the_file_is_thrown_away_and_all_of_it_is_not_asked_for(store):
    with serving() as server:
        item = wanted(server)
        put(store, item, DATA + b"more")
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == [None]
        store.artefact(item.sha256).unlink()
        put(store, item, DATA)
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == [None]


def test_a_server_that_refuses_to_go_on_is_asked_from_the_start(store):
    with serving("416") as server:
        item = wanted(server)
        put(store, item, DATA[:1000])
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == ["bytes=1000-", None]


def test_a_file_that_a_damaged_disk_cut_is_fetched_again(store):
    with serving() as server:
        item = wanted(server)
        store.artefact(item.sha256).write_bytes(DATA[:-1])
        assert fetch.fetch_all([item], store)[item.sha256].read_bytes() == DATA
        assert server.seen == [None]


def test_the_largest_first(store, monkeypatch):
    order = []
    monkeypatch.setattr(fetch, "_fetch", lambda item, *_: order.append(item.size))
    with serving() as server:
        items = [wanted(server, sha256=f"{size:064x}", size=size) for size in (3, 9, 5)]
        fetch.fetch_all([*items, wanted(server, sha256="f" * 64, size=None)], store, jobs=1)
    assert order == [9, 5, 3, None]


def test_another_run_that_finished_it_meanwhile_is_believed(store):
    with serving() as server:
        item = wanted(server)
        part = store.root / "tmp" / f"{item.sha256}.part"
        with open(part, "a+b") as other, ThreadPoolExecutor(1) as pool:
            fcntl.flock(other, fcntl.LOCK_EX)
            done = pool.submit(fetch.fetch_all, [item], store)
            time.sleep(0.2)
            assert not done.done() and server.seen == []
            other.write(DATA)
            other.flush()
            part.rename(store.artefact(item.sha256))
            fcntl.flock(other, fcntl.LOCK_UN)
            assert done.result()[item.sha256].read_bytes() == DATA
        assert server.seen == []
