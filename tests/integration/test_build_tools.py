"""What wheels are built with, unpacked for the builder."""

from __future__ import annotations

import pytest
from faultkit import making

from helioimages.make.plan import PREFIX

pytestmark = [pytest.mark.engine, pytest.mark.network]


def test_they_come_compiled(engine, tmp_path):
    """The folder is read-only in a build, which else compiles setuptools and the standard library each time."""
    wheel = making.SourceWheel()
    wheel.prepare(tmp_path)
    folder = wheel.unpacked.folder
    sources = [path for path in (folder / "lib").rglob("*.py") if not {"test", "tests"} & {*path.parts}]
    assert len(sources) > 500
    compiled = {path: path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc" for path in sources}
    assert [str(path) for path, made in compiled.items() if not made.exists()] == []
    data = compiled[folder / "lib" / "python3.13" / "site-packages" / "setuptools" / "build_meta.py"].read_bytes()
    # PEP 552: by hash, and not compared with the source, whose time is another in each store.
    assert data[4:8] == (1).to_bytes(4, "little")
    # Tracebacks name files as a build sees them.
    assert f"{PREFIX}/lib/python3.13/site-packages/setuptools/build_meta.py".encode() in data
    assert b"/out/" not in data
