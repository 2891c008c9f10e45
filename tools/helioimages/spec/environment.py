"""``environments/<env>/environment.yml``: what people ask for, read strictly into frozen values.

It is a conda environment file (name, channels, dependencies with one ``pip`` list) plus one key of ours,
``x-helioimages``. Nothing is guessed: a key that is not understood is an error that names the file and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ..core.reading import Table, load_yaml
from . import shapes


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


def parse_environment(text: str, path: Path, file: str) -> EnvironmentSpec:
    """Read one environment.yml.

    Args:
        text: the file's content.
        path: where it is, kept in the value.
        file: how errors call it, relative to the checkout.

    Raises:
        HelioError: with the file and the key.
    """
    top = load_yaml(text, file)
    name = top.text("name", shape=shapes.NAME)
    channels = top.strings("channels", shape=shapes.CHANNEL)
    conda: list[str] = []
    pypi: tuple[str, ...] | None = None
    for index, item in enumerate(top.take("dependencies", list)):
        key = f"dependencies[{index}]"
        if isinstance(item, str):
            conda.append(item)
        elif isinstance(item, dict) and pypi is None:
            table = Table(item, file, key)
            pypi = table.strings("pip", required=True)
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
    prefer = ours.mapping("prefer", keys=shapes.DISTRIBUTION)
    for key, value in prefer.items():
        if value not in ("conda", "pypi"):
            raise ours.error(f"prefer.{key}", f"expected `conda` or `pypi`, not {value!r}")
    builds = ours.table("build")
    build: dict[str, BuildSpec] = {}
    for key in builds.names():
        table = builds.table(key)
        if not shapes.DISTRIBUTION.fits(key):
            raise table.error("", f"expected {shapes.DISTRIBUTION.meaning} as a key, not {key!r}")
        build[key] = BuildSpec(
            requires=table.strings("requires"),
            env=table.mapping("env", keys=shapes.VARIABLE, values=shapes.WORD),
            after=table.text("after", "", shapes.WORD),
            reason=table.text("reason", "", shapes.LINE),
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
        parent=ours.text("parent", "", shapes.NAME) or None,
        constraints=constraints,
        prefer=prefer,
        allow_downgrade=ours.strings("allow-downgrade", shape=shapes.PACKAGE),
        virtual_packages=ours.mapping("virtual-packages", keys=shapes.VIRTUAL, values=shapes.VERSION),
        clobber=ours.mapping("clobber", keys=shapes.RELATIVE, values=shapes.CLOBBER),
        build=build,
    )
    ours.done()
    return spec


def _requirement(text: str, table: Table, key: str) -> None:
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        raise table.error(key, f"{text!r} is not a PEP 508 requirement: {error}") from error
    if parsed.url:
        raise table.error(
            key, f"{text!r} is a direct reference", hint="only packages of the configured index can be locked"
        )
