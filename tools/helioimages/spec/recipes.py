"""Recipes of the local channel, read strictly from ``channel/recipes.toml``.

Two kinds of packages: those compiled by a script from a pinned source archive, and those made of the unchanged files
of the builder's own Debian packages, which then say their version themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..core.errors import Stage
from ..core.reading import SHA256, SPEC, Table, load_toml

RECIPES = "channel/recipes.toml"

_FORM = replace(SPEC, stage=Stage.BUILD)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSource:
    """A source archive of Debian's pool.

    Attributes:
        name: what recipes call it.
        file: its file name.
        pool: its folder below the mirror's root.
        sha256: 64 hexadecimal digits.
        size: in bytes.
    """

    name: str
    file: str
    pool: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One package of the channel.

    Attributes:
        name: conda's name.
        version: empty for packages of Debian's files, which say it themselves.
        noarch: whether every platform may use it.
        source, script, inputs: of compiled packages: the archive's name, the script and further inputs, both below
            ``channel/``.
        debian: the builder's packages whose files it takes; the first one gives the version.
        files: patterns of files that land in ``to`` without their folders.
        tree: a folder whose content lands in ``to`` as it is, but for the names in ``skip``.
        concatenate: joins ``files``, sorted by name, into this one file instead.
        links: symbolic links to add, path -> target.
        build_suffix: the end of the build string.
        depends, constrains: match specifications; ``{name}`` is the version of another package of the channel.
        metadata: summary, home, license and the like.
    """

    name: str
    version: str
    noarch: bool
    source: str
    script: str
    inputs: tuple[str, ...]
    debian: tuple[str, ...]
    files: tuple[str, ...]
    tree: str
    to: str
    skip: tuple[str, ...]
    concatenate: str
    links: dict[str, str]
    build_suffix: str
    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    license: str
    summary: str
    home: str
    python_site_packages_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipes:
    """The whole file: packages in its order, sources by name, the time in milliseconds."""

    timestamp: int
    sources: dict[str, PoolSource]
    packages: tuple[Recipe, ...]


def read_recipes(text: str, file: str = RECIPES) -> Recipes:
    """Parse recipes.toml; a key that is not understood is an error.

    Raises:
        HelioError: names the file and the key.
    """
    top = load_toml(text, file, _FORM)
    sources = tuple(_source(table) for table in top.tables("source", required=True))
    packages = tuple(_recipe(table) for table in top.tables("package", required=True))
    recipes = Recipes(
        timestamp=top.whole("timestamp", minimum=0),
        sources={source.name: source for source in sources},
        packages=packages,
    )
    top.done()
    names = [package.name for package in packages]
    for index, package in enumerate(packages):
        if names.index(package.name) != index:
            raise top.error(f"package[{index}].name", f"expected each name once, `{package.name}` is there twice")
        if package.source and package.source not in recipes.sources:
            raise top.error(f"package[{index}].source", f"expected the name of a source, not {package.source!r}")
        for spec in (*package.depends, *package.constrains):
            for name in re.findall(r"\{(.*?)\}", spec):
                if name not in names:
                    raise top.error(f"package[{index}].depends", f"expected a package of this file, not {name!r}")
    return recipes


def _source(table: Table) -> PoolSource:
    source = PoolSource(
        name=table.text("name"),
        file=table.text("file"),
        pool=table.text("pool"),
        sha256=table.text("sha256", shape=SHA256),
        size=table.whole("size", minimum=1),
    )
    table.done()
    return source


def _recipe(table: Table) -> Recipe:
    recipe = Recipe(
        name=table.text("name"),
        version=table.text("version", ""),
        noarch=table.flag("noarch", False),
        source=table.text("source", ""),
        script=table.text("script", ""),
        inputs=table.strings("inputs"),
        debian=table.strings("debian"),
        files=table.strings("files"),
        tree=table.text("tree", ""),
        to=table.text("to", ""),
        skip=table.strings("skip"),
        concatenate=table.text("concatenate", ""),
        links=table.mapping("links"),
        build_suffix=table.text("build_suffix", ""),
        depends=table.strings("depends"),
        constrains=table.strings("constrains"),
        license=table.text("license"),
        summary=table.text("summary"),
        home=table.text("home"),
        python_site_packages_path=table.text("python_site_packages_path", ""),
    )
    table.done()
    if bool(recipe.version) == bool(recipe.debian):
        raise table.error("version", "expected either a version or Debian packages that say it")
    if bool(recipe.script) != bool(recipe.source):
        raise table.error("script", "expected source and script together")
    return recipe


def upstream_version(debian: str) -> str:
    """Return the upstream version inside a Debian version: ``1:1.3.dfsg+really1.3.1-1+b1`` -> ``1.3.1``."""
    version = debian.partition(":")[2] if ":" in debian else debian
    version = version.rpartition("-")[0] or version
    version = version.rpartition("+really")[2]
    return re.split(r"[+~]|\.dfsg|\.ds\d", version, maxsplit=1)[0]
