"""Options of the fuzzers."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=0.7, help="for each parser")
    parser.addoption("--fuzz-seed", type=int, default=1, help="of the random input")
