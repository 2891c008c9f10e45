"""Lines of requirements files, and what each becomes: a requirement, a project, or an error at its line. Pure.

Spec: pip, "Requirements File Format"; PEP 508.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from packaging.requirements import InvalidRequirement, Requirement

from ..pypi import markers
from . import git_address
from .asked import FileLine, PlacedRequirement, SourceProject

#: Returns the text of a file of the repository, None if there is none.
Read = Callable[[str], str | None]

#: A resolution of so many lines is no environment of people any more, and takes minutes to refuse.
MOST_LINES = 2000
_DEEPEST = 8
#: How often files may be named: where each names the next ten times, a few lines are millions.
MOST_READS = 500
_INDEX = "set the index in uv's or pip's own configuration, for all packages; an image names no host"
_HINTS = {
    "--index-url": _INDEX,
    "--extra-index-url": _INDEX,
    "--find-links": _INDEX,
    "--trusted-host": _INDEX,
    "--pre": "ask for the pre-release by its version, e.g. `name>=2.0a1`",
    "--no-binary": "remove it: a package is built from its source where the index has no wheel",
    "--only-binary": "remove it: wheels are taken where the index has them",
    "--prefer-binary": "remove it: wheels are taken where the index has them",
    "--use-feature": "remove it: uv resolves, not pip",
    "--require-hashes": "remove it: the lock has the digest of every file",
}
#: How packages' own files end.
_FILES = (".whl", ".tar.gz", ".zip")
_SHORT = {"-i": "--index-url", "-f": "--find-links", "-e": "--editable", "-r": "--requirement", "-c": "--constraint"}
_OPTION = re.compile(r"(?P<option>--[a-z-]+|-[a-z])(?:[ =]\s*|(?<=^-[a-z]))?(?P<value>.*)")
_EXTRAS = re.compile(r"(?P<path>.*?)\[(?P<extras>[\w.,\s-]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one line asks for; exactly one of the three, or nothing but a note."""

    requirement: PlacedRequirement | None = None
    constraint: PlacedRequirement | None = None
    project: SourceProject | None = None
    note: str = ""


def bounded(read: Read) -> Read:
    """Return ``read``, which ends in an error after `MOST_READS` files."""
    number = itertools.count(1)

    def counted(file: str) -> str | None:
        if next(number) > MOST_READS:
            raise FileLine(file=file).fault(
                f"`{file}` is named too often",
                detail=f"expected at most {MOST_READS} files that name each other, each time that one is named",
                hint="name a file once",
            )
        return read(file)

    return counted


def of_file(file: str, read: Read, *, by: FileLine | None = None, depth: int = 0) -> Iterator[Line]:
    """Yield what the lines of a requirements file ask for, those of files that it names with them.

    Args:
        file: relative to the repository.
        by: the line that names it.

    Raises:
        HelioError: a line asks for what cannot be had, or a file is not there.
    """
    place = by or FileLine(file=file)
    text = read(file)
    if text is None:
        raise place.fault(f"there is no file `{file}` in the repository", hint="add it, or remove the line")
    if depth > _DEEPEST:
        raise place.fault(f"`{file}` is named by itself, or files name each other too deeply")
    for number, line in _logical(text):
        yield from of_line(line, FileLine(file=file, line=number), read, depth=depth)


def of_line(line: str, place: FileLine, read: Read, *, depth: int = 0) -> Iterator[Line]:
    """Yield what one line asks for; see `of_file`."""
    text = re.sub(r"(^|\s)#.*", "", line).strip()
    if not text:
        return
    option = _OPTION.fullmatch(text) if text.startswith("-") else None
    if option is None:
        yield from _plain(text, place)
        return
    name, value = _SHORT.get(option["option"], option["option"]), option["value"].strip().strip("\"'")
    if name == "--editable":
        yield Line(project=_project(value, place))
    elif name in ("--requirement", "--constraint"):
        for asked in of_file(_beside(value, place), read, by=place, depth=depth + 1):
            if name == "--constraint" and asked.requirement:
                asked = Line(constraint=asked.requirement)
            yield asked
    else:
        raise place.fault(f"`{name}` is an option of pip that images cannot have", hint=_HINTS.get(name, ""))


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers; those that end in a backslash go on in the next."""
    begun, parts = 0, []
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            parts.append(line[:-1])
            continue
        yield begun, " ".join([*parts, line])
        begun, parts = 0, []
    if parts:
        yield begun, " ".join(parts)


def _plain(text: str, place: FileLine) -> Iterator[Line]:
    if re.match(r"git\+\w+://|git\+git@|\.{0,2}/|\.{1,2}(?:$|\[)", text):
        yield Line(project=_project(text, place))
        return
    plain, *hashes = re.split(r"\s+--hash[= ]", text)
    if re.search(r"\s--[a-z]", plain):
        raise place.fault(f"`{text}` has an option of pip that images cannot have", hint="write the requirement alone")
    try:
        parsed = Requirement(plain)
    except InvalidRequirement as error:
        if "://" in plain or plain.endswith(_FILES):
            raise place.fault(
                f"`{plain}` is a file of its own",
                detail="expected a package of the index, a git repository or a folder of this repository",
                hint="ask for the package by name and version",
            ) from error
        # As `conda list --export` has them.
        single = re.match(r"([\w.-]+)=([\w.]+)", plain)
        raise place.fault(
            f"`{plain}` is not a requirement",
            detail=str(error).splitlines()[0],
            hint=f"write {single[1]}=={single[2]}" if single else "",
        ) from error
    if parsed.url:
        if not parsed.url.startswith("git+"):
            raise place.fault(
                f"`{plain}` is a file of its own",
                detail="expected a package of the index, a git repository or a folder of this repository",
                hint=f"ask for `{parsed.name}` by its version",
            )
        _check_marker(parsed, place)
        project = _project(parsed.url, place, tuple(sorted(parsed.extras)))
        yield Line(project=replace(project, marker=parsed.marker))
        return
    yield Line(
        requirement=PlacedRequirement(text=plain, place=place),
        note=f"{place.file}: hashes of pip are left out: the lock has one of each file" if hashes else "",
    )


def _check_marker(requirement: Requirement, place: FileLine) -> None:
    try:
        if requirement.marker:
            requirement.marker.evaluate()
    except markers.MEANINGLESS as error:
        raise place.fault(
            f"`{requirement.marker}` has no meaning", detail=str(error), hint="compare versions, or ask for equality"
        ) from error


def _project(text: str, place: FileLine, extras: tuple[str, ...] = ()) -> SourceProject:
    if text.startswith("git+"):
        return _of_git(text, place, extras)
    if "://" in text:
        raise place.fault(
            f"`{text}` is not a git repository", hint="write git+https://…, or ask for a package by its name"
        )
    text = text.removeprefix("file:")
    if text.endswith(_FILES):
        raise place.fault(
            f"`{text}` is a file of its own",
            detail="expected a package of the index, a git repository or a folder of this repository",
            hint="ask for the package by name and version",
        )
    if match := _EXTRAS.fullmatch(text):
        text, extras = match["path"], tuple(sorted(word.strip() for word in match["extras"].split(",")))
    return SourceProject(place=place, folder=_beside(text, place), extras=extras)


def _of_git(text: str, place: FileLine, extras: tuple[str, ...]) -> SourceProject:
    """Read pip's way to name a git repository. Spec: pip, "VCS Support"."""
    try:
        address = git_address.parse(text)
    except ValueError as error:
        raise place.fault(f"`{text}` {error}", hint="write git+https://HOST/NAME@COMMIT") from error
    if "://" not in address.url:
        raise place.fault(f"`{text}` is not an address that pip reads", hint="write git+ssh://git@HOST/NAME@COMMIT")
    if match := _EXTRAS.fullmatch(address.egg):
        extras = tuple(sorted(word.strip() for word in match["extras"].split(",")))
    return SourceProject(place=place, folder=address.folder, url=address.url, ref=address.ref, extras=extras)


def _beside(text: str, place: FileLine) -> str:
    """Return a path beside the file that names it, relative to the repository.

    Raises:
        HelioError: it leads out of the repository.
    """
    if "\\" in text:
        plain = text.replace("\\", "/")
        raise place.fault(f"`{text}` is a path of Windows, and none in an image", hint=f"write {plain}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(place.file), text))
    if "://" in text or text.startswith(("/", "~")) or path.startswith(".."):
        raise place.fault(f"`{text}` is not in the repository", hint="put it into the repository, and name it there")
    return path
