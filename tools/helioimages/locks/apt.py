"""Resolve Debian packages with apt, in a private root: nothing of the host's apt is read but its mirror and keys.

The lock it makes is host-free. At fetch time `mirror_urls` puts the configured mirror before each pool path.

An archive's index lists the newest version alone; the file of an older one stays in the pool for days, in stores and
snapshots for years. So that apt can choose a version that is locked and no longer listed, it is told of that as well:
a second index, of this machine, has the control fields of the locked files themselves.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from ..core.errors import HelioError, Stage
from ..core.platform import FIRST
from ..core.words import count
from ..debian.lock import AptLock, Deb, changes
from .mirror import mirror_urls, mirrors, missing, snapshot, source_urls

__all__ = ["Obtain", "heal", "inherit", "mirror_urls", "mirrors", "missing", "resolve", "source_urls"]

#: Gives the files of locked packages that the archive does not list: sha256 -> file, of those that can be had.
Obtain = Callable[[Sequence[Deb]], Mapping[str, Path]]

SUITE = "trixie"
_NO_SOLUTION = "apt found no solution"
#: Reads an index however this apt keeps it: plain, or compressed.
_HELPER = "/usr/lib/apt/apt-helper"
#: What the host's configuration may say to the private apt: how to reach the network, and nothing of what to install.
_KEPT = re.compile(r"Acquire::(https?|ftp|socks)(::|\b)|Acquire::Check-(Valid-Until|Date)\b")


class NoSolution(HelioError):
    """A child has no solution with its parent's packages as they are; it may have one if they move."""


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
            raise _fault(result.stderr, result.stdout)
        return result.stdout

    def offer(self, debs: Sequence[Deb], files: Mapping[str, Path]) -> None:
        """Let apt choose these files too; beside the archive, so that their dependencies come from there."""
        folder = self.root / "held"
        folder.mkdir()
        stanzas = [
            f"{_control(deb, files[deb.sha256])}\nFilename: {deb.file_name}\nSize: {deb.size}\nSHA256: {deb.sha256}\n"
            for deb in debs
        ]
        (folder / "Packages").write_text("\n".join(stanzas), "utf-8")
        # Each file has the digest that a signed archive gave it when it was locked.
        line = f"deb [trusted=yes] file:{folder} ./\n"
        (self.root / "etc" / "held.list").write_text(line)
        only = f"Dir::Etc::SourceList={self.root / 'etc' / 'held.list'}"
        self.run("apt-get", "update", "-qq", "-o", only, "-o", "APT::Get::List-Cleanup=0")
        for name in ("sources.list", "snapshot.list"):
            with open(self.root / "etc" / name, "a") as sources:
                sources.write(line)

    def prefer(self, debs: Iterable[Deb]) -> None:
        """Prefer these versions where they come in."""
        # Above 500, the priority of an archive, and below 1001: a version that is offered, never one that isn't.
        pins = [f"Package: {deb.name}\nPin: version {deb.version}\nPin-Priority: 900\n" for deb in debs]
        (self.root / "etc" / "preferences").write_text("\n".join(pins))

    def choose(self, wanted: Iterable[str], *, of_snapshot: bool = False) -> dict[str, str]:
        """Return pool path -> archive of everything that these packages (``name`` or ``name=version``) need.

        Args:
            of_snapshot: the archive as it is today does not exist, only what it was at the snapshot's moment.
        """
        flags = ("install", "--print-uris", "--yes", "-q", "--no-install-recommends", "--allow-downgrades")
        only = ("-o", f"Dir::Etc::SourceList={self.root / 'etc' / 'snapshot.list'}") if of_snapshot else ()
        return _addresses(self.run("apt-get", *only, *flags, *sorted(wanted)))


def nothing(_debs: Sequence[Deb]) -> Mapping[str, Path]:
    """Obtain no file: what the archive does not list cannot be had."""
    return {}


def resolve(
    requested: Sequence[str],
    *,
    suite: str = SUITE,
    architecture: str = FIRST.debian,
    parent: AptLock | None = None,
    prefer: Sequence[Deb] = (),
    obtain: Obtain = nothing,
) -> AptLock:
    """Return a lock of the requested packages, their dependencies, and a minimal system.

    Args:
        requested: Debian package names.
        parent: its packages are taken at the same versions, and all of them.
        prefer: taken at these versions where they come in; as many of them as a solution allows.
        obtain: gives the files of ``parent`` and ``prefer`` that the archive does not list any more.

    Raises:
        HelioError: apt cannot read the archive, does not know a package, or finds no solution; a package of the parent
            can't be had.
    """
    with _private(suite, architecture) as apt:
        listed = tuple(_available(apt))
        wanted = {*_minimal(listed), *requested}
        # The parent's version of a package comes before one's own.
        locked = {deb.name: deb for deb in (*prefer, *(parent.packages if parent else ()))}
        offered = {(stanza["Package"], stanza["Version"]) for stanza in listed}
        unlisted = tuple(deb for deb in locked.values() if (deb.name, deb.version) not in offered)
        files = obtain(unlisted) if unlisted else {}
        held = {deb.file_name: deb for deb in unlisted if deb.sha256 in files}
        if parent:
            _check_had(parent, [deb for deb in unlisted if deb.sha256 not in files])
            versions = {deb.name: deb.version for deb in parent.packages}
            wanted = (wanted - versions.keys()) | {f"{name}={version}" for name, version in versions.items()}
        if held:
            apt.offer(tuple(held.values()), files)
        archives = _solution(apt, wanted, prefer, held, under_parent=parent is not None)
        newest = max((_release_time(path) for path in (apt.root / "lists").glob("*Release")), default=0)
    stanzas = {stanza["Filename"]: stanza for stanza in listed if stanza.get("Filename") in archives}
    unknown = sorted(archives.keys() - stanzas.keys() - held.keys())
    if unknown:
        raise HelioError(Stage.LOCK, f"apt names `{unknown[0]}` but its index does not", hint="run it again")
    packages = tuple(
        held[path] if path in held else _deb(stanzas[path], path, archive) for path, archive in archives.items()
    )
    if parent:
        _check_superset(parent, packages)
    return AptLock(
        suite=suite,
        architecture=architecture,
        requested=tuple(sorted(requested)),
        packages=tuple(sorted(packages, key=lambda deb: deb.name)),
        timestamp=newest,
    )


def heal(lock: AptLock, gone: Sequence[Deb], *, parent: AptLock | None = None, obtain: Obtain = nothing) -> AptLock:
    """Return a lock without the packages that the mirror dropped.

    Every other package keeps its version where apt finds a solution so, because the images were tested with it. The
    new lock's ``healed`` says what changed, and the image has it as a label. Strict callers never call this: they
    refuse when `missing` gives anything.

    Args:
        gone: what `missing` gave.
        parent: the parent's lock, healed before.
        obtain: as in `resolve`.

    Raises:
        HelioError: the archive has no solution any more.
    """
    away = {deb.sha256 for deb in gone}
    inherited = {deb.name for deb in parent.packages} if parent else set()
    kept = tuple(deb for deb in lock.packages if deb.sha256 not in away and deb.name not in inherited)
    fresh = inherit(lock.requested, parent) or resolve(
        lock.requested, suite=lock.suite, architecture=lock.architecture, parent=parent, prefer=kept, obtain=obtain
    )
    return dataclasses.replace(fresh, healed=(*lock.healed, *changes(lock, fresh)))


def inherit(requested: Sequence[str], parent: AptLock | None) -> AptLock | None:
    """Return the lock of a child that asks for nothing that its parent lacks: the parent's own. Else None.

    No archive is asked, so such a child can be locked at any time.
    """
    if parent is None or not set(requested) <= {deb.name for deb in parent.packages}:
        return None
    return dataclasses.replace(parent, requested=tuple(sorted(requested)))


def _solution(
    apt: _Apt, wanted: Iterable[str], prefer: Sequence[Deb], held: Mapping[str, Deb], *, under_parent: bool
) -> dict[str, str]:
    """Return pool path -> archive of a solution that keeps as many preferred versions as there are solutions with."""
    listed = tuple(deb for deb in prefer if deb.file_name not in held)
    # Packages of one source move together (libc6 and libc6-dev): then what is not listed any more may be in the way,
    # and at last any of them. With a snapshot there is a moment at which all of them fitted.
    tries = [(tuple(prefer), False), *([(tuple(prefer), True)] if snapshot() else []), (listed, False), ((), False)]
    fault = HelioError(Stage.LOCK, _NO_SOLUTION)
    for kept, of_snapshot in dict.fromkeys(tries):
        apt.prefer(kept)
        try:
            return apt.choose(wanted, of_snapshot=of_snapshot)
        except HelioError as error:
            if error.stage is not Stage.LOCK:
                raise
            fault = error
    if under_parent and fault.message == _NO_SOLUTION:
        raise NoSolution(
            Stage.LOCK,
            f"{_NO_SOLUTION} under the parent image's packages",
            detail=fault.detail,
            hint="run `buildimages lock`, which moves the parent and all its children together where they have to; or "
            "check debian.packages in image.toml",
        )
    raise fault


def _deb(stanza: Mapping[str, str], path: str, archive: str) -> Deb:
    return Deb(
        name=stanza["Package"],
        version=stanza["Version"],
        architecture=stanza["Architecture"],
        file_name=path,
        archive=archive,
        sha256=stanza["SHA256"],
        size=int(stanza["Size"]),
    )


def _control(deb: Deb, path: Path) -> str:
    """Return a package's control fields, for an index.

    Raises:
        HelioError: the file is not a Debian package.
    """
    result = subprocess.run(["dpkg-deb", "--field", str(path)], capture_output=True, text=True)
    if result.returncode:
        raise HelioError(
            Stage.LOCK,
            f"`{deb.file_name}` is not a Debian package",
            where=str(path),
            detail=result.stderr.strip(),
            hint="the lock names another file; run `buildimages lock`",
        )
    return result.stdout.rstrip("\n")


@contextmanager
def _private(suite: str, architecture: str) -> Iterator[_Apt]:
    """Lay out an empty apt root, fill its lists, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="helioimages-apt-") as scratch:
        root = Path(scratch)
        for name in ("etc/parts", "lists/partial", "cache/archives/partial", "dpkg", "log"):
            (root / name).mkdir(parents=True)
        (root / "dpkg" / "status").touch()
        now, then = _rows(mirrors(), suite), ""
        if earlier := snapshot():
            # What was signed then has run out since.
            then = _rows(earlier, suite, "check-valid-until=no")
        (root / "etc" / "sources.list").write_text(now + then)
        (root / "etc" / "snapshot.list").write_text(then)
        (root / "etc" / "preferences").touch()
        (root / "etc" / "apt.conf").write_text(_configuration(root, architecture))
        apt = _Apt(root)
        apt.run("apt-get", "update", "-qq")
        yield apt


def _rows(bases: Mapping[str, str], suite: str, *options: str) -> str:
    """Return lines of a ``sources.list``."""
    options = (*_signed_by(), *options)
    brackets = f"[{' '.join(options)}] " if options else ""
    base, security = bases["debian"], bases["debian-security"]
    rows = ((base, suite), (base, f"{suite}-updates"), (security, f"{suite}-security"))
    return "".join(f"deb {brackets}{address} {release} main\n" for address, release in rows)


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


def _signed_by() -> tuple[str, ...]:
    """Return the option that names Debian's keys; HELIOIMAGES_DEBIAN_KEYRING is for mirrors that sign for themselves.

    Without either, apt looks at the host's trusted keys: an archive that nobody signed is refused in any case.
    """
    if given := os.environ.get("HELIOIMAGES_DEBIAN_KEYRING"):
        return (f"signed-by={given}",)
    keys = sorted(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))
    keys = [key for key in keys if key.suffix in (".gpg", ".pgp")]
    return (f"signed-by={keys[0]}",) if keys else ()


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
    security = tuple(bases["debian-security"] + "/" for bases in (mirrors(), snapshot()) if bases)
    addresses = {}
    for match in re.finditer(r"^'([^']+)' \S+ \d+", text, re.MULTILINE):
        address = unquote(match[1])
        addresses["pool/" + address.partition("/pool/")[2]] = (
            "debian-security" if address.startswith(security) else "debian"
        )
    return addresses


def _release_time(path: Path) -> int:
    match = re.search(r"^Date: (.+)$", path.read_text("utf-8", "replace"), re.MULTILINE)
    return int(parsedate_to_datetime(match[1]).timestamp()) if match else 0


def _check_had(parent: AptLock, gone: Sequence[Deb]) -> None:
    """Refuse when packages of the parent are neither listed nor to be had elsewhere."""
    names = {deb.name for deb in parent.packages}
    if lost := [deb for deb in gone if deb.name in names]:
        raise HelioError(
            Stage.LOCK,
            f"the Debian mirror dropped {count(len(lost), 'package')} of the parent image",
            detail="\n".join(f"{deb.name} {deb.version}" for deb in lost[:10]),
            hint="run `buildimages lock`, which moves the parent and all its children together; or name a mirror that "
            "has them in HELIOIMAGES_DEBIAN_SNAPSHOT",
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


def _fault(messages: str, printed: str = "") -> HelioError:
    lines = [line for line in messages.splitlines() if line.startswith(("E:", "W:"))]
    # Who cannot have what: apt says that on stdout, a line each, the further ones indented.
    lines += [
        line.strip()
        for line in printed.splitlines()
        if re.match(r" +(\S+ : )?(Pre)?(Depends|Breaks|Conflicts): ", line)
    ]
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
    return HelioError(Stage.LOCK, _NO_SOLUTION, detail=detail, hint="check debian.packages in image.toml")
