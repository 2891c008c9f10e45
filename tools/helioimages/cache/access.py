"""Read and write a cache: look layers up, fetch what is needed of them, keep what was made.

What comes from a cache is believed as far as its bytes can be checked: a blob by its digest, a layer by its diff_id, an
artefact by the sha256 of a lock, an entry by the key that it was asked for and, where the user names a key, by a
signature. A bad entry raises; callers make the layer themselves then.

Reading order: `look_up` -> `fetch_layer`, `told`, `fetch_artefacts` -> `look_up_image` -> `keep_layer`,
`keep_artefacts`, `keep_image`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import threads
from ..core.digest import of_bytes
from ..core.errors import HelioError
from ..core.progress import bar, say
from ..machine.store import Store, has
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from . import entry as entries
from . import image_entry
from .entry import CachePlace, LayerEntry, poisoned
from .image_entry import ImageEntry

#: Requests at once: they wait for others, not for a processor.
_JOBS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One cache that the user named.

    Attributes:
        good: says whether a signature (base64) over bytes is by the key that the user trusts; None asks for none.
        signer: names that key.
    """

    client: Registry
    place: CachePlace
    good: Callable[[bytes, str], bool] | None = None
    signer: str = ""

    def believe(self, data: bytes, signature: str, where: str) -> None:
        """Refuse an entry that the user's key did not sign.

        Raises:
            HelioError: it has no signature, or another one.
        """
        if self.good is not None and not (signature and self.good(data, signature)):
            raise poisoned(where, "the key did not sign it", "expected a signature by the key of --cache-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """A layer that a cache has."""

    entry: LayerEntry
    cache: Cache

    @property
    def where(self) -> str:
        """The entry's address, for people."""
        return f"{self.cache.place}:{entries.layer_tag(self.entry.key)}"


def look_up(caches: Sequence[Cache], keys: Iterable[str]) -> dict[str, Cached]:
    """Return what caches have of layers, by key; the first cache that has one is asked no other.

    A cache that does not answer, and an entry that is not what it should be, are told and passed over.
    """
    found: dict[str, Cached] = {}
    wanted = tuple(dict.fromkeys(keys))
    for cache in caches:
        absent = [key for key in wanted if key not in found]
        if not absent:
            break
        if not _answers(cache):
            continue
        with threads.pool(_JOBS) as pool:
            for cached in pool.map(lambda key, cache=cache: _look_up(cache, key), absent):
                if cached is not None:
                    found[cached.entry.key] = cached
    return found


def _answers(cache: Cache) -> bool:
    """Say whether a cache can be read at all, so that one that can't is told once, and not asked for each layer."""
    try:
        cache.client.head_manifest(cache.place.repository, "latest")
    except HelioError as error:
        say(f"warning: the cache {cache.place} is passed over: {error.message}")
        return False
    return True


def _look_up(cache: Cache, key: str) -> Cached | None:
    tag = entries.layer_tag(key)
    where = f"{cache.place}:{tag}"
    try:
        answer = cache.client.get_manifest(cache.place.repository, tag)
        if answer is None:
            return None
        entry, signed, signature = entries.parse_layer(answer[1], key, where)
        cache.believe(signed, signature, where)
        size = cache.client.blob_size(cache.place.repository, entry.layer.digest)
        if size not in (None, entry.layer.size):
            raise poisoned(where, "its layer has another size", f"expected {entry.layer.size:,} bytes not {size:,}")
        if size is None:
            raise poisoned(where, "its layer is gone", f"expected {entry.layer.digest}")
    except HelioError as error:
        say(f"warning: {error.message} ({error.where or where}); it is made here")
        return None
    return Cached(entry=entry, cache=cache)


def look_up_image(caches: Sequence[Cache], key: str) -> tuple[ImageEntry, str] | None:
    """Return what the first cache that knows an image says of it, and the entry's address, for people.

    A cache that does not answer, and an entry that is not what it should be, are told and passed over.
    """
    for cache in caches:
        tag = image_entry.image_tag(key)
        where = f"{cache.place}:{tag}"
        try:
            answer = cache.client.get_manifest(cache.place.repository, tag)
            if answer is None:
                continue
            entry, signed, signature = image_entry.parse_image(answer[1], key, where)
            cache.believe(signed, signature, where)
        except HelioError as error:
            say(f"warning: {error.message} ({error.where or where}); it is passed over")
            continue
        return entry, where
    return None


def keep_image(cache: Cache, entry: ImageEntry, *, signature: str) -> None:
    """Put what became of an image's plan into a cache, unless it is there.

    Raises:
        HelioError: the registry refuses.
    """
    manifest = image_entry.image_manifest(entry, signature)
    repository, tag, data = cache.place.repository, image_entry.image_tag(entry.key), manifest.dump()
    there = cache.client.head_manifest(repository, tag)
    if there is not None and there.digest == of_bytes(data):
        return
    _put(cache, entries.empty(), b"{}")
    _put(cache, manifest.config, entry.config)
    cache.client.put_manifest(repository, tag, data)


def fetch_layer(cached: Cached, store: Store) -> bytes:
    """Bring a layer's blob into the store, checked by digest, and return the list of its files as the cache has it.

    Raises:
        HelioError: one is gone, or is not what the entry says.
    """
    layer, client, repository = cached.entry.layer, cached.cache.client, cached.cache.place.repository
    if not has(store.blob(layer.digest), layer.size):
        with store.writing(store.blob(layer.digest)) as file:
            client.pull_blob(repository, layer.descriptor, file)
    return entries.unpack(_bytes(cached, cached.entry.packed), cached.entry, cached.where)


def told(cached: Cached) -> tuple[bytes, bytes] | None:
    """Return what a cache tells of a layer without its bytes: the list of its files, and the notes on it.

    None if the entry has no notes: an earlier version wrote it.

    Raises:
        HelioError: one is gone, or is not what the entry says.
    """
    entry = cached.entry
    if entry.notes is None:
        return None
    rows = entries.unpack(_bytes(cached, entry.packed), entry, cached.where)
    return rows, entries.unpack_notes(_bytes(cached, entry.notes), cached.where)


def _bytes(cached: Cached, blob: Descriptor) -> bytes:
    """Return a small blob; the lists of a large package are longer than what a registry may answer at once."""
    if blob.size > entries.MOST_LISTED:
        raise poisoned(cached.where, "its list is too long", f"expected at most {entries.MOST_LISTED:,} bytes")
    out = io.BytesIO()
    cached.cache.client.pull_blob(cached.cache.place.repository, blob, out)
    return out.getvalue()


def fetch_artefacts(caches: Sequence[Cache], wanted: Mapping[str, int | None], store: Store) -> frozenset[str]:
    """Bring artefacts into the store that a cache has, and return their sha256.

    Args:
        wanted: sha256 (hex) -> size in bytes, None where a lock does not say.
    """
    got: set[str] = set()
    for cache in caches:
        absent = [sha256 for sha256, size in wanted.items() if not has(store.artefact(sha256), size)]
        if not absent:
            break
        if not _answers(cache):
            continue
        with threads.pool(_JOBS) as pool:
            sizes = dict(zip(absent, pool.map(lambda sha256, cache=cache: _size(cache, sha256), absent), strict=True))
            there = {sha256: size for sha256, size in sizes.items() if size is not None}
            if not there:
                continue
            with bar(f"packages of {cache.place}", sum(there.values()), unit="bytes") as advance:
                for sha256, size in zip(
                    there,
                    pool.map(lambda item, cache=cache: _pull(cache, item[0], item[1], store), there.items()),
                    strict=True,
                ):
                    if size is not None:
                        got.add(sha256)
                        advance(size)
    return frozenset(got)


def _size(cache: Cache, sha256: str) -> int | None:
    try:
        return cache.client.blob_size(cache.place.repository, f"sha256:{sha256}")
    except HelioError:
        return None


def _pull(cache: Cache, sha256: str, size: int, store: Store) -> int | None:
    descriptor = Descriptor(media_type=entries.ARTEFACT, digest=f"sha256:{sha256}", size=size)
    try:
        with store.writing(store.artefact(sha256)) as file:
            cache.client.pull_blob(cache.place.repository, descriptor, file)
    except HelioError as error:
        say(f"warning: {error.message} ({cache.place}, {sha256[:12]}); it is taken from elsewhere")
        return None
    return size


def keep_layer(
    cache: Cache, entry: LayerEntry, files: tuple[Path, bytes, bytes], *, mount: str, signature: str
) -> None:
    """Put a layer into a cache, unless it is there.

    Args:
        files: the layer's blob, the packed list of its files, and the packed notes on it.
        mount: a repository of the same registry that has the blob.
        signature: over `LayerEntry.config`, in base64; empty for none.

    Raises:
        HelioError: the registry refuses.
    """
    manifest = entries.layer_manifest(entry, signature)
    repository, tag, data = cache.place.repository, entries.layer_tag(entry.key), manifest.dump()
    there = cache.client.head_manifest(repository, tag)
    if there is not None and there.digest == of_bytes(data):
        return
    cache.client.push_blob(repository, entry.layer.descriptor, files[0], mount_from=(mount,))
    _put(cache, entry.packed, files[1])
    if entry.notes is not None:
        _put(cache, entry.notes, files[2])
    _put(cache, manifest.config, entry.config)
    cache.client.put_manifest(repository, tag, data)


def known_artefacts(cache: Cache, names: Mapping[str, str]) -> dict[str, Descriptor]:
    """Return those of some artefacts that a cache has, by sha256 (hex).

    Args:
        names: sha256 (hex) -> file name.
    """
    with threads.pool(_JOBS) as pool:
        sizes = dict(zip(names, pool.map(lambda sha256: _size(cache, sha256), names), strict=True))
    return {sha256: _artefact(sha256, names[sha256], size) for sha256, size in sizes.items() if size is not None}


def _artefact(sha256: str, name: str, size: int) -> Descriptor:
    return Descriptor(
        media_type=entries.ARTEFACT,
        digest=f"sha256:{sha256}",
        size=size,
        annotations={"org.opencontainers.image.title": name},
    )


def keep_artefacts(
    cache: Cache, key: str, files: Mapping[str, tuple[str, Path]], known: Mapping[str, Descriptor]
) -> int:
    """Put the artefacts of a set of locks into a cache, and return the bytes sent.

    Args:
        key: names the set; its manifest keeps the registry's garbage collection from them.
        files: sha256 (hex) -> (file name, file).
        known: more of the set, which the cache has.

    Raises:
        HelioError: the registry refuses.
    """
    repository, tag = cache.place.repository, entries.artefacts_tag(key)
    if not (files or known) or cache.client.head_manifest(repository, tag) is not None:
        return 0
    blobs = {path: _artefact(sha256, name, path.stat().st_size) for sha256, (name, path) in sorted(files.items())}

    def push(item: tuple[Path, Descriptor]) -> int:
        done = cache.client.push_blob(repository, item[1], item[0])
        advance(item[1].size)
        return item[1].size if done == "sent" else 0

    with (
        bar(f"packages to {cache.place}", sum(blob.size for blob in blobs.values()), unit="bytes") as advance,
        threads.pool(_JOBS) as pool,
    ):
        sent = sum(pool.map(push, blobs.items()))
    _put(cache, entries.empty(), b"{}")
    named = sorted((*blobs.values(), *known.values()), key=lambda blob: blob.digest)
    manifest = Manifest(config=entries.empty(), layers=tuple(named), artifact_type=entries.ARTEFACTS)
    cache.client.put_manifest(repository, tag, manifest.dump())
    return sent


def _put(cache: Cache, descriptor: Descriptor, data: bytes) -> None:
    cache.client.push_bytes(cache.place.repository, descriptor, data)
