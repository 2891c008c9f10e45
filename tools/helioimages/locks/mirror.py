"""The Debian mirror: where it is, the addresses of its files, and which of them it dropped.

No address is written in this project: the mirror is the user's own, or the default of Debian's tools.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.http import ask, reason
from ..core.progress import bar
from ..debian.lock import Deb
from ..machine.fetch import WantedFile

#: apt's own view of the configured sources, one index a line: it reads both of its file formats, so we read neither.
_TARGETS = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)\t$(LABEL)"
_LABELS = {"Debian": "debian", "Debian-Security": "debian-security"}
_RELEASES = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)"
    r"(-updates|-backports|-proposed-updates|-security|/updates)?"
)
#: In mmdebstrap's own text: ``my $mirror = '…'``, ``my $secmirror = '…'``.
_DEFAULT = re.compile(r"^\s*my \$(?:sec)?mirror\s*=\s*['\"](https?://[^'\"$\s]+)['\"]", re.MULTILINE)


def mirrors() -> dict[str, str]:
    """Return the base addresses of ``debian`` and ``debian-security``, without a slash at the end.

    HELIOIMAGES_DEBIAN_MIRROR wins (its sibling ``…-security`` is the other one), then the Debian sources of this host,
    then the default that mmdebstrap brings.

    Raises:
        HelioError: none of them says anything.
    """
    given = os.environ.get("HELIOIMAGES_DEBIAN_MIRROR")
    addresses = {"debian": given.rstrip("/")} if given else dict(of_this_machine())
    if "debian" not in addresses:
        raise HelioError(
            Stage.HOST,
            "no Debian mirror is configured",
            detail="looked at HELIOIMAGES_DEBIAN_MIRROR, the apt sources of this machine, and mmdebstrap's default",
            hint="set HELIOIMAGES_DEBIAN_MIRROR to the address of one, ending in /debian",
        )
    addresses.setdefault("debian-security", addresses["debian"] + "-security")
    return addresses


@threads.Once
def of_this_machine() -> Mapping[str, str]:
    """Return the mirrors that apt and mmdebstrap know here: programs are asked once, settings each time."""
    addresses = read_targets(_output(["apt-get", "indextargets", "--format", _TARGETS]))
    program = shutil.which("mmdebstrap")
    if "debian" not in addresses and program:
        addresses |= read_default(Path(program).read_text("utf-8", "replace"))
    return addresses


def read_targets(text: str) -> dict[str, str]:
    """Return the mirrors among apt's index targets.

    Other archives have addresses like Debian's (``…/linux/debian``). Who signed an archive is known once apt has its
    Release file; before that (lists are often deleted in containers) its suites and components tell.
    """
    addresses: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 5:
            continue
        address, release, component, origin, label = (field.strip() for field in fields)
        if component != "main" or not _RELEASES.fullmatch(release) or not re.match(r"(https?|file)://?", address):
            continue
        archive = "debian-security" if release.endswith(("-security", "/updates")) else "debian"
        # apt leaves the variable's name where it knows no value.
        if origin and not origin.startswith("$"):
            if origin != "Debian" or label not in _LABELS:
                continue
            archive = _LABELS[label]
        elif not address.rstrip("/").endswith(("/debian", "/debian-security")):
            continue
        addresses.setdefault(archive, address.rstrip("/"))
    return addresses


def read_default(text: str) -> dict[str, str]:
    """Return the mirrors that mmdebstrap's program text names as its default."""
    addresses: dict[str, str] = {}
    for address in _DEFAULT.findall(text):
        name = address.rstrip("/").rpartition("/")[2]
        if name in ("debian", "debian-security"):
            addresses.setdefault(name, address.rstrip("/"))
    return addresses


def snapshot() -> dict[str, str]:
    """Return the base addresses of a mirror that still has what the archive has replaced; empty if none is named.

    HELIOIMAGES_DEBIAN_SNAPSHOT is the address of ``debian`` at some moment, e.g. ``…/archive/debian/20261119T000000Z``.
    Its sibling has ``debian-security`` in that folder's place.
    """
    given = os.environ.get("HELIOIMAGES_DEBIAN_SNAPSHOT", "").rstrip("/")
    if not given:
        return {}
    head, separator, tail = given.rpartition("/debian")
    # `/debian` at the end, or before the moment.
    fits = bool(separator) and (not tail or (tail.startswith("/") and "/" not in tail[1:]))
    return {"debian": given, "debian-security": f"{head}/debian-security{tail}" if fits else f"{given}-security"}


def mirror_urls(deb: Deb) -> tuple[str, ...]:
    """Return the addresses of a package, for the fetcher: the mirror's, then the snapshot's if one is named."""
    return tuple(f"{bases[deb.archive]}/{deb.file_name}" for bases in (mirrors(), snapshot()) if bases)


def wanted(deb: Deb, where: str) -> WantedFile:
    """Return what the fetcher has to know of a package.

    Args:
        where: file and key of the lock that names it.
    """
    return WantedFile(
        name=deb.file_name.rpartition("/")[2],
        sha256=deb.sha256,
        size=deb.size,
        where=where,
        urls=lambda: mirror_urls(deb),
        hint="the mirror dropped it (a point release or security update); run `buildimages lock`",
    )


def source_urls(pool: str, file: str) -> tuple[str, ...]:
    """Return the addresses of a source archive: ``pool`` is a folder below the mirror's root."""
    return tuple(f"{base}/{pool}/{file}" for bases in (mirrors(), snapshot()) for base in bases.values())


def missing(debs: Iterable[Deb], *, jobs: int = 16) -> tuple[Deb, ...]:
    """Return the packages that neither the mirror nor the snapshot has any more.

    A point release or a security update took them. The index says less: a file often stays in the pool for days after
    the index forgot it.

    Args:
        jobs: questions at once.

    Raises:
        HelioError: the mirror cannot be asked, or answers neither yes nor no.
    """
    debs = tuple(debs)
    asked = bar("packages asked of the Debian mirror", len(debs), unit="package")
    with asked as advance, requests.Session() as session, threads.pool(jobs) as pool:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=jobs)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        gone: list[Deb] = []
        for deb, is_gone in zip(debs, pool.map(lambda deb: _is_gone(session, deb), debs), strict=True):
            advance(1)
            gone += [deb] if is_gone else []
        return tuple(gone)


def _is_gone(session: requests.Session, deb: Deb) -> bool:
    return not any(_has(session, deb, url) for url in mirror_urls(deb))


def _has(session: requests.Session, deb: Deb, url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).exists()
    try:
        with ask(lambda: session.head(url, timeout=30, allow_redirects=True)) as response:
            if response.status_code in (404, 410):
                return False
            response.raise_for_status()
    except requests.RequestException as error:
        answer = error.response.status_code if error.response is not None else reason(error)
        raise HelioError(
            Stage.FETCH,
            f"cannot ask the mirror for `{deb.name}`",
            detail=f"expected 200 or 404 not {answer} for {deb.file_name}",
            hint="try again, or name another mirror in HELIOIMAGES_DEBIAN_MIRROR",
        ) from error
    return True


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"}).stdout
    except FileNotFoundError:
        return ""
