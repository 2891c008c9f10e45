"""What a repository asks for, as a Dockerfile that begins with a published image: repo2docker builds it. Pure.

The image's own versions stay, as in `stage`: pip is told them as constraints. Nothing is locked, so Debian packages may
be added as well.

Spec: Dockerfile reference; repo2docker, "Configuration Files".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .asked import FileLine, PlacedRequirement, RepositoryRequests, SourceProject

#: Settings of pip that a site gives as build arguments; what is not given is not set.
PIP_ARGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT")
_PINS, _LIMITS = "/tmp/image.txt", "/tmp/limits.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentImage:
    """The image that the Dockerfile begins with.

    Attributes:
        reference: by digest.
        uid: of whom it runs as.
        entrypoint: its own, before a repository's ``start``.
        command: its own.
    """

    reference: str
    uid: int
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRecipe:
    """What becomes of a repository.

    Attributes:
        requirements: all of them, conda's items in the index's words (`solve.requirements`).
        place: of the repository's files, absolute.
        labels: of the image.
        appendix: lines at the end, as repo2docker's setting has them.
    """

    below: ParentImage
    asked: RepositoryRequests
    requirements: tuple[PlacedRequirement, ...]
    place: str
    labels: Mapping[str, str]
    appendix: str = ""


def dockerfile(recipe: RepositoryRecipe) -> str:
    """Return the Dockerfile; its context has the repository in ``src/``.

    Raises:
        HelioError: a variable cannot be in one.
    """
    below, asked, place = recipe.below, recipe.asked, recipe.place
    lines = [f"FROM {below.reference}", "USER root", f"ENV REPO_DIR={_quoted(place)}", f"WORKDIR {place}"]
    if asked.debian:
        lines.append(_debian(asked.debian))
    lines += [f"ENV {name}={_value(name, value, asked)}" for name, value in asked.variables.items()]
    # `COPY` makes no folder the user's that is there already, and group 0 is whoever a hub starts with another uid.
    lines.append(f"COPY --chown={below.uid}:0 src/ {place}/")
    if asked.projects or recipe.requirements:
        lines += [f"ARG {name}" for name in PIP_ARGS]
        lines.append(_pip(recipe))
    # What pip built in the folders of the repository is root's. One step, for an engine stacks 125 layers at most.
    steps = [f"find {shlex.quote(place)} -xdev ! -uid {below.uid} -exec chown -h {below.uid}:0 {{}} +"]
    if programs := [shlex.quote(path) for path in (asked.post_build, asked.start) if path]:
        steps.append(f"chmod +x -- {' '.join(programs)}")
    lines += ["RUN " + " && ".join(steps), f"USER {below.uid}"]
    if asked.post_build:
        lines.append(f"RUN {shlex.quote('./' + asked.post_build)}")
    entrypoint = (*below.entrypoint, *([f"{place}/{asked.start}"] if asked.start else []))
    if entrypoint:
        lines.append(f"ENTRYPOINT {_words(entrypoint)}")
    # ENTRYPOINT alone would take the command of the image away.
    if below.command:
        lines.append(f"CMD {_words(below.command)}")
    lines += [f"LABEL {name}={_quoted(value)}" for name, value in sorted(recipe.labels.items())]
    return "\n".join([*lines, *([recipe.appendix] if recipe.appendix else []), ""])


def _debian(wanted: Sequence[PlacedRequirement]) -> str:
    names = " ".join(sorted({package.text for package in wanted}))
    return (
        "RUN export DEBIAN_FRONTEND=noninteractive && apt-get -qq update "
        f"&& apt-get install --yes --no-install-recommends {names} "
        "&& apt-get -qq clean && rm -rf /var/lib/apt/lists/*"
    )


def _pip(recipe: RepositoryRecipe) -> str:
    """Return the one step of pip; it replaces nothing that the image has."""
    asked = recipe.asked
    steps = [f"python -m pip list --format=freeze > {_PINS}"]
    options = ["--no-cache-dir", "--root-user-action=ignore", f"--constraint {_PINS}"]
    if asked.constraints:
        texts = " ".join(shlex.quote(constraint.text) for constraint in asked.constraints)
        steps.append(f"printf '%s\\n' {texts} > {_LIMITS}")
        options.append(f"--constraint {_LIMITS}")
    words = [*(requirement.text for requirement in recipe.requirements), *map(_project, asked.projects)]
    # A word each line: an engine shows the step as it stands.
    install = " \\\n    ".join(["python -m pip install " + " ".join(options), *map(shlex.quote, words)])
    return "RUN " + " && ".join([*steps, install, f"rm -f {_PINS} {_LIMITS}"])


def _project(project: SourceProject) -> str:
    extras = f"[{','.join(project.extras)}]" if project.extras else ""
    if not project.url:
        return f"./{project.folder}{extras}" if project.folder != "." else f".{extras}"
    ref = f"@{project.ref}" if project.ref else ""
    folder = f"#subdirectory={project.folder}" if project.folder != "." else ""
    return f"git+{project.url}{ref}{folder}"


def _value(name: str, value: str, asked: RepositoryRequests) -> str:
    file = f"{asked.configuration}/environment.yml".lstrip("/")
    if re.search(r"[\r\n\0]", value):
        raise FileLine(file=file).fault(
            f"`{name}` has more than one line, which a Dockerfile cannot set", hint="set it in `start`"
        )
    return _quoted(value)


def _quoted(text: str) -> str:
    """Return a value that neither ENV nor LABEL reads anything into. Spec: Dockerfile reference, "Environment"."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", re.sub(r"[\r\n]+", " ", text)) + '"'


def _words(argv: Sequence[str]) -> str:
    return "[" + ", ".join('"' + re.sub(r'([\\"])', r"\\\1", word) + '"' for word in argv) + "]"
