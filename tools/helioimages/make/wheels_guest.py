"""Runs inside the builder: one source archive becomes one wheel. Standard library and locked tools only, no network.

``$IN/sdist`` is the archive's folder, ``$IN/order.json`` says what to do, ``$OUT`` takes the wheel. Everything happens
in ``/build``, always the same paths, so that nothing that a compiler writes down differs between machines.

What a build needs is asked of the source as frontends do: its ``pyproject.toml``, then its backend. That is asked in a
process and a copy of the source of its own, for what a hook leaves behind is nothing that the wheel may depend on. What
people reviewed goes before it: ``requires`` of the order instead of both, and ``without`` leaves some out.

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
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

SOURCE, MADE, TREE = Path("/build/src"), Path("/build/wheel"), Path("/build/tree")
UNPACKED, ASKED, ANSWER = Path("/build/unpacked"), Path("/build/asked"), Path("/build/asked.json")


def main() -> None:
    """Build the wheel that the order in IN asks for, into OUT."""
    inputs, output = Path(os.environ["IN"]), Path(os.environ["OUT"])
    order = json.loads((inputs / "order.json").read_text())
    source = unpack(inputs / "sdist" / order["file_name"])
    os.chdir(source)
    table = build_system(source)
    if order["requires"]:
        check(order["requires"], "environment.yml asks for")
    else:
        check(table["requires"], "the build needs", order["without"])
        check(asked(table), "its build backend asks for", order["without"])
    wheel = MADE / call(table)
    if order["after"]:
        wheel = finish(wheel, order["after"])
    shutil.copyfile(wheel, output / wheel.name)


def unpack(archive: Path) -> Path:
    """Return the one folder that a source archive has, under a name that is always the same."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(UNPACKED)
    else:
        with tarfile.open(archive) as opened:
            # Refuses what leaves the folder, devices and links to elsewhere.
            opened.extractall(UNPACKED, filter="data")
    folders = [path for path in UNPACKED.iterdir() if path.is_dir()]
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


def check(requires: object, who: str, without: Sequence[str] = ()) -> None:
    """Leave with a sentence for each build requirement that the locked tools do not meet.

    Args:
        requires: PEP 508, as the source or its backend gave it.
        who: the beginning of the sentence.
        without: distributions that need not be there, normalised.
    """
    if not isinstance(requires, list) or not all(isinstance(text, str) for text in requires):
        sys.exit(f"{who} {requires!r}: expected a list of requirements")
    if faults := [fault for text in requires for fault in unmet(text, who, without=without)]:
        sys.exit("\n".join(dict.fromkeys(faults)))


def unmet(
    text: str, who: str, *, extra: str = "", seen: tuple[str, ...] = (), without: Sequence[str] = ()
) -> list[str]:
    """Return a sentence for each part of a requirement that is not met: its extras ask for more."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        return [f"{who} {text!r}, which is no requirement: {error}"]
    if canonicalize_name(wanted.name) in without:
        return []
    if text in seen or (wanted.marker and not wanted.marker.evaluate({"extra": extra})):
        return []
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return [f"{who} {text}, and the locked tools have no {wanted.name}"]
    if not wanted.specifier.contains(version, prereleases=True):
        return [f"{who} {text}, and the locked tools have {wanted.name} {version}"]
    more = metadata.requires(wanted.name) or [] if wanted.extras else []
    return [
        fault
        for name in sorted(wanted.extras)
        for one in more
        for fault in unmet(one, who, extra=name, seen=(*seen, text), without=without)
    ]


def asked(table: dict[str, Any]) -> object:
    """Return what the backend asks for besides; PEP 517 has the hook optional."""
    shutil.copytree(SOURCE, ASKED, symlinks=True)
    result = subprocess.run([sys.executable, "-I", __file__, "ask", json.dumps(table), str(ANSWER)], cwd=ASKED)
    if result.returncode:
        sys.exit(f"its build backend cannot say what it needs: get_requires_for_build_wheel ended {result.returncode}")
    shutil.rmtree(ASKED)
    return json.loads(ANSWER.read_text("utf-8"))


def ask(table: dict[str, Any], answer: Path) -> None:
    """Write into a file what the backend of the source in this folder asks for."""
    backend, settings = backend_of(table, Path.cwd())
    hook = getattr(backend, "get_requires_for_build_wheel", None)
    answer.write_text(json.dumps(hook(settings) if hook else []), "utf-8")


def call(table: dict[str, Any]) -> str:
    """Return the name of the wheel that the backend put into MADE."""
    MADE.mkdir()
    backend, settings = backend_of(table, SOURCE)
    return str(backend.build_wheel(str(MADE), settings))


def backend_of(table: dict[str, Any], source: Path) -> tuple[Any, dict[str, str] | None]:
    """Return a source's build backend, and what it is told."""
    # PEP 517: only a backend that the source itself brings may be found in the source.
    sys.path[:0] = [str(source / folder) for folder in table.get("backend-path", [])]
    name, _, attribute = table.get("build-backend", "setuptools.build_meta:__legacy__").partition(":")
    backend = importlib.import_module(name)
    for part in attribute.split(".") if attribute else ():
        backend = getattr(backend, part)
    # meson-python builds in a folder with a random name, which ends up in the compiled files.
    return backend, {"build-dir": "/build/meson"} if name == "mesonpy" else None


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
    ask(json.loads(sys.argv[2]), Path(sys.argv[3])) if sys.argv[1:2] == ["ask"] else main()
