"""Where packages come from: what pip's and uv's variables and configuration files say.

uv decides and answers for itself; this module gives it what only pip is configured for, since many sites configure
nothing else. A variable is stronger than a file, and uv's are stronger than pip's. An address may hold a login: it is
in no ``repr``, log or lock.

Spec: pip, "Configuration"; uv, "Settings" and "Using alternative package indexes".
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..core.errors import HelioError, Stage

#: Sections of pip's files that speak of installing, the weaker one first.
_SECTIONS = ("global", "install")
_TOGETHER = "unsafe-best-match"
_TRUE = ("1", "true", "yes", "on", "y", "t")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPlaces:
    """Indexes and lists of files, in the order in which they are asked.

    Attributes:
        indexes: of the simple API.
        together: all indexes' files of a project count, as pip has it; else those of the first index that knows it.
        links: folders, or addresses of pages, whose files count beside an index's.
    """

    indexes: tuple[str, ...] = field(repr=False)
    links: tuple[str, ...] = field(default=(), repr=False)
    together: bool = False


def for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which uv asks where both uv and pip are configured to.

    Raises:
        HelioError: a configuration file cannot be read.
    """
    pip, own = pip_settings(environ), tuple(_uv_documents(environ))
    settings = dict(environ)
    if not (environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")):
        from_file = "" if any(_names_default(document) for document in own) else pip.get("index-url", "")
        if url := environ.get("PIP_INDEX_URL") or from_file:
            settings["UV_DEFAULT_INDEX"] = url
    if extra := [*environ.get("UV_EXTRA_INDEX_URL", "").split(), *pip.get("extra-index-url", "").split()]:
        settings["UV_EXTRA_INDEX_URL"] = " ".join(dict.fromkeys(extra))
    if pip.get("extra-index-url") and not any(map(_strategy, own)):
        # Whoever names an extra index to pip means all of them together.
        settings.setdefault("UV_INDEX_STRATEGY", _TOGETHER)
    # uv runs in a folder of its own, where no relative path leads anywhere.
    links = [_absolute(link) for link in environ.get("UV_FIND_LINKS", "").split(",") if link]
    # A folder that is not there pip passes over, uv does not.
    links += [
        link for link in map(_absolute, pip.get("find-links", "").split()) if "://" in link or os.path.exists(link)
    ]
    if links:
        settings["UV_FIND_LINKS"] = ",".join(dict.fromkeys(links))
    if pip.get("no-index", "").lower() in _TRUE:
        settings.setdefault("UV_NO_INDEX", "1")
    return settings


def read(listed: str, environ: Mapping[str, str]) -> IndexPlaces:
    """Return the places that uv names in ``uv pip compile --emit-index-url --emit-find-links``.

    Args:
        environ: what `for_uv` returned; has the logins of indexes with a name.
    """
    rows: dict[str, list[str]] = {"index-url": [], "extra-index-url": [], "find-links": []}
    for key, value in re.findall(r"^--([a-z-]+)[ \t]+(\S.*?)[ \t]*$", listed, re.MULTILINE):
        rows.get(key, []).append(value)
    documents = tuple(_uv_documents(environ))
    silent = environ.get("UV_NO_INDEX", "").lower() in _TRUE or any(
        document.get("no-index") is True for document in documents
    )
    logins = dict(_logins(environ, documents))
    indexes = () if silent else (*rows["extra-index-url"], *rows["index-url"][:1])
    return IndexPlaces(
        indexes=tuple(logins.get(url.rstrip("/"), url) for url in dict.fromkeys(indexes)),
        links=tuple(rows["find-links"]),
        together=are_together(environ),
    )


def are_together(environ: Mapping[str, str]) -> bool:
    """Say whether all indexes' files of a project count, not only those of the first index that knows it.

    Args:
        environ: what `for_uv` returned.
    """
    strategy = environ.get("UV_INDEX_STRATEGY") or next(filter(None, map(_strategy, _uv_documents(environ))), "")
    return strategy in (_TOGETHER, "unsafe-first-match")


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return option -> value as pip has them, variables and files together.

    Raises:
        HelioError: a file cannot be read.
    """
    sections: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for path in _pip_files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # The parser's own words would quote a line, which may hold a password.
            raise HelioError(
                Stage.HOST,
                "cannot read a configuration file of pip",
                where=str(path),
                detail=type(error).__name__,
                hint="mend it: `pip config list` reads the same files",
            ) from error
        for name in _SECTIONS:
            if parser.has_section(name):
                sections[name] |= {key.lower().replace("_", "-"): value for key, value in parser.items(name)}
    settings = {key: value for name in _SECTIONS for key, value in sections[name].items()}
    for key in ("index-url", "extra-index-url", "find-links", "no-index"):
        if value := environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            settings[key] = value
    return settings


def _pip_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield pip's files, the weakest first: of the machine, of the user, of the virtual environment, named."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    for folder in reversed((environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    if not (named and Path(named).exists()):
        yield home / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(environ.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf"
    if named:
        yield Path(named)


def _uv_documents(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield uv's own files, as far as they can be read: what is wrong with one, uv says."""
    if environ.get("UV_NO_CONFIG", "").lower() in _TRUE:
        return
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    paths = [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"]
    paths += [Path(folder) / "uv" / "uv.toml" for folder in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    paths.append(Path("/etc/uv/uv.toml"))
    for path in [Path(environ["UV_CONFIG_FILE"])] if environ.get("UV_CONFIG_FILE") else paths:
        try:
            yield tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            continue


def _tables(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    rows = document.get("index")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("url"), str):
            yield row


def _names_default(document: Mapping[str, Any]) -> bool:
    pip = document.get("pip")
    return (
        "index-url" in document
        or (isinstance(pip, dict) and "index-url" in pip)
        or any(row.get("default") is True for row in _tables(document))
    )


def _strategy(document: Mapping[str, Any]) -> str:
    pip = document.get("pip")
    return str((pip.get("index-strategy") if isinstance(pip, dict) else "") or document.get("index-strategy") or "")


def _logins(environ: Mapping[str, str], documents: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, str]]:
    """Yield the address of each index with a name -> the same with the login that variables of this name give."""
    named = [(str(row.get("name")), str(row["url"])) for document in documents for row in _tables(document)]
    for text in (*environ.get("UV_INDEX", "").split(), environ.get("UV_DEFAULT_INDEX", "")):
        name, equals, url = text.partition("=")
        if equals and "/" not in name:
            named.append((name, url))
    for name, url in named:
        key = re.sub(r"[^A-Z0-9]", "_", name.upper())
        user, password = (environ.get(f"UV_INDEX_{key}_{part}", "") for part in ("USERNAME", "PASSWORD"))
        parts = urlsplit(url)
        if (user or password) and "@" not in parts.netloc:
            login = f"{quote(user, safe='')}:{quote(password, safe='')}"
            yield url.rstrip("/"), parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


def _absolute(link: str) -> str:
    return link if urlsplit(link).scheme in ("http", "https", "file") else os.path.abspath(os.path.expanduser(link))
