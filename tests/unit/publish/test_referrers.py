"""What refers to an image, as a registry has it: kinds, SBOMs of several forms, and those that cannot be read."""

from __future__ import annotations

import gzip
import json
from typing import IO

import pytest

from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.machine.store import Store
from helioimages.oci.types import Descriptor
from helioimages.publish.referrers import Artifact, contents_of, kind_of


@pytest.mark.parametrize(
    ("artifact_type", "media_type", "predicate", "kind"),
    [
        ("application/vnd.cyclonedx+json", "", "", "sbom"),
        ("application/spdx+json", "", "", "sbom"),
        ("text/spdx+json", "application/octet-stream", "", "sbom"),
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "", "", "signature"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "", "https://sigstore.dev/cosign/sign/v1", "signature"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "", "https://slsa.dev/provenance/v1", "provenance"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "", "https://cyclonedx.org/bom", "other"),
        ("application/vnd.in-toto+json", "", "", "provenance"),
        (
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "",
            "signature",
        ),
        ("application/vnd.helioimages.smoke.v1", "application/json", "", "smoke"),
        ("application/vnd.example", "text/plain", "", "other"),
    ],
)
def test_kinds(artifact_type, media_type, predicate, kind):
    assert kind_of(artifact_type, [media_type], predicate) == kind


class Client:
    """A registry with a few blobs."""

    host = "registry.example"

    def __init__(self, *blobs: bytes) -> None:
        self.blobs = {of_bytes(data): data for data in blobs}

    def pull_blob(self, _repository: str, descriptor: Descriptor, out: IO[bytes]) -> None:
        out.write(self.blobs[descriptor.digest])


def sbom(*names: str) -> bytes:
    rows = [{"name": name, "version": "1", "purl": f"pkg:pypi/{name}@1"} for name in names]
    return json.dumps({"bomFormat": "CycloneDX", "components": rows}).encode()


def read(tmp_path, *blobs: bytes):
    artifacts = [
        Artifact(
            kind="sbom",
            type="x",
            digest=of_bytes(data),
            files=(Descriptor(media_type="x", digest=of_bytes(data), size=len(data)),),
        )
        for data in blobs
    ]
    return contents_of(Client(*blobs), "org/helio", artifacts, Store(tmp_path))


def test_the_one_that_knows_most_wins(tmp_path):
    assert read(tmp_path) is None
    assert [package.name for package in read(tmp_path, sbom("a"), sbom("a", "b"), b"{}").packages] == ["a", "b"]


def test_a_packed_one(tmp_path):
    assert [package.name for package in read(tmp_path, gzip.compress(sbom("a"))).packages] == ["a"]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (gzip.compress(sbom("a"), mtime=0)[:-9], "it is cut, or unpacks to over 134,217,728 bytes"),
        (gzip.compress(bytes(134_217_729), 1, mtime=0), "it is cut, or unpacks to over 134,217,728 bytes"),
        (b"\x1f\x8bxx", "not gzip: Error -3 while decompressing data: unknown compression method"),
    ],
    ids=["cut", "bomb", "not gzip"],
)
def test_one_that_cannot_be_read(tmp_path, data, detail):
    with pytest.raises(HelioError) as caught:
        read(tmp_path, data)
    assert str(caught.value) == f"cannot read an SBOM\n  in registry.example/org/helio@{of_bytes(data)}\n  {detail}"
