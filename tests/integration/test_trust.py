"""SBOM and provenance of the real base image, signatures, and tampering with a real registry's storage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from helioimages import building, entries, linking, provenance, publish, registry_server, sbom, trust, verify
from helioimages.errors import HelioError
from helioimages.oci.image import Addition, Settings, append
from helioimages.oci.reference import Reference
from helioimages.oci.registry import Registry
from helioimages.oci.types import Platform
from helioimages.store import Store

pytestmark = pytest.mark.engine

PLATFORM = Platform.of("linux/amd64")


@pytest.fixture(scope="module")
def found(workspace, built):
    return sbom.components(workspace.store, built)


def test_every_file_of_base_belongs_to_a_component(workspace, built, found):
    """`components` refuses an image with a file that nobody owns; here the layers' own lists are counted again."""
    paths = {path for layer in built.layers for path in linking.files_of(workspace.store, layer.key)}
    owned = [path for one in found for path, _ in one.files]
    assert len(owned) == len(set(owned)) > 50_000
    assert paths - set(owned) == set()
    assert {one.kind for one in found} == {"conda", "debian", "image", "system", "wheel"}


def test_the_sboms_are_valid_and_equal_each_time(built, found):
    # The validator is slow, and one file's row is like another's: two of each component are enough.
    short = tuple(dataclasses.replace(one, files=one.files[:2]) for one in found)
    text = sbom.cyclonedx(built, short, "1")
    assert text == sbom.cyclonedx(built, short, "1")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    document = JsonLikeDictParser().parse(json.loads(sbom.spdx(built, found, "1")))
    assert validate_full_spdx_document(document) == []
    assert len(document.packages) == len(found) + 1


def test_provenance_names_every_lock_entry(monkeypatch, built):
    monkeypatch.setenv("CANARY", "canary-value-7d1")
    said = provenance.predicate(built, commit="a" * 40, tool_version="1")
    text = provenance.statement("base", built.image.digest, provenance.PREDICATE, said)
    lock = built.locks
    entries = {f"sha256:{one['digest'].get('sha256')}" for one in said["buildDefinition"]["resolvedDependencies"]}
    for one in (*lock.conda.packages, *lock.pypi.wheels, *lock.apt.packages):
        assert f"sha256:{one.sha256}" in entries
    assert b"canary" not in text


# -- tampering: a small image in a registry whose storage we edit -----------------------------------------------------


def make(store, built, *, content=b"0123456789") -> building.Built:
    """Return a one-layer image with the locks of base, as `build` leaves one."""
    key = hashlib.sha256(content).hexdigest()
    entry = entries.file("srv/data.txt", content, origin="images/base/files")
    layer = building.BuiltLayer(name="files", comment="files", key=key, layer=linking.write(store, key, [entry]))
    image = append(
        None,
        [Addition(layer=layer.layer, created_by="ADD files")],
        Settings(labels={"io.helioimages.lock": built.locks.digest}),
        platform=PLATFORM,
        created_epoch=0,
    )
    store.put_blob(image.config_bytes)
    return dataclasses.replace(built, parent=None, image=image, layers=(layer,), labels={})


@pytest.fixture
def shop(tmp_path, workspace, built, monkeypatch):
    """Return (store, client, image, key) of an image that is published, attached and signed."""
    if not any(shutil.which(name) for name in ("docker-registry", "registry")):
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    store = Store(tmp_path / "store")
    key = ec.derive_private_key(7, ec.SECP256R1())
    (tmp_path / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "key.pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    image = make(store, built)
    # The locked packages have no files in this image, so their metadata are not at hand either.
    monkeypatch.setattr(sbom, "components", lambda _store, of: sbom.materials(of))
    server = registry_server.start(store.root, port=5311)
    with Registry(server.host) as client:
        publish.push_untagged(client, image.image, "base", store)
        trust.attach(client, "base", image, workspace.root, store, key=tmp_path / "key")
        publish.promote(client, "base", image.image.digest, [image.tag, "latest"])
        yield store, client, image, tmp_path / "key.pub"
    registry_server.stop(store.root)


def verdict(shop, tmp_path, tag="latest"):
    _, client, _, key = shop
    reference = Reference(host=client.host, repository="base", tag=tag)
    image = verify.fetch(client, reference, PLATFORM)
    folder = tmp_path / "pulled"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return image, verify.published(client, reference, image, folder, key=key)[1], folder


def stored(store, digest):
    """Return the file in which the registry keeps a blob."""
    algorithm, _, name = digest.partition(":")
    (path,) = (store.root / "registry").rglob(f"blobs/{algorithm}/{name[:2]}/{name}/data")
    return path


def test_what_was_published_is_whole_and_publishing_again_changes_nothing(shop, tmp_path, workspace):
    store, client, built, key = shop
    image, faults, folder = verdict(shop, tmp_path)
    assert faults == () and verify.rebuilt(built, image, folder, store) == ()
    tags, referrers = client.tags("base"), client.referrers("base", image.digest)
    before = {path for path in (store.root / "registry").rglob("data")}
    trust.attach(client, "base", built, workspace.root, store, key=key.with_suffix(""))
    assert (client.tags("base"), client.referrers("base", image.digest)) == (tags, referrers)
    assert {path for path in (store.root / "registry").rglob("data")} == before
    assert len(referrers) == 4


def change(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_changed_layer_is_found(shop, tmp_path):
    store, _, built, _ = shop
    change(stored(store, built.image.layers[0].digest))
    faults = verdict(shop, tmp_path)[1]
    assert len(faults) == 1 and faults[0].startswith("layers[0]: digest mismatch from the registry"), faults


def test_a_changed_document_is_found(shop, tmp_path):
    store, client, built, _ = shop
    for one in client.referrers("base", built.image.digest):
        if "cyclonedx" in one.artifact_type or "in-toto" in one.artifact_type:
            manifest = json.loads(client.get_manifest("base", one.digest)[1])
            change(stored(store, manifest["layers"][0]["digest"]))
    faults = verdict(shop, tmp_path)[1]
    assert sum("digest mismatch from the registry" in line for line in faults) == 2, faults
    assert "there is no provenance that can be read" in faults


def test_a_moved_tag_is_found(shop, tmp_path):
    store, client, built, _ = shop
    other = make(store, built, content=b"01234X6789")
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


def test_another_key_is_found(shop, tmp_path):
    key = ec.derive_private_key(8, ec.SECP256R1()).public_key()
    (tmp_path / "key.pub").write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    image, faults, _ = verdict(shop, tmp_path)
    assert faults[0] == f"signature: none of 1 is this key's over {image.digest}"
    assert len(faults) == 4 and all("this key did not sign" in line for line in faults[1:])


def test_a_changed_manifest_is_found(shop, tmp_path):
    store, _, built, _ = shop
    change(stored(store, built.image.digest))
    with pytest.raises(HelioError, match=r"digest mismatch|refuses"):
        verdict(shop, tmp_path)
