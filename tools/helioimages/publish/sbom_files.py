"""Which component every file of an image belongs to, from the lists that building left in the store.

Conda packages' and wheels' files know their package since they were linked. Debian's are asked of dpkg's own lists;
what maintainer scripts made (alternatives, caches, accounts) belongs to `SYSTEM`, an image's own files to that image.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..core import archives
from ..core.digest import is_hex
from ..core.errors import HelioError, Stage
from ..machine.store import Store
from ..make import linking, notes
from ..make.building import Built

#: Files that no package brought as they are: what the installation of Debian's packages made.
SYSTEM = ("system", "debian-configuration")
#: Whoever brings a file, as (kind, name).
Owner = tuple[str, str]
_INFO, _DOC = "var/lib/dpkg/info/", "usr/share/doc/"
_MERGED = ("bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Every file of an image by its owner.

    Attributes:
        files: owner -> (path, sha256 in hex or empty for a link), sorted.
        unowned: paths that nobody owns; none in an image that `build` made.
        copyrights: Debian package -> its machine-readable licence names, where it has any.
    """

    files: Mapping[Owner, tuple[tuple[str, str], ...]]
    unowned: tuple[str, ...]
    copyrights: Mapping[str, tuple[str, ...]]


def owners(store: Store, built: Built, origins: Mapping[str, Owner]) -> Ownership:
    """Return the owner of every file and link of an image, its parents' included; the upper layer wins.

    Args:
        origins: what entries say of themselves (``numpy-2.4.6``) -> owner.

    Raises:
        HelioError: the store lost a layer of Debian's.
    """
    held: dict[str, tuple[Owner | None, str]] = {}
    copyrights: dict[str, tuple[str, ...]] = {}
    dpkg: dict[str, str] = {}
    for image in built.line:
        for layer in image.layers:
            debian = layer.name == "debian"
            if debian:
                lent = store.lent.get(layer.key)
                lists, texts = _dpkg(lent.files.items() if lent else _read(store, layer.layer.digest))
                dpkg |= lists
                copyrights |= texts
            for path, (origin, content) in linking.files_of(store, layer.key).items():
                owner: Owner | None
                if debian:
                    owner = ("debian", dpkg[path]) if path in dpkg else _dpkg_own(path)
                elif origin.startswith("images/"):
                    owner = ("image", origin.split("/")[1])
                else:
                    owner = origins.get(origin)
                held[path] = (owner, content if is_hex(content) else "")
    files: dict[Owner, list[tuple[str, str]]] = {}
    unowned: list[str] = []
    for path, (whose, content) in sorted(held.items()):
        if whose is None:
            unowned.append(path)
        else:
            files.setdefault(whose, []).append((path, content))
    return Ownership(
        files={owner: tuple(rows) for owner, rows in sorted(files.items())},
        unowned=tuple(unowned),
        copyrights=copyrights,
    )


def listed(text: str) -> tuple[str, ...]:
    r"""Return the paths of a dpkg list, as they are in a file system whose ``/bin``, ``/lib``, … are in ``/usr``.

    >>> listed("/.\n/bin\n/bin/ls\n")
    ('bin', 'usr/bin/ls')
    """
    paths = [line[1:] for line in text.split("\n") if line not in ("/.", "")]
    return tuple("usr/" + path if path.startswith(_MERGED) else path for path in paths)


def licence_names(text: str) -> tuple[str, ...]:
    """Return the short names of a machine-readable copyright file, none of a free one.

    Spec: Debian, machine-readable copyright 1.0, "License".
    """
    if "packaging-manuals/copyright-format/1.0" not in text[:400]:
        return ()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("License:")]
    return tuple(dict.fromkeys(name for name in names if name))


def _dpkg_own(path: str) -> Owner:
    """Return the owner of a file in no list: dpkg's notes on a package are that package's."""
    if path.startswith(_INFO) and "." in path:
        return ("debian", path.removeprefix(_INFO).rpartition(".")[0].partition(":")[0])
    return SYSTEM


def _dpkg(files: Iterable[tuple[str, bytes]]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Read dpkg's lists and the copyright files of a layer: path -> package, package -> licences."""
    paths: dict[str, str] = {}
    copyrights: dict[str, tuple[str, ...]] = {}
    for name, data in files:
        text = data.decode("utf-8", "surrogateescape")
        if name.startswith(_INFO):
            package = name[len(_INFO) : -len(".list")].partition(":")[0]
            paths |= dict.fromkeys(listed(text), package)
        elif name.startswith(_DOC) and (names := licence_names(text)):
            copyrights[name.split("/")[3]] = names
    return paths, copyrights


def _read(store: Store, digest: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a layer of Debian's that tell whose a file is, in the layer's order."""
    try:
        with archives.reading(), tarfile.open(store.blob(digest), "r:gz") as tar:
            for member in archives.members(tar):
                stream = tar.extractfile(member) if member.isfile() and notes.wanted(member.name) else None
                if stream is not None:
                    yield member.name, stream.read()
    except (OSError, archives.ArchiveError) as error:
        raise HelioError(
            Stage.CHECK,
            f"cannot read the layer {digest}",
            detail=str(error),
            hint="remove it from the store and run `buildimages build`",
        ) from error
