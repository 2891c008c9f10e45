"""Ask a package index: which files a project has, where they are, how large. The one module of this room with HTTP.

The index is the one that pip and uv are configured for; its address is known while the program runs and written
nowhere. Pages are kept for a while in a cache folder; sizes for ever, since a file's content never changes.

Spec: PyPA "Simple repository API" (HTML and JSON), PEP 700 (sizes and upload times), PEP 714 (metadata files).
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import requests
from packaging.utils import canonicalize_name

from ..core.errors import HelioError, Stage

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_TIMEOUT = (20, 60)
_TRIES = 4
#: Seconds that a page is believed without asking again.
_FRESH = 3600
_ANCHOR = re.compile(r"<a\s([^>]*)>([^<]*)</a>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]+)\s*(?:=\s*(?:"([^"]*)"|'([^']*)'))?""")


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


def parse_page(text: str, url: str) -> tuple[IndexFile, ...]:
    """Return the files of a project's page, HTML or JSON, in its order.

    Args:
        url: the page's own address; the files' may be relative to it.

    Raises:
        HelioError: it is neither, e.g. the page of a proxy that wants a login.
    """
    try:
        return _parse_json(text, url) if text.lstrip().startswith("{") else _parse_html(text, url)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HelioError(
            Stage.LOCK,
            f"cannot read a page of the package index: `{urlsplit(url).path}`",
            detail=f"{type(error).__name__}: {error}",
            hint="check the index that pip and uv are configured for",
        ) from error


def _parse_json(text: str, url: str) -> tuple[IndexFile, ...]:
    return tuple(
        IndexFile(
            name=row["filename"],
            url=urljoin(url, row["url"]),
            sha256=row.get("hashes", {}).get("sha256", ""),
            size=row.get("size"),
            uploaded=seconds_of(row.get("upload-time") or ""),
            requires_python=row.get("requires-python") or "",
            yanked=row.get("yanked", False) is not False,
        )
        for row in json.loads(text)["files"]
    )


def _parse_html(text: str, url: str) -> tuple[IndexFile, ...]:
    files = []
    for attributes, label in _ANCHOR.findall(text):
        values = {
            key.lower(): html.unescape(double or single) for key, double, single in _ATTRIBUTE.findall(attributes)
        }
        if "href" not in values:
            continue
        address, fragment = urldefrag(urljoin(url, values["href"]))
        files.append(
            IndexFile(
                name=html.unescape(label).strip() or unquote(urlsplit(address).path.rpartition("/")[2]),
                url=address,
                sha256=fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else "",
                uploaded=seconds_of(values.get("data-upload-time", "")),
                requires_python=values.get("data-requires-python", ""),
                yanked="data-yanked" in values,
            )
        )
    return tuple(files)


def seconds_of(text: str) -> int:
    """Return seconds since 1970 of an index's time such as ``2026-11-16T20:47:37.123Z``, 0 for none."""
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) if text else 0


class Index:
    """One package index.

    Args:
        url: of the simple API, e.g. what ``index-url`` says in pip's configuration.
        cache: a folder for pages and sizes.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url.rstrip("/") + "/"
        # A login in the address goes with each request to that host, and into no cache.
        login, at, _ = urlsplit(self._url).netloc.rpartition("@")
        self._login, self._host = login + at, urlsplit(self._url).netloc.removeprefix(login + at)
        # Two indexes never answer for each other.
        self._cache = cache / hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=32)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def files(self, name: str, *, fresh: bool = False) -> tuple[IndexFile, ...]:
        """Return a project's files; none if the index does not have it.

        Args:
            fresh: ask, whatever the cache has.

        Raises:
            HelioError: the index cannot be asked.
        """
        name = canonicalize_name(name)
        path = self._cache / f"{name}.json"
        if not fresh and _is_fresh(path):
            # One that a loss of power cut is asked for again.
            with contextlib.suppress(OSError, ValueError):
                rows = json.loads(path.read_bytes())
                return tuple(IndexFile(**row | {"url": self._with_login(row["url"])}) for row in rows)
        response = self._ask("GET", f"{self._url}{name}/", f"the page of `{name}`", headers={"Accept": _ACCEPT})
        files = () if response.status_code == 404 else parse_page(response.text, response.url)
        self._keep(path, [asdict(file) | {"url": self._without_login(file.url)} for file in files])
        return files

    def _with_login(self, url: str) -> str:
        return url.replace("://", f"://{self._login}", 1) if urlsplit(url).netloc == self._host else url

    def _without_login(self, url: str) -> str:
        return url.replace(f"://{self._login}", "://", 1) if self._login else url

    def many(self, names: Sequence[str]) -> dict[str, tuple[IndexFile, ...]]:
        """Return the files of many projects, asked for at once."""
        with ThreadPoolExecutor(16) as pool:
            return dict(zip(names, pool.map(self.files, names), strict=True))

    def urls(self, name: str, file_name: str) -> tuple[str, ...]:
        """Return where a file is; empty if the index does not have it."""
        for fresh in (False, True):
            found = tuple(file.url for file in self.files(name, fresh=fresh) if file.name == file_name)
            if found:
                return found
        return ()

    def sizes(self, wanted: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Return sha256 -> bytes of (sha256, address) pairs, as the index's servers tell.

        Raises:
            HelioError: a server cannot be asked, or does not tell.
        """
        with ThreadPoolExecutor(16) as pool:
            return dict(zip((sha256 for sha256, _ in wanted), pool.map(self._size, wanted), strict=True))

    def _size(self, wanted: tuple[str, str]) -> int:
        sha256, url = wanted
        path = self._cache / "sizes" / sha256
        # The lock keeps sizes; asking again after an hour forgets what a server told wrongly.
        if _is_fresh(path):
            with contextlib.suppress(OSError, ValueError):
                return int(json.loads(path.read_bytes()))
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        response = self._ask("HEAD", url, f"`{name}`", headers={"Accept-Encoding": "identity"})
        text = response.headers.get("content-length", "")
        if response.status_code != 200 or not text.isdigit():
            raise HelioError(
                Stage.LOCK,
                f"the package index does not tell the size of `{name}`",
                detail=f"expected 200 and Content-Length, not {response.status_code} and {text or 'nothing'}",
                hint="try again; the file may have just been replaced",
            )
        self._keep(path, int(text))
        return int(text)

    def _ask(self, method: str, url: str, what: str, *, headers: dict[str, str]) -> requests.Response:
        fault = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(0.5 * 2**attempt)
            try:
                response = self._session.request(method, url, headers=headers, timeout=_TIMEOUT, allow_redirects=True)
            except requests.RequestException as error:
                fault = type(error).__name__
                continue
            if response.status_code in (200, 404):
                return response
            fault = f"{response.status_code} {response.reason}"
            if response.status_code < 500 and response.status_code != 429:
                break
        raise HelioError(
            Stage.LOCK,
            f"cannot ask the package index for {what}",
            detail=fault,
            hint="check the network and the index that pip and uv are configured for",
        )

    def _keep(self, path: Path, value: Any) -> None:
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


def _is_fresh(path: Path) -> bool:
    """Say whether a cached answer is to be believed.

    One from the future was written under a clock that was wrong, and would be believed for ever.
    """
    try:
        return 0 <= time.time() - path.stat().st_mtime < _FRESH
    except FileNotFoundError:
        return False
