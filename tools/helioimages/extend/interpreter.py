"""The parent's interpreter on this machine, out of the parent's own layers: it compiles what the new packages bring."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.digest import key_of
from ..core.entries import Entry, Kind, merge
from ..core.errors import HelioError, Stage
from ..core.progress import bar
from ..machine.store import Store, has, settle
from ..make import toolchain
from ..make.plan import PREFIX
from ..oci.layer import read_layer
from ..oci.types import Descriptor
from ..publish.contents import layer_names
from ..pypi.pyc import Interpreter
from .parent import Parent

#: The C library's own loader and what CPython asks it for; used where this machine's is too old.
_LIBRARIES = re.compile(
    r"usr/lib/[^/]+/(?:ld-linux-[^/]*|lib(?:c|m|dl|pthread|rt|util|resolv|gcc_s|stdc\+\+)\.so[^/]*)|lib(?:64)?(?:/.*)?"
)


def interpreter(parent: Parent, store: Store) -> Interpreter:
    """Return the parent's interpreter, unpacked if this store does not have it.

    Raises:
        HelioError: a layer cannot be had, or the interpreter does not run here.
    """
    names = layer_names(parent.image.config)
    ours = {package.name for package in parent.packages if package.kind == "conda"} | {"conda"}
    conda = [layer for layer, name in zip(parent.image.layers, names, strict=True) if name in ours]
    debian = [layer for layer, name in zip(parent.image.layers, names, strict=True) if name == "debian"][:1]
    try:
        return toolchain.interpreter_in(_unpacked(parent, store, conda), parent.minor)
    except HelioError:
        # Its C library may be newer than this machine's.
        folder = _unpacked(parent, store, [*debian, *conda])
        return toolchain.interpreter_in(folder, parent.minor)


def blob(parent: Parent, store: Store, layer: Descriptor) -> Path:
    """Return a blob of the parent, pulled if the store lacks it.

    Raises:
        HelioError: the registry does not send it.
    """
    path = store.blob(layer.digest)
    if not has(path, layer.size):
        with bar(f"pull {parent.name}", layer.size, unit="bytes") as advance, store.writing(path) as file:
            parent.client.pull_blob(parent.repository, layer, file)
            advance(layer.size)
    return path


def _unpacked(parent: Parent, store: Store, layers: Iterable[Descriptor]) -> Path:
    layers = tuple(layers)
    folder = store.root / "toolchain" / key_of(["extend", 1, [layer.digest for layer in layers]])
    if folder.exists():
        return folder
    half = store.root / "tmp" / f"toolchain-{secrets.token_hex(8)}"
    try:
        half.mkdir(parents=True)
        toolchain.write_tree(half, merge(_needed(parent, store, layers)))
        settle(half)
        folder.parent.mkdir(exist_ok=True)
        half.rename(folder)
    except OSError as error:
        # Another run was faster; its folder is as good.
        if not folder.exists():
            raise HelioError(
                Stage.LINK, "cannot unpack the image's interpreter", where=str(folder), detail=str(error)
            ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _needed(parent: Parent, store: Store, layers: Iterable[Descriptor]) -> Iterator[Entry]:
    """Yield the entries of layers: all below the environment, and of Debian the C library alone."""
    prefix = PREFIX.lstrip("/")
    for layer in layers:
        for entry in read_layer(blob(parent, store, layer)):
            if (entry.path.startswith(f"{prefix}/") and entry.kind is not Kind.DIR) or (
                entry.kind in (Kind.FILE, Kind.SYMLINK) and _LIBRARIES.fullmatch(entry.path)
            ):
                yield entry
