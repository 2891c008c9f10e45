"""Ask a package index: which files a project has, where they are, how large. The one module of this room with HTTP.

The indexes are those that pip and uv are configured for (see `places`); their addresses are known while the program
runs and written nowhere. Pages and sizes are kept for a while in a cache folder.

Spec: PyPA "Simple repository API" (HTML and JSON), PEP 700 (sizes and upload times), PEP 714 (metadata files).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

import requests
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.http import ask, reason
from ..core.reading import Form, Table, parse_json
from .places import IndexPlaces

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_TIMEOUT = (20, 60)
#: Seconds that a page is believed without asking again.
_FRESH = 3600
#: An address that is the same once it is joined to its page's.
_WHOLE = re.compile(r"https?://[A-Za-z0-9.:_-]+/[A-Za-z0-9.~_%!+/-]*")
#: Unknown keys are allowed: the format grows.
_FORM = Form(
    stage=Stage.LOCK,
    message="cannot read a page of the package index: `{file}`",
    hint="check the index that pip and uv are configured for",
    null_is_absent=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file of a project.

    Attributes:
        url: where it is, without fragment.
        sha256: 64 hexadecimal digits, empty where the index does not tell.
        size: bytes, None where the index does not tell.
        uploaded: seconds since 1970 UTC, 0 where the index does not tell.
        requires_python: a version specifier, empty for any.
        yanked: withdrawn by its author.
    """

    name: str
    url: str
    sha256: str = ""
    size: int | None = None
    uploaded: int = 0
    requires_python: str = ""
    yanked: bool = False


_FIELDS = tuple(field.name for field in dataclasses.fields(IndexFile))


def parse_page(text: str, url: str) -> tuple[IndexFile, ...]:
    """Return the files of a project's page, HTML or JSON, in its order.

    Args:
        url: the page's own address; the files' may be relative to it.

    Raises:
        HelioError: it is neither, e.g. the page of a proxy that wants a login.
    """
    path = urlsplit(url).path
    try:
        return _parse_json(text, url, path) if text.lstrip().startswith("{") else _parse_html(text, url)
    except ValueError as error:
        raise HelioError(
            Stage.LOCK,
            _FORM.message.format(file=path),
            detail=f"{type(error).__name__}: {error}",
            hint=_FORM.hint,
        ) from error


def _parse_json(text: str, url: str, path: str) -> tuple[IndexFile, ...]:
    document = parse_json(text)
    # An image's packages have a quarter of a million files: what is usual is read at once, what is not by the strict
    # reader, which says what is wrong, and where.
    rows = document.get("files") if isinstance(document, dict) else None
    if isinstance(rows, list) and all(usual := [_usual(row) for row in rows]):
        return tuple(file for file in usual if file)
    files = []
    for row in Table(document, path, form=_FORM).tables("files", required=True):
        hashes, yanked = row.table("hashes"), row.take("yanked", object, False)
        files.append(
            IndexFile(
                name=row.text("filename"),
                url=urljoin(url, row.text("url")),
                sha256=hashes.text("sha256", ""),
                size=row.whole("size", minimum=0) if "size" in row.names() else None,
                uploaded=seconds_of(row.text("upload-time", "")),
                requires_python=row.text("requires-python", ""),
                yanked=yanked is not False,
            )
        )
    return tuple(files)


def _usual(row: Any) -> IndexFile | None:
    """Return a file as indexes write them, None for any other, right or wrong."""
    if type(row) is not dict:
        return None
    name, url, hashes, size = row.get("filename"), row.get("url"), row.get("hashes"), row.get("size")
    uploaded, python, yanked = row.get("upload-time"), row.get("requires-python"), row.get("yanked")
    sha256 = hashes.get("sha256") if type(hashes) is dict else None
    if not (type(name) is type(url) is type(uploaded) is type(sha256) is str and type(size) is int and size >= 0):
        return None
    if not (_WHOLE.fullmatch(url) and (python is None or type(python) is str)):
        return None
    try:
        seconds = seconds_of(uploaded)
    except ValueError:
        return None
    return IndexFile(
        name=name,
        url=url,
        sha256=sha256,
        size=size,
        uploaded=seconds,
        requires_python=python or "",
        yanked=yanked is not None and yanked is not False,
    )


def _parse_html(text: str, url: str) -> tuple[IndexFile, ...]:
    page = _Page()
    page.feed(text)
    page.close()
    base, files = urljoin(url, page.base), []
    for values in page.anchors:
        address, fragment = urldefrag(urljoin(base, values["href"].strip()))
        parts = urlsplit(address)
        # As pip: an anchor's text is for people, the address names the file.
        name = unquote(parts.path.rpartition("/")[2])
        if not name or parts.scheme not in ("http", "https", "file"):
            continue
        hashes = dict(part.partition("=")[::2] for part in fragment.split("&"))
        files.append(
            IndexFile(
                name=name,
                url=address,
                sha256=hashes.get("sha256", ""),
                uploaded=seconds_of(values.get("data-upload-time", "")),
                requires_python=values.get("data-requires-python", ""),
                yanked="data-yanked" in values,
            )
        )
    return tuple(files)


class _Page(HTMLParser):
    """The anchors of a page and its base. Spec: PEP 503; HTML, "The base element": the first one counts."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.anchors: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Of an attribute given twice, the first one counts.
        values = {key: value or "" for key, value in reversed(attrs)}
        if tag == "base" and not self.base:
            self.base = values.get("href", "").strip()
        elif tag == "a" and "href" in values:
            self.anchors.append(values)


def seconds_of(text: str) -> int:
    """Return seconds since 1970 of an index's time such as ``2026-11-16T20:47:37.123Z``, 0 for none."""
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) if text else 0


class PackageIndex:
    """The package indexes and lists of files that are configured, asked in their order.

    Args:
        places: or the address of the one index there is.
        cache: a folder for pages and sizes.
    """

    def __init__(self, places: IndexPlaces | str, cache: Path) -> None:
        places = IndexPlaces(indexes=(places,)) if isinstance(places, str) else places
        self._together = places.together
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=32)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._indexes = tuple(_Simple(url, cache, self._session) for url in places.indexes)
        self._links = tuple(_Links(link, self._session) for link in places.links)
        self._places: tuple[_Simple | _Links, ...] = (*self._links, *self._indexes)
        # Two sets of places never answer for each other.
        self._cache = cache / _key_of("\n".join((*places.indexes, *places.links)))

    def files(self, name: str, *, fresh: bool = False) -> tuple[IndexFile, ...]:
        """Return a project's files: those of lists, and those of the first index that has any, or of all together.

        Args:
            fresh: ask, whatever the cache has.

        Raises:
            HelioError: an index cannot be asked.
        """
        offered = [file for links in self._links for file in links.files(name, fresh=fresh)]
        for index in self._indexes:
            files = index.files(name, fresh=fresh)
            offered += files
            if files and not self._together:
                break
        return tuple(offered)

    def many(self, names: Sequence[str]) -> dict[str, tuple[IndexFile, ...]]:
        """Return the files of many projects, asked for at once."""
        with threads.pool(16) as pool:
            return dict(zip(names, pool.map(self.files, names), strict=True))

    def urls(self, name: str, file_name: str) -> tuple[str, ...]:
        """Return where a file is, in the first place that has it; empty if none has."""
        for fresh in (False, True):
            for place in self._places:
                if urls := tuple(file.url for file in place.files(name, fresh=fresh) if file.name == file_name):
                    return urls
        return ()

    def sizes(self, wanted: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Return sha256 -> bytes of (sha256, address) pairs, as the indexes' servers tell.

        Raises:
            HelioError: a server cannot be asked, or does not tell.
        """
        with threads.pool(16) as pool:
            return dict(zip((sha256 for sha256, _ in wanted), pool.map(self._size, wanted), strict=True))

    def _size(self, wanted: tuple[str, str]) -> int:
        sha256, url = wanted
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if urlsplit(url).scheme == "file":
            try:
                return os.stat(url2pathname(urlsplit(url).path)).st_size
            except OSError as error:
                raise HelioError(Stage.LOCK, f"cannot read `{name}`", detail=str(error.strerror)) from error
        path = self._cache / "sizes" / sha256
        # The lock keeps sizes; asking again after an hour forgets what a server told wrongly.
        if _is_fresh(path):
            with contextlib.suppress(OSError, ValueError):
                return int(json.loads(path.read_bytes()))
        url = next((index.with_login(url) for index in self._indexes if index.is_on(url)), url)
        response = _ask(self._session, "HEAD", url, f"`{name}`", headers={"Accept-Encoding": "identity"})
        text = response.headers.get("content-length", "")
        if response.status_code != 200 or not text.isdigit():
            raise HelioError(
                Stage.LOCK,
                f"the package index does not tell the size of `{name}`",
                detail=f"expected 200 and Content-Length, not {response.status_code} and {text or 'nothing'}",
                hint="try again; the file may have just been replaced",
            )
        _keep(path, int(text))
        return int(text)


class _Simple:
    """One index of the simple API; its pages are kept."""

    def __init__(self, url: str, cache: Path, session: requests.Session) -> None:
        self._url, self._session = url.rstrip("/") + "/", session
        # A login in the address goes with each request to that host, and into no cache.
        login, at, _ = urlsplit(self._url).netloc.rpartition("@")
        self._login, self._host = login + at, urlsplit(self._url).netloc.removeprefix(login + at)
        self._cache = cache / _key_of(self._url)
        # Several parts of a run ask for the same pages, and what is in them takes longer to read than to get.
        self._known: dict[str, tuple[_Version, tuple[IndexFile, ...]]] = {}

    def files(self, name: str, *, fresh: bool = False) -> tuple[IndexFile, ...]:
        name = canonicalize_name(name)
        if urlsplit(self._url).scheme == "file":
            folder = Path(url2pathname(urlsplit(self._url).path)) / name
            page = folder / "index.html"
            return _local(page if page.is_file() else folder) if folder.is_dir() else ()
        path = self._cache / f"{name}.json"
        if not fresh and _is_fresh(path):
            # One that a loss of power cut is asked for again.
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                return self._kept(path)
        url = f"{self._url}{name}/"
        response = _ask(self._session, "GET", url, f"the page of `{name}`", headers={"Accept": _ACCEPT})
        files = () if response.status_code == 404 else parse_page(response.text, response.url)
        kept = self._each(files, self._without_login)
        # `asdict` copies deeply, which takes longer than all else here.
        _keep(path, [{name: getattr(file, name) for name in _FIELDS} for file in kept])
        return self._remembered(path, _version(path), self._each(files, self.with_login))

    def _kept(self, path: Path) -> tuple[IndexFile, ...]:
        """Return the files of a page that is in the cache; read again only where another run has written it since."""
        version = _version(path)
        known = self._known.get(path.name)
        if known and known[0] == version:
            return known[1]
        files = tuple(IndexFile(**row) for row in json.loads(path.read_bytes()))
        return self._remembered(path, version, self._each(files, self.with_login))

    def _remembered(self, path: Path, version: _Version, files: tuple[IndexFile, ...]) -> tuple[IndexFile, ...]:
        if version:
            self._known[path.name] = version, files
        return files

    def _each(self, files: tuple[IndexFile, ...], address: Callable[[str], str]) -> tuple[IndexFile, ...]:
        if not self._login:
            return files
        return tuple(dataclasses.replace(file, url=address(file.url)) for file in files)

    def is_on(self, url: str) -> bool:
        """Say whether an address is on this index's host."""
        return urlsplit(url).netloc == self._host

    def with_login(self, url: str) -> str:
        return url.replace("://", f"://{self._login}", 1) if self._login and self.is_on(url) else url

    def _without_login(self, url: str) -> str:
        return url.replace(f"://{self._login}", "://", 1) if self._login else url


class _Links:
    """A folder or a page with files of any projects. Spec: pip, "--find-links"."""

    def __init__(self, link: str, session: requests.Session) -> None:
        self._link, self._session, self._lock = link, session, threading.Lock()
        self._found: tuple[tuple[str, IndexFile], ...] | None = None

    def files(self, name: str, *, fresh: bool = False) -> tuple[IndexFile, ...]:
        name = canonicalize_name(name)
        with self._lock:
            if self._found is None or fresh:
                self._found = tuple((project_of(file.name), file) for file in self._read())
        return tuple(file for project, file in self._found if project == name)

    def _read(self) -> tuple[IndexFile, ...]:
        parts = urlsplit(self._link)
        if parts.scheme in ("http", "https"):
            response = _ask(self._session, "GET", self._link, "a page of files", headers={"Accept": _ACCEPT})
            return () if response.status_code == 404 else parse_page(response.text, response.url)
        return _local(Path(url2pathname(parts.path) if parts.scheme == "file" else self._link))


def _local(path: Path) -> tuple[IndexFile, ...]:
    """Return the files of a folder, or those that a page on this machine's disk names."""
    try:
        if path.is_file():
            return parse_page(path.read_text("utf-8", "replace"), path.absolute().as_uri())
        return tuple(
            IndexFile(name=file.name, url=file.absolute().as_uri(), size=file.stat().st_size)
            for file in sorted(path.iterdir())
            if project_of(file.name)
        )
    except OSError as error:
        raise HelioError(
            Stage.LOCK,
            "cannot read a folder of packages",
            where=str(path),
            detail=str(error.strerror),
            hint="check the indexes and `find-links` of pip's and uv's configuration",
        ) from error


def project_of(name: str) -> str:
    """Return the normalised name of the project that a file is of; empty for what is not a distribution.

    >>> project_of("Demo_x-1.0-py3-none-any.whl"), project_of("demo-1.0.tar.gz"), project_of("README")
    ('demo-x', 'demo', '')
    """
    try:
        return parse_wheel_filename(name)[0] if name.endswith(".whl") else parse_sdist_filename(name)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""


def _key_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _ask(session: requests.Session, method: str, url: str, what: str, *, headers: dict[str, str]) -> requests.Response:
    try:
        response = ask(
            lambda: session.request(method, url, headers=headers, timeout=_TIMEOUT, allow_redirects=True), first=0.5
        )
    except requests.RequestException as error:
        fault = reason(error)
    else:
        if response.status_code in (200, 404):
            if "charset" not in response.headers.get("Content-Type", ""):
                # What people and JSON mean; requests guesses Latin for text.
                response.encoding = "utf-8"
            return response
        fault = f"{response.status_code} {response.reason}"
    raise HelioError(
        Stage.LOCK,
        f"cannot ask the package index for {what}",
        detail=fault,
        hint="check the network and the index that pip and uv are configured for",
    )


def _keep(path: Path, value: Any) -> None:
    # A cache that cannot be written only means that the next run asks again.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(value, file)
            os.replace(name, path)
        except OSError:
            os.unlink(name)


#: Tells one writing of a file from another: inode, time (nanoseconds) and size (bytes); None where there is no file.
_Version = tuple[int, int, int] | None


def _version(path: Path) -> _Version:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size


def _is_fresh(path: Path) -> bool:
    """Say whether a cached answer is to be believed.

    One from the future was written under a clock that was wrong, and would be believed for ever.
    """
    try:
        return 0 <= time.time() - path.stat().st_mtime < _FRESH
    except FileNotFoundError:
        return False
