"""The Debian mirror: where it is, the addresses of its files, and which of them it dropped.

No address is written in this project: the mirror is the user's own, or the default of Debian's tools.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from ..core.errors import HelioError, Stage
from ..debian.lock import Deb

#: apt's own view of the configured sources, one index a line: it reads both of its file formats, so we read neither.
_TARGETS = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)\t$(LABEL)"
_LABELS = {"Debian": "debian", "Debian-Security": "debian-security"}
_RELEASES = re.compile(
    r"(bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)"
    r"(-updates|-backports|-proposed-updates|-security|/updates)?"
)
#: In mmdebstrap's own text: ``my $mirror = '…'``, ``my $secmirror = '…'``.
_DEFAULT = re.compile(r"^\s*my \$(?:sec)?mirror\s*=\s*['\"](https?://[^'\"$\s]+)['\"]", re.MULTILINE)


@cache
def mirrors() -> dict[str, str]:
    """Return the base addresses of ``debian`` and ``debian-security``, without a slash at the end.

    HELIOIMAGES_DEBIAN_MIRROR wins (its sibling ``…-security`` is the other one), then the Debian sources of this host,
    then the default that mmdebstrap brings.

    Raises:
        HelioError: none of them says anything.
    """
    found: dict[str, str] = {}
    if given := os.environ.get("HELIOIMAGES_DEBIAN_MIRROR"):
        found["debian"] = given.rstrip("/")
    else:
        found = read_targets(_output(["apt-get", "indextargets", "--format", _TARGETS]))
        program = shutil.which("mmdebstrap")
        if "debian" not in found and program:
            found |= read_default(Path(program).read_text("utf-8", "replace"))
    if "debian" not in found:
        raise HelioError(
            Stage.HOST,
            "no Debian mirror is configured",
            detail="looked at HELIOIMAGES_DEBIAN_MIRROR, the apt sources of this machine, and mmdebstrap's default",
            hint="set HELIOIMAGES_DEBIAN_MIRROR to the address of one, ending in /debian",
        )
    found.setdefault("debian-security", found["debian"] + "-security")
    return found


def read_targets(text: str) -> dict[str, str]:
    """Return the mirrors among apt's index targets.

    Other archives have addresses like Debian's (``…/linux/debian``). Who signed an archive is known once apt has its
    Release file; before that (lists are often deleted in containers) its suites and components tell.
    """
    found: dict[str, str] = {}
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
        found.setdefault(archive, address.rstrip("/"))
    return found


def read_default(text: str) -> dict[str, str]:
    """Return the mirrors that mmdebstrap's program text names as its default."""
    found: dict[str, str] = {}
    for address in _DEFAULT.findall(text):
        name = address.rstrip("/").rpartition("/")[2]
        if name in ("debian", "debian-security"):
            found.setdefault(name, address.rstrip("/"))
    return found


def mirror_urls(deb: Deb) -> tuple[str, ...]:
    """Return the addresses of a package, for the fetcher."""
    return (f"{mirrors()[deb.archive]}/{deb.file_name}",)


def source_urls(pool: str, file: str) -> tuple[str, ...]:
    """Return the addresses of a source archive: ``pool`` is a folder below the mirror's root."""
    return tuple(f"{base}/{pool}/{file}" for base in mirrors().values())


def missing(debs: Iterable[Deb], *, jobs: int = 16) -> tuple[Deb, ...]:
    """Return the packages that the mirror does not have any more (a point release or a security update took them).

    Args:
        jobs: questions at once.

    Raises:
        HelioError: the mirror cannot be asked, or answers neither yes nor no.
    """
    debs = tuple(debs)
    with requests.Session() as session, ThreadPoolExecutor(jobs) as pool:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=jobs, max_retries=2)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        gone = pool.map(lambda deb: _is_gone(session, deb), debs)
        return tuple(deb for deb, is_gone in zip(debs, gone, strict=True) if is_gone)


def _is_gone(session: requests.Session, deb: Deb) -> bool:
    (url,) = mirror_urls(deb)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return not Path(url2pathname(parts.path)).exists()
    try:
        with session.head(url, timeout=30, allow_redirects=True) as response:
            if response.status_code in (404, 410):
                return True
            response.raise_for_status()
    except requests.RequestException as error:
        answer = error.response.status_code if error.response is not None else type(error).__name__
        raise HelioError(
            Stage.FETCH,
            f"cannot ask the mirror for `{deb.name}`",
            detail=f"expected 200 or 404 not {answer} for {deb.file_name}",
            hint="try again, or name another mirror in HELIOIMAGES_DEBIAN_MIRROR",
        ) from error
    return False


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"}).stdout
    except FileNotFoundError:
        return ""
