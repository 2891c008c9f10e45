"""SBOM and provenance of the real base image, signatures, and tampering with a real registry's storage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import pytest
import requests
import trust_support
from cryptography.hazmat.primitives.asymmetric import ec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from trust_support import PLATFORM

from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.make import linking
from helioimages.oci.reference import Reference
from helioimages.oci.types import MANIFEST, Descriptor
from helioimages.prove import verify
from helioimages.publish import documents, provenance, sbom, signing
from helioimages.publish import push as publish

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def components(workspace, built):
    return sbom.components(workspace.store, built)


def test_every_file_of_base_belongs_to_a_component(workspace, built, components):
    """`components` refuses an image with a file that nobody owns; here the layers' own lists are counted again."""
    paths = {path for layer in built.layers for path in linking.files_of(workspace.store, layer.key)}
    owned = [path for component in components for path, _ in component.files]
    assert len(owned) == len(set(owned)) > 50_000
    assert paths - set(owned) == set()
    assert {component.package.kind for component in components} == {"conda", "debian", "image", "system", "wheel"}


def test_the_sboms_are_valid_and_equal_each_time(built, components):
    # The validator is slow, and one file's row is like another's: two of each component are enough.
    short = tuple(dataclasses.replace(component, files=component.files[:2]) for component in components)
    text = sbom.cyclonedx(built, short, "1")
    assert text == sbom.cyclonedx(built, short, "1")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    document = JsonLikeDictParser().parse(json.loads(sbom.spdx(built, components, "1")))
    assert validate_full_spdx_document(document) == []
    assert len(document.packages) == len(components) + 1


def test_the_sbom_that_is_signed_is_valid_and_names_the_whole(built, components):
    text = sbom.cyclonedx(built, components, "1")
    short = sbom.without_files(text)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(short)) is None
    assert sbom.whole_of(short) == of_bytes(text) and sbom.whole_of({}) == sbom.whole_of(None) == ""
    assert [component["purl"] for component in short["components"] if "purl" in component] == [
        component.package.purl for component in components if component.package.purl
    ]
    assert len(json.dumps(short)) < 1 << 20 < len(text)


def test_provenance_names_every_lock_entry(monkeypatch, built):
    monkeypatch.setenv("CANARY", "canary-value-7d1")
    said = provenance.predicate(built, commit="a" * 40, tool_version="1")
    text = provenance.statement("base", built.image.digest, provenance.PREDICATE, said)
    lock = built.locks
    entries = {
        f"sha256:{dependency['digest'].get('sha256')}" for dependency in said["buildDefinition"]["resolvedDependencies"]
    }
    for package in (*lock.conda.packages, *lock.pypi.wheels, *lock.apt.packages):
        assert f"sha256:{package.sha256}" in entries
    assert b"canary" not in text
    # in-toto's own types know every field of it.
    statement = json_format.Parse(text, statement_pb2.Statement())
    assert {subject.digest["sha256"] for subject in statement.subject} == {built.image.digest.removeprefix("sha256:")}
    json_format.ParseDict(said, provenance_pb2.Provenance())


# -- tampering: a small image in a registry whose storage we edit -----------------------------------------------------


@pytest.fixture
def shop(tmp_path, workspace, built, monkeypatch):
    """Return an image that is published, attached and signed."""
    if not trust_support.has_registry():
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    # The locked packages have no files in this image, so their metadata are not at hand either.
    monkeypatch.setattr(sbom, "components", lambda _store, of: trust_support.without_files(of))
    with trust_support.shop(tmp_path, built, workspace.root, port=5311) as shop:
        yield shop


def verdict(shop, tmp_path, tag="latest", repository="base", **options):
    reference = Reference(host=shop.client.host, repository=repository, tag=tag)
    image = verify.fetch(shop.client, reference, PLATFORM)
    folder = tmp_path / "pulled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return image, verify.published(shop.client, reference, image, folder, key=shop.pub, **options)[1], folder


def test_what_was_published_is_whole_and_publishing_again_changes_nothing(shop, tmp_path):
    store, client, built = shop.store, shop.client, shop.built
    image, faults, folder = verdict(shop, tmp_path)
    assert faults == () and verify.rebuilt(built, image, folder, store) == ()
    tags, referrers = client.tags("base"), client.referrers("base", image.digest)
    before = {path for path in (store.root / "registry").rglob("data")}
    shop.attach(shop.key)
    assert (client.tags("base"), client.referrers("base", image.digest)) == (tags, referrers)
    assert {path for path in (store.root / "registry").rglob("data")} == before
    kinds = sorted(referrer.artifact_type for referrer in referrers)
    assert kinds == sorted([sbom.SPDX, *[signing.BUNDLE] * 5, provenance.IN_TOTO, sbom.CYCLONEDX, documents.PACKAGES])


def change(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_changed_layer_is_found(shop, tmp_path):
    change(shop.stored(shop.built.image.layers[0].digest))
    faults = verdict(shop, tmp_path)[1]
    assert len(faults) == 1 and faults[0].startswith("layers[0]: digest mismatch from the registry"), faults


def test_a_changed_document_is_found(shop, tmp_path):
    for referrer in shop.client.referrers("base", shop.built.image.digest):
        if "cyclonedx" in referrer.artifact_type or "in-toto" in referrer.artifact_type:
            manifest = json.loads(shop.client.get_manifest("base", referrer.digest)[1])
            change(shop.stored(manifest["layers"][0]["digest"]))
    faults = verdict(shop, tmp_path)[1]
    assert sum("digest mismatch from the registry" in line for line in faults) == 2, faults
    assert "there is no provenance that can be read" in faults


def test_a_moved_tag_is_found(shop, tmp_path):
    store, client, built = shop.store, shop.client, shop.built
    other = trust_support.make(store, built, content=b"01234X6789")
    publish.push_untagged(client, other.image, "base", store)
    client.put_manifest("base", "latest", other.image.manifest_bytes)
    image, faults, folder = verdict(shop, tmp_path)
    assert faults == (
        "there is no SBOM that can be read",
        "there is no provenance that can be read",
        f"signature: none of 0 is this key's over {image.digest}",
    )
    assert verify.rebuilt(built, image, folder, store)[0] == (
        "layers[0] (files): srv/data.txt (of images/base/files): content: byte 5: expected 3536373839 not 5836373839"
    )


def test_a_tag_beside_a_digest_must_name_it(shop, tmp_path):
    client, built = shop.client, shop.built
    good = Reference(host=client.host, repository="base", tag=built.tag, digest=built.image.digest)
    assert verify.fetch(client, good, PLATFORM).digest == built.image.digest
    other = trust_support.make(shop.store, built, content=b"01234X6789")
    publish.push_untagged(client, other.image, "base", shop.store)
    # `latest` moves, as it should; a lock tag never does.
    for tag in ("latest", built.tag):
        client.put_manifest("base", tag, other.image.manifest_bytes)
    assert verify.fetch(client, dataclasses.replace(good, tag="latest"), PLATFORM).digest == built.image.digest
    with pytest.raises(HelioError) as caught:
        verify.fetch(client, good, PLATFORM)
    assert str(caught.value) == (
        f"the tag `{built.tag}` does not name this image\n"
        f"  in {good}\n"
        f"  expected {built.image.digest} not {other.image.digest}\n\n"
        "hint: such tags never move: somebody moved it, or the digest is another image's"
    )


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        (sbom.CYCLONEDX + ";version=1.6", "text/plain"),
        ("application/vnd.CycloneDX+json", "text/plain"),
        ("application/x", sbom.SPDX),
    ],
)
def test_an_sbom_that_nobody_signed_is_found_whatever_it_calls_itself(shop, tmp_path, kind, media_type):
    image = shop.built.image
    text = json.loads(sbom.cyclonedx(shop.built, trust_support.without_files(shop.built), "1"))
    text["components"] = text["components"][:1]
    forged = json.dumps(text).encode()
    document = documents.Document(name="", media_type=media_type, data=forged)
    attachment = documents.Attachment(artifact_type=kind, files=(document,))
    documents.attach_files(shop.client, "base", image, attachment, shop.store)
    (fault,) = verdict(shop, tmp_path)[1]
    assert fault.endswith(f"this key did not sign sha256:{hashlib.sha256(forged).hexdigest()}")


def test_a_second_file_in_a_signed_sbom_is_found(shop, tmp_path):
    image = shop.built.image
    true = sbom.cyclonedx(shop.built, trust_support.without_files(shop.built), "1")
    text = json.loads(true)
    forged = json.dumps(text | {"components": text["components"][:1]}).encode()
    files = tuple(documents.Document(name="", media_type=sbom.CYCLONEDX, data=data) for data in (true, forged))
    attachment = documents.Attachment(artifact_type=sbom.CYCLONEDX, files=files)
    documents.attach_files(shop.client, "base", image, attachment, shop.store)
    faults = verdict(shop, tmp_path)[1]
    assert f"{sbom.CYCLONEDX}: this key did not sign sha256:{hashlib.sha256(forged).hexdigest()}" in faults


def test_another_key_is_found(shop, tmp_path):
    trust_support.write_key(shop.key, 8)
    image, faults, _ = verdict(shop, tmp_path)
    assert faults[0] == f"signature: none of 6 is this key's over {image.digest}"
    assert len(faults) == 5 and all("this key did not sign" in line for line in faults[1:])


def test_a_signature_for_another_repository_is_found(shop, tmp_path):
    """Whoever may write to a registry could copy what was signed on trial to where releases are."""
    client, image = shop.client, shop.built.image
    publish.push_untagged(client, image, "release", shop.store)
    tag = image.digest.replace(":", "-")
    for suffix in ("", ".sig", ".att"):
        there, data = client.get_manifest("base", tag + suffix)
        for manifest in json.loads(data).get("manifests", ()):
            copy(client, client.get_manifest("base", manifest["digest"])[1], manifest["digest"], shop.store)
        copy(client, data, tag + suffix, shop.store, there.media_type)
    client.put_manifest("release", "latest", image.manifest_bytes)
    here = f"{client.host}/release"
    faults = verdict(shop, tmp_path, repository="release")[1]
    assert faults == (f"signature: expected one made for {here} not for {client.host}/base",)
    # A mirror says where its images come from; and who asks for no name in particular gets none checked.
    assert verdict(shop, tmp_path, repository="release", identity=f"{client.host}/base")[1] == ()
    assert verdict(shop, tmp_path, repository="release", identity="*")[1] == ()
    # Signing it for its new place mends it.
    shop.attach(shop.key, "release")
    assert verdict(shop, tmp_path, repository="release")[1] == ()


def copy(client, data, reference, store, media_type=MANIFEST):
    document = json.loads(data)
    for descriptor in (*document.get("layers", ()), *filter(None, [document.get("config")])):
        blob = Descriptor(media_type=descriptor["mediaType"], digest=descriptor["digest"], size=descriptor["size"])
        client.push_blob("release", blob, store.blob(blob.digest))
    client.put_manifest("release", reference, data, media_type)


@pytest.mark.parametrize("suffix", ["sig", "att"])
def test_either_place_of_the_signatures_is_enough(shop, tmp_path, suffix):
    """cosign 3 knows the bundles only, cosign 1 and 2 the tags; the image is good by either."""
    digest = shop.built.image.digest
    there, _ = shop.client.get_manifest("base", f"{digest.replace(':', '-')}.{suffix}")
    address = f"http://{shop.client.host}/v2/base/manifests/{there.digest}"
    assert requests.delete(address, timeout=30).status_code == 202
    assert verdict(shop, tmp_path)[1] == ()


def test_a_bundle_that_is_not_the_keys_is_found(shop, tmp_path):
    """The statement is another's, the hint says ours: a bundle whose signature was taken from elsewhere."""
    image, other = shop.built.image, ec.derive_private_key(9, ec.SECP256R1())
    text = provenance.statement(f"{shop.client.host}/base", image.digest, signing.SIGNED, {})
    sealed = signing.envelope(other, provenance.IN_TOTO, text)
    forged = json.loads(signing.bundle(signing.load_private(shop.key), sealed))
    digests = []
    for said in (forged, json.loads(signing.bundle(other, sealed))):
        data = json.dumps(said).encode()
        document = documents.Document(name="", media_type=signing.BUNDLE, data=data)
        attachment = documents.Attachment(artifact_type=signing.BUNDLE, files=(document,))
        digests.append(documents.attach_files(shop.client, "base", image, attachment, shop.store))
    # The second is another's own signature, which is no fault.
    assert verdict(shop, tmp_path)[1] == (f"bundle {digests[0]}: it names this key, which did not sign it",)


def test_a_changed_manifest_is_found(shop, tmp_path):
    change(shop.stored(shop.built.image.digest))
    with pytest.raises(HelioError, match=r"digest mismatch|refuses"):
        verdict(shop, tmp_path)
