"""Resolve Debian packages with apt, in a private root: nothing of the host's apt is read but its mirror and keys.

The lock it makes is host-free. At fetch time `mirror_urls` puts the configured mirror before each pool path.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..debian.lock import AptLock, Deb, changes
from .mirror import mirror_urls, mirrors, missing, source_urls

__all__ = ["heal", "mirror_urls", "mirrors", "missing", "resolve", "source", "source_urls"]

SUITE = "trixie"
#: Reads an index however this apt keeps it: plain, or compressed.
_HELPER = "/usr/lib/apt/apt-helper"
#: What the host's configuration may say to the private apt: how to reach the network, and nothing of what to install.
_KEPT = re.compile(r"Acquire::(https?|ftp|socks)(::|\b)|Acquire::Check-(Valid-Until|Date)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a Debian source package.

    Attributes:
        name: e.g. ``python3.13_3.13.5.orig.tar.xz``.
        pool: folder below the mirror's root, for `source_urls`.
        sha256: 64 hexadecimal digits.
        size: bytes.
    """

    name: str
    pool: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class _Apt:
    """A private apt with fresh lists."""

    root: Path

    def run(self, *argv: str) -> str:
        """Run an apt program in this root.

        Raises:
            HelioError: it is not here, or failed; apt's own messages are in the detail.
        """
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("APT_")},
            "APT_CONFIG": str(self.root / "etc" / "apt.conf"),
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        try:
            result = subprocess.run(argv, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise HelioError(Stage.HOST, f"`{argv[0]}` is not here", hint="run this on Debian or Ubuntu") from error
        if result.returncode:
            raise _fault(result.stderr)
        return result.stdout


def resolve(
    requested: Sequence[str],
    *,
    suite: str = SUITE,
    architecture: str = "amd64",
    parent: AptLock | None = None,
    prefer: Sequence[Deb] = (),
    healed: Sequence[str] = (),
) -> AptLock:
    """Return a lock of the requested packages, their dependencies, and a minimal system.

    Args:
        requested: Debian package names.
        parent: its packages are taken at the same versions, and all of them.
        prefer: taken at these versions where they come in and the archive still has them.
        healed: kept in the lock; see `heal`.

    Raises:
        HelioError: apt cannot read the archive, does not know a package, or finds no solution.
    """
    with _private(suite, architecture, prefer=prefer) as apt:
        available = tuple(_available(apt))
        wanted = {*_minimal(available), *requested}
        if parent:
            versions = {deb.name: deb.version for deb in parent.packages}
            _check_offered(parent, available)
            wanted = (wanted - versions.keys()) | {f"{name}={version}" for name, version in versions.items()}
        flags = ("install", "--print-uris", "--yes", "-qq", "--no-install-recommends", "--allow-downgrades")
        archives = _addresses(apt.run("apt-get", *flags, *sorted(wanted)))
        newest = max((_release_time(path) for path in (apt.root / "lists").glob("*Release")), default=0)
    stanzas = {stanza["Filename"]: stanza for stanza in available if stanza.get("Filename") in archives}
    unknown = sorted(archives.keys() - stanzas.keys())
    if unknown:
        raise HelioError(Stage.LOCK, f"apt names `{unknown[0]}` but its index does not", hint="run it again")
    packages = tuple(
        Deb(
            name=stanza["Package"],
            version=stanza["Version"],
            architecture=stanza["Architecture"],
            file_name=path,
            archive=archives[path],
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


def heal(lock: AptLock, gone: Sequence[Deb], *, parent: AptLock | None = None) -> AptLock:
    """Return a lock without the packages that the mirror dropped, saying loudly what took their place.

    Every other package keeps its version where apt finds a solution so, because the images were tested with it. The
    new lock's ``healed`` says what changed, and the image has it as a label. Strict callers never call this: they
    refuse when `missing` gives anything.

    Args:
        gone: what `missing` gave.
        parent: the parent's lock, healed before.

    Raises:
        HelioError: the archive has no solution any more.
    """
    for deb in gone:
        say(f"warning: the mirror dropped {deb.name} {deb.version}; the Debian part is locked again")
    away = {deb.sha256 for deb in gone}
    inherited = {deb.name for deb in parent.packages} if parent else set()
    kept = tuple(deb for deb in lock.packages if deb.sha256 not in away and deb.name not in inherited)
    rest = {"suite": lock.suite, "architecture": lock.architecture, "parent": parent}
    try:
        fresh = resolve(lock.requested, **rest, prefer=kept)
    except HelioError as error:
        if error.stage is not Stage.LOCK:
            raise
        # Packages of one source move together (libc6 and libc6-dev): then all of them may.
        fresh = resolve(lock.requested, **rest)
    log = changes(lock, fresh)
    for line in log:
        say(f"  healed: {line}")
    return dataclasses.replace(fresh, healed=(*lock.healed, *log))


def source(
    package: str, version: str | None = None, *, suite: str = SUITE, architecture: str = "amd64"
) -> tuple[SourceFile, ...]:
    """Return the files of a Debian source package: ``.dsc``, ``.orig.tar.*`` and ``.debian.tar.*``.

    Args:
        package: the source package's name, e.g. ``python3.13``.
        version: Debian's, e.g. ``3.13.5-2``; the newest of the suite if None.

    Raises:
        HelioError: apt cannot read the archive, or it has no such source.
    """
    with _private(suite, architecture, kind="deb-src") as apt:
        what = f"{package}={version}" if version else package
        text = apt.run("apt-get", "source", "--print-uris", "--only-source", "-qq", what)
    found = []
    for match in re.finditer(r"^'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})$", text, re.MULTILINE):
        pool = "pool/" + unquote(match[1]).partition("/pool/")[2].rpartition("/")[0]
        found.append(SourceFile(name=match[2], pool=pool, sha256=match[4], size=int(match[3])))
    return tuple(sorted(found, key=lambda file: file.name))


@contextmanager
def _private(suite: str, architecture: str, *, kind: str = "deb", prefer: Sequence[Deb] = ()) -> Iterator[_Apt]:
    """Lay out an empty apt root, fill its lists, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="helioimages-apt-") as scratch:
        root = Path(scratch)
        for name in ("etc/parts", "lists/partial", "cache/archives/partial", "dpkg", "log"):
            (root / name).mkdir(parents=True)
        (root / "dpkg" / "status").touch()
        base, security = mirrors()["debian"], mirrors()["debian-security"]
        signed = _signed_by()
        rows = ((base, suite), (base, f"{suite}-updates"), (security, f"{suite}-security"))
        lines = [f"{kind} {signed}{address} {release} main\n" for address, release in rows]
        (root / "etc" / "sources.list").write_text("".join(lines))
        # Above 500, the priority of an archive, and below 1001: a version that is offered, never one that isn't.
        pins = [f"Package: {deb.name}\nPin: version {deb.version}\nPin-Priority: 900\n" for deb in prefer]
        (root / "etc" / "preferences").write_text("\n".join(pins))
        (root / "etc" / "apt.conf").write_text(_configuration(root, architecture))
        apt = _Apt(root)
        apt.run("apt-get", "update", "-qq")
        yield apt


def _configuration(root: Path, architecture: str) -> str:
    """Return the private ``apt.conf``. It is read first, so the host's ``apt.conf.d`` is not read at all."""
    settings = {
        "Dir::Etc::Main": root / "etc" / "none",
        "Dir::Etc::Parts": root / "etc" / "parts",
        "Dir::Etc::SourceList": root / "etc" / "sources.list",
        "Dir::Etc::SourceParts": root / "etc" / "parts",
        "Dir::Etc::Preferences": root / "etc" / "preferences",
        "Dir::Etc::PreferencesParts": root / "etc" / "parts",
        "Dir::State": root,
        "Dir::State::Lists": root / "lists",
        "Dir::State::Status": root / "dpkg" / "status",
        "Dir::Cache": root / "cache",
        "Dir::Log": root / "log",
        "APT::Architecture": architecture,
        # An ordinary user runs this too, and apt's own user cannot enter our folder.
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    try:
        host = subprocess.run(["apt-config", "dump", "--empty=no"], capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise HelioError(Stage.HOST, "`apt-config` is not here", hint="run this on Debian or Ubuntu") from error
    kept = [line for line in host.splitlines() if _KEPT.match(line)]
    lines = [f'{key} "{value}";' for key, value in settings.items()]
    # A cleared list, else apt would add the host's foreign architectures.
    return "\n".join([*kept, *lines, "#clear APT::Architectures;", f'APT::Architectures:: "{architecture}";']) + "\n"


def _signed_by() -> str:
    """Return the option that names Debian's keys; HELIOIMAGES_DEBIAN_KEYRING is for mirrors that sign for themselves.

    Without either, apt looks at the host's trusted keys: an archive that nobody signed is refused in any case.
    """
    if given := os.environ.get("HELIOIMAGES_DEBIAN_KEYRING"):
        return f"[signed-by={given}] "
    keys = sorted(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    keys = [key for key in keys if key.suffix in (".gpg", ".pgp")]
    return f"[signed-by={keys[0]}] " if keys else ""


def _available(apt: _Apt) -> Iterator[dict[str, str]]:
    """Yield the fields of each package that the archive offers, in all its versions (dumpavail gives one of each)."""
    files = apt.run("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages").split()
    for file in files:
        for block in apt.run(_HELPER, "cat-file", file).split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", block, re.MULTILINE))
            if "Filename" in fields:
                fields["Filename"] = fields["Filename"].removeprefix("./")
                yield fields


def _minimal(available: Iterable[dict[str, str]]) -> set[str]:
    """Return what mmdebstrap's minbase installs whatever is asked for: essential and required packages, and apt."""
    return {"apt"} | {
        stanza["Package"]
        for stanza in available
        if stanza.get("Essential") == "yes" or stanza.get("Priority") == "required"
    }


def _addresses(text: str) -> dict[str, str]:
    """Return pool path -> archive of what ``apt-get --print-uris`` says."""
    security = mirrors()["debian-security"] + "/"
    found = {}
    for match in re.finditer(r"^'([^']+)' \S+ \d+", text, re.MULTILINE):
        address = unquote(match[1])
        found["pool/" + address.partition("/pool/")[2]] = (
            "debian-security" if address.startswith(security) else "debian"
        )
    return found


def _release_time(path: Path) -> int:
    match = re.search(r"^Date: (.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
    return int(parsedate_to_datetime(match[1]).timestamp()) if match else 0


def _check_offered(parent: AptLock, available: Iterable[dict[str, str]]) -> None:
    offered = {(stanza["Package"], stanza["Version"]) for stanza in available}
    gone = [deb for deb in parent.packages if (deb.name, deb.version) not in offered]
    if gone:
        raise HelioError(
            Stage.LOCK,
            f"the Debian archive replaced {len(gone)} packages of the parent image",
            detail="\n".join(f"{deb.name} {deb.version}" for deb in gone[:10]),
            hint="lock parent and child together: run `buildimages lock`",
        )


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


def _fault(messages: str) -> HelioError:
    lines = [line for line in messages.splitlines() if line.startswith(("E:", "W:"))]
    detail = "\n".join(lines[:12]) or messages[-400:].strip()
    if unknown := re.search(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation cand", messages):
        name = unknown[1] or unknown[2]
        return HelioError(Stage.LOCK, f"Debian has no package `{name}`", detail=detail, hint="check debian.packages")
    if re.search(r"Failed to fetch|is not signed|NO_PUBKEY|does not have a Release file", messages):
        return HelioError(
            Stage.LOCK,
            "cannot read the Debian archive",
            detail=detail,
            hint="check the network, and that Debian's debian-archive-keyring is installed and current",
        )
    return HelioError(Stage.LOCK, "apt found no solution", detail=detail, hint="check debian.packages in image.toml")
