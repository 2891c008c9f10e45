"""The images that `delta` compares, from wherever they are: this checkout, a registry, a layout, the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..core.digest import is_digest
from ..core.entries import merge
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..locks import read
from ..locks.checkout import Checkout
from ..locks.read import Locks
from ..machine.store import Store
from ..make import building, debian_layers, linking
from ..make.plan import own_packages, plan_layers
from ..oci.image import Image
from ..oci.layer import LIBDEFLATE_6, Layer
from ..oci.layout import read_layout
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..oci.types import Manifest
from ..publish import referrers
from ..publish.contents import Contents, from_history, layer_names
from ..publish.documents import of_locks
from ..spec.lineage import lineage
from .delta import LayerRef, Side

#: The manifests that were asked for by digest alone are small.
_MANIFEST_BYTES = 4 << 20


#: Opens a client of a registry by its host; None is the embedded one.
OpenRegistry = Callable[[str | None], Registry]


def side(
    checkout: Checkout,
    store: Store,
    open_registry: OpenRegistry,
    text: str,
    *,
    registry: str | None = None,
    prefix: str = "",
) -> Side:
    """Return what a word on the command line names.

    Args:
        text: an image of the checkout (``helio``: its locks as they are now), a tag or digest of one in the registry
            (``helio:2026.11.21``, ``helio@sha256:…``), a whole reference, the digest of an image built here, or the
            folder of an OCI layout (``./out``, ``./out:helio``).
        registry: the host that short names are looked up in; None is the embedded one.

    Raises:
        HelioError: it names nothing.
    """
    if text in checkout.images:
        return planned(checkout, store, text)
    if is_digest(text):
        return of_image(_stored(store, text), text, known_locks(checkout))
    if (found := _layout(text)) is not None:
        return of_image(found, text, known_locks(checkout))
    name = text.partition("@")[0].partition(":")[0]
    if "/" not in text and name in checkout.images and text != name:
        with open_registry(registry) as client:
            found = Reference.parse(f"{client.host}/{prefix}{text}")
            return _published(checkout, store, client, found, text)
    if "/" not in text or text.startswith((".", "/")):
        raise HelioError(
            Stage.USAGE,
            f"`{text}` names no image",
            detail=f"expected {', '.join(checkout.images) or 'an image of a checkout'}, "
            "one of these with :TAG or @DIGEST, HOST/NAME:TAG, the digest of an image built here, "
            "or the folder of an OCI layout",
        )
    reference = Reference.parse(text)
    with open_registry(reference.host) as client:
        return _published(checkout, store, client, reference, text)


def planned(checkout: Checkout, store: Store, name: str) -> Side:
    """Return an image as its locks say, built or not. Layers that the store lacks are counted by the packages' files.

    Raises:
        HelioError: a lock is missing or malformed.
    """
    layers: list[LayerRef] = []
    parent: Locks | None = None
    line = lineage(checkout.images, name)
    user = next((one.user for one in line if one.user), None)
    lock: Locks | None = None
    for image in line:
        lock = read.load(checkout.root, checkout.images, image.name, channel=checkout.channel)
        packages = read.packages(lock, checkout.environments[image.environment])
        if parent:
            packages = own_packages(packages, read.packages(parent, checkout.environments[parent.image.environment]))
        below = {deb.sha256 for deb in parent.apt.packages} if parent else set()
        new = [deb for deb in lock.apt.packages if deb.sha256 not in below]
        if debian_layers.needed(lock.apt, parent.apt if parent else None):
            key = debian_layers.key(lock.apt, parent.apt if parent else None, user)
            layers.append(_ref("debian", key, linking.recall(store, key), sum(deb.size for deb in new)))
        for plan in plan_layers(packages, alone_bytes=image.alone_bytes, buckets=image.buckets):
            key = plan.key(prefix=linking.PREFIX, interpreter=lock.python.sha256, compressor=LIBDEFLATE_6.name)
            layers.append(_ref(plan.name, key, linking.recall(store, key), plan.size))
        entries = building.own_entries(checkout.root, image)
        if entries:
            key = building.files_key(checkout.root, image)
            known = linking.recall(store, key) or linking.write(store, key, merge(entries))
            layers.append(_ref("files", key, known, 0))
        parent = lock
    assert lock is not None
    # The config is written with the image; a few kilobytes that only a build knows exactly.
    return Side(label=name, layers=tuple(layers), config=(lock.digest, 0), contents=of_locks(lock))


def of_image(image: Image, label: str, known: Mapping[str, Contents], sbom: Contents | None = None) -> Side:
    """Return an image that was built.

    Args:
        known: lock digest -> contents, for images of this checkout.
        sbom: what its SBOM says; it wins.
    """
    names = layer_names(image.config)
    return Side(
        label=label,
        layers=tuple(
            LayerRef(digest=one.digest, size=one.size, name=name) for one, name in zip(image.layers, names, strict=True)
        ),
        config=(image.manifest.config.digest, image.manifest.config.size),
        contents=sbom or known.get(image.config.labels.get("io.helioimages.lock", "")) or from_history(image.config),
    )


def known_locks(checkout: Checkout) -> dict[str, Contents]:
    """Return lock digest -> packages of the checkout's images, leaving out those without a whole lock."""
    found = {}
    for name in checkout.images:
        try:
            lock = read.load(checkout.root, checkout.images, name, channel=checkout.channel)
        except HelioError:
            continue
        found[lock.digest] = of_locks(lock)
    return found


def _published(checkout: Checkout, store: Store, client: Registry, reference: Reference, label: str) -> Side:
    at = reference.digest or reference.tag or "latest"
    image = client.get_image(reference.repository, at, Platform.of(checkout.platform))
    if image is None:
        raise HelioError(
            Stage.USAGE,
            f"`{label}` is not in the registry",
            where=f"{client.host}/{reference.repository}",
            detail=f"expected a manifest under {at}",
            hint=f"the tags there: {', '.join(client.tags(reference.repository)) or 'none'}",
        )
    tags = client.tags(reference.repository)
    found = referrers.artifacts(client, reference.repository, image.digest, tags=tags, store=store)
    # The package list says all that is compared, and is a hundredth of an SBOM that names every file.
    listed = [one for one in found if one.kind == "packages"] or found
    sbom = referrers.contents_of(client, reference.repository, listed, store)
    return of_image(image, label, known_locks(checkout), sbom)


def _stored(store: Store, digest: str) -> Image:
    path = store.blob(digest)
    if not path.exists() or path.stat().st_size > _MANIFEST_BYTES:
        raise HelioError(
            Stage.USAGE,
            f"the store has no image {digest}",
            where=str(store.root),
            hint="give the whole reference, host/name@digest, for an image in a registry",
        )
    data = path.read_bytes()
    config = store.blob(Manifest.parse(data, digest).config.digest)
    return Image.of(data, config.read_bytes(), digest)


def _layout(text: str) -> Image | None:
    """Return the image of ``folder`` or ``folder:name``; None if the text is no layout."""
    folder, name = Path(text), ""
    if not (folder / "oci-layout").is_file():
        head, colon, name = text.rpartition(":")
        folder = Path(head)
        if not colon or not (folder / "oci-layout").is_file():
            return None
    images = read_layout(folder)
    if name in images:
        return images[name]
    if name or len(images) != 1:
        raise HelioError(
            Stage.USAGE,
            f"the layout `{folder}` has no image `{name}`" if name else f"the layout `{folder}` has several images",
            detail=f"expected one of: {', '.join(images)}",
            hint=f"write {folder}:NAME",
        )
    return next(iter(images.values()))


def _ref(name: str, key: str, known: Layer | None, estimate: int) -> LayerRef:
    if known is not None:
        return LayerRef(digest=known.digest, size=known.size, name=name)
    return LayerRef(digest=f"key:{key}", size=estimate, name=name, exact=False)
