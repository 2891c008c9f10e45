"""Fetch: parallel, resumable, verified downloads into the content-addressed store.

A download goes to ``tmp/<sha256>.part``, which the next run continues with a Range request; its bytes are hashed
before the file enters the store, so a truncated, corrupted or replaced file never does. Two runs at once share the
work through a lock on the part file.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url

from ..core import files, threads
from ..core.errors import HelioError, Stage
from ..core.http import AGAIN, Tries, reason, retry_after, stored, untrusted, without_login
from ..core.progress import bar
from ..core.words import count
from .store import Store, has

_CHUNK = 1 << 20
_TRIES = 5
_PAUSE_S = 0.5
_TIMEOUT = (20, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """One file of a lock.

    Attributes:
        name: the file's name, for people.
        sha256: 64 hexadecimal digits.
        size: in bytes; None where a lock does not say.
        where: file and key of the lock that asks for it.
        urls: gives the addresses to try in order, asked for only when the file is not in the store.
        hint: what to do when the file can't be had or is another one.
        login: address -> the address to ask, and the headers to ask with.
    """

    name: str
    sha256: str
    size: int | None
    where: str
    urls: Callable[[], Sequence[str]]
    hint: str = "run `buildimages lock`"
    login: Callable[[str], tuple[str, Mapping[str, str]]] = lambda url: (url, {})


class _Again(Exception):
    """A fault that another try may not meet, or, where it lasts, another address.

    Args:
        asked: seconds that the server wants to be left alone.
    """

    def __init__(self, text: str = "", *, asked: float = 0.0, lasts: bool = False) -> None:
        super().__init__(text)
        self.asked, self.lasts = asked, lasts


class _CountedBytes:
    """What one file's bytes added to the bar: what is downloaded again counts once."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._told = advance, 0

    def reach(self, have: int) -> None:
        """Say that so many bytes are here; fewer than before take back what was said."""
        if have != self._told:
            self._advance(have - self._told)
            self._told = have


def fetch_all(wanted: Iterable[WantedFile], store: Store, *, jobs: int = 8, label: str = "fetch") -> dict[str, Path]:
    """Bring every wanted file into the store.

    Args:
        wanted: files; those already there cost nothing.
        jobs: downloads at once.

    Returns:
        sha256 (hex) -> path in the store.

    Raises:
        HelioError: the first file that could not be had; the others go on being resumable.
    """
    items = {item.sha256: item for item in wanted}
    paths = {sha256: store.artefact(sha256) for sha256 in items}
    missing = [item for item in items.values() if not has(paths[item.sha256], item.size)]
    if not missing:
        return paths
    stop = threading.Event()
    total = sum(item.size or 0 for item in missing)
    with (
        bar(label, total, unit="bytes") as advance,
        requests.Session() as session,
        threads.pool(jobs) as pool,
    ):
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=jobs)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # The largest first, so that no single one is left at the end.
        missing.sort(key=lambda item: -(item.size or 0))
        futures = [pool.submit(_fetch, item, store, session, advance, stop) for item in missing]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            # Ctrl-C: what is half there stays for the next run.
            stop.set()
            raise
        if any(future.exception() for future in done):
            stop.set()
            pool.shutdown(cancel_futures=True)
        for future in futures:
            if not future.cancelled() and (error := future.exception()) and not isinstance(error, _Again):
                raise error
    return paths


def _fetch(
    item: WantedFile, store: Store, session: requests.Session, advance: Callable[[int], None], stop: threading.Event
) -> None:
    try:
        _fetch_file(item, store, session, _CountedBytes(advance), stop)
    except OSError as error:
        # A full disk may be noticed as late as when the file is closed.
        raise HelioError(
            Stage.FETCH,
            f"cannot write `{item.name}`",
            where=str(store.root),
            detail=str(error),
            hint="check the space and rights of the store",
        ) from error


def _fetch_file(
    item: WantedFile, store: Store, session: requests.Session, told: _CountedBytes, stop: threading.Event
) -> None:
    final = store.artefact(item.sha256)
    part = store.root / "tmp" / f"{item.sha256}.part"
    faults: list[str] = []
    with open(part, "a+b") as file:
        files.lock(file)
        # Another run may have finished it while this one waited; its part file was renamed away under our handle.
        if has(final, item.size):
            told.reach(item.size or 0)
            if os.fstat(file.fileno()).st_nlink and os.fstat(file.fileno()).st_size == 0:
                part.unlink(missing_ok=True)
            return
        urls = tuple(item.urls())
        policy = Tries(item.name, _TRIES, first=_PAUSE_S, sleep=stop.wait)
        for _ in policy:
            lasts = True
            for url in urls:
                if stop.is_set():
                    raise _Again
                try:
                    before = file.seek(0, os.SEEK_END)
                    _download(url, item, file, session, told, stop)
                    actual = _hash(file)
                    if actual != item.sha256:
                        size = os.fstat(file.fileno()).st_size
                        file.truncate(0)
                        if before:
                            # The fault may lie in what an earlier run, or a page in place of the file, left here.
                            raise _Again(f"{_shown(url)} does not go on after {count(before, 'byte')} from before")
                        mismatch = HelioError(
                            Stage.FETCH,
                            f"digest mismatch for `{item.name}`",
                            where=item.where,
                            detail=f"expected sha256:{item.sha256} not sha256:{actual} ({count(size, 'byte')} read)",
                            hint=f"the index may have replaced this file; {item.hint}",
                        )
                        if url == urls[-1]:
                            raise mismatch
                        # One of several mirrors is wrong: the next has what the lock says, or none.
                        raise _Again(f"{_shown(url)} has another file, sha256:{actual}", lasts=True)
                    file.flush()
                    os.fchmod(file.fileno(), 0o444)
                    os.fsync(file.fileno())
                    os.replace(part, final)
                    return
                except _Again as fault:
                    faults.append(str(fault))
                    policy.failed(str(fault), asked=fault.asked)
                    lasts = lasts and fault.lasts
            if lasts:
                break
    raise HelioError(
        Stage.FETCH,
        f"cannot fetch `{item.name}`",
        where=item.where,
        detail="\n".join(dict.fromkeys(faults)) or "no address is known for it",
        hint=f"check the network and the configured index; if the file is gone for good, {item.hint}",
    )


def _download(
    url: str,
    item: WantedFile,
    file: IO[bytes],
    session: requests.Session,
    told: _CountedBytes,
    stop: threading.Event,
) -> None:
    if urlsplit(url).scheme == "file":
        _copy(url, file)
        return
    have = file.seek(0, os.SEEK_END)
    if item.size is not None and have > item.size:
        file.truncate(0)
        have = 0
    told.reach(have)
    if have and have == item.size:
        return
    url, logged_in = item.login(url)
    headers = {"Accept-Encoding": "identity", **logged_in} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with session.get(url, stream=True, timeout=_TIMEOUT, headers=headers, auth=_auth(url, logged_in)) as response:
            if response.status_code == 416:
                file.truncate(0)
                raise _Again(f"{_shown(url)} refused to resume")
            if response.status_code not in (200, 206):
                raise _Again(
                    f"{_shown(url)} answered {response.status_code} {response.reason}",
                    asked=retry_after(response),
                    lasts=response.status_code not in AGAIN,
                )
            if response.status_code == 200 and have:
                file.truncate(0)  # the server does not resume
                have = 0
                told.reach(0)
            for chunk in stored(response, item.size, _CHUNK):
                have += len(chunk)
                if item.size is not None and have > item.size:
                    file.truncate(0)
                    raise _Again(f"{_shown(url)} sent more than {count(item.size, 'byte')}")
                file.write(chunk)
                told.reach(have)
                if stop.is_set():
                    raise _Again(f"{_shown(url)} was interrupted")
    except requests.RequestException as error:
        raise _Again(f"{_shown(url)}: {reason(error)}", lasts=untrusted(error)) from error
    finally:
        file.flush()
    if item.size is not None and have < item.size:
        raise _Again(f"{_shown(url)} ended after {have:,} of {count(item.size, 'byte')}")


class _AsGiven(AuthBase):
    """Leaves a request as it is: without it, requests would put netrc's login in place of the given one."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _auth(url: str, headers: Mapping[str, str]) -> AuthBase | None:
    """Return what signs a request: the login of its headers, else of its address, else (None) netrc's."""
    if "Authorization" in headers:
        return _AsGiven()
    user, password = get_auth_from_url(url)
    return HTTPBasicAuth(user, password) if user else None


def _copy(url: str, file: IO[bytes]) -> None:
    file.truncate(0)
    try:
        with open(url2pathname(urlsplit(url).path), "rb") as source:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
    except FileNotFoundError as error:
        raise _Again(f"{url} does not exist", lasts=True) from error
    file.flush()


def _hash(file: IO[bytes]) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()


def _shown(url: str) -> str:
    """Return the address without its login or query, fit for a log."""
    parts = urlsplit(without_login(url))
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
