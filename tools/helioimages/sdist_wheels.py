"""Wheels of packages that PyPI has as source only: built in the builder, without network, the same bytes each time.

The locked interpreter and locked build tools go in, wheels come out, and each is written again in one fixed form:
members sorted and stored, times and modes fixed, RECORD last. The lock has its sha256; a rebuild must give it again.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .builder import Builder
from .conda import link as conda_link
from .conda.lock import CondaPackage
from .digest import key_of
from .entries import merge
from .errors import HelioError, Stage
from .linking import PREFIX
from .pypi.lock import PyPILock, Sdist, Wheel
from .spec import EnvironmentSpec
from .store import Store
from .toolchain import write_tree

_SCRIPT = Path(__file__).with_name("sdist_wheels_script.py")
#: Raised when the same inputs would give other wheels.
_FORMAT = 1


def build_all(
    store: Store,
    builder: Builder,
    lock: PyPILock,
    tools: PyPILock,
    environment: EnvironmentSpec,
    python: Sequence[tuple[CondaPackage, Path]],
    wheels: Mapping[str, Path],
    *,
    jobs: int,
    epoch: int,
) -> tuple[Wheel, ...]:
    """Return the wheel of every source archive of a lock, built if the store does not remember it.

    Args:
        tools: the locked build requirements, for all packages.
        environment: its ``x-helioimages.build`` has variables of single builds.
        python: the locked interpreter's conda packages and their files.
        wheels: sha256 (hex) -> file, of the build requirements.
        epoch: SOURCE_DATE_EPOCH, seconds since 1970 UTC.

    Raises:
        HelioError: a package does not build (its log's end is in the detail), or came out with other bytes than the
            lock records.
    """
    keys = {sdist.name: _key(sdist, builder, tools, environment, python, epoch) for sdist in lock.sdists}
    made: dict[str, Wheel] = {}
    for sdist in lock.sdists:
        known = store.recall("wheel", keys[sdist.name])
        if known and store.artefact(known["sha256"]).exists():
            made[sdist.name] = Wheel(**known)
    todo = [sdist for sdist in lock.sdists if sdist.name not in made]
    if todo:
        for sdist, path in _build(store, builder, todo, tools, environment, python, wheels, jobs, epoch):
            sha256 = store.put_artefact(path)
            size = path.stat().st_size
            version = path.name.split("-")[1]
            wheel = Wheel(
                name=sdist.name,
                version=version,
                file_name=path.name,
                sha256=sha256,
                size=size,
                uploaded=sdist.uploaded,
                built=True,
            )
            made[sdist.name] = wheel
            fields = ("name", "version", "file_name", "sha256", "size", "uploaded", "built")
            store.remember("wheel", keys[sdist.name], {name: getattr(wheel, name) for name in fields})
    recorded = {wheel.name: wheel for wheel in lock.wheels if wheel.built}
    for name, wheel in made.items():
        if name in recorded and recorded[name].sha256 != wheel.sha256:
            raise HelioError(
                Stage.BUILD,
                f"`{wheel.file_name}` was built with other bytes than the lock records",
                where=f"environments/{environment.name}/pylock.toml at packages `{name}`",
                detail=f"expected sha256:{recorded[name].sha256} not sha256:{wheel.sha256}",
                hint=f"the builder or the build tools changed; run `buildimages lock {environment.name}`",
            )
    return tuple(made[sdist.name] for sdist in lock.sdists)


def _key(
    sdist: Sdist,
    builder: Builder,
    tools: PyPILock,
    environment: EnvironmentSpec,
    python: Sequence[tuple[CondaPackage, Path]],
    epoch: int,
) -> str:
    spec = environment.build.get(sdist.name)
    return key_of(
        [
            _FORMAT,
            hashlib.sha256(_SCRIPT.read_bytes()).hexdigest(),
            sdist.sha256,
            builder.key,
            sorted(wheel.sha256 for wheel in tools.wheels),
            sorted(package.sha256 for package, _ in python),
            sorted(spec.env.items()) if spec else [],
            epoch,
        ]
    )


def _build(
    store: Store,
    builder: Builder,
    todo: Sequence[Sdist],
    tools: PyPILock,
    environment: EnvironmentSpec,
    python: Sequence[tuple[CondaPackage, Path]],
    wheels: Mapping[str, Path],
    jobs: int,
    epoch: int,
) -> list[tuple[Sdist, Path]]:
    work = Path(tempfile.mkdtemp(prefix="wheels-", dir=store.root / "tmp"))
    try:
        for name in ("tools", "sdists", "out", "fixed"):
            (work / name).mkdir()
        version = next(package.version for package, _ in python if package.name == "python")
        version = ".".join(version.split(".")[:2])
        entries = []
        for package, path in python:
            entries += conda_link.link(
                path, package, prefix=PREFIX, python_version=version, platform=package.platform or package.subdir
            )
        write_tree(work, merge(entries))
        for wheel in tools.wheels:
            shutil.copyfile(wheels[wheel.sha256], work / "tools" / wheel.file_name)
        plan = []
        for sdist in todo:
            shutil.copyfile(store.artefact(sdist.sha256), work / "sdists" / sdist.file_name)
            spec = environment.build.get(sdist.name)
            plan.append({"name": sdist.name, "file": sdist.file_name, "env": dict(spec.env) if spec else {}})
        (work / "plan.json").write_text(json.dumps({"packages": plan, "jobs": jobs}))
        log = builder.run(
            ["sh", "-c", f'mkdir -p /srv && cp -a "$IN/srv/conda" /srv/ && exec {PREFIX}/bin/python "$IN/script"'],
            inputs={
                "srv": work / "srv",
                "tools": work / "tools",
                "sdists": work / "sdists",
                "plan": work / "plan.json",
                "script": _SCRIPT,
            },
            output=work / "out",
            env={"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"},
        )
        report = json.loads((work / "out" / "report.json").read_text())
        failed = [name for name, row in report.items() if row["code"]]
        if failed:
            ends = [f"{name}:\n" + "\n".join(report[name]["log"].splitlines()[-12:]) for name in failed]
            raise HelioError(
                Stage.BUILD,
                f"source-only packages do not build: {', '.join(failed)}",
                where=f"environments/{environment.name}/environment.yml",
                detail="\n".join(ends) or log[-500:],
                hint="add what they need to channel/builder-packages.txt or x-helioimages.build, or leave them out",
            )
        made = []
        for sdist in todo:
            (source,) = (work / "out" / sdist.name).glob("*.whl")
            target = work / "fixed" / source.name
            normalise(source, target)
            kept = store.root / "tmp" / target.name
            shutil.move(target, kept)
            made.append((sdist, kept))
        return made
    finally:
        shutil.rmtree(work, ignore_errors=True)


def normalise(source: Path, target: Path) -> None:
    """Write a wheel again in one fixed form, so that its bytes depend on its files only.

    Members are stored, not deflated: the layer is compressed anyway, and zlib's bytes differ between versions.

    Spec: PyPA "Binary distribution format", section "The .dist-info directory" (RECORD).
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        members = {one.filename: one for one in old.infolist() if not one.is_dir()}
        record = next(name for name in members if name.endswith(".dist-info/RECORD"))
        rows = []
        for name in sorted(members.keys() - {record}):
            data = old.read(name)
            executable = bool(members[name].external_attr >> 16 & 0o111)
            new.writestr(_member(name, executable), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.append((name, f"sha256={digest}", str(len(data))))
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([*rows, (record, "", "")])
        new.writestr(_member(record, False), stream.getvalue())


def _member(name: str, executable: bool) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (0o100755 if executable else 0o100644) << 16
    return info
