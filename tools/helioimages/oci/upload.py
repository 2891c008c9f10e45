"""Uploading one blob: whole when it is small, in chunks when it is large, on from where a connection dropped.

Spec: OCI distribution-spec v1.1, "Pushing blobs": "POST then PUT", "Pushing a blob in chunks".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import IO, cast
from urllib.parse import quote, urljoin

import requests

from ..core.errors import HelioError, Stage
from .transport import RegistryRequest, Transport, refusal, scope_of
from .types import Descriptor

_PIECE = 1 << 20


class Upload:
    """An upload that the registry has opened.

    Args:
        opened: the 202 that answered the POST.
        chunk: bytes in one request, at least what the registry asks for.
        advance: told of bytes as they go; of a negative number when they must go again.
    """

    def __init__(
        self,
        http: Transport,
        repository: str,
        opened: requests.Response,
        *,
        chunk: int,
        advance: Callable[[int], None],
    ) -> None:
        self._http, self._repository, self._advance = http, repository, advance
        self._location = self._next(opened)
        least = opened.headers.get("OCI-Chunk-Min-Length", "")
        self._chunk = max(chunk, int(least) if least.isdigit() else 0)
        self.offset = self._sent = 0

    def send(self, descriptor: Descriptor, file: IO[bytes]) -> None:
        """Send what the registry does not have yet, and close the upload.

        Raises:
            Dropped: the connection broke, or the registry forgot the upload: `resume`, or open another.
            HelioError: the registry refuses, or the file is not the blob.
        """
        while descriptor.size - self.offset > self._chunk:
            end = self.offset + self._chunk
            span = {"Content-Range": f"{self.offset}-{end - 1}"}
            response = self._request("PATCH", self._location, file, end, span)
            if response.status_code != 202:
                raise self._fault(response)
            self._location, self.offset = self._next(response), end
        mark = "&" if "?" in self._location else "?"
        url = f"{self._location}{mark}digest={quote(descriptor.digest)}"
        # Without this, some registries take the last chunk for the first.
        last = 0 < self.offset < descriptor.size
        span = {"Content-Range": f"{self.offset}-{descriptor.size - 1}"} if last else {}
        response = self._request("PUT", url, file, descriptor.size, span)
        if response.status_code == 400 and "DIGEST_INVALID" in response.text:
            _check(descriptor, file)
            # What we sent is right, so what arrived was not.
            raise Dropped(refusal(response))
        if response.status_code != 201:
            raise self._fault(response)

    def resume(self) -> bool:
        """Ask how many bytes arrived, so that `send` goes on from there; say whether the upload still lives.

        Spec: "Pushing a blob in chunks": GET of the location answers 204 with ``Range: 0-<last byte>``.
        """
        response = self._ask(RegistryRequest(method="GET", path=self._location))
        match = re.fullmatch(r"(?:bytes=)?0-([0-9]+)", response.headers.get("Range", ""))
        alive = response.status_code == 204 and match is not None
        if alive:
            # "0-0" means none to some registries and one byte to others; sending that byte again is harmless, since a
            # registry that then has one too many refuses the digest and the upload begins again.
            last = int(match[1]) if match else 0
            self.offset = last + 1 if last else 0
            if "Location" in response.headers:
                self._location = self._next(response)
        else:
            self.offset = 0
        self._advance(self.offset - self._sent)
        self._sent = self.offset
        return alive

    def cancel(self) -> None:
        """Let the registry forget the upload."""
        self._ask(RegistryRequest(method="DELETE", path=self._location))

    def _ask(self, request: RegistryRequest, tries: int | None = None) -> requests.Response:
        return self._http.request(request, scope=scope_of(self._repository, "pull,push"), tries=tries)

    def _request(self, method: str, url: str, file: IO[bytes], end: int, headers: dict[str, str]) -> requests.Response:
        begin = self.offset
        request = RegistryRequest(
            method=method,
            path=url,
            headers=headers | {"Content-Type": "application/octet-stream", "Content-Length": str(end - begin)},
            body=lambda: _Slice(file, begin, end, self._count),
        )
        try:
            return self._ask(request, tries=1)
        except HelioError as error:
            raise Dropped(error) from error

    def _count(self, sent: int) -> None:
        self._sent += sent
        self._advance(sent)

    def _fault(self, response: requests.Response) -> Exception:
        # 404: it forgot the upload. 416: it has other bytes than we think.
        error = refusal(response)
        return Dropped(error) if response.status_code in (404, 416) else error

    def _next(self, response: requests.Response) -> str:
        # Spec: RFC 9110 section 10.2.2: relative to what was asked.
        if not (location := response.headers.get("Location", "")):
            raise HelioError(
                Stage.PUBLISH,
                f"the registry `{self._http.host}` opens an upload and does not say where",
                where=f"{response.request.method} {response.url.partition('?')[0]}",
                detail="expected the header Location",
            )
        return urljoin(response.url, location)


class Dropped(Exception):
    """An upload that must be resumed or begun again; ``error`` says why."""

    def __init__(self, error: HelioError) -> None:
        super().__init__(str(error))
        self.error = error


def _check(descriptor: Descriptor, file: IO[bytes]) -> None:
    file.seek(0)
    actual = "sha256:" + hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    if actual != descriptor.digest:
        raise HelioError(
            Stage.PUBLISH,
            "a blob of the store is damaged",
            detail=f"expected {descriptor.digest} not {actual}",
            hint="remove the file and run `buildimages build` again",
        )


class _Slice:
    """Part of a file as a request body: large reads, and a length, so that it is not sent in HTTP's own chunks."""

    def __init__(self, file: IO[bytes], begin: int, end: int, count: Callable[[int], None]) -> None:
        self._file, self._left, self._count = file, end - begin, count
        file.seek(begin)

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece

    def read(self, _size: int = -1) -> bytes:
        # The HTTP library asks for 16 KiB at a time, which is slow on fast networks.
        piece = self._file.read(min(_PIECE, self._left))
        self._left -= len(piece)
        self._count(len(piece))
        return piece
