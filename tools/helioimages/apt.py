"""Resolve Debian packages with apt, in a private root: nothing of the host's apt is read but its mirror and keys.

The lock it makes is host-free. At fetch time `mirror_urls` puts the configured mirror before each pool path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import requests

from .debian.lock import AptLock, Deb
from .errors import HelioError, Stage
from .progress import say

SUITE = "trixie"
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
#: What mmdebstrap's minbase installs besides what is asked for.
_MINIMAL = ("?essential", "?priority(required)", "apt")


@cache
def mirrors() -> dict[str, str]:
    """Return the base addresses of ``debian`` and ``debian-security``.

    HELIOIMAGES_DEBIAN_MIRROR wins (its sibling ``…-security`` is the other one), then the Debian sources of this host,
    then the default that mmdebstrap brings.

    Raises:
        HelioError: none of them says anything.
    """
    found: dict[str, str] = {}
    if given := os.environ.get("HELIOIMAGES_DEBIAN_MIRROR"):
        found["debian"] = given.rstrip("/")
    else:
        result = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], check=False)
        program = shutil.which("mmdebstrap")
        default = Path(program).read_text("utf-8", "replace") if program else ""
        for text in (result, default):
            for address in re.findall(r"https?://[^\s\"'|$]+?/debian(?:-security)?(?=[/\s\"']|$)", text):
                found.setdefault(address.rpartition("/")[2], address)
    if "debian" not in found:
        raise HelioError(
            Stage.HOST,
            "no Debian mirror is configured",
            hint="set HELIOIMAGES_DEBIAN_MIRROR to the address of one, ending in /debian",
        )
    found.setdefault("debian-security", found["debian"] + "-security")
    return found


def mirror_urls(deb: Deb) -> tuple[str, ...]:
    """Return the addresses of a package, for the fetcher."""
    return (f"{mirrors()[deb.archive]}/{deb.file_name}",)


def source_urls(pool: str, file: str) -> tuple[str, ...]:
    """Return the addresses of a source archive: ``pool`` is a folder below the mirror's root."""
    return tuple(f"{base}/{pool}/{file}" for base in mirrors().values())


def resolve(
    requested: Sequence[str],
    *,
    suite: str = SUITE,
    architecture: str = "amd64",
    parent: AptLock | None = None,
    healed: Sequence[str] = (),
) -> AptLock:
    """Return a lock of the requested packages, their dependencies, and a minimal system.

    Args:
        requested: Debian package names.
        parent: its packages are taken at the same versions, and all of them.
        healed: kept in the lock; see `heal`.

    Raises:
        HelioError: apt cannot read the archive, does not know a package, or finds no solution.
    """
    with tempfile.TemporaryDirectory(prefix="helioimages-apt-") as scratch:
        root = Path(scratch)
        options = _private_root(root, suite, architecture)
        _run(["apt-get", *options, "update", "-qq"])
        wanted = [*_MINIMAL, *requested]
        if parent:
            wanted += [f"{deb.name}={deb.version}" for deb in parent.packages]
        flags = ["install", "--print-uris", "--yes", "-qq", "--no-install-recommends", "--allow-downgrades"]
        lines = _run(["apt-get", *options, *flags, *wanted])
        files: dict[str, str] = {}
        for line in lines.splitlines():
            if match := re.match(r"'([^']+)' \S+ \d+ \S*", line):
                address = unquote(match[1])
                archive = "debian-security" if "-security/" in address.partition("/pool/")[0] + "/" else "debian"
                files["pool/" + address.partition("/pool/")[2]] = archive
        stanzas = _stanzas(_run(["apt-cache", *options, "dumpavail"]), files)
        newest = max((_release_time(path) for path in (root / "lists").glob("*Release")), default=0)
    missing = sorted(files.keys() - stanzas.keys())
    if missing:
        raise HelioError(Stage.LOCK, f"apt names `{missing[0]}` but its index does not", hint="run it again")
    packages = tuple(
        Deb(
            name=stanza["Package"],
            version=stanza["Version"],
            architecture=stanza["Architecture"],
            file_name=path,
            archive=files[path],
            sha256=stanza["SHA256"],
            size=int(stanza["Size"]),
        )
        for path, stanza in sorted(stanzas.items(), key=lambda item: item[1]["Package"])
    )
    if parent:
        _check_superset(parent, packages)
    return AptLock(
        suite=suite,
        architecture=architecture,
        requested=tuple(sorted(requested)),
        packages=packages,
        healed=tuple(healed),
        timestamp=newest,
    )


def missing(debs: Iterable[Deb], *, jobs: int = 16) -> tuple[Deb, ...]:
    """Return the packages that the mirror does not have any more (a point release or a security update took them).

    Raises:
        HelioError: the mirror cannot be asked.
    """

    def gone(deb: Deb) -> bool:
        (url,) = mirror_urls(deb)
        try:
            with requests.head(url, timeout=30, allow_redirects=True) as response:
                if response.status_code in (404, 410):
                    return True
                response.raise_for_status()
        except requests.RequestException as error:
            raise HelioError(
                Stage.FETCH, f"cannot ask the mirror for `{deb.name}`", detail=type(error).__name__, hint="try again"
            ) from error
        return False

    debs = tuple(debs)
    with ThreadPoolExecutor(jobs) as pool:
        return tuple(deb for deb, is_gone in zip(debs, pool.map(gone, debs), strict=True) if is_gone)


def heal(lock: AptLock, gone: Sequence[Deb], *, parent: AptLock | None = None) -> AptLock:
    """Return a lock without the packages that the mirror dropped, saying loudly what took their place.

    The new lock's ``healed`` says it too, and the image has it as a label.
    """
    for deb in gone:
        say(f"warning: the mirror dropped {deb.name} {deb.version}; the Debian part is locked again")
    fresh = resolve(lock.requested, suite=lock.suite, architecture=lock.architecture, parent=parent)
    now = {deb.name: deb.version for deb in fresh.packages}
    log = tuple(f"{deb.name} {deb.version} -> {now.get(deb.name, 'nothing')}" for deb in gone)
    for line in log:
        say(f"  healed: {line}")
    return AptLock(
        suite=fresh.suite,
        architecture=fresh.architecture,
        requested=fresh.requested,
        packages=fresh.packages,
        healed=(*lock.healed, *log),
        timestamp=fresh.timestamp,
    )


def _private_root(root: Path, suite: str, architecture: str) -> list[str]:
    """Lay out an empty apt root and return the options that make apt use it alone."""
    for name in ("etc/parts", "lists/partial", "cache/archives/partial", "dpkg", "log"):
        (root / name).mkdir(parents=True)
    (root / "dpkg" / "status").touch()
    keys = sorted(Path("/usr/share/keyrings").glob("debian-archive-*keyring*"))
    keys = [key for key in keys if "removed" not in key.name and key.suffix in (".gpg", ".pgp")]
    whole = [key for key in keys if key.name.startswith("debian-archive-keyring.")]
    signed = f"[signed-by={(whole or keys)[0]}] " if keys else ""
    base, security = mirrors()["debian"], mirrors()["debian-security"]
    (root / "etc" / "sources.list").write_text(
        f"deb {signed}{base} {suite} main\n"
        f"deb {signed}{base} {suite}-updates main\n"
        f"deb {signed}{security} {suite}-security main\n"
    )
    settings = {
        "Dir::Etc::SourceList": root / "etc" / "sources.list",
        "Dir::Etc::SourceParts": root / "etc" / "parts",
        "Dir::Etc::Preferences": root / "etc" / "preferences",
        "Dir::Etc::PreferencesParts": root / "etc" / "parts",
        "Dir::Etc::Parts": root / "etc" / "parts",
        "Dir::State::Lists": root / "lists",
        "Dir::State::Status": root / "dpkg" / "status",
        "Dir::Cache": root / "cache",
        "Dir::Log": root / "log",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        "Acquire::Retries": "3",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _stanzas(text: str, files: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return pool path -> fields of the packages in ``files``."""
    found = {}
    for block in text.split("\n\n"):
        match = re.search(r"^Filename: (?:\./)?(\S+)$", block, re.MULTILINE)
        if match and match[1] in files:
            found[match[1]] = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", block, re.MULTILINE))
    return found


def _release_time(path: Path) -> int:
    match = re.search(r"^Date: (.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
    return int(parsedate_to_datetime(match[1]).timestamp()) if match else 0


def _check_superset(parent: AptLock, packages: Sequence[Deb]) -> None:
    have = {deb.name: deb for deb in packages}
    for deb in parent.packages:
        mine = have.get(deb.name)
        if mine is None or mine.sha256 != deb.sha256:
            raise HelioError(
                Stage.LOCK,
                f"Debian package `{deb.name}` differs from the parent image's",
                detail=f"expected {deb.version} not {mine.version if mine else 'nothing'}",
                hint="lock parent and child together: run `buildimages lock`",
            )


def _run(argv: Sequence[str], *, check: bool = True) -> str:
    try:
        result = subprocess.run(argv, capture_output=True, text=True, env=os.environ | _ENVIRONMENT)
    except FileNotFoundError as error:
        if not check:
            return ""
        raise HelioError(Stage.HOST, f"`{argv[0]}` is not here", hint="run this on Debian or Ubuntu") from error
    if check and result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith(("E:", "W:"))]
        raise HelioError(
            Stage.LOCK,
            "apt found no solution",
            detail="\n".join(lines[:12]) or result.stderr[-400:],
            hint="check debian.packages in image.toml",
        )
    return result.stdout
