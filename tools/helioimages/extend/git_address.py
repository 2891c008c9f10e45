"""Addresses of git repositories as pip writes them: ``[git+]URL[@REF][#subdirectory=FOLDER]``. Pure.

Spec: pip, "VCS Support".
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

_SCHEMES = ("https", "http", "ssh", "file")
#: As ssh's own programs write it.
_SCP = re.compile(r"(?P<host>git@[\w.-]+):(?P<path>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAddress:
    """A git repository, and what is meant of it.

    Attributes:
        url: what git is told.
        ref: branch, tag or commit; the default branch if empty.
        folder: relative to the repository; ``.`` is the whole of it.
        egg: the package that pip expects there, with its extras; empty if it is not said.
    """

    url: str
    ref: str = ""
    folder: str = "."
    egg: str = ""


def is_address(text: str) -> bool:
    """Say whether a word is an address of git rather than a folder.

    >>> is_address("https://host/a.git"), is_address("git@host:a/b"), is_address("./a"), is_address("svn://host/a")
    (True, True, False, False)
    """
    text = text.removeprefix("git+")
    return _SCP.fullmatch(text) is not None or text.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES))


def parse(text: str) -> GitAddress:
    """Read an address.

    Raises:
        ValueError: it is none, or its folder leads out of the repository; the text goes behind the address.

    >>> parse("https://host/a.git@v1#subdirectory=notebooks")
    GitAddress(url='https://host/a.git', ref='v1', folder='notebooks', egg='')
    """
    address, _, fragment = text.removeprefix("git+").partition("#")
    said = parse_qs(fragment)
    if scp := _SCP.fullmatch(address):
        path, at, ref = _split(scp["path"])
        url = f"{scp['host']}:{path}"
    else:
        split = urlsplit(address)
        path, at, ref = _split(split.path)
        url = split._replace(path=path).geturl()
        if split.scheme not in _SCHEMES or not path.strip("/"):
            raise ValueError("is not an address of a git repository")
    if at and not ref:
        raise ValueError("is not an address of a git repository")
    folder = posixpath.normpath(said.get("subdirectory", ["."])[0])
    if folder.startswith("/") or folder.split("/")[0] == "..":
        raise ValueError("names a folder out of its repository")
    return GitAddress(url=url, ref=ref, folder=folder, egg=said.get("egg", [""])[0])


def _split(path: str) -> tuple[str, str, str]:
    """Split a path at the last ``@``, as pip does."""
    before, at, ref = path.rpartition("@")
    return (before, at, ref) if at else (ref, "", "")


def public(url: str) -> str:
    """Return an address without a login in it: images and errors are read by others."""
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or "@" not in split.netloc:
        return url
    return split._replace(netloc=split.netloc.rpartition("@")[2]).geturl()
