"""Locks that are not YAML, not locks, or made to confuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helioimages.conda.lock import parse
from helioimages.core.errors import HelioError, Stage


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: b: c",
        "version: 1",
        "\t",
        "!!python/object/apply:os.system [true]",
        "{? [a] : b}",
        "\x00",
        "&a [*a]",
        "? {a: b}\n: c",
        "<<: 1",
        "version: 1\nversion: 1",
        "[" * 5000,
        "1: 2",
        "version: 2026-99-99",
    ],
)
def test_not_a_lock(text: str) -> None:
    with pytest.raises(HelioError) as caught:
        parse(text, "conda-lock.yml")
    assert caught.value.stage is Stage.LOCK
    assert caught.value.where.startswith("conda-lock.yml")
    assert caught.value.message == "`conda-lock.yml` is not a lock that this version reads"


def test_a_billion_laughs_is_not_a_lock() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(HelioError) as caught:
        parse("\n".join(lines), "conda-lock.yml")
    assert caught.value.where == "conda-lock.yml at version"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    with pytest.raises(HelioError):
        parse(text, "conda-lock.yml")
