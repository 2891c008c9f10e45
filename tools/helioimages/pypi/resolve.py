"""Choose the PyPI packages of an environment with uv, then the one file of each that the image installs.

This module runs a program: uv, from the tool's own environment, in an empty folder, so that only the user's own
configuration (which index, which certificates) reaches it. What the current lock has is preferred, so a run without a
reason to change changes nothing.

Spec: PEP 508 (requirements), PEP 751 (uv's answer), PEP 425 (wheel tags).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from .choose import best, supported_tags
from .lock import PyPILock, Sdist, Wheel
from .places import IndexPlaces, are_together, for_uv, read

#: Seconds that a resolution may take; a cold one with source-only packages takes minutes.
_TIMEOUT = 1500

#: sha256 -> size in bytes, of (sha256, address) pairs that uv did not tell the size of.
Sizes = Callable[[Sequence[tuple[str, str]]], Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of the resolver.

    Attributes:
        where: the file that asks, for messages.
        requirements: PEP 508.
        constraints: PEP 508 limits for packages that may or may not be needed.
        provided: distribution -> version, of what other packages of the image bring: taken as they are, never chosen.
        inherited: the parent environment's lock: its packages at its versions, and its files.
        from_source: distributions that are built from source though the index may have a wheel.
        python: e.g. ``3.13.5``.
        platform: what it is for.
        glibc: of the image, e.g. ``(2, 41)``.
        current: the lock that is there, whose versions are preferred.
        contested: distributions that `current` has one version of, though others have as much reason.
        upgrade: distributions whose current version is forgotten; ``all`` forgets every one.
        exclude_newer: files uploaded later do not exist. Needs a time zone.
        excluded: distributions that are left out, whoever asks for them.
        built: file name -> file, of wheels that were built of locked source archives: uv reads there what they need,
            and does not have to run the build of each to ask.
    """

    where: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    provided: Mapping[str, str] = field(default_factory=dict)
    inherited: PyPILock | None = None
    from_source: frozenset[str] = frozenset()
    python: str
    platform: Platform
    glibc: tuple[int, int]
    current: PyPILock | None = None
    contested: frozenset[str] = frozenset()
    upgrade: tuple[str, ...] = ()
    exclude_newer: datetime | None = None
    excluded: frozenset[str] = frozenset()
    built: Mapping[str, Path] = field(default_factory=dict)
    content_hash: str = ""


def resolve(request: Request, sizes: Sizes) -> PyPILock:
    """Return the lock that answers a request; the same files as now where nothing asks for others.

    Args:
        sizes: asks the index how large files are.

    Raises:
        HelioError: no solution (with uv's explanation), or one side of parent and child has to give way.
    """
    pins = _pins(request.inherited)
    answer = _uv(request, [*request.constraints, *_exact(request.provided), *pins])
    if answer.fault and pins:
        raise _conflict(request, answer.fault)
    if answer.fault:
        raise HelioError(
            Stage.LOCK,
            "no set of PyPI packages answers the `pip` list",
            where=request.where,
            detail=_shortened(answer.fault),
            hint=_hint(answer.fault),
        )
    return _locked(request, answer.packages, sizes)


def versions(request: Request) -> dict[str, str] | None:
    """Return distribution -> version of a solution, without choosing files; None if there is none."""
    answer = _uv(request, [*request.constraints, *_exact(request.provided), *_pins(request.inherited)])
    if answer.fault:
        return None
    pins = {canonicalize_name(row["name"]): row["version"] for row in answer.packages}
    return {name: version for name, version in pins.items() if name not in request.provided}


def askers(request: Request) -> dict[str, tuple[str, ...]] | None:
    """Return distribution -> those of a solution that require it, extras among their requirements; None without one.

    What only the `pip` list asks for has no askers.
    """
    answer = _uv(request, [*request.constraints, *_exact(request.provided), *_pins(request.inherited)], annotated=True)
    return None if answer.fault else dict(answer.askers)


def places() -> IndexPlaces:
    """Return where uv looks for packages, as its own and pip's variables and configuration files say.

    Raises:
        HelioError: uv does not tell, or a configuration file cannot be read.
    """
    # Without a Python of ours uv asks the one on PATH about itself, each time anew where that is pyenv's script.
    arguments = ["--python", sys.executable, "--no-header", "--emit-index-url", "--emit-find-links", "-"]
    result = _run(arguments, input_text="")
    indexes = read(result.stdout, _environment())
    if result.returncode or not (indexes.indexes or indexes.links):
        raise HelioError(
            Stage.HOST,
            "uv does not tell which package index it uses",
            detail=result.stderr.strip()[-400:],
            hint="set UV_DEFAULT_INDEX to the address of a package index",
        )
    return indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    packages: tuple[Mapping[str, Any], ...] = ()
    askers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fault: str = ""


def _uv(request: Request, constraints: Sequence[str], *, annotated: bool = False) -> _Answer:
    """Return uv's packages, or its explanation why there are none.

    Where the files of several indexes count together, uv asks the first one that has a preferred version, and passes
    the version over if that one has no file that fits, though another has. So there what is locked is asked for
    exactly, as far as that can be.

    Args:
        annotated: return who asks for each instead.
    """
    kept = _kept(request)
    if not (kept and are_together(_environment())):
        return _ask(request, constraints, kept, annotated=annotated)
    preferred = {name: kept.pop(name) for name in request.contested & kept.keys()}
    answer = _ask(request, [*constraints, *_exact(kept)], preferred, annotated=annotated)
    if not answer.fault:
        return answer
    staying: Mapping[str, str] = {}
    moved = _ask(request, constraints, kept | preferred)
    if not moved.fault:
        chosen: dict[str, str] = {canonicalize_name(row["name"]): row["version"] for row in moved.packages}
        staying = {name: version for name, version in kept.items() if chosen.get(name) in (None, version)}
    elif (free := _ask(request, constraints, {})).fault:
        return free
    staying = _with_more(request, constraints, staying, {name: kept[name] for name in sorted(kept.keys() - staying)})
    return _ask(request, [*constraints, *_exact(staying)], preferred, annotated=annotated)


def _with_more(
    request: Request, constraints: Sequence[str], staying: Mapping[str, str], rest: Mapping[str, str]
) -> Mapping[str, str]:
    """Return versions that can stay together: the first ones, which can, and of the rest as many as can beside them."""
    names = list(rest)
    if len(names) > 1:
        # Few have to move, so halves are tried whole.
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            more = {name: rest[name] for name in half}
            if _ask(request, [*constraints, *_exact({**staying, **more})], {}).fault:
                staying = _with_more(request, constraints, staying, more)
            else:
                staying = {**staying, **more}
    return staying


def _ask(
    request: Request, constraints: Sequence[str], preferred: Mapping[str, str], *, annotated: bool = False
) -> _Answer:
    """Run uv once.

    Args:
        preferred: distribution -> the version that is taken where nothing is against it.
    """
    output = "requirements.txt" if annotated else "pylock.toml"
    with tempfile.TemporaryDirectory(prefix="helioimages-uv-") as scratch:
        folder = Path(scratch)
        (folder / "requirements.in").write_text("".join(f"{line}\n" for line in request.requirements))
        (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
        # uv prefers what its output file has.
        (folder / output).write_text(_preferences(preferred, output))
        arguments = [
            *("--format", output, "--output-file", output, "--no-header", "--quiet"),
            *(("--annotation-style", "line") if annotated else ("--no-annotate",)),
            *("--python-version", request.python, "--constraints", "constraints.txt"),
            *("--python-platform", python_platform(request.platform, request.glibc)),
            # Source-only packages are asked what they need by this Python; the answer is for the image's.
            *("--python", sys.executable),
            "requirements.in",
        ]
        if request.built:
            (folder / "built").mkdir()
            for name, path in request.built.items():
                (folder / "built" / name).symlink_to(path)
            arguments += ["--find-links", "built"]
        if request.excluded:
            (folder / "excludes.txt").write_text("".join(f"{name}\n" for name in sorted(request.excluded)))
            arguments += ["--excludes", "excludes.txt"]
        if request.exclude_newer is not None:
            arguments += ["--exclude-newer", request.exclude_newer.isoformat()]
        result = _run(arguments, cwd=folder)
        if result.returncode:
            return _Answer(fault=result.stderr.strip() or f"uv ended with exit status {result.returncode}")
        text = (folder / output).read_text("utf-8")
        if annotated:
            return _Answer(askers=_told_askers(text))
        document = tomllib.loads(text)
    return _Answer(packages=tuple(document.get("packages", ())))


def _told_askers(text: str) -> dict[str, tuple[str, ...]]:
    """Return distribution -> who requires it, of lines such as ``numpy==2.5.5  # via pandas, -r requirements.in``."""
    askers_by_name: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        pin, _, via = line.partition("# via ")
        names = [word.strip() for word in via.split(",")]
        askers_by_name[canonicalize_name(pin.partition("==")[0].strip())] = tuple(
            canonicalize_name(name) for name in names if name and not name.startswith("-")
        )
    return askers_by_name


def _kept(request: Request) -> dict[str, str]:
    """Return distribution -> locked version, of what is to stay as it is where it can."""
    if "all" in request.upgrade:
        return {}
    forgotten = {canonicalize_name(name) for name in request.upgrade}
    locks = (request.current, request.inherited)
    return {
        item.name: item.version for lock in locks for item in (lock.files if lock else ()) if item.name not in forgotten
    }


def _preferences(versions: Mapping[str, str], output: str) -> str:
    """Return a lock of names and versions only: all that uv reads of a preference."""
    kept = sorted(versions.items())
    if output == "requirements.txt":
        return "".join(f"{name}=={version}\n" for name, version in kept)
    rows = [f'  {{ name = "{name}", version = "{version}" }},\n' for name, version in kept]
    return f'lock-version = "1.0"\ncreated-by = "helioimages"\npackages = [\n{"".join(rows)}]\n'


def _pins(lock: PyPILock | None) -> list[str]:
    return _exact({item.name: item.version for item in lock.files}) if lock else []


def _exact(versions: Mapping[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def _hint(fault: str) -> str:
    """Return what to do where uv finds no solution."""
    if "wheel variants" in fault:
        return (
            "wheel variants (PEP 825) are for one machine's GPU or processor, and images are for many: constrain the "
            "package to a version that has plain wheels, or take it from conda"
        )
    if "UnknownIssuer" in fault or "invalid peer certificate" in fault:
        return "the index's certificate is of an authority not believed here: SSL_CERT_FILE names those that are"
    return "loosen a requirement or a constraint; uv's explanation above names those that clash"


def _conflict(request: Request, fault: str) -> HelioError:
    """Return an error that names both sides: what the parent has, and what the child would have without it."""
    parent = request.inherited
    assert parent is not None
    free = _uv(replace(request, inherited=None, current=None), [*request.constraints, *_exact(request.provided)])
    if free.fault:
        return HelioError(
            Stage.LOCK,
            "no set of PyPI packages answers the `pip` list, whatever the parent environment has",
            where=request.where,
            detail=_shortened(free.fault),
            hint=_hint(free.fault),
        )
    wants: dict[str, str] = {canonicalize_name(row["name"]): row["version"] for row in free.packages}
    sides = [
        f"`{item.name}`: the parent has {item.version}, without it this environment would have {wants[item.name]}"
        for item in parent.files
        if wants.get(item.name, item.version) != item.version and f"{item.name}==" in fault.replace(" ", "")
    ]
    return HelioError(
        Stage.LOCK,
        "the environment contradicts its parent",
        where=request.where,
        detail="\n".join([*sides, _shortened(fault)]),
        hint="a child has its parent's versions: add a constraint to the parent, or leave the package out of the child",
    )


def _locked(request: Request, rows: Iterable[Mapping[str, Any]], sizes: Sizes) -> PyPILock:
    """Return the lock of uv's packages: for each the one file that is installed, with its size."""
    tags = supported_tags(request.python, request.platform, request.glibc)
    known = _known(request)
    wheels: list[Wheel] = []
    sdists: list[Sdist] = []
    addresses: list[tuple[str, str]] = []
    for row in rows:
        name, version = canonicalize_name(row["name"]), row["version"]
        if name in request.provided:
            continue
        if (name, version) in known:
            for item in known[name, version]:
                if isinstance(item, Sdist):
                    sdists.append(item)
                else:
                    wheels.append(item)
            continue
        files = {_file_name(file): file for file in row.get("wheels", ())}
        chosen = None if name in request.from_source else best(files, tags)
        if chosen is not None:
            fields = _fields(name, version, chosen, files[chosen], request.where)
            wheels.append(Wheel(**fields))
            file = files[chosen]
        elif file := row.get("sdist"):
            fields = _fields(name, version, _file_name(file), file, request.where)
            sdists.append(Sdist(**fields))
        else:
            raise HelioError(
                Stage.LOCK,
                f"`{name}` {version} has no file that {request.platform} can install",
                where=request.where,
                detail="\n".join(["expected a wheel for this Python or a source archive, not", *sorted(files)]),
                hint="constrain it to a version that has one",
            )
        if not fields["size"]:
            addresses.append((fields["sha256"], file["url"]))
    told = sizes(addresses) if addresses else {}
    wheels = [replace(wheel, size=wheel.size or told[wheel.sha256]) for wheel in wheels]
    sdists = [replace(sdist, size=sdist.size or told[sdist.sha256]) for sdist in sdists]
    return PyPILock(
        python=".".join(request.python.split(".")[:2]),
        platform=request.platform,
        content_hash=request.content_hash,
        wheels=tuple(sorted(wheels, key=lambda item: item.name)),
        sdists=tuple(sorted(sdists, key=lambda item: item.name)),
    )


def _known(request: Request) -> dict[tuple[str, str], list[Wheel | Sdist]]:
    """Return (name, version) -> the files that the parent's lock, else the current one, has of it.

    A version's file stays the same when another wheel of it is uploaded later, and a wheel that was built is kept as
    long as its source is locked. What was asked to be upgraded is chosen anew.
    """
    forgotten = {canonicalize_name(name) for name in request.upgrade}
    known: dict[tuple[str, str], list[Wheel | Sdist]] = {}
    for lock in (request.current, request.inherited):
        # A lock for another platform has other files of the same versions.
        if lock is None or lock.platform != request.platform or not request.python.startswith(lock.python + "."):
            continue
        of_lock: dict[tuple[str, str], list[Wheel | Sdist]] = {}
        for item in lock.files:
            if lock is not request.inherited and (item.name in forgotten or "all" in request.upgrade):
                continue
            # What is built from source from now on has a wheel of the index in the current lock.
            if isinstance(item, Sdist) or item.built or item.name not in request.from_source:
                of_lock.setdefault((item.name, item.version), []).append(item)
        known |= of_lock
    return known


def _fields(name: str, version: str, file_name: str, file: Mapping[str, Any], where: str) -> dict[str, Any]:
    sha256 = file.get("hashes", {}).get("sha256")
    if not sha256:
        raise HelioError(
            Stage.LOCK,
            f"the package index gives no sha256 for `{file_name}`",
            where=where,
            hint="a lock needs it; use an index that tells",
        )
    uploaded = file.get("upload-time")
    return {
        "name": name,
        "version": version,
        "file_name": file_name,
        "sha256": sha256,
        "size": file.get("size", 0),
        "uploaded": int(uploaded.timestamp()) if uploaded else 0,
    }


def _file_name(file: Mapping[str, Any]) -> str:
    return file.get("name") or unquote(urlsplit(file["url"]).path.rpartition("/")[2])


def python_platform(platform: Platform, glibc: tuple[int, int]) -> str:
    """Return uv's name of a platform: of those it knows, the newest manylinux that the glibc allows.

    Raises:
        HelioError: uv knows none.
    """
    processor = platform.machine
    known = [int(minor) for minor in re.findall(rf"\b{processor}-manylinux_2_(\d+)\b", _platforms())]
    fitting = [minor for minor in known if minor <= glibc[1]]
    if not fitting:
        raise HelioError(
            Stage.LOCK,
            f"uv knows no manylinux platform for {platform} with glibc {glibc[0]}.{glibc[1]}",
            detail=f"expected a minor version of {', '.join(map(str, known)) or 'none'} or more",
            hint="check virtual-packages.__glibc in environment.yml",
        )
    return f"{processor}-manylinux_2_{max(fitting)}"


@cache
def _platforms() -> str:
    return _run(["--help"]).stdout


def _run(
    arguments: Sequence[str], *, cwd: Path | None = None, input_text: str | None = None
) -> subprocess.CompletedProcess[str]:
    import uv  # found late: only locking needs the program

    try:
        return subprocess.run(
            [uv.find_uv_bin(), "pip", "compile", *arguments],
            cwd=cwd or tempfile.gettempdir(),
            input=input_text,
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise HelioError(
            Stage.LOCK,
            f"uv found no answer within {_TIMEOUT} s",
            hint="check the network; a second run goes on from what was downloaded",
        ) from error


def _environment() -> dict[str, str]:
    # Variables of an environment that happens to be active say nothing of the image.
    dropped = {"CONDA_PREFIX", "UV_PYTHON", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_PRERELEASE"}
    environment = for_uv({key: value for key, value in os.environ.items() if key not in dropped})
    # But for pip's configuration, which may lie in one.
    environment.pop("VIRTUAL_ENV", None)
    return environment | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}


def _shortened(text: str, lines: int = 40) -> str:
    kept = text.splitlines()
    return "\n".join(kept[:lines] + (["…"] if len(kept) > lines else []))


def requested_names(requirements: Iterable[str]) -> Collection[str]:
    """Return the normalised names of PEP 508 requirements."""
    return {canonicalize_name(Requirement(text).name) for text in requirements}
