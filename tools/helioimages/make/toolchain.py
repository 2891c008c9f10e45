"""The locked interpreter, runnable on this machine: unpacked into the store, with the C library it was made for.

It is started through that library's own loader, so a host with an older one needs neither root nor a container.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..conda import link as conda_link
from ..conda.read import site_packages_of
from ..core.digest import key_of
from ..core.entries import Entry, Kind, merge
from ..core.errors import HelioError, Stage
from ..core.platform import Subdir
from ..debian.lock import AptLock, Deb
from ..locks.read import Locks
from ..machine.store import Store, settle
from ..pypi.pyc import Interpreter
from .plan import PREFIX

_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6")


def key(locks: Locks) -> str:
    """Return 64 digits naming the toolchain that locks ask for: its folder in the store."""
    return key_of(["toolchain", 1, sorted(p.sha256 for p in locks.conda.packages), sorted(_system(locks.apt))])


def unpack_toolchain(store: Store, locks: Locks, paths: Mapping[str, Path], subdir: Subdir) -> Interpreter:
    """Return the locked interpreter, unpacked if this store does not have it.

    Args:
        paths: sha256 (hex) -> file, of the conda and Debian packages.
        subdir: conda's platform, e.g. ``linux-64``.

    Raises:
        HelioError: a package is malformed, or the interpreter does not run.
    """
    folder = store.root / "toolchain" / key(locks)
    version = locks.python_version
    if not folder.exists():
        half = store.root / "tmp" / f"toolchain-{secrets.token_hex(8)}"
        try:
            half.mkdir()
            entries: dict[str, Entry] = {}
            prefix = conda_link.Prefix(
                path=PREFIX,
                python_version=version,
                site_packages=site_packages_of(paths[locks.python.sha256], locks.python),
                platform=subdir,
                scripts=locks.conda.reviewed(subdir),
            )
            # Of packages that bring one path any may have it here, but for the interpreter's own: only images hold to
            # who wins (see conda/clobber.py).
            for package in sorted(locks.conda.packages, key=lambda package: package != locks.python):
                for entry in conda_link.link(paths[package.sha256], package, prefix):
                    entries.setdefault(entry.path, entry)
            write_tree(half, merge(entries.values()))
            for sha256 in _system(locks.apt):
                _extract(paths[sha256], half)
            half.chmod(0o755)
            settle(half)
            half.rename(folder)
        except OSError as error:
            # Another run was faster; its folder is as good.
            if not folder.exists():
                raise HelioError(
                    Stage.LINK,
                    "cannot unpack the locked interpreter",
                    where=str(folder),
                    detail=str(error),
                    hint="check the space and rights of the store",
                ) from error
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return interpreter_in(folder, version)


def interpreter_in(folder: Path, version: str) -> Interpreter:
    """Return the interpreter of an unpacked toolchain.

    Raises:
        HelioError: it does not run here.
    """
    loaders = sorted(folder.glob("usr/lib/*/ld-linux-*.so.*"))
    home = folder / PREFIX.lstrip("/")
    program = home / "bin" / f"python{version}"
    through = (str(loaders[0]), "--library-path", str(loaders[0].parent)) if loaders else ()
    argv = (*through, str(program))
    env = {"PYTHONHOME": str(home), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PATH": os.defpath}
    script = "import sys; print(sys.implementation.cache_tag)"
    result = subprocess.run([*argv, "-S", "-c", script], capture_output=True, text=True, env=env)
    if result.returncode:
        raise HelioError(
            Stage.LINK,
            "the locked interpreter does not run on this machine",
            detail=result.stderr[-600:],
            hint="another processor? images are built on the platform they are for",
        )
    return Interpreter(argv=argv, env=env, cache_tag=result.stdout.strip())


def _extract(deb: Path, folder: Path) -> None:
    try:
        result = subprocess.run(["dpkg-deb", "--extract", str(deb), str(folder)], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise HelioError(Stage.HOST, "`dpkg-deb` is not here", hint="run this on Debian or Ubuntu") from error
    if result.returncode:
        raise HelioError(
            Stage.LINK,
            f"cannot unpack the Debian package {deb.name}",
            detail=result.stderr.strip()[-400:],
            hint="delete the file from the store and run again",
        )


def libraries(apt: AptLock) -> tuple[Deb, ...]:
    """Return the Debian packages that the interpreter needs to run here."""
    return tuple(deb for deb in apt.packages if deb.name in _LIBRARIES)


def _system(apt: AptLock) -> tuple[str, ...]:
    return tuple(deb.sha256 for deb in libraries(apt))


def write_tree(folder: Path, entries: tuple[Entry, ...]) -> None:
    """Write merged entries below a folder."""
    for entry in entries:
        path = folder / entry.path
        if entry.kind is Kind.DIR:
            path.mkdir(exist_ok=True)
        elif entry.kind is Kind.SYMLINK:
            path.symlink_to(entry.target)
        elif entry.kind is Kind.HARDLINK:
            os.link(folder / entry.target, path)
        elif entry.content:
            path.write_bytes(entry.content.read())
            path.chmod(entry.mode)
