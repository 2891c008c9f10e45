"""``environments/<env>/environment.yml``: what people ask for, read strictly into frozen values.

It is a conda environment file (name, channels, dependencies with one ``pip`` list) plus one key of ours,
``x-helioimages``. Nothing is guessed: a key that is not understood is an error that names the file and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.platform import SUBDIRS, Subdir
from ..core.reading import SHA256, Table, load_yaml
from . import pip_lines, selectors, shapes

#: Who wins a path in ``clobber`` where no file is to be there.
NOTHING = "nothing"


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
class PatchSpec:
    """A reviewed change of ours to a package's files.

    Attributes:
        package: the distribution, as PEP 503 normalises it.
        version: the one that the diff was made against; another one is refused.
        file: a unified diff beside environment.yml; its paths begin in ``site-packages``.
        reason: what does not work without it.
        upstream: address of the issue, change or release that makes it superfluous.
    """

    package: str
    version: str
    file: str
    reason: str
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkScript:
    """A script of a conda package that an installer would run, read by people.

    Attributes:
        package: the conda package.
        sha256: of the script, 64 hexadecimal digits; another one is refused.
        reason: what it does and why it may run; or why it need not, or where in the image's own files its effects are.
        run: it is run in the builder, and what it writes are files of the package's layer; else it is only a file.
    """

    package: str
    sha256: str
    reason: str
    run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """One ``environment.yml``.

    Attributes:
        channels: names or URLs, in order of priority.
        conda: match specs of the conda section, in order.
        pypi: PEP 508 requirements of the ``pip`` list, in order.
        channel_priority: ``strict`` (a package comes from the first channel that has its name) or ``disabled``.
        parent: the environment whose packages this one contains at the same versions.
        constraints: PEP 508 version limits for PyPI packages that may or may not be needed.
        prefer: distribution name -> ``conda`` or ``pypi``, where both bring the package.
        names: conda package -> the distribution that it is on PyPI, or ``none``.
        allow_downgrade: distributions that a relock may lower.
        virtual_packages: e.g. ``{"__glibc": "2.41"}``; conda's words for what the machine brings.
        clobber: path in the prefix, or pattern -> ``winner over loser, loser``: packages; where `NOTHING` wins, there
            is no file.
        build: source-only packages.
        without: distribution that packages ask for and the image leaves out -> why nothing is lost.
        build_without: source-only package -> distributions that its source asks for and its build does not need.
        link_scripts: scripts of conda packages that people read.
        patches: changes of ours to wheels, in the order in which they are made.
        selected: conda's platform -> conda and pypi of it, where lines have selectors (``# [aarch64]``).
    """

    name: str
    path: Path
    channels: tuple[str, ...]
    conda: tuple[str, ...]
    pypi: tuple[str, ...]
    channel_priority: str = "strict"
    parent: str | None = None
    constraints: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    allow_downgrade: tuple[str, ...] = ()
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    clobber: Mapping[str, str] = field(default_factory=dict)
    build: Mapping[str, BuildSpec] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)
    build_without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    link_scripts: tuple[LinkScript, ...] = ()
    patches: tuple[PatchSpec, ...] = ()
    selected: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Of ``clobber`` what is in no package's place: path in the prefix, or pattern -> the packages that have it."""
        start = f"{NOTHING} over "
        return {path: text.removeprefix(start) for path, text in self.clobber.items() if text.startswith(start)}

    def for_platform(self, subdir: Subdir) -> EnvironmentSpec:
        """Return what is asked for on a platform, e.g. ``linux-aarch64``."""
        if subdir not in self.selected:
            return self
        conda, pypi = self.selected[subdir]
        return replace(self, conda=conda, pypi=pypi, selected={})


def parse_environment(text: str, path: Path, file: str, read: pip_lines.Read = lambda name: None) -> EnvironmentSpec:
    """Read one environment.yml.

    Args:
        text: the file's content.
        path: where it is, kept in the value.
        file: how errors call it, relative to the checkout.
        read: gives files beside it that the ``pip`` list names (``-r requirements.txt``), None if there is none.

    Raises:
        HelioError: with the file and the key.

    Spec: CEP 24; conda-lock's selectors.
    """
    texts = {subdir: selectors.select(text, subdir, file) for subdir in SUBDIRS}
    first = _parse(texts[SUBDIRS[0]], path, file, read)
    if len(set(texts.values())) == 1:
        return first
    parsed = {subdir: _parse(source, path, file, read) for subdir, source in texts.items()}
    if all((environment.conda, environment.pypi) == (first.conda, first.pypi) for environment in parsed.values()):
        return first
    return replace(
        first, selected={subdir: (environment.conda, environment.pypi) for subdir, environment in parsed.items()}
    )


def _parse(text: str, path: Path, file: str, read: pip_lines.Read) -> EnvironmentSpec:
    top = load_yaml(text, file)
    # `conda env export` of an environment that was given by its folder has no name; without values are keys of people.
    top.forget_empty("name", "channels", "dependencies", "prefix", "platforms", "variables")
    folder = path.parent.name
    name = top.text("name", folder if shapes.NAME.fits(folder) else ..., shape=shapes.NAME)
    channels = top.strings("channels", shape=shapes.CHANNEL)
    _exported(top)
    conda: list[str] = []
    pypi: tuple[str, ...] | None = None
    limits: tuple[str, ...] = ()
    for index, item in enumerate(top.take("dependencies", list, [])):
        key = f"dependencies[{index}]"
        if isinstance(item, str) and item.strip():
            conda.append(item)
        elif isinstance(item, dict) and item.keys() == {"pip"} and pypi is None:
            table = Table(item, file, key)
            table.forget_empty("pip")
            pypi = table.strings("pip")
            table.done()
            lines = pip_lines.lines_of(pypi, table, read)
            pypi, limits = lines.requirements, lines.constraints
        else:
            raise top.error(key, f"expected a conda match spec or one `pip` list, not {item!r}")
    ours = top.table("x-helioimages")
    top.done()
    constraints = ours.strings("constraints")
    for at, text_of in enumerate(constraints):
        pip_lines.check(text_of, ours, f"constraints[{at}]")
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
            pip_lines.check(text_of, table, f"requires[{at}]")
        table.done()
    spared = ours.table("build-without")
    build_without: dict[str, tuple[str, ...]] = {
        canonicalize_name(key): tuple(map(canonicalize_name, spared.strings(key, shape=shapes.DISTRIBUTION)))
        for key in spared.names()
    }
    spared.done()
    spec = EnvironmentSpec(
        name=name,
        path=path,
        channels=channels,
        conda=tuple(conda),
        pypi=pypi or (),
        channel_priority=_priority(ours),
        parent=ours.text("parent", "", shapes.NAME) or None,
        constraints=(*constraints, *limits),
        prefer=prefer,
        names=ours.mapping("names", keys=shapes.PACKAGE, values=shapes.DISTRIBUTION),
        allow_downgrade=ours.strings("allow-downgrade", shape=shapes.PACKAGE),
        virtual_packages=ours.mapping("virtual-packages", keys=shapes.VIRTUAL, values=shapes.VERSION),
        clobber=ours.mapping("clobber", keys=shapes.RELATIVE, values=shapes.CLOBBER),
        build=build,
        without=_without(ours, pypi or ()),
        build_without=build_without,
        link_scripts=tuple(_link_script(table) for table in ours.tables("link-scripts")),
        patches=tuple(_patch(table) for table in ours.tables("patches")),
    )
    ours.done()
    return spec


def _priority(ours: Table) -> str:
    priority = ours.text("channel-priority", "strict", shapes.WORD)
    if priority not in ("strict", "disabled"):
        raise ours.error(
            "channel-priority",
            f"expected `strict` or `disabled`, not {priority!r}"
            + (", which the solver does not know" if priority == "flexible" else ""),
            hint="`disabled` takes the newest version of any channel; `CHANNEL::NAME` among the dependencies takes one "
            "package from a later channel and leaves the others strict",
        )
    return priority


def _without(ours: Table, pypi: tuple[str, ...]) -> dict[str, str]:
    """Return what is left out, and why; what the same file asks for cannot be."""
    reasons = ours.mapping("without", keys=shapes.DISTRIBUTION, values=shapes.LINE)
    asked = {canonicalize_name(Requirement(text).name) for text in pypi}
    for name in reasons:
        if canonicalize_name(name) in asked:
            raise ours.error(
                f"without.{name}", "the `pip` list of the same file asks for it", hint="remove one of them"
            )
    return {canonicalize_name(name): reason for name, reason in reasons.items()}


def _link_script(table: Table) -> LinkScript:
    script = LinkScript(
        package=table.text("package", shape=shapes.PACKAGE),
        sha256=table.text("sha256", shape=SHA256),
        reason=table.text("reason", shape=shapes.LINE),
        run=table.flag("run", False),
    )
    table.done()
    return script


def _patch(table: Table) -> PatchSpec:
    patch = PatchSpec(
        package=canonicalize_name(table.text("package", shape=shapes.DISTRIBUTION)),
        version=table.text("version", shape=shapes.VERSION),
        file=table.text("file", shape=shapes.RELATIVE),
        reason=table.text("reason", shape=shapes.LINE),
        upstream=table.text("upstream", shape=shapes.ADDRESS),
    )
    table.done()
    return patch


def _exported(top: Table) -> None:
    """Take the keys that ``conda env export`` and conda-lock write and that ask for nothing here, else refuse them."""
    top.text("prefix", "", shapes.WORD)  # where the environment was on somebody's machine
    platforms = top.strings("platforms")
    if platforms and not set(platforms) & set(SUBDIRS):
        raise top.error("platforms", f"expected one of {', '.join(SUBDIRS)}, not {', '.join(platforms)}")
    if (category := top.text("category", "main", shapes.WORD)) != "main":
        raise top.error("category", f"expected main, not {category!r}", hint="make an environment of its own of it")
    if top.take("variables", dict, {}):
        raise top.error(
            "variables",
            "variables of an activated environment are not set in an image that is started without activating it",
            hint="write them under `config.env` in image.toml",
        )
