"""A root file system as entries: cleaned of what differs between two builds, and compared with its parent. Pure.

mmdebstrap's tar is the source; what leaves here depends on the packages alone.
"""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..core import archives
from ..core.entries import Content, Entry, Kind, directory, merge, same
from ..core.errors import HelioError, Stage
from ..core.words import count

#: Files whose content tells of the build or of the machine, or is made again on use.
_DROPPED = (
    "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/hosts",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "var/cache/apt/",
    # apt makes them when it needs them; whose they are depends on whether root made the root file system.
    "var/cache/apt/archives/partial",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig/",
    "var/lib/apt/extended_states",
    "var/lib/apt/lists/",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/",
    "var/log/",
)
#: Where a container mounts something of its own: the folders alone.
_MOUNTS = ("dev", "proc", "run", "run/lock", "sys", "tmp")
_VOLATILE = tuple(f"{name}/" for name in ("dev", "proc", "run", "sys", "tmp"))
#: Emptied, because its presence matters and its content is the machine's.
_EMPTIED = ("etc/machine-id",)


def read_tar(path: Path) -> tuple[Entry, ...]:
    """Return a root file system's entries, cleaned; contents are read late from the tar.

    Raises:
        HelioError: a capability, which a layer of ours cannot carry, would be lost; or it is no such tar.
    """
    try:
        with archives.reading():
            return tuple(_read(path))
    except archives.ArchiveError as error:
        raise HelioError(
            Stage.BUILD,
            "cannot read the root file system's tar",
            where=str(path),
            detail=str(error),
            hint="delete the file and run again",
        ) from error


def _read(path: Path) -> Iterator[Entry]:
    with tarfile.open(path) as tar:
        for member in archives.members(tar):
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", "."):
                continue
            if _is_dropped(name, member.isdir()):
                continue
            if "SCHILY.xattr.security.capability" in member.pax_headers:
                raise HelioError(
                    Stage.BUILD,
                    f"/{name} has file capabilities",
                    detail="layers carry modes and owners only",
                    hint="leave its package out of images/*/image.toml",
                )
            yield _entry(member, name, path)


def _entry(member: tarfile.TarInfo, name: str, path: Path) -> Entry:
    entry = partial(Entry, path=name, uid=member.uid, gid=member.gid, origin="debian")
    if member.isdir():
        return entry(kind=Kind.DIR, mode=member.mode)
    if member.issym():
        return entry(kind=Kind.SYMLINK, mode=0o777, target=member.linkname)
    if member.islnk():
        return entry(kind=Kind.HARDLINK, mode=member.mode, target=member.linkname.removeprefix("./"))
    if member.isfile():
        if name in _EMPTIED:
            return entry(kind=Kind.FILE, mode=member.mode, content=Content.of(b""))
        content = slice_of(path, member.offset_data, member.size)
        if name in _SETTLED:
            content = Content.of(_SETTLED[name](content.read()))
        return entry(kind=Kind.FILE, mode=member.mode, content=content)
    raise HelioError(Stage.BUILD, f"/{name} of the root file system is a device or socket", hint="report this as a bug")


def _sorted_settings(data: bytes) -> bytes:
    """Return an ini-like file with the lines of each section sorted."""
    sections: list[list[bytes]] = [[]]
    for line in data.splitlines(keepends=True):
        if line.startswith(b"["):
            sections.append([line])
        else:
            sections[-1].append(line)
    head, *rest = sections
    return b"".join((*head, *(line for section in rest for line in (section[0], *sorted(section[1:])))))


def _unsigned(data: bytes) -> bytes:
    """Return Octave's list of packages without its first line, which tells the moment and the builder's host."""
    return b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"# Created by "))


#: Files that a package's script writes otherwise each time; git-lfs walks a hash map.
_SETTLED = {"etc/gitconfig": _sorted_settings, "usr/share/octave/octave_packages": _unsigned}


def slice_of(path: Path, offset: int, size: int) -> Content:
    """Return content that lies in a file, read when it is asked for."""

    def read() -> bytes:
        with open(path, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    return Content(size, read)


def _is_dropped(name: str, is_dir: bool) -> bool:
    for dropped in _DROPPED:
        # Folders stay, what is in them goes: programs expect /var/log/apt to be there, with its owner.
        if dropped.endswith("/"):
            if name.startswith(dropped) and not is_dir:
                return True
        elif name == dropped:
            return True
    return name.startswith(_VOLATILE) and name not in _MOUNTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A line of /etc/passwd, and the supplementary groups of its name. Spec: passwd(5), group(5)."""

    name: str
    uid: int
    gid: int
    groups: tuple[str, ...]
    home: str
    shell: str


def add_user(entries: Iterable[Entry], account: Account) -> tuple[Entry, ...]:
    """Return the entries with one more account, as useradd would make it, and its home.

    The password is locked. The home is writable by group 0 too, which is what an arbitrary uid has on OpenShift.

    Raises:
        HelioError: the name or uid is taken, or a group is unknown.
    """
    name, uid, gid, home = account.name, account.uid, account.gid, account.home
    lines = {
        "etc/passwd": f"{name}:x:{uid}:{gid}::{home}:{account.shell}\n",
        "etc/group": f"{name}:x:{gid}:\n",
        # 20000 days after 1970: a constant in place of today.
        "etc/shadow": f"{name}:!:20000:0:99999:7:::\n",
        "etc/gshadow": f"{name}:!::\n",
    }
    result = []
    for entry in entries:
        if entry.path in lines and entry.content:
            text = entry.content.read().decode()
            _check_free(text, entry.path, name, uid if entry.path == "etc/passwd" else gid)
            if entry.path in ("etc/group", "etc/gshadow"):
                text = _joined(text, entry.path, name, account.groups)
            content = Content.of((text + lines[entry.path]).encode())
            entry = dataclasses.replace(entry, content=content)
        result.append(entry)
    result.append(directory(home.strip("/"), mode=0o775, uid=uid, gid=0, origin="debian"))
    return tuple(result)


def _check_free(text: str, path: str, name: str, number: int) -> None:
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] == name or (path in ("etc/passwd", "etc/group") and fields[2] == str(number)):
            raise HelioError(
                Stage.BUILD,
                f"the account `{name}` ({number}) is taken in /{path}",
                detail=f"by {line}",
                hint="choose another name or uid in image.toml at user",
            )


def _joined(text: str, path: str, name: str, groups: tuple[str, ...]) -> str:
    lines = text.splitlines()
    for group in groups:
        for index, line in enumerate(lines):
            if line.startswith(group + ":"):
                members = [*filter(None, line.rpartition(":")[2].split(",")), name]
                lines[index] = line.rpartition(":")[0] + ":" + ",".join(members)
                break
        else:
            raise HelioError(
                Stage.BUILD, f"there is no group `{group}` in /{path}", hint="see image.toml at user.groups"
            )
    return "".join(f"{line}\n" for line in lines)


def delta(parent: Iterable[Entry], child: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return what a child's root file system adds to or changes in its parent's, as the entries of one layer.

    Applied over the parent, they give the child exactly: contents, modes, owners and links.

    Raises:
        HelioError: the child lacks a path of the parent; a layer of ours never deletes.
    """
    old = {entry.path: entry for entry in parent}
    new = {entry.path: entry for entry in child}
    gone = sorted(old.keys() - new.keys())
    if gone:
        raise HelioError(
            Stage.BUILD,
            f"the child's Debian packages remove {count(len(gone), 'path')} of the parent",
            detail="\n".join(f"/{path}" for path in gone[:10]),
            hint="a package of the child conflicts with one of the parent; see debian.packages in image.toml",
        )
    changed = {path: entry for path, entry in new.items() if path not in old or not same(old[path], entry)}
    # A new file at one name of an inode leaves its other names with the old one: all of them come again.
    links = [entry for entry in new.values() if entry.kind is Kind.HARDLINK]
    inodes = {entry.target for entry in links if entry.path in changed or entry.target in changed}
    for entry in links:
        if entry.target in inodes:
            changed.setdefault(entry.path, entry)
            changed.setdefault(entry.target, new[entry.target])
    # Parents keep their own modes and owners, which merge could only guess.
    for path in tuple(changed):
        at = path.rpartition("/")[0]
        while at and at in new:
            changed.setdefault(at, new[at])
            at = at.rpartition("/")[0]
    return merge(changed.values())


def whole(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries of the first layer: merged, with the empty folders that a container mounts over."""
    mounts = [directory(path, mode=mode) for path, mode in (("dev", 0o755), ("proc", 0o555), ("sys", 0o555))]
    have: dict[str, Entry] = {entry.path: entry for entry in entries}
    for mount in mounts:
        have.setdefault(mount.path, mount)
    return merge(have.values())
