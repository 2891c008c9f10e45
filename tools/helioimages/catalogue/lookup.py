"""The images that `delta` compares, from wherever they are: this checkout, a registry, a layout, the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..core.digest import is_digest
from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..locks.checkout import Checkout
from ..machine.store import Store
from ..make import linking, own_files
from ..make.inputs import plan_of
from ..make.plan import ImagePlan, LayerKind
from ..oci.absent import absent
from ..oci.image import Image
from ..oci.layout import read_layout
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..oci.types import Manifest
from ..publish import referrers
from ..publish.contents import Contents, from_history, layer_titles, owned
from ..publish.documents import of_locks
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
    if (layout := _layout(text)) is not None:
        return of_image(layout, text, known_locks(checkout))
    if is_short(checkout, text):
        with open_registry(registry) as client:
            reference = Reference.parse(f"{client.host}/{prefix}{text}")
            return _published(checkout, store, client, reference, text)
    if "/" not in text or text.startswith((".", "/")):
        raise no_image(checkout, text, ", the digest of an image built here, or the folder of an OCI layout")
    reference = Reference.parse(text)
    with open_registry(reference.host) as client:
        return _published(checkout, store, client, reference, text)


def is_short(checkout: Checkout, text: str) -> bool:
    """Say whether a reference begins with an image of the checkout, and leaves the registry to an option."""
    return "/" not in text and _name(text) in checkout.images


def no_image(checkout: Checkout, text: str, others: str = "") -> HelioError:
    """Return the error of a word that names no image.

    Args:
        others: what else it might have been.
    """
    return HelioError(
        Stage.USAGE,
        f"`{text}` names no image",
        detail=f"expected {', '.join(checkout.images) or 'an image of a checkout'}, "
        f"one of these with :TAG or @DIGEST, HOST/NAME:TAG{others}",
        hint=meant(_name(text), checkout.images),
    )


def _name(text: str) -> str:
    return text.partition("@")[0].partition(":")[0]


def planned(checkout: Checkout, store: Store, name: str) -> Side:
    """Return an image as its locks say, built or not. Layers that the store lacks are counted by the packages' files.

    Raises:
        HelioError: a lock is missing or malformed.
    """
    plan = plan_of(checkout, name)
    return Side(
        label=name,
        layers=_refs(store, plan),
        # The config is written with the image; a few kilobytes that only a build knows exactly.
        config=(plan.locks.digest, 0),
        contents=of_locks(plan.locks),
    )


def of_image(image: Image, label: str, known: Mapping[str, Contents], sbom: Contents | None = None) -> Side:
    """Return an image that was built.

    Args:
        known: lock digest -> contents, for images of this checkout.
        sbom: what its SBOM says; it wins.
    """
    names = layer_titles(image.config)
    return Side(
        label=label,
        layers=tuple(
            LayerRef(digest=layer.digest, size=layer.size, name=name)
            for layer, name in zip(image.layers, names, strict=True)
        ),
        config=(image.manifest.config.digest, image.manifest.config.size),
        contents=sbom or known.get(image.config.labels.get("io.helioimages.lock", "")) or from_history(image.config),
    )


def known_locks(checkout: Checkout) -> dict[str, Contents]:
    """Return lock digest -> packages of the checkout's images, leaving out those without a whole lock."""
    sides = {}
    for name in checkout.images:
        try:
            lock = checkout.locks(name)
        except HelioError:
            continue
        sides[lock.digest] = of_locks(lock)
    return sides


def _published(checkout: Checkout, store: Store, client: Registry, reference: Reference, label: str) -> Side:
    at = reference.digest or reference.tag or "latest"
    image = client.get_image(reference.repository, at, checkout.platform)
    if image is None:
        raise absent(client, reference, label, Stage.USAGE)
    tags = client.tags(reference.repository)
    attached = referrers.artifacts(client, reference.repository, image.digest, tags=tags, store=store)
    # The package list says all that is compared, and is a hundredth of an SBOM that names every file.
    listed = [artifact for artifact in attached if artifact.kind == "packages"] or attached
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
    """Return the image of ``folder`` or ``folder:name``; None if the text is not a layout."""
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


def _refs(store: Store, plan: ImagePlan) -> tuple[LayerRef, ...]:
    references: list[LayerRef] = []
    below: list[own_files.Lower] = []
    line = [(image, layer) for image in plan.line for layer in image.layers]
    for (image, layer), key in zip(line, own_files.keys(store, plan), strict=True):
        known, title = linking.recall(store, key), owned(layer.name, layer.image)
        if known is None and layer.kind is LayerKind.FILES:
            # An image's own files are here, and few: its layer is known without a build.
            known = own_files.foreseen(store, image, below)
        if known is not None:
            unpacked = known.uncompressed_size
            references.append(LayerRef(digest=known.digest, size=known.size, name=title, unpacked=unpacked))
        else:
            references.append(LayerRef(digest=f"key:{key}", size=layer.size, name=title, exact=False))
        below.append(own_files.Lower(kind=layer.kind, key=key))
    return tuple(references)
