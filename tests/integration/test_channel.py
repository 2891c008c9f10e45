"""The local channel for real: compiled in the builder, solved and installed by py-rattler, used in a container."""

from __future__ import annotations

import contextlib
import json
import os
import platform as machine
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit import making

from helioimages.core.platform import FIRST, Platform
from helioimages.debian import lock as apt_lock
from helioimages.locks import apt
from helioimages.machine.fetch import WantedFile, fetch_all
from helioimages.machine.store import Store, default_root
from helioimages.make import channel
from helioimages.make.builder import Builder
from helioimages.spec.recipes import read_recipes

pytestmark = [pytest.mark.engine, pytest.mark.network]

ROOT = Path(__file__).parents[2]
LOCK = "channel/apt-lock.json"
PLATFORM = {"x86_64": FIRST, "aarch64": Platform.of("linux/arm64")}.get(machine.machine())
PREFIX = "/in/prefix"

INSTALL = """
import asyncio, os, sys
from pathlib import Path
from rattler import BuildString, Channel, GenericVirtualPackage, PackageName, Platform, Version, install, solve

async def main(channel, platform, target, cache, prefix):
    system = {"__glibc": "2.41", "__linux": "6.1", "__unix": "0"}
    virtual = [GenericVirtualPackage(PackageName(n), Version(v), BuildString("0")) for n, v in system.items()]
    records = await solve([Channel(Path(channel).as_uri())], ["python=3.13"], platforms=[platform, "noarch"],
                          virtual_packages=virtual)
    await install(records, target_prefix=target, cache_dir=Path(cache), platform=Platform(platform),
                  execute_link_scripts=False, show_progress=False, alternative_target_prefix=prefix)
    print(*sorted(record.name.normalized for record in records))

asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""

REPORT = """
import bz2, ctypes, curses.panel, dbm.sqlite3, decimal, hashlib, json, lzma, readline, sqlite3, ssl, sys, sysconfig
import uuid, zlib, zoneinfo, datetime, xml.etree.ElementTree as tree
from pathlib import Path

libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
data = b"sunspot" * 1000
print(json.dumps({
    "version": sys.version.split()[0],
    "prefix": sys.prefix,
    "outside": sorted({Path(p).name.split(".")[0].split("-")[0] for p in libraries if not p.startswith(sys.prefix)}),
    "compressors": [module.decompress(module.compress(data)) == data for module in (bz2, lzma, zlib)],
    "sqlite": sqlite3.connect(":memory:").execute("select json_extract('[4, 5]', '$[1]')").fetchone()[0],
    "ctypes": ctypes.CDLL(None).strlen(b"four"),
    "scrypt": len(hashlib.scrypt(b"a", salt=b"b", n=2, r=1, p=1)),
    "zone": str(zoneinfo.ZoneInfo("US/Eastern").utcoffset(datetime.datetime(2026, 1, 1))),
    "tzpath": zoneinfo.TZPATH,
    "decimal": decimal.__libmpdec_version__ != "",
    "uuid": uuid.uuid1().version,
    "xml": tree.fromstring("<a><b/></a>")[0].tag,
    "certificates": len(ssl.create_default_context().get_ca_certs()) > 100,
    "cafile": ssl.get_default_verify_paths().cafile,
    "compiler": sysconfig.get_config_var("CC"),
    "foreign": [k for k, v in sysconfig.get_config_vars().items() if "placehold" in str(v) or "/build/" in str(v)
                and "Tools/build/" not in str(v)],
}))
"""

EXTENSION = """
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *ignored) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "deep", 0, -1, methods};
PyMODINIT_FUNC PyInit_deep(void) { return PyModule_Create(&module); }
"""

COMPILE = """
import subprocess, sysconfig as s
words = " ".join(s.get_config_var(name) for name in ("LDSHARED", "CCSHARED", "CFLAGS")).split()
out = "/tmp/deep" + s.get_config_var("EXT_SUFFIX")
subprocess.run([*words, "-I" + s.get_paths()["include"], "/in/deep.c", "-o", out], check=True)
"""


def _builder(store: Store, client) -> Builder:
    lock = apt_lock.parse((ROOT / LOCK).read_text(), LOCK)
    wanted = [
        WantedFile(
            name=deb.name, sha256=deb.sha256, size=deb.size, where=LOCK, urls=lambda deb=deb: apt.mirror_urls(deb)
        )
        for deb in lock.packages
    ]
    return Builder(client, store, lock, fetch_all(wanted, store, label="builder"))


@pytest.fixture(scope="module")
def store():
    if not PLATFORM:
        pytest.skip(f"the local channel has no platform for {machine.machine()}")
    return Store(default_root())


@pytest.fixture(scope="module")
def builder(store, engine):
    return _builder(store, engine.client)


@pytest.fixture(scope="module")
def built(store, builder):
    return channel.build_channel(store, ROOT, builder, jobs=os.cpu_count() or 2, platform=PLATFORM)


@pytest.fixture(scope="module")
def prefix(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    arguments = [built, PLATFORM.subdir, folder / "prefix", folder / "cache", PREFIX]
    result = subprocess.run([sys.executable, "-c", INSTALL, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    recipes = read_recipes((ROOT / "channel/recipes.toml").read_text())
    assert result.stdout.split() == sorted(recipe.name for recipe in recipes.packages)
    return folder / "prefix"


def _run(builder: Builder, tmp_path: Path, script: str, **inputs: Path) -> str:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return builder.run(["bash", "-euc", script], inputs=inputs, output=out, env={"PYTHONDONTWRITEBYTECODE": "1"})


def _report(builder: Builder, tmp_path: Path, prefix: Path, before: str = "") -> dict:
    (tmp_path / "report.py").write_text(REPORT)
    script = f"{before}\n{PREFIX}/bin/python /in/report"
    return json.loads(_run(builder, tmp_path, script, prefix=prefix, report=tmp_path / "report.py"))


def test_the_installed_python_has_all_it_needs_in_its_prefix(builder, prefix, tmp_path):
    recipes = read_recipes((ROOT / "channel/recipes.toml").read_text())
    report = _report(builder, tmp_path, prefix)
    assert report.pop("outside") in (["ld", "libc", "libm"], ["ld", "libc", "libgcc_s", "libm"])
    assert report == {
        "version": next(r.version for r in recipes.packages if r.name == "python"),
        "prefix": PREFIX,
        "compressors": [True, True, True],
        "sqlite": 5,
        "ctypes": 4,
        "scrypt": 64,
        "zone": "-1 day, 19:00:00",
        "tzpath": [f"{PREFIX}/share/zoneinfo", "/usr/share/zoneinfo"],
        "decimal": True,
        "uuid": 1,
        "xml": "b",
        "certificates": True,
        "cafile": "/usr/lib/ssl/cert.pem",
        "compiler": "gcc",
        "foreign": [],
    }


def test_without_a_system_trust_store_the_environment_s_own_is_used(builder, prefix, tmp_path):
    report = _report(builder, tmp_path, prefix, "rm -r /usr/lib/ssl")
    assert (report["cafile"], report["certificates"]) == (f"{PREFIX}/ssl/cert.pem", True)


def test_venv_pip_and_extensions_work(builder, prefix, tmp_path):
    (tmp_path / "deep.c").write_text(EXTENSION)
    (tmp_path / "compile.py").write_text(COMPILE)
    script = f"""
{PREFIX}/bin/python -m venv /tmp/venv
/tmp/venv/bin/pip --version | cut -d' ' -f1
{PREFIX}/bin/python /in/compile.py
cd /tmp && /tmp/venv/bin/python -c 'import deep; print(deep.answer())'
{PREFIX}/bin/python3-config --includes
"""
    inputs = {"deep.c": tmp_path / "deep.c", "compile.py": tmp_path / "compile.py", "prefix": prefix}
    lines = _run(builder, tmp_path, script, **inputs).splitlines()
    assert lines == ["pip", "42", f"-I{PREFIX}/include/python3.13 -I{PREFIX}/include/python3.13"]


def test_libraries_are_debian_s_byte_for_byte(builder, prefix, tmp_path):
    script = f"""
for file in {PREFIX}/lib/*.so.*; do
  cmp "$file" /usr/lib/*-linux-gnu*/"$(basename "$file")"
done
ls {PREFIX}/lib | grep -c '\\.so\\.'
"""
    assert int(_run(builder, tmp_path, script, prefix=prefix)) > 20


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Be another user on another continent while the block runs."""
    umask, zone = os.umask(0o077), os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    try:
        yield
    finally:
        os.umask(umask)
        os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone)


def test_another_build_of_a_small_channel_gives_the_same_bytes(engine, tmp_path):
    """One program that is compiled, one library that is taken from Debian; another umask, time zone and folder."""
    small = making.Channel()
    small.prepare(tmp_path)
    made = []
    for number, place in enumerate((contextlib.nullcontext(), elsewhere())):
        other = Store(tmp_path / f"store{number}")
        small.fill(other)
        with place:
            made.append(small.make(other))
    assert made[0] == made[1]


@pytest.mark.long
def test_another_build_gives_the_same_bytes(store, builder, built, tmp_path):
    """The whole channel; takes minutes. A machine without a store proves it too: its digests are those of the locks."""
    other = Store(tmp_path / "other")
    for source in read_recipes((ROOT / "channel/recipes.toml").read_text()).sources.values():
        other.put_artefact(store.artefact(source.sha256))
    with elsewhere():
        again = channel.build_channel(other, ROOT, builder, jobs=2, platform=PLATFORM)
    assert again != built
    assert (again / "channel.json").read_bytes() == (built / "channel.json").read_bytes()
    for sha256, path in channel.artefact_paths(built).items():
        assert (again / path.relative_to(built)).read_bytes() == path.read_bytes(), sha256
