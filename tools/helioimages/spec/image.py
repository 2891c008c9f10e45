"""``images/<image>/image.toml``: one image, read strictly into frozen values.

Nothing is guessed: a key that is not understood is an error that names the file and the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.reading import Table
from .hub import HubSpec, parse_hub
from .lineage import NAME


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
    if not NAME.fullmatch(spec.name):
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
