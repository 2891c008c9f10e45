"""What a repository asks for -> the packages that its image adds to its parent's, each pinned to a file.

The parent's packages stay at their versions: uv is asked under them, and what it adds is the lock. A lock that the
repository brings is obeyed as long as it is of the same question.

Spec: PEP 751, "pylock.toml file names".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from ..core.digest import key_of
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..machine.store import Store, has
from ..pypi import lock as pypi_lock
from ..pypi import markers
from ..pypi.index import PackageIndex
from ..pypi.lock import PyPILock, Wheel
from ..pypi.resolve import Request, askers, requested_names, resolve, versions
from .asked import CondaWanted, PlacedRequirement, RepositoryRequests
from .conda_names import NOT_PYTHON, OF_WHEELS, ON_INDEX, OTHER_LANGUAGES
from .lock_file import WheelOrigin
from .parent import Parent

#: Raised when the same question would be answered by another lock.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A wheel that was built of the repository, or of a git repository that it names.

    Attributes:
        source: what it was built of.
        sha256: names the source's files: 64 hexadecimal digits.
    """

    wheel: Wheel
    path: Path
    source: WheelOrigin
    sha256: str

    @property
    def requirement(self) -> str:
        """What uv is asked, so that its own requirements come with it."""
        return f"{self.wheel.name}{_bracketed(self.source.project.extras)}=={self.wheel.version}"


def of_parent(asked: RepositoryRequests, parent: Parent) -> RepositoryRequests:
    """Return what is asked for on this image: less the projects whose markers are of others."""
    values = markers.environment(parent.python, parent.platform)
    kept = (project for project in asked.projects if markers.holds(project.marker, values))
    return replace(asked, projects=tuple(kept))


def requirements(asked: RepositoryRequests, parent: Parent) -> tuple[PlacedRequirement, ...]:
    """Return all requirements for uv: those of the repository, and what it asks of conda that the image has not.

    Raises:
        HelioError: it asks for another Python, or for what is no Python package.
    """
    for wanted in asked.python:
        if not _fits(parent.python, wanted.version):
            raise wanted.place.fault(
                f"`{wanted.text}` asks for another Python",
                detail=f"expected a version that {parent.python} is one of: `{parent.name}` has that",
                hint="run the notebooks with it, and name it there; an image that extends another has its Python",
            )
    return (*asked.requirements, *(requirement for wanted in asked.conda if (requirement := _of_conda(wanted, parent))))


def _of_conda(wanted: CondaWanted, parent: Parent) -> PlacedRequirement | None:
    """Return conda's item as a requirement of the index; None for what the image has of conda or Debian."""
    name = ON_INDEX.get(wanted.name, wanted.name)
    pins, others = parent.pins(), {(package.kind, package.name): package for package in parent.packages}
    if canonicalize_name(name) not in pins:
        if there := others.get(("conda", wanted.name)):
            if not _fits(there.version, wanted.version):
                raise wanted.place.fault(
                    f"`{wanted.text}` contradicts the image",
                    detail=f"`{parent.name}` has {there.name} {there.version}, of conda, below its Python",
                    hint="ask for it without a version",
                )
            return None
        language = next((word for head, word in OTHER_LANGUAGES.items() if wanted.name.startswith(head)), "")
        debian = NOT_PYTHON.get(wanted.name, "")
        if OF_WHEELS.get(wanted.name) in pins:
            return None
        if debian and all(("debian", word) in others for word in debian.split()):
            return None
        if language or wanted.name in NOT_PYTHON:
            raise wanted.place.fault(
                f"`{wanted.text}` is not a Python package, and `{parent.name}` does not have it",
                detail=f"expected Python packages: {language} is not in the images" if language else "",
                hint=f"extend an image that has Debian's {debian}, or build the repository with repo2docker, where "
                "apt.txt may ask for it"
                if debian
                else "remove it, or use repo2docker alone",
            )
    return PlacedRequirement(text=f"{name}{wanted.version}", place=wanted.place)


def _fits(version: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidVersion:
        return not specifier


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditionQuestion:
    """What uv is asked.

    Attributes:
        locals: wheels that were built of sources that the repository names.
        before: the lock that the repository brings, None if it has none.
    """

    parent: Parent
    wanted: tuple[PlacedRequirement, ...]
    limits: tuple[PlacedRequirement, ...]
    locals: tuple[Local, ...]
    before: PyPILock | None

    @property
    def key(self) -> str:
        """A digest of the question: an answer to it stays the answer."""
        wanted, limits = ({placed.text for placed in lines} for lines in (self.wanted, self.limits))
        sources = sorted([local.requirement, local.sha256] for local in self.locals)
        return key_of(
            [VERSION, (sorted(wanted), sorted(limits)), sources, self.parent.python, sorted(self.parent.pins().items())]
        )


def answer(question: AdditionQuestion, index: PackageIndex, store: Store) -> PyPILock:
    """Return the packages of the index that the image adds: wheels, and sources that have no wheel yet.

    Raises:
        HelioError: there is no solution under the parent's versions; says which lines ask for what, and what would do.
    """
    if question.before and question.before.content_hash == question.key:
        return question.before
    if question.before:
        say("    the repository's lock is of another question: its versions are kept where they fit")
    request = _request(question, store)
    try:
        whole = resolve(request, index.sizes)
    except HelioError as error:
        raise _explained(question, request, error) from error
    have = {*question.parent.pins(), *(local.wheel.name for local in question.locals)}
    have |= _drawn_by_other_builds(request, {item.name for item in whole.files} - have)
    return pypi_lock.settled(
        question.before,
        replace(
            whole,
            wheels=tuple(wheel for wheel in whole.wheels if wheel.name not in have),
            sdists=tuple(sdist for sdist in whole.sdists if sdist.name not in have),
        ),
    )


def _drawn_by_other_builds(request: Request, added: Collection[str]) -> set[str]:
    """Return what is added only since those ask for it that the image has in another build."""
    if not request.provided or not added:
        return set()
    who, asked = askers(request) or {}, requested_names(request.requirements)
    gone = set(request.provided)
    while more := {name for name in {*added} - gone - {*asked} if who.get(name) and gone.issuperset(who[name])}:
        gone |= more
    return gone


def _request(question: AdditionQuestion, store: Store) -> Request:
    parent = question.parent
    inherited = tuple(
        Wheel(
            name=canonicalize_name(package.name),
            version=package.version,
            file_name=package.file_name or f"{package.name}.whl",
            sha256=package.sha256,
            # Not known, and not needed: it is never fetched.
            size=package.size or 1,
        )
        for package in parent.packages
        if package.kind == "wheel"
    )
    there = {
        wheel.file_name: store.artefact(wheel.sha256)
        for wheel in inherited
        if wheel.sha256 and wheel.file_name.endswith(".whl") and has(store.artefact(wheel.sha256), None)
    }
    ours = tuple(local.wheel for local in question.locals)
    names = {wheel.name for wheel in ours}
    lock = PyPILock(python=parent.minor, platform=parent.platform, content_hash="", wheels=inherited)
    before = question.before or replace(lock, wheels=())
    return Request(
        where=question.wanted[0].place.file if question.wanted else "the repository",
        requirements=(
            *dict.fromkeys(wanted.text for wanted in question.wanted),
            *(local.requirement for local in question.locals),
        ),
        constraints=tuple(dict.fromkeys(limit.text for limit in question.limits)),
        provided=parent.other_builds(),
        inherited=lock,
        python=parent.python,
        platform=parent.platform,
        glibc=parent.glibc,
        # A wheel that was built here is taken as it is, whatever the index has of its name.
        current=replace(before, wheels=(*(wheel for wheel in before.wheels if wheel.name not in names), *ours)),
        built={**there, **{local.wheel.file_name: local.path for local in question.locals}},
        content_hash=question.key,
    )


def _bracketed(extras: Sequence[str]) -> str:
    return f"[{','.join(extras)}]" if extras else ""


def _explained(question: AdditionQuestion, request: Request, error: HelioError) -> HelioError:
    """Return an error that says which lines contradict the image, and which versions would do."""
    pins, parent = question.parent.pins(), question.parent
    values = markers.environment(parent.python, parent.platform)
    parsed = [(line, Requirement(line.text)) for line in question.wanted]
    direct = [
        (line, requirement)
        for line, requirement in parsed
        if (have := pins.get(canonicalize_name(requirement.name))) and not requirement.specifier.contains(have, True)
        if markers.holds(requirement.marker, values)
    ]
    lines = [
        f"{line.place} asks for `{line.text}`; `{parent.name}` has {requirement.name} "
        f"{pins[canonicalize_name(requirement.name)]}"
        for line, requirement in direct
    ]
    if direct:
        first, requirement = direct[0]
        have = pins[canonicalize_name(requirement.name)]
        return HelioError(
            Stage.LOCK,
            f"`{first.text}` contradicts the image",
            where=str(first.place),
            detail="\n".join(lines),
            hint=f"ask for {requirement.name}>={have}, or extend a tag of `{parent.repository}` that has what you ask "
            "for: the versions of the image stay",
        )
    for line, requirement in parsed:
        if f"{canonicalize_name(requirement.name)} was not found" in error.detail.replace("\n", " "):
            return line.place.fault(
                f"the package index has no `{requirement.name}`",
                detail=f"{line.place} asks for `{line.text}`",
                hint="check its name; conda's is another one for some packages",
            )
    nearest = _nearest(question, request, parsed)
    return HelioError(
        Stage.LOCK,
        f"what the repository asks for does not go with `{parent.name}`",
        where=str(nearest[0][0].place) if nearest else request.where,
        detail="\n".join(
            [*(f"{line.place} asks for `{line.text}`; {would} would do" for line, would in nearest), error.detail]
        ),
        hint="loosen what is named above, or extend an image with other versions: the versions of the image stay",
    )


def _nearest(
    question: AdditionQuestion, request: Request, parsed: Sequence[tuple[PlacedRequirement, Requirement]]
) -> list[tuple[PlacedRequirement, str]]:
    """Return lines with a version that go with the image only in another version, and that version."""
    loose = []
    for _, requirement in parsed:
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        loose.append(f"{requirement.name}{_bracketed(sorted(requirement.extras))}{marker}")
    loose += [local.requirement for local in question.locals]
    chosen: Mapping[str, str] | None = versions(replace(request, requirements=tuple(loose), constraints=()))
    if chosen is None:
        return []
    would = []
    for placed, requirement in parsed:
        version = chosen.get(canonicalize_name(requirement.name))
        if version and not requirement.specifier.contains(version, True):
            would.append((placed, f"{requirement.name} {version}"))
    return would
