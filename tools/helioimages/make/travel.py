"""Layers and artefacts that another machine made: brought from a cache before a build, kept in one after it.

A layer that comes in is read whole: its digest, its diff_id and each entry of the list of its files are compared with
the bytes, and its files belong to packages that the plan names. So a cache can withhold, and nothing else. What is bad
or gone is told, and made here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..cache import access
from ..cache import entry as entries
from ..cache.access import Cache, Cached
from ..cache.entry import LayerEntry, poisoned
from ..cache.image_entry import ImageEntry
from ..core import threads
from ..core.digest import key_of, of_bytes
from ..core.entries import Entry
from ..core.errors import HelioError
from ..core.package import Package
from ..core.progress import bar, say
from ..locks.read import Locks
from ..machine import workers
from ..machine.store import Store, has
from ..oci.layer import Examined, examine
from . import linking, notes, own_files, toolchain
from .building import Built, BuiltLayer, assembled
from .plan import PREFIX, ImagePlan, LayerKind, LayerPlan

#: Downloads at once.
_DOWNLOADS = 4
#: Memos: what packages say of themselves, by the sha256 of the package, out of layers that were read whole.
METADATA = "metadata"


def missing(store: Store, plans: Iterable[ImagePlan]) -> tuple[tuple[ImagePlan, LayerPlan], ...]:
    """Return the layers that must be made, or brought: all that the store lacks but images' own files, made at once."""
    return tuple(
        (plan, layer)
        for plan in plans
        for layer in plan.layers
        if layer.kind is not LayerKind.FILES and linking.recall(store, layer.key) is None
    )


def needed(plans: Sequence[tuple[ImagePlan, LayerPlan]], oldest: Locks) -> dict[str, int | None]:
    """Return sha256 (hex) -> size of the artefacts that layers are made from, and the interpreter that compiles.

    Args:
        plans: the layers, each with its image.
        oldest: the locks whose interpreter is unpacked.
    """
    size_by_sha256: dict[str, int | None] = {}
    for plan, layer in plans:
        if layer.kind is LayerKind.DEBIAN:
            for apt in (plan.locks.apt, *([plan.parent.locks.apt] if plan.parent else [])):
                size_by_sha256 |= {deb.sha256: deb.size for deb in apt.packages}
        else:
            size_by_sha256 |= {package.sha256: package.size for package in layer.packages}
            size_by_sha256 |= {package.ran: None for package in layer.packages if package.ran}
            for locks in (plan.locks, oldest):
                size_by_sha256 |= {package.sha256: package.size for package in locks.conda.packages}
            size_by_sha256 |= {deb.sha256: deb.size for deb in toolchain.libraries(oldest.apt)}
    return size_by_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """A layer that came in, to be read whole.

    Attributes:
        origins: what files of it may belong to; None where a list does not say it by packages.
        metadata: path -> sha256 of the package that it is the metadata of.
    """

    key: str
    path: Path
    diff_id: str
    uncompressed_size: int
    rows: bytes
    where: str
    origins: frozenset[str] | None
    metadata: Mapping[str, str]


def known(store: Store, caches: Sequence[Cache], plans: Iterable[ImagePlan]) -> dict[str, Cached]:
    """Return what caches have of the layers that the store lacks, by key."""
    return access.look_up(caches, (layer.key for _, layer in missing(store, plans))) if caches else {}


def bring(store: Store, cached_by_key: Mapping[str, Cached], plans: Iterable[ImagePlan], *, jobs: int) -> int:
    """Bring layers from caches that the store lacks, and return their number.

    Args:
        cached_by_key: what caches have of them.
    """
    wanted = {layer.key: layer for _, layer in missing(store, plans) if layer.key in cached_by_key}
    if not wanted:
        return 0
    cached_by_key = {key: cached_by_key[key] for key in wanted}
    came = 0
    # Those that are here are read while others are on their way.
    arrivals = _arrivals(store, cached_by_key.values(), wanted)
    for arrival, looked in workers.run(_examined, arrivals, jobs=jobs, what="layers of the cache"):
        if looked.fault:
            say(f"warning: {poisoned(arrival.where, looked.fault, '').message} ({arrival.where}); it is made here")
            continue
        entry, signer = cached_by_key[arrival.key].entry, cached_by_key[arrival.key].cache.signer
        for sha256, text in looked.metadata.items():
            store.remember(METADATA, sha256, {"text": text, "signer": signer})
        if looked.shape:
            own_files.remember_shape(store, arrival.key, entry.layer.digest, looked.shape)
        linking.adopt(store, arrival.key, entry.layer, arrival.rows, origin=arrival.where, signer=signer)
        came += 1
    return came


def _arrivals(store: Store, cached_layers: Iterable[Cached], wanted: Mapping[str, LayerPlan]) -> Iterator[_Arrival]:
    """Fetch layers, and yield those that came; the largest first, for one that came last would be waited for."""
    largest = sorted(cached_layers, key=lambda cached: -cached.entry.layer.size)
    with (
        bar("layers of the cache", sum(cached.entry.layer.size for cached in largest), unit="bytes") as advance,
        threads.pool(_DOWNLOADS) as pool,
    ):
        for cached, rows in pool.map(partial(_fetch, store=store), largest):
            advance(cached.entry.layer.size)
            if rows is not None:
                yield _arrival(store, cached, rows, wanted[cached.entry.key])


def _fetch(cached: Cached, store: Store) -> tuple[Cached, bytes | None]:
    try:
        return cached, access.fetch_layer(cached, store)
    except HelioError as error:
        say(f"warning: {error.message} ({error.where or cached.where}); it is made here")
        return cached, None


def _arrival(store: Store, cached: Cached, rows: bytes, plan: LayerPlan) -> _Arrival:
    layer = cached.entry.layer
    named = frozenset(package.origin for package in plan.packages)
    return _Arrival(
        key=cached.entry.key,
        path=store.blob(layer.digest),
        diff_id=layer.diff_id,
        uncompressed_size=layer.uncompressed_size,
        rows=rows,
        where=cached.where,
        origins=named if plan.kind is LayerKind.PACKAGES else None,
        metadata=metadata_paths(plan, rows),
    )


def metadata_paths(plan: LayerPlan, rows: bytes) -> dict[str, str]:
    """Return path -> sha256 of the package, of the files that tell a package's licence.

    A patch or a script may have changed them, so whoever wants those of such a package reads the package.
    """
    packages = {package.origin: package for package in plan.packages if not (package.patches or package.ran)}
    paths = {}
    for path, (origin, _) in linking.rows_of(rows).items():
        package = packages.get(origin)
        if package is None:
            continue
        folders = path.split("/")
        wheel = folders[-1] == "METADATA" and folders[-2].endswith(".dist-info") and folders[-3:-2] == ["site-packages"]
        conda = folders[-1].endswith(".json") and folders[:-1] == [*PREFIX[1:].split("/"), "conda-meta"]
        if conda if package.kind == "conda" else wheel:
            paths[path] = package.sha256
    return paths


def metadata_of(store: Store, package: Package) -> str | None:
    """Return METADATA of a wheel, or the record of a conda package, out of a layer that travelled, or is lent."""
    for lent in store.lent.values():
        if package.sha256 in lent.metadata:
            return lent.metadata[package.sha256]
    known = store.recall(METADATA, package.sha256)
    # Earlier versions wrote the text alone.
    text, signer = (known["text"], known["signer"]) if isinstance(known, dict) else (known, "")
    return text if isinstance(text, str) and store.counts(signer) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What was seen of a layer that came in.

    Attributes:
        fault: what is wrong with it; empty if nothing is.
        metadata: sha256 of a package -> what it says of itself.
        shape: folders and links, of a layer that files of images may lie on.
    """

    fault: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[Entry, ...] = ()


def _examined(arrival: _Arrival) -> _Looked:
    try:
        real = examine(arrival.path, arrival.metadata)
    except HelioError as error:
        return _Looked(fault=error.message)
    if fault := _fault(arrival, real):
        return _Looked(fault=fault)
    texts = {arrival.metadata[path]: data.decode("utf-8", "replace") for path, data in real.kept.items()}
    return _Looked(fault="", metadata=texts, shape=real.shape if arrival.origins is None else ())


def _fault(arrival: _Arrival, real: Examined) -> str:
    """Say what is wrong with a layer that came in; empty if nothing is."""
    if (real.diff_id, real.uncompressed_size) != (arrival.diff_id, arrival.uncompressed_size):
        return f"its layer holds other bytes: expected {arrival.diff_id} not {real.diff_id}"
    listed = linking.rows_of(arrival.rows)
    if {path: held for path, (_, held) in listed.items()} != real.held:
        return "its list of files is not what the layer holds"
    if arrival.origins is not None and (others := {origin for origin, _ in listed.values()} - arrival.origins):
        return f"its list names packages that the lock has not for this layer: {', '.join(sorted(others)[:3])}"
    return ""


def image_key(plan: ImagePlan) -> str:
    """Return what an image is remembered by in caches: equal keys mean equal images, ancestors included."""
    line = [
        [
            image.name,
            str(image.platform),
            image.locks.epoch,
            dataclasses.asdict(image.settings(None)),
            [[layer.name, layer.key, layer.comment] for layer in image.layers],
        ]
        for image in plan.line
    ]
    return key_of(["image", 1, line])


def recall_images(caches: Sequence[Cache], plans: Mapping[str, ImagePlan]) -> dict[str, Built]:
    """Return images by name as caches know them, put together from descriptors: no layer is fetched, none is looked at.

    So what comes of it may be compared, and named where a registry has it; who wants its bytes calls `bring`.

    Args:
        plans: ancestors first. An image whose parent is not known is not known either.
    """
    known: dict[str, Built] = {}
    for name, plan in plans.items():
        parent = known.get(plan.parent.name) if plan.parent else None
        if plan.parent and parent is None:
            continue
        answer = access.look_up_image(caches, image_key(plan))
        if answer is None:
            continue
        entry, where = answer
        keys = [key for key, _ in entry.layers]
        if len(keys) != len(plan.layers) or any(
            key != layer.key for key, layer in zip(keys, plan.layers, strict=True) if layer.kind is not LayerKind.FILES
        ):
            say(f"warning: {poisoned(where, 'it has other layers than the locks say', '').message} ({where})")
            continue
        layers = tuple(
            BuiltLayer(name=planned.name, comment=planned.comment, key=key, layer=layer)
            for planned, (key, layer) in zip(plan.layers, entry.layers, strict=True)
        )
        built = assembled(plan, parent, layers, 0)
        if built.image.digest != entry.digest:
            said = f"another image comes of its layers: expected {entry.digest} not {built.image.digest}"
            say(f"warning: {poisoned(where, said, '').message} ({where})")
            continue
        known[name] = built
    return known


def keep_image(cache: Cache, built: Built, *, sign: Callable[[bytes], str] | None) -> None:
    """Put into a cache which layers an image has; the registry has them already.

    Raises:
        HelioError: the registry refuses.
    """
    layers = tuple((layer.key, layer.layer) for layer in built.layers)
    entry = ImageEntry(key=image_key(built.plan), digest=built.image.digest, layers=layers)
    access.keep_image(cache, entry, signature=sign(entry.config) if sign else "")


def keep(cache: Cache, built: Built, store: Store, *, mount: str, sign: Callable[[bytes], str] | None) -> None:
    """Put an image's own layers into a cache, those that this machine made.

    Args:
        mount: the repository of the same registry that the image was pushed to.
        sign: gives a signature in base64 over what it is given; None signs nothing.

    Raises:
        HelioError: the registry refuses.
    """

    def put(key: str, index: int) -> None:
        rows = linking.list_of(store, key)
        if rows is None:
            return
        layer = built.layers[index].layer
        blob = store.blob(layer.digest)
        packed, noted = entries.pack(rows), entries.pack(notes.of_layer(store, key, blob))
        entry = LayerEntry(
            key=key,
            layer=layer,
            files=of_bytes(rows).removeprefix("sha256:"),
            packed=entries.packed(packed, entries.FILES),
            notes=entries.packed(noted, entries.NOTES),
        )
        signature = sign(entry.config) if sign else ""
        access.keep_layer(cache, entry, (blob, packed, noted), mount=mount, signature=signature)

    kept = [(layer.key, index) for index, layer in enumerate(built.plan.layers) if layer.kind is not LayerKind.FILES]
    with threads.pool(_DOWNLOADS) as pool:
        for future in [pool.submit(put, key, index) for key, index in kept]:
            future.result()


def keep_artefacts(cache: Cache, built: Built, store: Store) -> int:
    """Put the packages of an image's locks into a cache, as far as the store has them; returns the bytes sent.

    What the store lacks and the cache has, since the layers came from there, is named with them: so one manifest keeps
    all that a lock needs.

    Raises:
        HelioError: the registry refuses.
    """
    locks = built.locks
    rows: Mapping[str, tuple[str, int | None]] = {
        **{package.sha256: (package.file_name, package.size) for package in locks.conda.packages},
        **{sha256: (f"{name}.post-link", None) for names in locks.conda.ran.values() for name, sha256 in names.items()},
        **{wheel.sha256: (wheel.file_name, wheel.size) for wheel in locks.pypi.wheels},
        **{deb.sha256: (deb.file_name, deb.size) for deb in locks.apt.packages},
    }
    files = {
        sha256: (name, store.artefact(sha256))
        for sha256, (name, size) in rows.items()
        if has(store.artefact(sha256), size)
    }
    others = {sha256: name for sha256, (name, _) in rows.items() if sha256 not in files}
    known = access.known_artefacts(cache, others)
    return access.keep_artefacts(cache, key_of(["artefacts", *sorted((*files, *known))]), files, known)
