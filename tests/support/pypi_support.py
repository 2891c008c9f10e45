"""Wheels made in memory, right or wrong in exactly one way, and an index on loopback that has them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from helioimages.pypi.lock import Wheel

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {purelib}\nTag: py3-none-any\n"


_YANKED = ' data-yanked="broken"'


def record_row(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow((name, f"sha256={digest}", len(data)))
    return row.getvalue()


def wheel_bytes(
    files: Mapping[str, bytes],
    *,
    name: str = "demo",
    version: str = "1.0",
    purelib: str = "true",
    entry_points: str = "",
    requires: tuple[str, ...] = (),
    executable: tuple[str, ...] = (),
    record: Callable[[str], str] = lambda text: text,
    extra: tuple[tuple[zipfile.ZipInfo, bytes], ...] = (),
) -> bytes:
    """Return a wheel. ``record`` changes RECORD's text, ``extra`` members are added without being listed."""
    info = f"{name}-{version}.dist-info"
    members = dict(files)
    metadata = METADATA.format(name=name, version=version) + "".join(f"Requires-Dist: {row}\n" for row in requires)
    members.setdefault(f"{info}/METADATA", metadata.encode())
    members.setdefault(f"{info}/WHEEL", WHEEL.format(purelib=purelib).encode())
    if entry_points:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    rows = "".join(record_row(path, data) for path, data in members.items()) + f"{info}/RECORD,,\n"
    members[f"{info}/RECORD"] = record(rows).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            member = zipfile.ZipInfo(path)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o100755 if path in executable else 0o100644) << 16
            archive.writestr(member, data)
        for member, data in extra:
            archive.writestr(member, data)
    return stream.getvalue()


def wheel_of(data: bytes, *, name: str = "demo", version: str = "1.0", tag: str = "py3-none-any") -> Wheel:
    return Wheel(
        name=name,
        version=version,
        file_name=f"{name}-{version}-{tag}.whl",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def sdist_bytes(name: str, version: str, requires: tuple[str, ...] = ()) -> bytes:
    """Return a source archive whose metadata is static, so that no resolver has to build it."""
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    text = "\n".join([*lines, *(f"Requires-Dist: {row}" for row in requires)]) + "\n"
    project = f'[build-system]\nrequires = []\n[project]\nname = "{name}"\nversion = "{version}"\n'
    project += f"dependencies = {json.dumps(list(requires))}\n"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for path, data in (("PKG-INFO", text), ("pyproject.toml", project)):
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data.encode()))
    return stream.getvalue()


class IndexServer:
    """Serves ``files`` (name -> content) as HTML with upload times, or as JSON; counts what is asked.

    ``lies`` are served in place of files (a HEAD tells the truth), ``pages`` (project -> bytes) of right pages;
    ``yanked`` files are there, and marked.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.uploaded: dict[str, str] = {}
        self.json = False
        self.url = ""
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.wait = ""
        self.lies: dict[str, bytes] = {}
        self.pages: dict[str, bytes] = {}
        self.yanked: set[str] = set()

    def add(self, name: str, data: bytes, uploaded: str = "2026-01-01T00:00:00Z") -> None:
        self.files[name] = data
        self.uploaded[name] = uploaded

    def page(self, project: str) -> tuple[bytes, str] | None:
        mine = [
            name for name in self.files if name.split("-")[0].lower().replace("_", "-").replace(".", "-") == project
        ]
        if not mine:
            return None
        if self.json:
            rows = [
                {
                    "filename": name,
                    "url": f"/files/{name}",
                    "hashes": {"sha256": _sha256(self.files[name])},
                    "size": len(self.files[name]),
                    "upload-time": self.uploaded[name],
                    "yanked": name in self.yanked,
                }
                for name in mine
            ]
            document = {"meta": {"api-version": "1.1"}, "name": project, "files": rows}
            return json.dumps(document).encode(), "application/vnd.pypi.simple.v1+json"
        rows = "".join(
            f'<a href="/files/{name}#sha256={_sha256(self.files[name])}" data-requires-python="&gt;=3.9" '
            f'data-upload-time="{self.uploaded[name]}"{_YANKED if name in self.yanked else ""}>{name}</a><br/>\n'
            for name in mine
        )
        return f"<!DOCTYPE html><html><body>{rows}</body></html>".encode(), "text/html"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serving() -> Iterator[IndexServer]:
    """Run an index while the block runs."""
    index = IndexServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(f"{self.command} {self.path}")
            _, kind, name = self.path.split("/", 2)
            name = name.strip("/")
            answer: tuple[bytes, str] | None = None
            if kind == "simple":
                answer = index.page(name) if name not in index.pages else (index.pages[name], "text/html")
            elif name in index.files:
                data = index.lies.get(name, index.files[name]) if self.command == "GET" else index.files[name]
                answer = data, "application/octet-stream"
            if self.path in index.broken:
                self.send_response(503)
                if index.wait:
                    self.send_header("Retry-After", index.wait)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif answer is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Type", answer[1])
                self.send_header("Content-Length", str(len(answer[0])))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(answer[0])

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment_of(index: IndexServer, cache: str) -> Mapping[str, str]:
    """Return the variables that make uv use the index, and a cache of its own; nothing of this machine's counts."""
    return {"UV_DEFAULT_INDEX": index.url, "UV_CACHE_DIR": cache} | ALONE


#: No configuration file of pip or uv is read.
ALONE = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
#: Variables of this machine that would add places.
PLACES = tuple(
    f"{tool}_{name}" for tool in ("PIP", "UV") for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX")
)
PLACES += ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_CONFIG_FILE")


def built_of(sdists, tools):
    """Stand for the builder: the wheel's digest is of its source and of the tools."""
    salt = ",".join(f"{wheel.name} {wheel.version}" for wheel in tools.wheels) if tools else "old"
    return tuple(
        Wheel(
            name=sdist.name,
            version=sdist.version,
            file_name=f"{sdist.name}-{sdist.version}-py3-none-any.whl",
            sha256=hashlib.sha256(f"{sdist.sha256} {salt}".encode()).hexdigest(),
            size=5,
            built=True,
        )
        for sdist in sdists
    )
