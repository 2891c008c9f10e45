"""Documents that somebody gives: a fault is told by file and key, with what is expected and what is there.

Each value of a good document is replaced by one of another type, and each key is left out. No Python error may be told.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from given_documents import READERS, Reader

from helioimages.core.errors import HelioError


def places(value: Any, key: str = "") -> Iterator[tuple[str, list[str | int]]]:
    """Yield each place of a document: as errors call it, and as a path."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in rows:
        at = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}" if key else name
        yield at, [name]
        yield from ((below, [name, *path]) for below, path in places(inner, at))


def holder(document: Any, path: list[str | int]) -> tuple[Any, Any]:
    """Return a copy of a document and the mapping or list in it that holds a place."""
    document = copy.deepcopy(document)
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    return document, inner


def cases(*, leave_out: bool) -> Iterator[Any]:
    for name, reader in READERS.items():
        for key, path in places(reader.document):
            last = next(str(part) for part in reversed(path) if isinstance(part, str))
            if key in reader.unread or (leave_out and (isinstance(path[-1], int) or last in reader.free)):
                continue
            yield pytest.param(reader, key, path, id=f"{name}: {key}")


def check(reader: Reader, document: Any, key: str, told: str) -> None:
    with pytest.raises(HelioError) as caught:
        reader.feed(reader.dump(document))
    where = caught.value.where.removeprefix(f"{reader.file} at ")
    assert where != caught.value.where and key.startswith(where), caught.value
    assert caught.value.detail.startswith("expected ") and told in caught.value.detail, caught.value


@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items()])
def test_the_good_one_is_read(reader: Reader) -> None:
    reader.feed(reader.dump(reader.document))


@pytest.mark.parametrize(("reader", "key", "path"), list(cases(leave_out=False)))
def test_another_type_is_told_with_its_place(reader: Reader, key: str, path: list[str | int]) -> None:
    document, inner = holder(reader.document, path)
    inner[path[-1]] = 3 if isinstance(inner[path[-1]], str | dict | list) else "text"
    check(reader, document, key, "not ")


@pytest.mark.parametrize(("reader", "key", "path"), list(cases(leave_out=True)))
def test_a_key_that_is_not_there_is_told(reader: Reader, key: str, path: list[str | int]) -> None:
    document, inner = holder(reader.document, path)
    del inner[path[-1]]
    check(reader, document, key, "")


@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items()])
@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b"3"])
def test_what_is_no_document_is_told_with_its_file(reader: Reader, data: bytes) -> None:
    with pytest.raises(HelioError) as caught:
        reader.feed(data)
    assert reader.file in caught.value.message + caught.value.where
    assert "Error: " not in str(caught.value)
