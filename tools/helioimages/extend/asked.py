"""What a repository asks for, and where each word of it stands. Pure.

Spec: repo2docker, "Configuration Files".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.markers import Marker

from ..core.errors import HelioError, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """A line of a file of the repository; line 0 is the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file} line {self.line}" if self.line else self.file

    def fault(self, message: str, detail: str = "", hint: str = "") -> HelioError:
        """Return an error that points here."""
        return HelioError(Stage.SPEC, message, where=str(self), detail=detail, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRequirement:
    """One PEP 508 requirement, as uv is asked it, and who asks."""

    text: str
    place: FileLine


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProject:
    """Source that becomes a wheel: a folder of the repository, or a commit of a git repository.

    Attributes:
        folder: relative to the repository, or to the git repository that is named; ``.`` is the whole of it.
        url: of a git repository, empty for the repository itself.
        ref: branch, tag or commit there; empty is its default branch.
        extras: of the project, e.g. ``("plot",)``.
        marker: on which images it is asked for, None is all.
    """

    place: FileLine
    folder: str = "."
    url: str = ""
    ref: str = ""
    extras: tuple[str, ...] = ()
    marker: Marker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRequests:
    """All that a repository asks for.

    Attributes:
        configuration: the folder of its configuration files: ``binder``, ``.binder`` or empty for the top.
        requirements, constraints: for uv.
        projects: what becomes a wheel first.
        conda: what environment.yml asks of conda; name, version in conda's words, place.
        python: what it asks of the interpreter, in conda's or runtime.txt's words.
        debian: packages of apt.txt.
        variables: of environment.yml, for the image's environment.
        post_build, start: paths in the repository, empty if it has none.
        notes: what is not done as Binder does it, for people.
    """

    configuration: str = ""
    requirements: tuple[PlacedRequirement, ...] = ()
    constraints: tuple[PlacedRequirement, ...] = ()
    projects: tuple[SourceProject, ...] = ()
    conda: tuple[CondaWanted, ...] = ()
    python: tuple[CondaWanted, ...] = ()
    debian: tuple[PlacedRequirement, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    post_build: str = ""
    start: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaWanted:
    """One item of ``dependencies``: a name, and a version as PEP 440 says it (empty: any).

    Attributes:
        build: it names conda's build, which says nothing of another channel's packages.
    """

    name: str
    version: str
    text: str
    place: FileLine
    build: bool = False
