"""``images/<image>/image.toml``: one image, read strictly into frozen values.

Nothing is guessed: a key that is not understood is an error that names the file and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType

from ..core.reading import Table, load_toml
from . import shapes
from .hub import HubSpec, parse_hub

#: More layers than any engine takes are refused when they are counted; more buckets than this help nobody before.
_MOST_BUCKETS = 100
#: A tebibyte: what is larger is a slip of the finger.
_MOST_MIB = 1 << 20


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
        small_buckets: the number of layers that wheels of less than a MiB share instead; 0 for none.
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
    small_buckets: int = 0
    budget_bytes: int = 0
    heavy: bool = False
    smoke: SmokeSpec = SmokeSpec()
    hub: HubSpec = field(default_factory=HubSpec)


def parse_image(text: str, path: Path, file: str) -> ImageSpec:
    """Read one image.toml; see `ImageSpec` for its keys.

    Raises:
        HelioError: with the file and the key.
    """
    top = load_toml(text, file)
    debian, layers, budget = top.table("debian"), top.table("layers"), top.table("budget")
    smoke, config, making = top.table("smoke"), top.table("config"), top.table("build")
    user = top.table_or_none("user")
    spec = ImageSpec(
        name=top.text("name", shape=shapes.NAME),
        path=path,
        title=top.text("title", shape=shapes.LINE),
        description=top.text("description", shape=shapes.LINE),
        environment=top.text("environment", shape=shapes.NAME),
        parent=top.text("parent", "", shapes.NAME) or None,
        licenses=top.text("licenses", "", shapes.LINE),
        debian=debian.strings("packages", shape=shapes.DEBIAN),
        env=config.mapping("env", keys=shapes.VARIABLE, values=shapes.WORD),
        labels=config.mapping("labels", keys=shapes.LABEL, values=shapes.WORD),
        dirs=tuple(_dir(table) for table in top.tables("dirs")),
        user=_user(user) if user else None,
        workdir=config.text("workdir", "", shapes.ABSOLUTE),
        entrypoint=config.strings("entrypoint", shape=shapes.WORD),
        cmd=config.strings("cmd", shape=shapes.WORD),
        ports=config.strings("ports", shape=shapes.PORT),
        alone_bytes=layers.whole("alone-mib", 8, minimum=1, maximum=_MOST_MIB) << 20,
        buckets=layers.whole("buckets", 16, minimum=1, maximum=_MOST_BUCKETS),
        small_buckets=layers.whole("small-buckets", 0, minimum=0, maximum=_MOST_BUCKETS),
        budget_bytes=budget.whole("compressed-mib", 0, minimum=0, maximum=_MOST_MIB) << 20,
        heavy=making.flag("heavy", False),
        smoke=SmokeSpec(
            memory=smoke.text("memory", "4g", shapes.MEMORY),
            timeout=smoke.whole("timeout", 600, minimum=1, maximum=86_400),
            cpus=smoke.number("cpus", 2, above=0, maximum=1024),
        ),
        hub=parse_hub(top.table("hub")),
    )
    for table in (debian, layers, budget, smoke, config, making, top):
        table.done()
    return spec


def _dir(table: Table) -> DirSpec:
    folder = DirSpec(
        path=table.text("path", shape=shapes.BELOW).strip("/"),
        mode=int(table.text("mode", "0755", shapes.MODE), 8),
        uid=_id(table, "uid", 0),
        gid=_id(table, "gid", 0),
    )
    table.done()
    return folder


def _user(table: Table) -> UserSpec:
    user = UserSpec(
        name=table.text("name", shape=shapes.ACCOUNT),
        uid=_id(table, "uid"),
        gid=_id(table, "gid"),
        groups=table.strings("groups", shape=shapes.ACCOUNT),
        home=table.text("home", shape=shapes.ABSOLUTE),
        shell=table.text("shell", "/bin/bash", shapes.ABSOLUTE),
    )
    table.done()
    return user


def _id(table: Table, name: str, default: int | EllipsisType = ...) -> int:
    return table.whole(name, default, minimum=0, maximum=shapes.LARGEST_ID)
