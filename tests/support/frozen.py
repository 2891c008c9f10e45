"""The world as the locks know it, on loopback: an archive of the locked Debian packages, an index of the locked wheels.

Both are made of files that the store has since `up` fetched or built them, so a test that resolves gets the same answer
whatever the real archive and the real index have meanwhile. What documents ask for and no lock has is made here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from debian_support import Archive
from packaging.utils import canonicalize_name
from pypi_support import ALONE, PLACES, wheel_bytes

from helioimages.debian import lock as debian_lock
from helioimages.machine.store import Store
from helioimages.make import provision
from helioimages.pypi import lock as pypi_lock

ROOT = Path(__file__).parents[2]
JSON = "application/vnd.pypi.simple.v1+json"
#: Packages that the documents add and that no lock has, or might not have one day: as much of them as is asked there.
STAND_INS = {
    "sgp4": {"sgp4/__init__.py": b""},
    "skyfield": {
        "skyfield/__init__.py": b"",
        "skyfield/api.py": b'''"""Stands in for the real one in tests."""
import datetime
from types import SimpleNamespace


def _utc(*parts):
    elapsed = datetime.datetime(*parts) - datetime.datetime(2000, 1, 1, 12)
    # Terrestrial time is 32.184 s and the leap seconds of that day ahead.
    return SimpleNamespace(tt=2451545.0 + elapsed.total_seconds() / 86400 + 64.184 / 86400)


load = SimpleNamespace(timescale=lambda builtin: SimpleNamespace(utc=_utc))
''',
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One file of the index.

    Attributes:
        uploaded: seconds since 1970 UTC.
    """

    path: Path
    sha256: str
    size: int
    uploaded: int

    def metadata(self) -> bytes:
        """Return the METADATA of a wheel."""
        with zipfile.ZipFile(self.path) as archive:
            (name,) = [
                member
                for member in archive.namelist()
                if member.endswith(".dist-info/METADATA") and member.count("/") == 1
            ]
            return archive.read(name)


class Index:
    """A package index: project -> file name -> file.

    Spec: PEP 691 (JSON), PEP 700 (sizes, upload times), PEP 714 (metadata files).
    """

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, _File]] = {}

    def add(self, project: str, name: str, file: _File) -> None:
        self.projects.setdefault(canonicalize_name(project), {})[name] = file

    def adopt(self, lock: pypi_lock.PyPILock, store: Store) -> None:
        """Offer the files of a lock that came from an index, where the store has them."""
        for locked in (*lock.wheels, *lock.sdists):
            path = store.artefact(locked.sha256)
            if path.exists() and not getattr(locked, "built", False):
                file = _File(path=path, sha256=locked.sha256, size=locked.size, uploaded=locked.uploaded)
                self.add(locked.name, locked.file_name, file)

    def page(self, project: str) -> bytes | None:
        """Return the page of a project, None if there is none."""
        files = self.projects.get(project)
        if files is None:
            return None
        rows = []
        for name, file in files.items():
            row = {
                "filename": name,
                "url": f"/files/{project}/{name}",
                "hashes": {"sha256": file.sha256},
                "size": file.size,
                "upload-time": datetime.fromtimestamp(file.uploaded, UTC).isoformat().replace("+00:00", "Z"),
            }
            if name.endswith(".whl"):
                row["core-metadata"] = {"sha256": hashlib.sha256(file.metadata()).hexdigest()}
            rows.append(row)
        return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": rows}).encode()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve while the block runs, and give the address that uv takes."""
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = [unquote(part) for part in self.path.strip("/").split("/")]
                page = index.page(parts[1]) if parts[0] == "simple" and len(parts) == 2 else None
                file = None
                if parts[0] == "files" and len(parts) == 3:
                    file = index.projects.get(parts[1], {}).get(parts[2].removesuffix(".metadata"))
                if page is None and file is not None and parts[2].endswith(".metadata"):
                    page = file.metadata()
                if page is None and file is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", JSON if parts[0] == "simple" else "application/octet-stream")
                self.send_header("Content-Length", str(file.size if page is None and file else len(page or b"")))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if page is not None:
                    self.wfile.write(page)
                elif file is not None:
                    with open(file.path, "rb") as stream:
                        shutil.copyfileobj(stream, self.wfile)

            do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def stand_in(folder: Path, name: str) -> Path:
    """Write the wheel of one of `STAND_INS` and return its file."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    path.write_bytes(wheel_bytes(STAND_INS[name], name=name, version="1.0"))
    return path


@contextlib.contextmanager
def world(folder: Path, store: Store) -> Iterator[Mapping[str, str]]:
    """Serve the frozen world while the block runs, and give the variables that make the tool live in it."""
    archive, index = Archive(folder), Index()
    for name in ("channel/apt-lock.json", "images/base/apt-lock.json"):
        lock = debian_lock.parse((ROOT / name).read_text("utf-8"), name)
        # Where `up` has not been: locked files, from where the machine gets all of them.
        provision.debs(store, lock, name, jobs=4)
        archive.adopt(lock, store)
    archive.publish()
    for path in sorted(ROOT.glob("environments/*/*lock*.toml")):
        index.adopt(pypi_lock.parse(path.read_text("utf-8"), str(path)), store)
    for name in STAND_INS.keys() - index.projects.keys():
        made = stand_in(folder, name)
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        index.add(name, made.name, _File(path=made, sha256=digest, size=made.stat().st_size, uploaded=1_767_225_600))
    with archive.serving() as debian, index.serving() as url:
        # Nothing of this machine's configuration counts: pip's variables and files, and uv's files.
        nothing = {name: "" for name in PLACES if name.startswith("PIP_")} | ALONE
        yield {**debian, **nothing, "UV_DEFAULT_INDEX": url, "UV_CACHE_DIR": str(folder / "uv-cache")}
        # The default store keeps the pages of each index that was asked, and this one never comes again.
        for key in (url, f"{url}/"):
            name = hashlib.sha256(key.encode()).hexdigest()[:16]
            shutil.rmtree(store.root / "cache" / "index" / name, ignore_errors=True)
