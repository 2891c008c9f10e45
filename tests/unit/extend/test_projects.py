"""What is built of source says how: what it says wrongly is told at the line that asks for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helioimages.core import entries
from helioimages.core.errors import HelioError
from helioimages.extend import projects
from helioimages.extend.asked import FileLine


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"build-system = 3", "pyproject.toml at build-system: expected a mapping, not a whole number: 3"),
        (b"[build-system]\nrequires = 'hatchling'", "pyproject.toml at build-system.requires: expected a list, not a "),
        (b"[build-system]\nrequires = [3]", "pyproject.toml at build-system.requires[0]: expected a string, not a "),
        (b"[build-system", "pyproject.toml: "),
        (b"\xff", "'utf-8' codec can't decode"),
    ],
)
def test_build_requirements_that_cannot_be_read(text, detail):
    place = FileLine(file="requirements.txt", line=2)
    source = projects._Files(entries=(entries.file("pyproject.toml", text),), sha256="0" * 64, commit="", place=place)
    with pytest.raises(HelioError) as caught:
        projects._tools(SimpleNamespace(), source)
    assert (caught.value.message, caught.value.where) == (
        "its pyproject.toml cannot be read",
        "requirements.txt line 2",
    )
    assert caught.value.detail.startswith(detail)
