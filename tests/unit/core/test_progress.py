"""Progress in a log: a line each."""

from __future__ import annotations

import pytest

from helioimages.core import progress


@pytest.mark.parametrize(
    ("total", "unit", "said"),
    [(0, "item", "0 items"), (1, "build", "1 build"), (2, "item", "2 items"), (1_500_000, "bytes", "1.5 MB")],
)
def test_one_is_not_many(monkeypatch, total, unit, said):
    lines: list[str] = []
    monkeypatch.setattr(progress, "say", lines.append)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    with progress.bar("x", total, unit=unit) as advance:
        advance(total)
    assert [line.partition(" in ")[0] for line in lines] == [f"x: {said}"]
