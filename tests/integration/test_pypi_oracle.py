"""The wheel linker against the real thing: pip, run by the locked interpreter, installing the same wheels.

It needs what a build leaves in the store: the unpacked interpreter and the wheels of the locks. Wheels that are not
there are fetched from the configured index.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from helioimages.core.digest import is_hex
from helioimages.core.entries import Entry, merge
from helioimages.machine.fetch import WantedFile, fetch_all
from helioimages.machine.store import Store, default_root
from helioimages.make.toolchain import interpreter_in
from helioimages.pypi import pyc
from helioimages.pypi.index import PackageIndex
from helioimages.pypi.lock import Wheel, parse
from helioimages.pypi.resolve import places
from helioimages.pypi.wheel import link, with_compiled

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/srv/conda/envs/notebook"
#: Wheels with data, scripts of both kinds, extension modules, and pip itself.
CHOSEN = ("jsonpointer", "jmespath", "jupytext", "ipykernel", "nbgitpuller", "numpy", "dask", "pillow", "six", "pip")


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(default_root())


@pytest.fixture(scope="module")
def locked() -> dict[str, Wheel]:
    path = ROOT / "environments" / "base" / "pylock.toml"
    return {wheel.name: wheel for wheel in parse(path.read_text("utf-8"), str(path)).wheels}


@pytest.fixture(scope="module")
def python(store: Store) -> pyc.Interpreter:
    # Others there have no C library of their own: they run in the builder only.
    toolchains = [path for path in (store.root / "toolchain").iterdir() if is_hex(path.name)]
    if not toolchains:
        pytest.skip("the store has no interpreter yet: run `python tools/buildimages.py build base` first")
    return interpreter_in(toolchains[-1], "3.13")


@pytest.fixture(scope="module")
def fetch(store: Store):
    index = PackageIndex(places(), store.root / "cache" / "index")

    def fetched(wheel: Wheel) -> Path:
        wanted = WantedFile(
            name=wheel.file_name,
            sha256=wheel.sha256,
            size=wheel.size,
            where="environments/base/pylock.toml",
            urls=lambda: index.urls(wheel.name, wheel.file_name),
        )
        return fetch_all([wanted], store)[wheel.sha256]

    return fetched


@pytest.fixture(scope="module")
def pip(python, fetch, locked, tmp_path_factory):
    """Run the locked pip, unpacked and compiled: out of its wheel it would be compiled at each run."""
    folder = tmp_path_factory.mktemp("pip")
    with zipfile.ZipFile(fetch(locked["pip"])) as wheel:
        wheel.extractall(folder)
    subprocess.run([*python.argv, "-m", "compileall", "-q", folder], env=python.env, check=True)

    def run(*arguments: str, site: Path | None = None) -> str:
        paths = [str(folder), *([str(site)] if site else [])]
        env = {
            **python.env,
            "PYTHONPATH": os.pathsep.join(paths),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        result = subprocess.run([*python.argv, "-m", "pip", *arguments], capture_output=True, text=True, env=env)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def installed_by_pip(pip, wheel: Wheel, path: Path, folder: Path, *, compiled: bool) -> dict[str, tuple[int, bytes]]:
    """Return path -> (mode, content) of pip's own installation into the image's prefix."""
    folder.mkdir(exist_ok=True)
    named = folder / wheel.file_name
    shutil.copy(path, named)
    flag = "--compile" if compiled else "--no-compile"
    options = ["--no-deps", "--no-index", "--ignore-installed", "--no-warn-script-location", "--quiet", flag]
    # By name, as from an index: a file's own path would be recorded in direct_url.json.
    options += ["--find-links", str(folder), "--root", str(folder / "root"), "--prefix", PREFIX]
    pip("install", *options, f"{wheel.name}=={wheel.version}")
    files = {}
    for file in sorted((folder / "root").rglob("*")):
        if file.is_file():
            name = file.relative_to(folder / "root").as_posix()
            files[name] = (file.stat().st_mode & 0o777, file.read_bytes())
    return files


def normal(name: str, data: bytes) -> bytes:
    """Return a file's content without what is meant to differ from pip's."""
    if name.endswith(".dist-info/INSTALLER"):
        return b""
    if name.endswith(".dist-info/RECORD"):
        rows = sorted(row for row in csv.reader(io.StringIO(data.decode())) if not row[0].endswith("/bin/pip3.13"))
        # Hashes of files that differ on purpose: scripts (pip has its own template), INSTALLER.
        own = [[row[0], "", ""] if "/bin/" in row[0] or row[0].endswith("/INSTALLER") else row for row in rows]
        return repr(own).encode()
    if "/bin/" in name and data.startswith(b"#!"):
        lines = data.decode().splitlines()
        if any(re.match(r"\s*sys\.exit\(", line) for line in lines):
            # What a console script does: what it imports, and what it calls.
            kept = [line.strip() for line in lines if re.match(r"\s*(from \S+ import|sys\.exit)", line)]
            return "\n".join(kept).encode()
        if re.match(r"#!.*python", lines[0]) or lines[0] == "#!/bin/sh":
            return "\n".join(line for line in lines[1:] if "exec'" not in line and line != "' '''").encode()
    return data


def same_as_pip(pip, fetch, wheel: Wheel, folder: Path) -> None:
    path = fetch(wheel)
    expected = installed_by_pip(pip, wheel, path, folder, compiled=False)
    ours = {entry.path: entry for entry in link(path, wheel, requested=True)}
    # pip makes versioned names of itself, which no wheel has.
    extra = {f"{PREFIX[1:]}/bin/pip3.13"} if wheel.name == "pip" else set()
    assert ours.keys() == expected.keys() - extra
    for name, entry in ours.items():
        mode, data = expected[name]
        assert normal(name, entry.content.read()) == normal(name, data), name
        if "/bin/" not in name:
            assert entry.mode == mode, name
        else:
            assert entry.mode == 0o755


@pytest.mark.parametrize("name", CHOSEN)
def test_the_same_files_as_pip(pip, fetch, locked, tmp_path, name):
    same_as_pip(pip, fetch, locked[name], tmp_path)


@pytest.mark.parametrize("purelib", ["true", "false"])
@pytest.mark.parametrize("distribution", ["demo", "de_mo.x"])
def test_every_scheme_goes_where_pip_puts_it(pip, tmp_path, make_wheel, purelib, distribution):
    folder = f"{distribution}-1.0.data"
    path, wheel = make_wheel(
        {
            "demo/__init__.py": b"",
            f"{folder}/purelib/pure.py": b"",
            f"{folder}/platlib/plat.so": b"",
            f"{folder}/scripts/tool": b"#!python\nprint()\n",
            f"{folder}/scripts/windows": b"#!pythonw\nprint()\n",
            f"{folder}/scripts/shell": b"#!/bin/sh\n",
            f"{folder}/data/etc/demo.conf": b"",
            f"{folder}/headers/demo.h": b"",
        },
        name=distribution,
        purelib=purelib,
        entry_points="[console_scripts]\na = demo:main\n[gui_scripts]\nb = demo:app.run [extra]\n",
        executable=("demo/__init__.py", f"{folder}/scripts/tool"),
    )
    wheel = dataclasses.replace(wheel, name=canonicalize_name(wheel.name))
    same_as_pip(pip, lambda _wheel: path, wheel, tmp_path / "pip")


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_the_same_files_as_pip_for_any_locked_wheel(pip, fetch, locked, tmp_path_factory, data):
    small = sorted(name for name, wheel in locked.items() if wheel.size < 4_000_000)
    same_as_pip(pip, fetch, locked[data.draw(st.sampled_from(small))], tmp_path_factory.mktemp("any"))


def all_entries(path: Path, wheel: Wheel, python: pyc.Interpreter) -> tuple[Entry, ...]:
    entries = link(path, wheel, requested=True)
    return with_compiled(entries, pyc.compile_entries(entries, python))


@pytest.mark.parametrize("name", ["jupytext", "six", "dask"])
def test_the_same_bytecode_files_as_pip_and_a_record_that_lists_them(pip, python, fetch, locked, tmp_path, name):
    wheel = locked[name]
    path = fetch(wheel)
    expected = installed_by_pip(pip, wheel, path, tmp_path, compiled=True)
    ours = {entry.path: entry for entry in all_entries(path, wheel, python)}
    assert ours.keys() == expected.keys()
    (record,) = (path for path in ours if path.endswith(".dist-info/RECORD"))
    assert normal(record, ours[record].content.read()) == normal(record, expected[record][1])
    bytecode = [path for path in ours if path.endswith(".pyc")]
    assert bytecode and all(ours[path].content.read()[4:8] == b"\1\0\0\0" for path in bytecode)


def written(entries: tuple[Entry, ...], folder: Path) -> Path:
    """Write entries to a folder and return its site-packages."""
    for entry in merge(entries):
        path = folder / entry.path
        if entry.content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(entry.content.read())
            path.chmod(entry.mode)
    return folder / PREFIX[1:] / "lib" / "python3.13" / "site-packages"


@pytest.mark.parametrize("name", ["jupytext", "jmespath", "six"])
def test_pip_sees_and_removes_what_was_linked(pip, python, fetch, locked, tmp_path, name):
    wheel = locked[name]
    site = written(all_entries(fetch(wheel), wheel, python), tmp_path)
    listed = pip("list", "--format", "freeze", "--path", str(site))
    assert listed.splitlines() == [f"{name}=={wheel.version}"]
    script = (
        "import hashlib, base64, importlib.metadata as m, sys\n"
        "d = m.distribution(sys.argv[1]); files = d.files\n"
        "assert d.read_text('INSTALLER') == 'helioimages\\n'\n"
        "for f in files:\n"
        "    data = f.locate().read_bytes()\n"
        "    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')\n"
        "    assert not f.hash or digest == f.hash.value, f\n"
        "print(len(files))\n"
    )
    env = {**python.env, "PYTHONPATH": str(site)}
    result = subprocess.run([*python.argv, "-c", script, name], capture_output=True, text=True, env=env, check=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert int(result.stdout) == len(files)
    pip("uninstall", "--yes", name, site=site)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_equal_bytecode_at_any_worker_count(python, fetch, locked):
    """Compile one package at once, file by file, and in four parts: every .pyc is the same."""
    wheel = locked["dask"]
    entries = link(fetch(wheel), wheel)
    whole = digests(pyc.compile_entries(entries, python))
    parts = [digests(pyc.compile_entries(entries[start::4], python)) for start in range(4)]
    assert {path: digest for part in reversed(parts) for path, digest in part.items()} == whole


def digests(entries: tuple[Entry, ...]) -> dict[str, str]:
    return {entry.path: hashlib.sha256(entry.content.read()).hexdigest() for entry in entries}
