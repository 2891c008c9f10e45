"""Runs inside the builder: one source archive becomes one wheel. Standard library and locked tools only, no network.

``$IN/sdist`` is the archive's folder, ``$IN/order.json`` says what to do, ``$OUT`` takes the wheel. Everything happens
in ``/build``, always the same paths, so that nothing that a compiler writes down differs between machines.

Spec: PEP 517 (build hooks), PEP 518 (build requirements).
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

SOURCE, MADE, TREE = Path("/build/src"), Path("/build/wheel"), Path("/build/tree")


def main() -> None:
    """Build the wheel that the order in IN asks for, into OUT."""
    inputs, output = Path(os.environ["IN"]), Path(os.environ["OUT"])
    order = json.loads((inputs / "order.json").read_text())
    source = unpack(inputs / "sdist" / order["file_name"])
    os.chdir(source)
    table = build_system(source)
    check(order["requires"] or table.get("requires", []))
    wheel = MADE / call(table)
    if order["after"]:
        wheel = finish(wheel, order["after"])
    shutil.copyfile(wheel, output / wheel.name)


def unpack(archive: Path) -> Path:
    """Return the one folder that a source archive has, under a name that is always the same."""
    scratch = Path("/build/unpacked")
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(scratch)
    else:
        with tarfile.open(archive) as opened:
            # Refuses what leaves the folder, devices and links to elsewhere.
            opened.extractall(scratch, filter="data")
    folders = [path for path in scratch.iterdir() if path.is_dir()]
    if len(folders) != 1:
        sys.exit(f"{archive.name}: expected one folder, found {len(folders)}")
    folders[0].rename(SOURCE)
    return SOURCE


def build_system(source: Path) -> dict[str, Any]:
    """Return the [build-system] table; what PEP 517 says where there is none."""
    import tomllib

    path = source / "pyproject.toml"
    table = tomllib.loads(path.read_text("utf-8")).get("build-system", {}) if path.exists() else {}
    return {"requires": ["setuptools"], **table}


def check(requires: list[str]) -> None:
    """Leave with a sentence for each build requirement that the locked tools do not meet."""
    from packaging.requirements import Requirement

    faults = []
    for text in requires:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            faults.append(f"the build needs {text}, and the locked tools have no {wanted.name}")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            faults.append(f"the build needs {text}, and the locked tools have {wanted.name} {version}")
    if faults:
        sys.exit("\n".join(faults))


def call(table: dict[str, Any]) -> str:
    """Return the name of the wheel that the backend put into MADE."""
    MADE.mkdir()
    # PEP 517: only a backend that the source itself brings may be found in the source.
    sys.path[:0] = [str(SOURCE / folder) for folder in table.get("backend-path", [])]
    name, _, attribute = table.get("build-backend", "setuptools.build_meta:__legacy__").partition(":")
    backend = importlib.import_module(name)
    for part in attribute.split(".") if attribute else ():
        backend = getattr(backend, part)
    # meson-python builds in a folder with a random name, which ends up in the compiled files.
    settings = {"build-dir": "/build/meson"} if name == "mesonpy" else None
    return str(backend.build_wheel(str(MADE), settings))


def finish(wheel: Path, command: str) -> Path:
    """Run a command in the unpacked wheel and pack it again."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(TREE)
    subprocess.run(["sh", "-euc", command], cwd=TREE, check=True)
    again = MADE / "again" / wheel.name
    again.parent.mkdir()
    with zipfile.ZipFile(again, "w", zipfile.ZIP_STORED) as opened:
        for path in sorted(TREE.rglob("*")):
            if path.is_file():
                opened.write(path, path.relative_to(TREE).as_posix())
    return again


if __name__ == "__main__":
    main()
