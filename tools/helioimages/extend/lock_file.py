"""The lock that a repository keeps, ``pylock.<image>.toml``: what its image adds to its parent. Pure.

Packages of the index are as in the locks of a checkout; what is built of the repository or of a git repository is named
by its folder or commit, behind them.

Spec: PEP 751, ``packages.vcs`` and ``packages.directory``.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.errors import HelioError, Stage
from ..core.reading import Form, Table, load_toml
from ..pypi import lock as pypi_lock
from ..pypi.lock import PyPILock
from .asked import SourceProject

_HEAD = "# Written by `buildimages extend --write-lock`, and obeyed by it; do not edit.\n"
_SOURCES = "\n# Built from source:\n"
_FORM = Form(stage=Stage.LOCK, comma=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelOrigin:
    """What a wheel was built of; ``commit`` is empty for a folder of the repository."""

    name: str
    version: str
    project: SourceProject
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A lock that was read.

    Attributes:
        commits: (address, ref, folder) -> commit.
    """

    lock: PyPILock
    commits: Mapping[tuple[str, str, str], str] = field(default_factory=dict)


def path(repository: str, configuration: str) -> str:
    """Return where a repository keeps its lock for an image.

    >>> path("heliocloud/helio", "binder")
    'binder/pylock.helio.toml'
    """
    name = re.sub(r"[^a-z0-9-]", "-", repository.rpartition("/")[2].lower())
    return f"{configuration}/pylock.{name}.toml".lstrip("/")


def dump(lock: PyPILock, sources: Iterable[WheelOrigin], file: str) -> str:
    """Return the text of a lock.

    Args:
        lock: of the packages of the index alone.
        file: where it lies in the repository.
    """
    text = _HEAD + pypi_lock.dump(lock).partition("\n")[2]
    rows = []
    for source in sorted(sources, key=lambda source: source.name):
        project = source.project
        if source.commit:
            words = {"type": "git", "url": project.url, "requested-revision": project.ref, "commit-id": source.commit}
            if project.folder != ".":
                words["subdirectory"] = project.folder
        else:
            words = {"path": posixpath.relpath(project.folder, posixpath.dirname(file) or ".")}
        said = ", ".join(f"{name} = {json.dumps(value)}" for name, value in words.items() if value)
        rows.append(
            f"\n[[packages]]\nname = {json.dumps(source.name)}\nversion = {json.dumps(source.version)}\n"
            f"{'vcs' if source.commit else 'directory'} = {{ {said} }}\n"
        )
    if rows and not lock.files:
        text = text.replace("packages = []\n", "", 1)
    return text + (_SOURCES + "".join(rows) if rows else "")


def parse(text: str, file: str) -> Kept:
    """Read a lock.

    Raises:
        HelioError: it is none that `dump` wrote.
    """
    head, _, _ = text.partition(_SOURCES)
    try:
        if "\n[[packages]]\n" not in head and "\npackages = []\n" not in head:
            head = head.replace("\n[tool.helioimages]", "\npackages = []\n\n[tool.helioimages]", 1)
        lock = pypi_lock.parse(head, file)
        packages = load_toml(text, file, _FORM).tables("packages")
        commits = dict(_commit(vcs) for package in packages if (vcs := package.table_or_none("vcs")))
    except HelioError as error:
        error.hint = f"delete {file}, and write it again with --write-lock"
        raise
    return Kept(lock=lock, commits=commits)


def _commit(vcs: Table) -> tuple[tuple[str, str, str], str]:
    """Return what a package was asked for by, as `Kept.commits` has it, and its commit."""
    asked = vcs.text("url"), vcs.text("requested-revision", ""), vcs.text("subdirectory", ".")
    return asked, vcs.text("commit-id")
