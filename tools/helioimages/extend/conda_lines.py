"""``environment.yml`` of a repository: its items with their lines, and conda's versions in PEP 440's words. Pure.

The images have an interpreter of conda and packages of PyPI, so what a repository asks of conda is looked for in the
image first, and then on the package index. `plan` decides that; here it is only read.

Spec: conda, "Creating an environment file manually"; CEP 29 (the MatchSpec minilanguage).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..core.yaml_loader import YamlLoader
from .asked import CondaWanted, FileLine

_SPEC = re.compile(r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)\s*(?P<rest>.*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables by which an image finds its programs and the home.
_IMAGES = frozenset(("PATH", "HOME", "CONDA_DIR", "NB_PYTHON_PREFIX"))
_EXACT = re.compile(r"[0-9][\w.!+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is read: items of conda, lines of the ``pip`` lists, and variables."""

    conda: tuple[CondaWanted, ...]
    pip: tuple[tuple[str, FileLine], ...]
    variables: tuple[tuple[str, str], ...]


def parse(text: str, file: str) -> Environment:
    """Read an environment.yml.

    Raises:
        HelioError: it is not YAML, or an item or variable is none that an image can have; with its line.
    """
    try:
        top = yaml.compose(text, Loader=YamlLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = FileLine(file=file, line=mark.line + 1 if mark else 0)
        raise place.fault(f"`{file}` is not YAML", detail=str(getattr(error, "problem", error))) from error
    if top is None:
        return Environment(conda=(), pip=(), variables=())
    conda: list[CondaWanted] = []
    pip: list[tuple[str, FileLine]] = []
    variables: list[tuple[str, str]] = []
    for name, value in _pairs(top, file):
        if name == "dependencies":
            for item in _items(value, file):
                if isinstance(item, yaml.MappingNode):
                    pip += _pip(item, file)
                else:
                    conda.append(spec(_scalar(item, file), _place(item, file)))
        elif name == "variables":
            variables += [
                (_variable(key, _place(node, file)), _scalar(node, file)) for key, node in _pairs(value, file)
            ]
    return Environment(conda=tuple(conda), pip=tuple(pip), variables=tuple(variables))


def spec(text: str, place: FileLine) -> CondaWanted:
    """Read one item of ``dependencies``.

    Raises:
        HelioError: it is no name and version.

    >>> spec("numpy=1.26", FileLine(file="environment.yml")).version
    '==1.26.*'
    """
    words = re.sub(r"\s#.*", "", text).strip()
    match = _SPEC.fullmatch(words)
    if match is None or "[" in match["rest"]:
        raise place.fault(
            f"`{text}` is not understood", detail="expected a name and a version, e.g. numpy=1.26 or numpy>=1.26"
        )
    return CondaWanted(
        name=match["name"].lower(),
        version=_version(match["rest"], text, place),
        text=words,
        place=place,
        build=re.fullmatch(r"=?[^=<>!~ ]+=[^=<>!~ ]+", match["rest"]) is not None,
    )


def _version(rest: str, text: str, place: FileLine) -> str:
    """Return conda's version in PEP 440's words; a build string says nothing of another channel's packages."""
    rest = re.sub(r"\s*([<>=!~,|])\s*", r"\1", rest).strip()
    rest = rest.split(" ")[0]
    if "|" in rest or "(" in rest:
        raise place.fault(f"`{text}` has alternatives", hint="write one range, e.g. numpy>=1.26,<3")
    build = re.fullmatch(r"(=?)([^=<>!~]+)=([^=<>!~]+)", rest)
    if build:
        rest = f"=={build[2]}" if not build[2].endswith("*") else build[2]
    parts = []
    for part in rest.split(","):
        if part in ("", "*"):
            continue
        if re.fullmatch(r"=[^=].*", part):
            part = "==" + part[1:] + ("" if part.endswith("*") else ".*")
        elif _EXACT.fullmatch(part) or (part.endswith("*") and part[:1].isdigit()):
            part = f"=={part}"
        part = re.sub(r"([^.])\*$", r"\1.*", part)
        # conda says `>=1.2.*` for `>=1.2`.
        part = re.sub(r"^([<>]=?|~=)(.*)\.\*$", r"\1\2", part)
        parts.append(part)
    version = ",".join(parts)
    try:
        SpecifierSet(version)
    except InvalidSpecifier as error:
        raise place.fault(f"`{text}` has a version that is not understood", detail=f"not {rest!r}") from error
    return version


def _pip(node: yaml.MappingNode, file: str) -> Iterator[tuple[str, FileLine]]:
    for name, value in _pairs(node, file):
        if name != "pip":
            raise _place(node, file).fault(f"`{name}` is not a list that conda knows", detail="expected `pip`")
        for item in _items(value, file):
            yield _scalar(item, file), _place(item, file)


def _variable(name: str, place: FileLine) -> str:
    if not _NAME.fullmatch(name):
        raise place.fault(f"`{name}` cannot be a variable", detail="expected letters, digits and _, e.g. DATA_DIR")
    if name in _IMAGES:
        raise place.fault(
            f"`{name}` is the image's own: without its value nothing in it is found",
            hint=f'add to it in `start`: export {name}="…:${{{name}}}"' if name == "PATH" else "remove it",
        )
    return name


def _pairs(node: yaml.Node, file: str) -> Iterator[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise _place(node, file).fault(f"`{file}` is not understood", detail="expected keys with values")
    for key, value in node.value:
        yield _scalar(key, file), value


def _items(node: yaml.Node, file: str) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise _place(node, file).fault(f"`{file}` is not understood", detail="expected a list")
    return list(node.value)


def _scalar(node: yaml.Node, file: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _place(node, file).fault(f"`{file}` is not understood", detail="expected a text")
    return str(node.value)


def _place(node: yaml.Node, file: str) -> FileLine:
    return FileLine(file=file, line=node.start_mark.line + 1)
