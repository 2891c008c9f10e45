"""Lines of the ``pip`` list, in the forms that PEP 508 and pip's requirements files know. Pure but for ``read``.

Spec: PEP 508; pip, "Requirements File Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ..core.reading import Table
from ..pypi.choose import variant_of

#: Returns the text of a file beside environment.yml, or None if it is not there.
Read = Callable[[str], str | None]

_ONLY_INDEX = "only packages of the configured index can be locked"
_HINTS = {
    "--index-url": "set the index in uv's or pip's own configuration: a lock names no host",
    "--extra-index-url": "set the index in uv's or pip's own configuration: a lock names no host",
    "--find-links": "set the index in uv's or pip's own configuration: a lock names no host",
    "--trusted-host": "set the index in uv's or pip's own configuration: a lock names no host",
    "--pre": "ask for the pre-release by its version, e.g. `name>=2.0a1`",
    "--no-binary": "name the package under x-helioimages.build: it is built from its source",
    "--only-binary": "remove it: wheels are what is locked",
    "--prefer-binary": "remove it: wheels are what is locked",
    "--require-hashes": "remove it: the lock has the digest of every file",
    "--hash": "remove it: the lock has the digest of every file",
    "--editable": _ONLY_INDEX,
    "--use-feature": "remove it: uv resolves, not pip",
}
_SHORT = {"-i": "--index-url", "-f": "--find-links", "-e": "--editable", "-r": "--requirement", "-c": "--constraint"}
_OPTION = re.compile(r"(?P<option>--[a-z-]+|-[a-z])(?:[ =]\s*|(?<=^-[a-z]))?(?P<value>.*)")
_DEEPEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What the ``pip`` list asks for: requirements, and what ``-c`` files only limit."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]


def lines_of(items: tuple[str, ...], table: Table, read: Read) -> Lines:
    """Return the requirements of a ``pip`` list; those that are written plainly stay as they are written.

    Args:
        items: the list.
        table: that holds it, for messages.
        read: gives the files that ``-r`` and ``-c`` name.

    Raises:
        HelioError: an item is not one that can be locked; says why, and what to write instead.
    """
    texts: dict[bool, list[str]] = {False: [], True: []}
    for index, item in enumerate(items):
        for constraint, text in _expand(item, table, f"pip[{index}]", read, 0):
            texts[constraint].append(text)
    return Lines(requirements=tuple(texts[False]), constraints=tuple(texts[True]))


def _expand(item: str, table: Table, key: str, read: Read, depth: int) -> Iterator[tuple[bool, str]]:
    text = re.sub(r"(^|\s)#.*", "", item).strip()
    if not text:
        return
    option = _OPTION.fullmatch(text) if text.startswith("-") else None
    if option is None:
        check(text, table, key)
        yield False, text
        return
    name = _SHORT.get(option["option"], option["option"])
    if name not in ("--requirement", "--constraint"):
        raise table.error(key, f"{item!r} is an option of pip", hint=_HINTS.get(name, _ONLY_INDEX))
    file = option["value"].strip().removeprefix("./")
    if not file or "://" in file or file.startswith(("/", "~")) or ".." in file.split("/"):
        raise table.error(key, f"{item!r} names no file beside environment.yml", hint="put the file beside it")
    content = read(file)
    if content is None:
        raise table.error(key, f"there is no file {file!r} beside environment.yml", hint="put the file beside it")
    if depth == _DEEPEST:
        raise table.error(key, f"{file!r} is named by itself, or files name each other too deeply")
    for number, line in enumerate(re.sub(r"\s*\\\n\s*", " ", content).splitlines()):
        for constraint, requirement in _expand(line, table, f"{key}, {file} line {number + 1}", read, depth + 1):
            yield constraint or name == "--constraint", requirement


def check(text: str, table: Table, key: str) -> None:
    """Refuse what is not a plain PEP 508 requirement of the index.

    Raises:
        HelioError: says why, and what to write instead.
    """
    if " --" in text:
        plain, _, option = text.partition(" --")
        hint = f"write `{plain.strip()}`: the lock has the digest of every file"
        raise table.error(key, f"{text!r} has the option --{option.partition('=')[0]}", hint=hint)
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        if re.match(r"(?:[a-z]+\+)?[a-z]+://|\.{0,2}/|\.{1,2}(?:$|\[)", text) or text.endswith(
            (".whl", ".tar.gz", ".zip")
        ):
            raise table.error(key, f"{text!r} is a direct reference", hint=_instead(text)) from error
        raise table.error(key, f"{text!r} is not a PEP 508 requirement: {error}") from error
    if parsed.url:
        raise table.error(key, f"{text!r} is a direct reference", hint=_ONLY_INDEX)


def _instead(text: str) -> str:
    try:
        file = text.rpartition("/")[2].partition("#")[0]
        variant = variant_of(file)
        name, version, _, _ = parse_wheel_filename(variant[0] if variant else file)
    except InvalidWheelFilename:
        return _ONLY_INDEX
    return f"{_ONLY_INDEX}: write `{name}=={version}`"
