"""What people write: environment.yml and image.toml, read strictly into frozen values.

``environments/<env>/environment.yml`` is a conda environment file (name, channels, dependencies with one ``pip``
list) plus one key of ours, ``x-helioimages``. ``images/<image>/image.toml`` describes an image. Nothing is guessed: a
key that is not understood is an error that names the file and the key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from .errors import HelioError, Stage
from .hubspec import HubSpec, parse_hub
from .reading import Table, load_yaml

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """How a package that PyPI has as source only becomes a wheel.

    Attributes:
        requires: exact build requirements (PEP 508).
        env: environment variables of the build.
        after: shell command run in the unpacked wheel before it is packed again, e.g. to compile what the package
            would else compile at its first import, into a folder that is read-only in the image.
        reason: why it is built here, for the environment's README.
    """

    requires: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    after: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """One ``environment.yml``.

    Attributes:
        conda: match specs of the conda section, in order.
        pypi: PEP 508 requirements of the ``pip`` list, in order.
        parent: the environment whose packages this one contains at the same versions.
        constraints: PEP 508 version limits for PyPI packages that may or may not be needed.
        prefer: distribution name -> ``conda`` or ``pypi``, where both bring the package.
        allow_downgrade: distributions that a relock may lower.
        virtual_packages: e.g. ``{"__glibc": "2.41"}``; conda's words for what the machine brings.
        clobber: path in the prefix -> package whose file wins.
        build: source-only packages.
    """

    name: str
    path: Path
    channels: tuple[str, ...]
    conda: tuple[str, ...]
    pypi: tuple[str, ...]
    parent: str | None = None
    constraints: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(default_factory=dict)
    allow_downgrade: tuple[str, ...] = ()
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    clobber: Mapping[str, str] = field(default_factory=dict)
    build: Mapping[str, BuildSpec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirSpec:
    """A directory that the image brings, e.g. a home with its owner."""

    path: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSpec:
    """The account that runs the image. ``groups`` are supplementary group names that Debian knows."""

    name: str
    uid: int
    gid: int
    groups: tuple[str, ...]
    home: str
    shell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeSpec:
    """Limits of a smoke run: ``memory`` as Docker writes it (``6g``), ``timeout`` in seconds a notebook, ``cpus``."""

    memory: str = "4g"
    timeout: int = 600
    cpus: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One ``images/<name>/image.toml``.

    Attributes:
        parent: the image this one is built on, None for one that starts from the Debian root file system.
        environment: the folder under ``environments/``.
        debian: Debian packages asked for beyond the parent's.
        env: variables of the image config, added to the parent's.
        alone_bytes: a package with an artefact of at least this size has a layer of its own.
        buckets: the number of layers that the smaller wheels share.
        budget_bytes: the most that the image's layers may be, compressed, parents included.
        heavy: verbs that make images leave it out unless it is named.
        hub: how hubs offer the image.
    """

    name: str
    path: Path
    title: str
    description: str
    environment: str
    parent: str | None = None
    licenses: str = ""
    debian: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    dirs: tuple[DirSpec, ...] = ()
    user: UserSpec | None = None
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    alone_bytes: int = 8 << 20
    buckets: int = 16
    budget_bytes: int = 0
    heavy: bool = False
    smoke: SmokeSpec = SmokeSpec()
    hub: HubSpec = field(default_factory=HubSpec)


def parse_environment(text: str, path: Path, file: str) -> EnvironmentSpec:
    """Read one environment.yml.

    Args:
        text: the file's content.
        path: where it is, kept in the value.
        file: how errors call it, relative to the checkout.

    Raises:
        HelioError: with the file and the key.
    """
    top = Table(load_yaml(text, file), file)
    name = top.take("name", str)
    if not _NAME.fullmatch(name):
        raise top.error("name", f"expected lower-case letters, digits and dashes (at most 63), not {name!r}")
    channels = top.strings("channels")
    conda: list[str] = []
    pypi: tuple[str, ...] | None = None
    for index, item in enumerate(top.take("dependencies", list)):
        key = f"dependencies[{index}]"
        if isinstance(item, str):
            conda.append(item)
        elif isinstance(item, dict) and pypi is None:
            table = Table(item, file, key)
            pypi = table.strings("pip", ...)
            table.done()
            for at, text_of in enumerate(pypi):
                _requirement(text_of, top, f"{key}.pip[{at}]")
        else:
            raise top.error(key, f"expected a conda match spec or one `pip` list, not {item!r}")
    ours = top.table("x-helioimages")
    top.done()
    constraints = ours.strings("constraints")
    for at, text_of in enumerate(constraints):
        _requirement(text_of, ours, f"constraints[{at}]")
    prefer = ours.mapping("prefer")
    for key, value in prefer.items():
        if value not in ("conda", "pypi"):
            raise ours.error(f"prefer.{key}", f"expected `conda` or `pypi`, not {value!r}")
    builds = ours.table("build")
    build: dict[str, BuildSpec] = {}
    for key in builds.names():
        table = builds.table(key)
        build[key] = BuildSpec(
            requires=table.strings("requires"),
            env=table.mapping("env"),
            after=table.take("after", str, ""),
            reason=table.take("reason", str, ""),
        )
        for at, text_of in enumerate(build[key].requires):
            _requirement(text_of, table, f"requires[{at}]")
        table.done()
    spec = EnvironmentSpec(
        name=name,
        path=path,
        channels=channels,
        conda=tuple(conda),
        pypi=pypi or (),
        parent=ours.take("parent", str, None),
        constraints=constraints,
        prefer=prefer,
        allow_downgrade=ours.strings("allow-downgrade"),
        virtual_packages=ours.mapping("virtual-packages"),
        clobber=ours.mapping("clobber"),
        build=build,
    )
    ours.done()
    return spec


def parse_image(text: str, path: Path, file: str) -> ImageSpec:
    """Read one image.toml; see `ImageSpec` for its keys.

    Raises:
        HelioError: with the file and the key.
    """
    try:
        top = Table(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        raise HelioError(Stage.SPEC, f"cannot read `{file}`", where=file, detail=str(error)) from error
    debian, layers, budget = top.table("debian"), top.table("layers"), top.table("budget")
    smoke, config, making = top.table("smoke"), top.table("config"), top.table("build")
    user = top.table("user") if "user" in top.names() else None
    dirs = []
    for index, value in enumerate(top.take("dirs", list, [])):
        table = Table(value, file, f"dirs[{index}]")
        dirs.append(
            DirSpec(
                path=table.take("path", str).strip("/"),
                mode=int(table.take("mode", str, "0755"), 8),
                uid=table.take("uid", int, 0),
                gid=table.take("gid", int, 0),
            )
        )
        table.done()
    spec = ImageSpec(
        name=top.take("name", str),
        path=path,
        title=top.take("title", str),
        description=top.take("description", str),
        environment=top.take("environment", str),
        parent=top.take("parent", str, None),
        licenses=top.take("licenses", str, ""),
        debian=debian.strings("packages"),
        env=config.mapping("env"),
        labels=config.mapping("labels"),
        dirs=tuple(dirs),
        user=_user(user) if user else None,
        workdir=config.take("workdir", str, ""),
        entrypoint=config.strings("entrypoint"),
        cmd=config.strings("cmd"),
        ports=config.strings("ports"),
        alone_bytes=layers.take("alone-mib", int, 8) << 20,
        buckets=layers.take("buckets", int, 16),
        budget_bytes=budget.take("compressed-mib", int, 0) << 20,
        heavy=making.take("heavy", bool, False),
        smoke=SmokeSpec(
            memory=smoke.take("memory", str, "4g"),
            timeout=smoke.take("timeout", int, 600),
            cpus=float(smoke.take("cpus", int, 2)),
        ),
        hub=parse_hub(top.table("hub")),
    )
    if not _NAME.fullmatch(spec.name):
        raise top.error("name", f"expected lower-case letters, digits and dashes (at most 63), not {spec.name!r}")
    for table in (debian, layers, budget, smoke, config, making, top):
        table.done()
    return spec


def _user(table: Table) -> UserSpec:
    user = UserSpec(
        name=table.take("name", str),
        uid=table.take("uid", int),
        gid=table.take("gid", int),
        groups=table.strings("groups"),
        home=table.take("home", str),
        shell=table.take("shell", str, "/bin/bash"),
    )
    table.done()
    return user


def _requirement(text: str, table: Table, key: str) -> None:
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        raise table.error(key, f"{text!r} is not a PEP 508 requirement: {error}") from error
    if parsed.url:
        raise table.error(
            key, f"{text!r} is a direct reference", hint="only packages of the configured index can be locked"
        )


def load_environments(root: Path) -> dict[str, EnvironmentSpec]:
    """Read every ``environments/*/environment.yml``, parents before children.

    What a parent says of the machine (``virtual-packages``), its children say too, unless they say otherwise.

    Raises:
        HelioError: a file is wrong, its name differs from its folder's, or a parent is missing or in a circle.
    """
    specs = {}
    for path in sorted((root / "environments").glob("*/environment.yml")):
        file = path.relative_to(root).as_posix()
        spec = parse_environment(path.read_text("utf-8"), path, file)
        _same_name(spec.name, path, file)
        specs[spec.name] = spec
    ordered = _parents_first(specs, "environment.yml", "x-helioimages.parent", "environments")
    for name, one in ordered.items():
        if one.parent is not None:
            inherited = ordered[one.parent].virtual_packages
            ordered[name] = replace(one, virtual_packages={**inherited, **one.virtual_packages})
    return ordered


def load_images(root: Path) -> dict[str, ImageSpec]:
    """Read every ``images/*/image.toml``, parents before children; errors as in `load_environments`."""
    specs = {}
    for path in sorted((root / "images").glob("*/image.toml")):
        file = path.relative_to(root).as_posix()
        spec = parse_image(path.read_text("utf-8"), path, file)
        _same_name(spec.name, path, file)
        specs[spec.name] = spec
    return _parents_first(specs, "image.toml", "parent", "images")


def lineage(specs: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return a spec and its ancestors, the oldest first."""
    line = []
    at: str | None = name
    while at is not None:
        line.append(specs[at])
        at = specs[at].parent
    return tuple(reversed(line))


def _same_name(name: str, path: Path, file: str) -> None:
    if name != path.parent.name:
        raise HelioError(
            Stage.SPEC,
            f"`{file}` has the name of another folder",
            where=f"{file} at name",
            detail=f"expected {path.parent.name!r} not {name!r}",
        )


def _parents_first(specs: dict[str, Any], file: str, key: str, folder: str) -> dict[str, Any]:
    ordered: dict[str, Any] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered:
            return
        where = f"{folder}/{path[-1] if path else name}/{file} at {key}"
        if name in path:
            raise HelioError(
                Stage.SPEC, f"`{name}` is its own ancestor", where=where, detail=" -> ".join((*path, name))
            )
        if name not in specs:
            raise HelioError(
                Stage.SPEC, f"there is no `{name}`", where=where, detail=f"expected one of: {', '.join(specs)}"
            )
        if specs[name].parent is not None:
            visit(specs[name].parent, (*path, name))
        ordered[name] = specs[name]

    for name in specs:
        visit(name, ())
    return ordered
