"""One locked package, whatever ecosystem it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One locked package, as the planner sees it.

    Attributes:
        kind: ``conda`` or ``wheel``.
        sha256: of the artefact, hex.
        size: of the artefact, in bytes; 0 where the lock does not tell (conda channels need not).
        dropped: paths of this package that another one wins (``x-helioimages.clobber``).
    """

    kind: str
    name: str
    version: str
    file_name: str
    sha256: str
    size: int
    dropped: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The name that entries and messages carry."""
        return f"{self.name}-{self.version}"
