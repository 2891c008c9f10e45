"""Downloading one blob: verified, and on from where a connection dropped.

Spec: OCI distribution-spec v1.1, "Pulling blobs"; RFC 9110, section 14.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import IO

import requests

from ..core.errors import HelioError, Stage
from ..core.http import Tries, reason, stored
from ..core.words import count
from .calls import Calls, mismatch
from .transport import RegistryRequest
from .types import Descriptor

#: What a dropped download loses at most.
_PIECE = 1 << 16


def download(
    calls: Calls,
    repository: str,
    descriptor: Descriptor,
    out: IO[bytes],
    *,
    tries: int,
    pause: Callable[[float], None],
) -> None:
    """Write a blob of any size to ``out``, which must be discarded when this raises: it is verified at the end.

    Args:
        pause: sleeps so many seconds.

    Raises:
        HelioError: missing, not what the descriptor says, or the connection drops too often.
    """
    content, have, start = hashlib.sha256(), 0, out.tell()
    # What the registry asks to wait is waited by the call.
    policy = Tries(calls.host, tries, sleep=pause)
    for _ in policy:
        request = RegistryRequest(
            method="GET",
            path=f"blobs/{descriptor.digest}",
            headers={"Range": f"bytes={have}-"} if have else {},
            stream=True,
        )
        with calls.call(repository, request, good=(200, 206)) as response:
            if response.status_code == 200 and have:
                # The server does not know ranges: from the start.
                content, have = hashlib.sha256(), 0
                out.seek(start)
            try:
                for piece in stored(response, descriptor.size, _PIECE):
                    content.update(piece)
                    have += out.write(piece)
                    if have > descriptor.size:
                        break
                policy.failed("it broke off")
            except requests.RequestException as error:
                policy.failed(reason(error))
        if have >= descriptor.size:
            break
    if have < descriptor.size:
        raise HelioError(
            Stage.PUBLISH,
            f"the registry `{calls.host}` does not send the whole of a blob",
            where=f"{repository}@{descriptor.digest}",
            detail=f"expected {count(descriptor.size, 'byte')} not {have:,} ({count(tries, 'try')})",
            hint="try again later",
        )
    actual = "sha256:" + content.hexdigest()
    if actual != descriptor.digest or have != descriptor.size:
        raise mismatch(calls.host, repository, expected=descriptor.digest, actual=actual, size=have)
