"""Made catalogues: entries as values, and images in a registry, without building anything."""

from __future__ import annotations

import datetime
import hashlib
import json

from helioimages.catalogue.delta import LayerRef
from helioimages.catalogue.model import Catalogue, CatalogueEntry, ImagePage, newest_entries_first
from helioimages.core.package import Package
from helioimages.core.platform import Platform
from helioimages.machine.store import Store
from helioimages.oci.image import Image, artifact
from helioimages.oci.registry import Registry
from helioimages.oci.types import CONFIG, LAYER_GZIP, Descriptor, History, ImageConfig, Manifest
from helioimages.publish.contents import Contents

START = datetime.date(2026, 5, 5)
#: A picture of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f03000508"
    "02fe5cccd1b60000000049454e44ae426082"
)


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def tag_of(day: int) -> str:
    return f"{START + datetime.timedelta(days=day):%Y.%m.%d}"


def packages(image: str, day: int, count: int) -> tuple[Package, ...]:
    """Return an image's packages on a day: each day another one is upgraded, as in life."""
    rows = [
        Package(
            name=f"package-{number:03}",
            version=f"1.{(day + number) // 40}.0",
            kind="wheel",
            licenses="BSD-3-Clause",
            purl=f"pkg:pypi/package-{number:03}@1.{(day + number) // 40}.0",
        )
        for number in range(count)
    ]
    python = Package(name="python", version="3.13.5", kind="conda", licenses="PSF-2.0", purl="pkg:conda/python@3.13.5")
    bash = Package(
        name="bash", version=f"5.2-{1 + day // 50}", kind="debian", purl=f"pkg:deb/debian/bash@5.2-{1 + day // 50}"
    )
    return (python, bash, *rows)


def layers(image: str, day: int, count: int) -> tuple[LayerRef, ...]:
    """Return the layers: Debian's and Python's are stable, one bucket of ten changes each day."""
    rows = [LayerRef(digest=digest(f"debian {day // 50}"), size=80_000_000, name="debian")]
    rows.append(LayerRef(digest=digest("python"), size=30_000_000, name="python"))
    for number in range(count):
        age = (day + number) // count
        rows.append(
            LayerRef(digest=digest(f"{image} {number} {age}"), size=1_000_000 + number, name=f"wheels-{number:02}")
        )
    return tuple(rows)


def entry(image: str = "helio", day: int = 0, **changes) -> CatalogueEntry:
    key = f"{image} {day}"
    values = {
        "image": image,
        "digest": digest(key),
        "named": digest(key),
        "platform": Platform.of("linux/amd64"),
        "tags": (tag_of(day),),
        "created": f"{START + datetime.timedelta(days=day)}T00:00:00Z",
        "facts": {"python": "3.13.5"},
        "layers": layers(image, day, 10),
        "config": (digest(f"config {key}"), 5_000),
        "contents": Contents(
            packages=tuple(sorted(packages(image, day, 30), key=lambda package: package.name)),
            source="sbom",
            complete=True,
        ),
    }
    return CatalogueEntry(**values | changes)


def page(name: str, *entries: CatalogueEntry) -> ImagePage:
    return ImagePage(
        name=name,
        repository=f"org/{name}",
        title=f"The {name} image",
        description=f"What {name} is for",
        entries=newest_entries_first(entries),
    )


def catalogue(*pages: ImagePage) -> Catalogue:
    return Catalogue(registry="registry.example:5000", images=pages)


def push(
    client: Registry,
    store: Store,
    repository: str,
    day: int,
    *,
    count: int = 30,
    stack: int = 10,
    documents: tuple[tuple[str, str, str, bytes], ...] = (),
    sbom: bool = True,
) -> Image:
    """Push an image of one day under its dated tag and `latest`. Its layers are a few bytes of their own.

    Args:
        documents: (artifact type, file name, media type, bytes) of what refers to it.
    """
    refs = layers(repository, day, stack)
    platform = Platform.of("linux/amd64")
    descriptors = [_blob(client, store, repository, ref.digest.encode(), LAYER_GZIP) for ref in refs]
    config = ImageConfig(
        platform=platform,
        diff_ids=tuple(ref.digest for ref in refs),
        created=f"{START + datetime.timedelta(days=day)}T00:00:00Z",
        history=tuple(History(created_by=f"ADD {ref.name}") for ref in refs),
        labels={
            "io.helioimages.python": "3.13.5",
            "io.helioimages.dask": f"2026.{1 + day // 30}.0",
            "io.helioimages.jupyterhub": "5.4.0",
            "org.opencontainers.image.title": f"The {repository.rpartition('/')[2]} image",
            "org.opencontainers.image.description": "Made for a test",
        },
    )
    manifest = Manifest(config=_blob(client, store, repository, config.dump(), CONFIG), layers=tuple(descriptors))
    image = Image.of(manifest.dump(), config.dump())
    for name in (tag_of(day), "latest"):
        client.put_manifest(repository, name, image.manifest_bytes)
    if sbom:
        components = [
            {
                "name": package.name,
                "version": package.version,
                "purl": package.purl,
                "licenses": [{"license": {"id": package.licenses}}],
            }
            for package in packages(repository, day, count)
        ]
        data = json.dumps({"bomFormat": "CycloneDX", "components": components}).encode()
        documents = (
            *documents,
            ("application/vnd.cyclonedx+json", "sbom.json", "application/vnd.cyclonedx+json", data),
        )
    for artifact_type in dict.fromkeys(row[0] for row in documents):
        files = [
            _blob(client, store, repository, data, media_type, title=name)
            for kind, name, media_type, data in documents
            if kind == artifact_type
        ]
        made = artifact(image.descriptor, artifact_type, files[0])
        made = Manifest(config=made.config, layers=tuple(files), artifact_type=artifact_type, subject=made.subject)
        store.put_blob(b"{}")
        client.push_blob(repository, made.config, store.blob(made.config.digest))
        client.attach(repository, made)
    return image


_PUSHED: set[tuple[str, str, str]] = set()


def _blob(client: Registry, store: Store, repository: str, data: bytes, media_type: str, title: str = "") -> Descriptor:
    descriptor = Descriptor(
        media_type=media_type,
        digest=store.put_blob(data),
        size=len(data),
        annotations={"org.opencontainers.image.title": title} if title else {},
    )
    if (client.host, repository, descriptor.digest) not in _PUSHED:
        client.push_blob(repository, descriptor, store.blob(descriptor.digest), missing=True)
        _PUSHED.add((client.host, repository, descriptor.digest))
    return descriptor
