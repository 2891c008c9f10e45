"""What a bare machine takes along from this one: the ways to the package index and to the Debian mirror, no more.

Addresses stand nowhere in this project: they are this machine's own settings, copied as they are.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

RELEASES = {"debian12": "bookworm", "debian13": "trixie"}
_NAMES = re.compile(
    r"(https?|ftp|no|all)_proxy|(HTTPS?|FTP|NO|ALL)_PROXY|PIP_\w+|UV_\w+|HELIOIMAGES_DEBIAN_(MIRROR|SNAPSHOT)"
    r"|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL|AWS)_CA_BUNDLE|GIT_SSL_CAINFO|NODE_EXTRA_CA_CERTS"
)
# Caches, and places of this machine's own programs.
_NOT = re.compile(r"PIP_(CACHE_DIR|CONFIG_FILE)|UV_(CACHE|PYTHON|TOOL|PROJECT)\w*")
_APT = re.compile(r'(?i)Acquire::(https?|ftp)::[^ ]*(Proxy|CaInfo|CaPath|Verify-Peer|Verify-Host)[^ ]* ".*";')
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Settings of this machine.

    Attributes:
        environment: variables of the package clients.
        files: path in the tree -> text.
        user_files: the same, below the user's home.
        certificates: authorities that this machine trusts beside the usual ones.
        folders: of this machine, which its settings name, e.g. a folder of wheels: mounted there, read-only.
        resolv_conf: without servers on loopback; empty if there are no others.
    """

    environment: Mapping[str, str]
    files: Mapping[str, str]
    user_files: Mapping[str, str]
    certificates: tuple[Path, ...]
    folders: tuple[Path, ...]
    resolv_conf: str


def gather(release: str, mirrors: Mapping[str, str]) -> Carried:
    """Read this machine's settings.

    Args:
        release: Debian's code name for the bare machine.
        mirrors: addresses of ``debian`` and ``debian-security``.
    """
    environment = variables(os.environ)
    home = Path.home()
    files = {
        "etc/apt/sources.list": sources(release, mirrors),
        "etc/apt/apt.conf.d/90carried": apt_settings(_output("apt-config", "dump")),
        "etc/hosts": hosts(_text(Path("/etc/hosts"))),
        "etc/pip.conf": _text(Path("/etc/pip.conf")),
        "etc/uv/uv.toml": _text(Path("/etc/uv/uv.toml")),
    }
    given = os.environ.get("PIP_CONFIG_FILE")
    own = (Path(given),) if given else (home / ".config/pip/pip.conf", home / ".pip/pip.conf")
    user_files = {
        ".config/pip/pip.conf": next(filter(None, map(_text, own)), ""),
        ".config/uv/uv.toml": _text(home / ".config/uv/uv.toml"),
    }
    settings = [files["etc/pip.conf"], user_files[".config/pip/pip.conf"]]
    values = [*environment.values(), *(value for text in settings for value in pip_values(text))]
    named = local_paths(values)
    # A file that settings name is an authority's certificate.
    for path in named:
        if path.is_file() and path != _CERTIFICATES:
            files[str(path).lstrip("/")] = _text(path)
    resolvers = (resolvable(_text(path)) for path in _RESOLVERS)
    return Carried(
        environment=environment,
        files={path: text for path, text in files.items() if text},
        user_files={path: text for path, text in user_files.items() if text},
        certificates=tuple(sorted(Path("/usr/local/share/ca-certificates").rglob("*.crt"))),
        folders=tuple(path for path in named if path.is_dir() and not path.is_relative_to("/etc")),
        resolv_conf=next(filter(None, resolvers), ""),
    )


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the package clients, without those that name this machine's own caches and programs."""
    return {name: value for name, value in environment.items() if _NAMES.fullmatch(name) and not _NOT.fullmatch(name)}


def sources(release: str, mirrors: Mapping[str, str]) -> str:
    """Return apt's sources of a release. Spec: sources.list(5)."""
    archive, security = mirrors["debian"], mirrors["debian-security"]
    return (
        f"deb {archive} {release} main\ndeb {archive} {release}-updates main\ndeb {security} {release}-security main\n"
    )


def apt_settings(dump: str) -> str:
    """Return what of `apt-config dump` says how to reach an archive."""
    return "".join(f"{line}\n" for line in dump.splitlines() if _APT.fullmatch(line.strip()))


def pip_values(text: str) -> tuple[str, ...]:
    """Return the values of a pip configuration file; of one that pip could not read either, none."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return ()
    return tuple(value for section in parser.sections() for _, value in parser.items(section))


def local_paths(values: Iterable[str]) -> tuple[Path, ...]:
    """Return the absolute paths and ``file:`` addresses among the words of settings, each once, in order.

    Those inside an earlier one are left out. The pages of an index, a folder `simple`, lead to files beside it, so the
    folder above is what it needs.
    """
    paths: list[Path] = []
    for word in (word for value in values for word in value.split()):
        parts = urlsplit(word)
        if parts.scheme not in ("", "file"):
            continue
        path = Path(os.path.normpath(url2pathname(parts.path) if parts.scheme else word))
        if path.name == "simple" and path.parent != Path("/"):
            path = path.parent
        if path.is_absolute() and path != Path("/") and not any(path.is_relative_to(folder) for folder in paths):
            paths.append(path)
    return tuple(paths)


def hosts(text: str) -> str:
    """Return /etc/hosts: the bare machine's own names, and those of other machines that this one knows."""
    own = "127.0.0.1 localhost\n127.0.1.1 bare\n::1 localhost ip6-localhost ip6-loopback\n"
    return own + "".join(f"{line}\n" for line in text.splitlines() if not _is_own(line.partition("#")[0].split()[:1]))


def resolvable(text: str) -> str:
    """Return resolv.conf without name servers on loopback, where another network has none; empty if none is left."""
    lines = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"] or not _is_own(line.split()[1:2])]
    if not any(line.split()[:1] == ["nameserver"] for line in lines):
        return ""
    return "".join(f"{line}\n" for line in lines)


def _is_own(words: list[str]) -> bool:
    """Say whether an address is this machine's own, or there is none."""
    try:
        address = ipaddress.ip_address(words[0].partition("%")[0])
    except (IndexError, ValueError):
        return True
    return address.is_loopback or address.is_multicast or address.is_unspecified or str(address) == "fe00::"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""
