"""One locked package, whatever ecosystem it comes from, and what an ecosystem must be able to do. Pure.

conda, PyPI and Debian implement `Ecosystem` in their rooms; `locks.ecosystems` is the table in which they meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from packageurl import PackageURL

Lock = TypeVar("Lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A reviewed change of ours to a package's files, as a lock pins it.

    Attributes:
        path: of the unified diff, relative to the checkout.
        sha256: of the diff, hex.
        reason: what the package cannot do without it, in one line.
        upstream: where its authors are told of it, or have mended it; an address.
    """

    path: str
    sha256: str
    reason: str
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """A requirement that a package states and that is left out on purpose.

    Attributes:
        name: of the distribution that the image lacks.
        reason: why nothing is lost, in one line.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package: of a lock, of an image, of an SBOM.

    Attributes:
        kind: an `Ecosystem.kind` (``conda``, ``wheel``, ``debian``).
        file_name: of the artefact, as its lock has it; empty where only an image or an SBOM was read.
        sha256: of the artefact, hex; empty if unknown.
        size: of the artefact, in bytes; 0 if unknown.
        purl: package URL, empty if unknown.
        licenses: an SPDX expression or the package's own words, empty if unknown.
        built: made here from its source; ``file_name`` and ``sha256`` may then be the source's.
        depends: names of packages that it needs, where its lock tells.
        dropped: paths of this package that another one wins (``x-helioimages.clobber``).
        left_out: paths of this package that nobody has (``nothing over`` it, there).
        patches: changes of ours to its files, in the order in which they are made (``x-helioimages.patches``).
        without: what it asks for and the image leaves out (``x-helioimages.without``); its metadata ask no more, extras
            aside.
        ran: sha256 of what its post-link script wrote in the builder (``x-helioimages.link-scripts``); empty if none
            ran.
    """

    kind: str
    name: str
    version: str
    file_name: str = ""
    sha256: str = ""
    size: int = 0
    purl: str = ""
    licenses: str = ""
    built: bool = False
    depends: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    patches: tuple[Patch, ...] = ()
    without: tuple[Without, ...] = ()
    ran: str = ""

    @property
    def origin(self) -> str:
        """The name that entries and messages carry."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """A package under the name that security advisories know it by.

    Attributes:
        ecosystems: those whose records apply, e.g. ``("PyPI",)``. Spec: OSV, "Defined Ecosystems".
        release: of the ecosystem, e.g. Debian's ``13``; empty if it has none.
    """

    ecosystems: tuple[str, ...]
    name: str
    version: str
    release: str = ""


class Record(Protocol):
    """What every kind of lock says of a package; ``size`` in bytes, None if it does not tell."""

    @property
    def name(self) -> str:
        """The package."""

    @property
    def version(self) -> str:
        """Its version, as the ecosystem writes it."""

    @property
    def file_name(self) -> str:
        """The artefact."""

    @property
    def sha256(self) -> str:
        """Of the artefact, hex."""

    @property
    def size(self) -> int | None:
        """Of the artefact."""


class Ecosystem(Protocol[Lock]):
    """What is asked of a kind of package.

    Attributes:
        kind: our word, in layer keys, package lists and the catalogue: it never changes.
        title: the word for people, e.g. ``PyPI``.
        part: the word for its lock in `Locks.files`, and so in an image's provenance.
        world: the kind whose names and versions count where kinds meet: a package that moves from conda to PyPI is one
            package, Debian's of the same name is another.
        purl_type: Spec: package-url, "Type definitions".
        purl_namespace: the vendor, where the type has one.
        advisories: the ecosystems of OSV that name and order versions as this one does.
    """

    kind: str
    title: str
    part: str
    world: str
    purl_type: str
    purl_namespace: str = ""
    advisories: tuple[str, ...]

    def lock_file(self, environment: str, image: str, channel: str) -> str:
        """Return where an image's lock of this kind lies for the first platform, relative to the checkout.

        Args:
            environment: the image's environment.
            channel: ``local`` or ``conda-forge``: which of the conda locks is meant.
        """

    def parse(self, text: str, where: str) -> Lock:
        """Read a lock's text.

        Args:
            where: how errors call the file.

        Raises:
            HelioError: it is not such a lock.
        """

    def dump(self, lock: Lock) -> str:
        """Return a lock's text; equal locks have equal text."""

    def packages(self, lock: Lock) -> tuple[Package, ...]:
        """Return what a lock installs, in the lock's order."""

    def package_of(self, record: Record, **qualifiers: str) -> Package:
        """Return what a lock's record says, with its package URL; the ecosystem adds what only it knows."""
        purl = PackageURL(
            type=self.purl_type,
            namespace=self.purl_namespace,
            name=record.name,
            version=record.version,
            qualifiers=qualifiers,
        )
        return Package(
            kind=self.kind,
            name=record.name,
            version=record.version,
            file_name=record.file_name,
            sha256=record.sha256,
            size=record.size or 0,
            purl=purl.to_string(),
        )

    def normal(self, name: str) -> str:
        """Return a name in the one form that the ecosystem compares."""

    def key(self, version: str) -> Any:
        """Return a value that compares and equals as the version does.

        Raises:
            ValueError: the ecosystem does not take it for a version.
        """

    def advised(self, package: Package) -> Advised:
        """Return what advisories call a package of a lock."""
