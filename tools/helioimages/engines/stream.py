"""What an engine says while it works: rows of JSON after a status of 200, the last of which may be an error.

The Docker SDK hands the rows on and raises nothing, so a pull that failed would first show as an image that is not
there. Every stream of an engine (pull, import, load, build, push) goes through `follow`.

Spec: Docker Engine API, "ImageCreate", "ImagePush", "ImageBuild": ``error`` and ``errorDetail`` of a row.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import docker.errors
import urllib3.exceptions
from docker.utils.json_stream import json_stream

from ..core.words import human_size

_FULL = ("no space left on device", "disk quota exceeded", "not enough space")
#: Layers of scientific Python unpack to about this many times their packed size.
_UNPACKED = 3


class StreamError(docker.errors.DockerException):
    """A stream ended in an error; its text is the engine's own."""


def follow(rows: Iterable[Mapping[str, Any]], client: Any) -> None:
    """Read a stream to its end.

    Args:
        rows: decoded; see `rows_of` for text.
        client: a Docker SDK client, asked where the engine keeps its data when its disk is full.

    Raises:
        StreamError: the engine gave up; in its own words, and with the space that is needed if its disk is full.
    """
    fault = ""
    sizes: dict[object, int] = {}
    for row in _whole(rows):
        detail = row.get("errorDetail")
        message = detail.get("message") if isinstance(detail, Mapping) else None
        fault = str(message or row.get("error") or "") or fault
        progress = row.get("progressDetail")
        total = progress.get("total") if isinstance(progress, Mapping) else None
        if isinstance(total, int) and total > 0:
            sizes[row.get("id")] = max(total, sizes.get(row.get("id"), 0))
    if not fault:
        return
    if any(word in fault.lower() for word in _FULL):
        fault += _space(sum(sizes.values()), client)
    raise StreamError(fault)


def rows_of(text: str) -> list[dict[str, Any]]:
    """Return the rows of a stream that was read whole; what is not JSON is not a row."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(docker.errors.StreamParseError):
        rows.extend(row for row in json_stream(iter([text])) if isinstance(row, dict))
    return rows


def _whole(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows; a connection that breaks among them is an error of the stream too."""
    try:
        yield from rows
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StreamError(f"the engine stopped in the middle of its answer: {error}") from error


def _space(packed: int, client: Any) -> str:
    """Return how much an engine needs and has, as far as it can be told from here."""
    lines = []
    if packed:
        lines.append(
            f"needed: {human_size(packed)} for the layers that it lacks, and about "
            f"{human_size(_UNPACKED * packed)} to unpack them"
        )
    try:
        folder = client.info()["DockerRootDir"]
        lines.append(f"free: {human_size(shutil.disk_usage(folder).free)} at {folder}")
    except (docker.errors.DockerException, KeyError, OSError, TypeError):
        pass
    return "".join(f"\n{line}" for line in lines)
