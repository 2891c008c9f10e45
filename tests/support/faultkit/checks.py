"""What must hold after any fault: whole files only, no half lock, no half tag."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path

from helioimages.core.errors import HelioError
from helioimages.make import linking
from helioimages.oci.reference import Reference, is_loopback
from helioimages.oci.registry import Registry
from helioimages.oci.types import INDEX, ImageIndex, Manifest, Platform
from helioimages.prove import verify

from .world import Site


def store_faults(root: Path) -> list[str]:
    """Return what is wrong in a store: files whose content is not their name, memos that are cut."""
    faults = []
    for kind in ("artefacts", "blobs"):
        for path in (root / kind / "sha256").iterdir():
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                    faults.append(f"{kind}/{path.name} holds other bytes")
            if path.stat().st_mode & 0o222:
                faults.append(f"{kind}/{path.name} is writable")
    for path in (root / "memo").rglob("*.json"):
        try:
            memo = json.loads(path.read_bytes())
        except ValueError:
            faults.append(f"{path.relative_to(root)} is no JSON")
            continue
        if path.parent.name in (linking.LAYERS, linking.OLD_LAYERS):
            blob = root / "blobs" / memo["digest"].replace(":", "/")
            if blob.exists() and blob.stat().st_size != memo["size"]:
                faults.append(f"{path.relative_to(root)} has another size than its blob")
    return faults


def checkout_faults(site: Site, expected: dict) -> list[str]:
    """Return the locks that are neither absent nor whole."""
    return [f"{file} is half" for file, content in site.locks().items() if content != expected["locks"][file]]


def registry_faults(host: str, expected: dict, *, key: Path | None = None) -> list[str]:
    """Return what is wrong in a registry: tags that are not wanted, or whose image or document is not whole.

    Args:
        key: the public one, after a run that went to its end: every image must have its documents, signed.
    """
    assert is_loopback(host)
    faults = []
    with Registry(host) as client:
        for name, wanted in expected["tags"].items():
            for tag in client.tags(name):
                if tag.startswith("sha256-"):
                    # Referrers of a registry without their API, and cosign's signatures.
                    faults += _damage(client, name, tag)
                    continue
                if tag not in wanted:
                    faults.append(f"{name}:{tag} is not wanted")
                    continue
                answer = client.get_manifest(name, tag)
                if answer is None or answer[0].digest != wanted[tag]:
                    faults.append(f"{name}:{tag} names {answer and answer[0].digest}")
                    continue
                faults += _damage(client, name, tag)
            if key is not None:
                reference = Reference(host=host, repository=name, digest=expected["images"][name])
                image = verify.fetch(client, reference, Platform.of("linux/amd64"))
                with tempfile.TemporaryDirectory() as folder:
                    faults += verify.published(client, reference, image, Path(folder), key=key, identity="*")[1]
    return faults


def _damage(client: Registry, name: str, reference: str) -> list[str]:
    """Return the blobs of a manifest, or of all manifests of an index, that are not there and whole."""
    answer = client.get_manifest(name, reference)
    if answer is None:
        return [f"{name}:{reference} is missing"]
    if answer[0].media_type == INDEX:
        inner = ImageIndex.parse(answer[1], f"{name}:{reference}").manifests
        return [fault for descriptor in inner for fault in _damage(client, name, descriptor.digest)]
    faults = []
    manifest = Manifest.parse(answer[1], f"{name}:{reference}")
    for blob in (manifest.config, *manifest.layers):
        try:
            client.pull_blob(name, blob, io.BytesIO())
        except HelioError as error:
            faults.append(f"{name}:{reference} has a damaged blob {blob.digest}: {error}")
    return faults
