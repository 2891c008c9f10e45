"""A Binder-ready repository -> what it asks for. What Binder does and an image cannot is refused by file and line.

Spec: repo2docker, "Configuration Files" and "Choose languages for your environment" (which file wins).
"""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Iterable

from ..core.entries import Kind
from . import conda_lines, requirement_lines
from .asked import CondaWanted, FileLine, PlacedRequirement, RepositoryRequests, SourceProject
from .repository import Repository
from .requirement_lines import MOST_LINES, Line

_OTHER = "build that repository with repo2docker, and start it beside this image"
#: Configuration files that an image of these cannot obey: (file, what it is of, what to do).
_REFUSED = (
    ("install.R", "R", _OTHER),
    ("DESCRIPTION", "R", _OTHER),
    ("Project.toml", "Julia", _OTHER),
    ("JuliaProject.toml", "Julia", _OTHER),
    ("REQUIRE", "Julia", _OTHER),
    ("default.nix", "nix", _OTHER),
    ("Dockerfile", "a container of its own", "build it with `docker build`; FROM may name the image"),
    ("Pipfile", "pipenv", "write its packages into requirements.txt: `pipenv requirements > requirements.txt`"),
    ("Pipfile.lock", "pipenv", "write its packages into requirements.txt: `pipenv requirements > requirements.txt`"),
)
#: Files that are obeyed; a folder of such a name is a mistake.
_OBEYED = ("environment.yml", "requirements.txt", "apt.txt", "runtime.txt", "postBuild")
#: So many items with builds, as `name=1.0=h1234_0`, nobody writes by hand.
_EXPORTED = 10
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]*(?:=[A-Za-z0-9.+:~-]+)?")


def read(repository: Repository) -> RepositoryRequests:
    """Return what a repository asks for.

    Raises:
        HelioError: it asks for what cannot be done; says where.
    """
    folders = {name: folder for name in ("binder", ".binder") if (folder := _folder(repository, name))}
    if len(folders) == 2:
        raise FileLine(file=".binder").fault(
            "the repository has both `binder` and `.binder`", hint="keep one of them: Binder refuses both, too"
        )
    folder = next(iter(folders.values()), "")
    files = _files(repository, folder)
    for name, of, hint in _REFUSED:
        if name in files:
            raise FileLine(file=files[name]).fault(
                f"`{files[name]}` asks for {of}, which the images cannot have", hint=hint
            )
    notes: list[str] = []
    conda: tuple[CondaWanted, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    lines: list[Line] = []
    text_of = requirement_lines.bounded(repository.read)
    if file := files.get("environment.yml"):
        environment = conda_lines.parse(repository.read(file) or "", file)
        if len([wanted for wanted in environment.conda if wanted.build]) >= _EXPORTED:
            notes.append(
                f"{file} is what `conda env export` wrote for one machine: write what the notebooks import, as "
                "`conda env export --from-history` does"
            )
        conda, variables = environment.conda, environment.variables
        for text, place in environment.pip:
            lines += requirement_lines.of_line(text, place, text_of)
        other = files.get("requirements.txt")
        if other and not any(place.file == other for place in _places(lines)):
            notes.append(f"{other} is left out, as Binder does where there is an {file}")
    elif file := files.get("requirements.txt"):
        lines += requirement_lines.of_file(file, text_of)
    if not folder and not files.get("environment.yml"):
        own = _own_project(files, repository, lines)
        lines += own
        if not own and not _places(lines) and (unbuilt := files.get("pyproject.toml") or files.get("setup.cfg")):
            notes.append(
                f"{unbuilt} is not read, as Binder does not: it says no way to build a package "
                "([build-system] of pyproject.toml, or setup.py)"
            )
    if len(lines) + len(conda) > MOST_LINES:
        place = [*_places(lines), *(wanted.place for wanted in conda)][MOST_LINES]
        raise place.fault(
            "the repository asks for too many packages",
            detail=f"expected at most {MOST_LINES:,} not {len(lines) + len(conda):,}",
            hint="ask for the packages that the notebooks import; what those need comes by itself",
        )
    if unread := files.get("environment.yaml"):
        notes.append(f"{unread} is not read, as Binder does not: the name is environment.yml")
    notes += dict.fromkeys(line.note for line in lines if line.note)
    return RepositoryRequests(
        configuration=folder,
        requirements=tuple(line.requirement for line in lines if line.requirement),
        constraints=tuple(line.constraint for line in lines if line.constraint),
        projects=tuple(line.project for line in lines if line.project),
        conda=tuple(wanted for wanted in conda if wanted.name != "python"),
        python=(*(wanted for wanted in conda if wanted.name == "python"), *_runtime(repository, files)),
        debian=tuple(_debian(repository, files)),
        variables=dict(variables),
        post_build=_program(repository, files.get("postBuild", "")),
        start=_program(repository, files.get("start", "")),
        notes=tuple(notes),
    )


def _folder(repository: Repository, name: str) -> str:
    """Return the folder of a name, also where that is a link; empty if there is none."""
    kinds = {entry.path: entry.kind for entry in repository.files}
    if kinds.get(name) is Kind.SYMLINK:
        place = os.path.realpath(repository.folder / name)
        name = os.path.relpath(place, os.path.realpath(repository.folder))
    return name if kinds.get(name) is Kind.DIR else ""


def _files(repository: Repository, folder: str) -> dict[str, str]:
    """Return name -> path of the files in the configuration folder."""
    path_by_name = {}
    for entry in repository.files:
        parent, _, name = entry.path.rpartition("/")
        if parent != folder:
            continue
        if entry.kind is not Kind.DIR:
            path_by_name[name] = entry.path
        elif name in _OBEYED:
            raise FileLine(file=entry.path).fault(f"`{entry.path}` is a folder", detail="expected a file of that name")
    return path_by_name


def _program(repository: Repository, path: str) -> str:
    """Return the path of a program that the image runs; empty if there is none.

    Raises:
        HelioError: the kernel would not find its interpreter, and would say nothing of the reason.
    """
    line = repository.first_line(path) if path else b""
    if line.startswith(codecs.BOM_UTF8):
        raise FileLine(file=path, line=1).fault(
            f"`{path}` has a mark before its first line, and does not run",
            detail="expected #! at once",
            hint=f"save it without a byte order mark: `sed -i '1s/^\\xef\\xbb\\xbf//' {path}`",
        )
    if line.startswith(b"#!") and line.endswith(b"\r\n"):
        raise FileLine(file=path, line=1).fault(
            f"`{path}` has the line ends of Windows, and does not run",
            detail="expected lines that end in \\n not \\r\\n",
            hint=f"`sed -i 's/\\r$//' {path}`; in git, `* text=auto eol=lf` in .gitattributes keeps it so",
        )
    return path


def _places(lines: Iterable[Line]) -> list[FileLine]:
    placed = [line.requirement or line.constraint or line.project for line in lines]
    return [item.place for item in placed if item]


def _own_project(files: dict[str, str], repository: Repository, lines: Iterable[Line]) -> list[Line]:
    """Return the repository's own package, where it is one and no line asked for it yet."""
    if any(line.project and not line.project.url and line.project.folder == "." for line in lines):
        return []
    if name := files.get("pyproject.toml"):
        try:
            document = tomllib.loads(repository.read(name) or "")
        except (ValueError, RecursionError) as error:
            match = re.search(r"line (\d+)", str(error))
            place = FileLine(file=name, line=int(match[1]) if match else 0)
            raise place.fault(f"`{name}` is not TOML", detail=str(error)) from error
        # Many repositories have one for their linters alone.
        if "project" in document or "build-system" in document:
            return [Line(project=SourceProject(place=FileLine(file=name)))]
    if name := files.get("setup.py"):
        return [Line(project=SourceProject(place=FileLine(file=name)))]
    return []


def _runtime(repository: Repository, files: dict[str, str]) -> list[CondaWanted]:
    """Return the Python that runtime.txt names."""
    if (name := files.get("runtime.txt")) is None:
        return []
    for number, line in enumerate((repository.read(name) or "").splitlines(), 1):
        text, place = line.strip(), FileLine(file=name, line=number)
        if not text or text.startswith("#"):
            continue
        if re.match(r"r-|R-", text):
            raise place.fault(f"`{text}` asks for R, which the images cannot have", hint=_OTHER)
        match = re.fullmatch(r"python-?(?P<version>[0-9]+(?:\.[0-9]+){0,2})", text)
        if match is None:
            raise place.fault(f"`{text}` is not understood", detail="expected e.g. python-3.13")
        version = f"=={match['version']}" + ("" if match["version"].count(".") == 2 else ".*")
        return [CondaWanted(name="python", version=version, text=text, place=place)]
    return []


def _debian(repository: Repository, files: dict[str, str]) -> list[PlacedRequirement]:
    packages: list[PlacedRequirement] = []
    if (name := files.get("apt.txt")) is None:
        return packages
    for number, line in enumerate((repository.read(name) or "").splitlines(), 1):
        for word in re.sub(r"#.*", "", line).split():
            place = FileLine(file=name, line=number)
            if not _DEBIAN.fullmatch(word):
                raise place.fault(f"`{word}` is not a Debian package", detail="expected a name, e.g. libgsl28")
            packages.append(PlacedRequirement(text=word, place=place))
    return packages
