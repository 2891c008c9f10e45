"""Build wheels of packages that the index has as source only: once, without network, the same bytes everywhere.

Each archive is built in a fresh container of the pinned builder, by the locked Python and locked tools
(``build-lock.toml``), at fixed paths; `pypi.repack` takes out what is left to chance. What a wheel depends on is its
memo's key, so the store builds it once.

Spec: PEP 517, PEP 751 (build-lock.toml has the format of pylock.toml).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from packaging.utils import parse_wheel_filename

from ..conda import link as conda_link
from ..conda.lock import CondaPackage
from ..core import threads
from ..core.digest import key_of
from ..core.entries import Entry, merge
from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.platform import Platform
from ..core.progress import say, step
from ..core.words import count
from ..locks import file_names
from ..machine.store import Store, has, settle
from ..pypi import repack
from ..pypi import wheel as wheel_link
from ..pypi.lock import PyPILock, Sdist, Wheel
from ..spec.environment import BuildSpec, EnvironmentSpec
from .builder import Builder
from .plan import PREFIX
from .toolchain import write_tree

#: Raised when the bytes of wheels may change though none of their inputs does.
VERSION = 1
GUEST = Path(__file__).with_name("wheels_guest.py")

_PYTHON = f"""
mkdir -p "$(dirname {PREFIX})"
ln -s "$IN/python" {PREFIX}
exec {PREFIX}/bin/python3 -I "$IN/guest.py"
"""

#: What every build would compile anew: the tools' folder is read-only there. Tests of packages are not imported.
_COMPILE = f"""
mkdir -p "$(dirname {PREFIX})"
ln -s "$OUT{PREFIX}" {PREFIX}
{PREFIX}/bin/python3 -I -m compileall -qq -j 0 -s "$OUT" -p / -x '/tests?/' --invalidation-mode unchecked-hash \\
  "$OUT{PREFIX}/lib" || echo "some do not compile"
"""

#: Fixed seeds, paths and options of every build.
_FLAGS = "-O2 -g0 -ffile-prefix-map=/build=. -frandom-seed=helioimages"
_ENV = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "PATH": f"{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "CFLAGS": _FLAGS,
    "CXXFLAGS": _FLAGS,
    "FFLAGS": _FLAGS,
    "LDFLAGS": "-Wl,--build-id=none -s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A wheel in the store: its name, sha256 (64 hexadecimal digits), size in bytes and file."""

    file_name: str
    sha256: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelBuildOrder:
    """What environment.yml says of a build; ``without`` are tools that the source asks for and that it spares."""

    spec: BuildSpec
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedTools:
    """The locked Python and tools, unpacked for the builder: their folder, and a key that names their content."""

    folder: Path
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelWorkshop:
    """Where and with what wheels are built.

    Attributes:
        store: has the source archives, and gets the wheels.
        platform: what it is for.
        epoch: SOURCE_DATE_EPOCH, seconds since 1970 UTC.
    """

    store: Store
    builder: Builder
    tools: UnpackedTools
    platform: Platform
    epoch: int


def build_all(workshop: WheelWorkshop, lock: PyPILock, environment: EnvironmentSpec, *, jobs: int) -> tuple[Wheel, ...]:
    """Build the wheels of every source archive of a lock.

    Args:
        lock: its ``sdists`` are in the store; where it names built wheels, they have to come out again.
        jobs: containers at once.

    Returns:
        The built wheels, sorted by name; their files are in the store.

    Raises:
        HelioError: a build failed, or a wheel is another one than the lock says.
    """
    expected = {wheel.name: wheel for wheel in lock.wheels if wheel.built}

    def build(sdist: Sdist) -> Wheel:
        order = WheelBuildOrder(
            spec=environment.build.get(sdist.name, BuildSpec()),
            without=tuple(sorted(environment.build_without.get(sdist.name, ()))),
        )
        with step(f"wheel of {sdist.name}"):
            built = build_wheel(workshop, sdist, order)
        wheel = Wheel(
            name=sdist.name,
            version=sdist.version,
            file_name=built.file_name,
            sha256=built.sha256,
            size=built.size,
            built=True,
        )
        if sdist.name in expected:
            where = f"environments/{environment.name}/{file_names.of(file_names.PYLOCK, lock.platform)}"
            _same(workshop.store, expected[sdist.name], wheel, where)
        return wheel

    workshop.builder.image()  # once, before the threads
    # What has begun ends in its container; what waits need not begin.
    with threads.pool(jobs, end=workshop.builder.abandon) as pool:
        pending = [pool.submit(build, sdist) for sdist in lock.sdists]
        return tuple(sorted((future.result() for future in pending), key=lambda wheel: wheel.name))


def build_wheel(workshop: WheelWorkshop, sdist: Sdist, order: WheelBuildOrder) -> BuiltWheel:
    """Build one wheel, or return it from the store.

    Args:
        sdist: its file is in the store.
        order: what environment.yml says of its build.

    Raises:
        HelioError: the build failed, or made a wheel of something else.
    """
    guest, store = of_file(GUEST), workshop.store
    key = key_of(
        [
            VERSION,
            sdist.file_name,
            sdist.sha256,
            _plain(order.spec),
            workshop.tools.key,
            workshop.builder.key,
            guest,
            _ENV,
            str(workshop.platform),
            workshop.epoch,
        ]
    )
    known = store.recall("wheel", key)
    if known and has(path := store.artefact(known["sha256"]), known["size"]):
        return BuiltWheel(**known, path=path)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=store.root / "tmp") as scratch:
        folder = Path(scratch)
        raw = _run(workshop, sdist, order, folder)
        wheel = repack.plan(raw, f"linux_{workshop.platform.machine}")
        _check_name(wheel.file_name, sdist)
        # Its name in the store is known only when it is written.
        with store.writing(lambda: store.artefact(sha256)) as file:
            repack.write(wheel, file)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            sha256 = hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    store.remember("wheel", key, {"file_name": wheel.file_name, "sha256": sha256, "size": size})
    return BuiltWheel(file_name=wheel.file_name, sha256=sha256, size=size, path=store.artefact(sha256))


def unpack_tools(
    store: Store,
    builder: Builder,
    tools: PyPILock,
    python: Iterable[tuple[CondaPackage, Path]],
    wheels: Mapping[str, Path],
    platform: Platform,
) -> UnpackedTools:
    """Return the folder with the locked Python and tools, unpacked and compiled if the store lacks it."""
    packages = sorted(python, key=lambda pair: pair[0].name)
    by_name = {package.name: package for package, _ in packages}
    version = ".".join(by_name["python"].version.split(".")[:2])
    key = key_of(["buildtools", 1, [package.sha256 for package, _ in packages], sorted(w.sha256 for w in tools.wheels)])
    folder = store.root / "toolchain" / f"tools-{key}"
    if not folder.exists():
        entries: list[Entry] = []
        prefix = conda_link.Prefix(path=PREFIX, python_version=version, platform=platform.subdir)
        for package, path in packages:
            entries += conda_link.link(path, package, prefix)
        for wheel in tools.wheels:
            entries += wheel_link.link(wheels[wheel.sha256], wheel, prefix=PREFIX, python_version=version)
        half = Path(tempfile.mkdtemp(prefix="buildtools-", dir=store.root / "tmp"))
        try:
            write_tree(half, merge(entries))
            half.chmod(0o755)
            builder.run(["sh", "-euc", _COMPILE], inputs={}, output=half)
            settle(half)
            half.rename(folder)
        except OSError:
            # Another run was faster; its folder is as good.
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return UnpackedTools(folder=folder / PREFIX.lstrip("/"), key=key)


def _run(workshop: WheelWorkshop, sdist: Sdist, order: WheelBuildOrder, folder: Path) -> Path:
    """Return the wheel as the backend made it."""
    (folder / "sdist").mkdir()
    # The archive keeps its name: some backends read it.
    archive, named = workshop.store.artefact(sdist.sha256), folder / "sdist" / sdist.file_name
    try:
        os.link(archive, named)
    except OSError:
        # Another user's file, or a file system without links.
        shutil.copyfile(archive, named)
    spec = order.spec
    written = {
        "file_name": sdist.file_name,
        "requires": list(spec.requires),
        "without": list(order.without),
        "after": spec.after,
    }
    (folder / "order.json").write_text(json.dumps(written))
    output = folder / "out"
    output.mkdir()
    say(f"    building {sdist.name} {sdist.version}")
    try:
        workshop.builder.run(
            ["sh", "-euc", _PYTHON],
            inputs={
                "sdist": folder / "sdist",
                "order.json": folder / "order.json",
                "guest.py": GUEST,
                "python": workshop.tools.folder,
            },
            output=output,
            env={**_ENV, "SOURCE_DATE_EPOCH": str(workshop.epoch), **spec.env},
        )
    except HelioError as error:
        raise HelioError(
            error.stage,
            f"cannot build a wheel of `{sdist.name}` {sdist.version}",
            where=f"its source {sdist.file_name}",
            detail=error.detail or error.message,
            hint="if it needs another tool, write all that it needs in environment.yml under "
            f"x-helioimages.build.{sdist.name}.requires and run `buildimages lock`; or constrain it to another version",
        ) from error
    made = sorted(output.glob("*.whl"))
    if len(made) != 1:
        raise HelioError(
            Stage.BUILD,
            f"the build of `{sdist.name}` made {count(len(made), 'wheel')}",
            where=f"its source {sdist.file_name}",
            detail=", ".join(path.name for path in made),
        )
    return made[0]


def _check_name(file_name: str, sdist: Sdist) -> None:
    name, version, _, _ = parse_wheel_filename(file_name)
    if (name, str(version)) != (sdist.name, sdist.version):
        raise HelioError(
            Stage.BUILD,
            f"the build of `{sdist.name}` made a wheel of something else",
            where=f"its source {sdist.file_name}",
            detail=f"expected {sdist.name} {sdist.version} not {file_name}",
        )


def _same(store: Store, expected: Wheel, made: Wheel, where: str) -> None:
    """Raise if a wheel is another one than the lock says; say where they differ if the locked one is here."""
    if (expected.sha256, expected.file_name) == (made.sha256, made.file_name):
        return
    before = store.artefact(expected.sha256)
    difference = repack.first_difference(before, store.artefact(made.sha256)) if before.exists() else ""
    raise HelioError(
        Stage.BUILD,
        f"the wheel of `{made.name}` came out with other bytes than the lock says",
        where=f"{where} at `{made.name}`, tool.helioimages.built-wheel",
        detail=f"expected sha256:{expected.sha256} ({expected.file_name}, {count(expected.size, 'byte')})\n"
        f"not sha256:{made.sha256} ({made.file_name}, {count(made.size, 'byte')})"
        + (f"\nfirst difference: {difference}" if difference else ""),
        hint=f"the builder or the build tools changed; run `buildimages lock --update {made.name}`",
    )


def _plain(spec: BuildSpec) -> dict[str, object]:
    # The reason is for people.
    return {key: value for key, value in asdict(spec).items() if key != "reason"}
