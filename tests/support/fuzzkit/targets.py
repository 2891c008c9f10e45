"""What is fuzzed: each parser with valid input of its own, made here or taken from the repository."""

from __future__ import annotations

import base64
import gzip
import json
import random
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tomli_w
import yaml
from checkout_texts import WHOLE_IMAGE
from cryptography.hazmat.primitives.asymmetric import ec
from given_documents import READERS, to_toml, to_yaml

from helioimages.conda import lock as conda_lock
from helioimages.core import reading
from helioimages.core.errors import HelioError, Stage
from helioimages.core.package import Package
from helioimages.debian import lock as apt_lock
from helioimages.oci import layer as oci_layer
from helioimages.oci import types as oci_types
from helioimages.oci.reference import Reference
from helioimages.prove import audit, osv, verify
from helioimages.publish import credentials, provenance, sbom, signing
from helioimages.pypi import index
from helioimages.pypi import lock as pypi_lock
from helioimages.spec import recipes
from helioimages.spec import yanks as yanked
from helioimages.spec.environment import parse_environment
from helioimages.spec.image import parse_image

from . import packages
from .edits import Target, broken, to_json
from .packages import FILES, tar_of

ROOT = Path(__file__).parents[3]


def targets() -> Iterator[Target]:
    """Yield every target."""
    yield from packages.targets()
    yield from _locks()
    yield from _specs()
    yield from _oci()
    yield from _rest()
    yield from _signed()
    yield from _given()


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], None]:
    # Files are read as UTF-8 at the edge; surrogates stand for what is none.
    return lambda data: parse(data.decode("utf-8", "replace")) and None


def _load_toml(data: bytes) -> Any:
    return tomllib.loads(data.decode())


def _file(name: str) -> bytes:
    return (ROOT / name).read_bytes()


# -- locks and what people write


def _cut_lock(data: bytes, key: str, most: int) -> bytes:
    """Return a lock of the repository with a few of its packages: small input is broken in more places a second."""
    document = yaml.safe_load(data) if key == "package" else _load_toml(data)
    document[key] = document[key][:most]
    if key == "package":
        known = {record["url"].partition("/")[2] for record in document[key]}
        custom = document["metadata"]["custom_metadata"]
        kept = {name: value for name, value in custom.items() if name.partition(":")[2] in known}
        document["metadata"]["custom_metadata"] = kept
    return to_yaml(document) if key == "package" else to_toml(document)


def _locks() -> Iterator[Target]:
    conda = _cut_lock(_file("environments/base/conda-lock.yml"), "package", 3)
    pylock = _cut_lock(_file("environments/base/pylock.toml"), "packages", 3)
    document = json.loads(_file("images/base/apt-lock.json"))
    kept = document["packages"][:3]
    apt = json.dumps(document | {"packages": kept, "requested": [kept[0]["name"]]}).encode()
    yield Target(
        name="conda-lock.yml",
        **broken(conda, yaml.safe_load, to_yaml),
        feed=_text(lambda text: conda_lock.parse(text, "f")),
    )
    yield Target(
        name="pylock.toml",
        **broken(pylock, _load_toml, to_toml),
        feed=_text(lambda text: pypi_lock.parse(text, "f")),
    )
    yield Target(
        name="apt-lock.json",
        **broken(apt, json.loads, to_json),
        feed=_text(lambda text: apt_lock.parse(text, "f")),
    )


def _specs() -> Iterator[Target]:
    environment = _file("environments/base/environment.yml")
    path = Path("f")
    yield Target(
        name="environment.yml",
        **broken(environment, yaml.safe_load, to_yaml),
        feed=_text(lambda text: parse_environment(text, path, "f")),
    )
    yield Target(
        name="image.toml",
        **broken(WHOLE_IMAGE.encode(), _load_toml, to_toml),
        feed=_text(lambda text: parse_image(text, path, "f")),
    )
    row = {"tag": "2026.09.01", "reason": "bad", "replacement": "2026.09.02", "aliases": ["CVE-1"]}
    yank = tomli_w.dumps({"yanked": [row]}).replace("reason", "date = 2026-09-01\nreason").encode()
    yield Target(
        name="yanked.toml",
        **broken(yank, _load_toml, to_toml),
        feed=_text(lambda text: yanked.parse(text, "i", "f")),
    )
    yield Target(
        name="recipes.toml",
        **broken(_file("channel/recipes.toml"), _load_toml, to_toml),
        feed=_text(recipes.read_recipes),
    )
    yield Target(
        name="yaml",
        **broken(environment),
        feed=_text(lambda t: reading.load_yaml(t, "f")),
    )


# -- registries


def _oci() -> Iterator[Target]:
    digest = "sha256:" + "a" * 64
    blob = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 3}
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci_types.MANIFEST,
        "config": blob | {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [blob],
        "annotations": {"a": "b"},
    }
    entry = blob | {"mediaType": oci_types.MANIFEST, "platform": {"os": "linux", "architecture": "amd64"}}
    listing = {"schemaVersion": 2, "mediaType": oci_types.INDEX, "manifests": [entry]}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["A=b"], "Cmd": ["x"], "ExposedPorts": {"8888/tcp": {}}, "Labels": {"a": "b"}, "User": "1"},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "x"}],
    }
    for name, document, parse in (
        ("OCI manifest", manifest, oci_types.Manifest.parse),
        ("OCI index", listing, oci_types.ImageIndex.parse),
        ("OCI config", config, oci_types.ImageConfig.parse),
    ):
        data = json.dumps(document).encode()
        yield Target(name=name, **broken(data, json.loads, to_json), feed=lambda data, p=parse: p(data) and None)
    reference = f"localhost:5000/helio/base:2026.01.01@{digest}".encode()
    yield Target(name="reference", **broken(reference), feed=_text(Reference.parse))
    layer = gzip.compress(tar_of(FILES))
    yield Target(name="OCI layer", **broken(layer), feed=_layer)
    yield Target(name="OCI layer tar", **broken(tar_of(FILES)), feed=_layer)
    auths = {"auths": {"ghcr.io": {"auth": base64.b64encode(b"u:p").decode()}}, "credsStore": ""}
    yield Target(
        name="Docker config",
        **broken(json.dumps(auths).encode(), json.loads, to_json),
        feed=_docker,
    )


def _layer(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for entry in oci_layer.read_layer(Path(file.name)):
            if entry.path.startswith("/") or ".." in entry.path.split("/"):
                raise AssertionError(entry.path)


def _docker(data: bytes) -> None:
    # A helper is a program: none may be run here.
    if b"cred" in data and b'"credsStore": ""' not in data:
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        credentials.from_docker_config((Path(file.name),))("ghcr.io")


# -- indexes and advisories


def _rest() -> Iterator[Target]:
    rows = [
        {"filename": "a-1-py3-none-any.whl", "url": "/a", "hashes": {"sha256": "0" * 64}, "size": 3, "yanked": False}
        | {"upload-time": "2026-01-01T00:00:00Z", "requires-python": ">=3"}
    ]
    page = json.dumps({"meta": {"api-version": "1.1"}, "name": "a", "files": rows}).encode()
    feed = _text(lambda text: index.parse_page(text, "http://127.0.0.1/simple/a/"))
    yield Target(name="index JSON", **broken(page, json.loads, to_json), feed=feed)
    html = b'<a href="../a#sha256=00" data-requires-python="&gt;=3" data-upload-time="2026-01-01T00:00:00Z">a-1.whl</a>'
    yield Target(name="index HTML", **broken(html), feed=feed)
    events = [{"introduced": "0"}, {"fixed": "1.1"}, {"introduced": "2.0rc1"}, {"last_affected": "2.1.post1"}]
    affected = [
        {"package": {"ecosystem": kind, "name": "demo"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        | {"versions": ["1.0"], "ecosystem_specific": {"urgency": "low"}}
        for kind in ("PyPI", "Debian:13", "conda")
    ]
    vector = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
    record = {"id": "X-1", "modified": "2026-01-01T00:00:00Z", "affected": affected, "severity": [vector]}
    record |= {"aliases": ["CVE-1"], "summary": "s", "database_specific": {"severity": "HIGH"}}
    yield Target(
        name="OSV",
        **broken(json.dumps(record).encode(), json.loads, to_json),
        feed=_osv,
    )


# -- what is attached to images


def _signed() -> Iterator[Target]:
    key, digest = ec.derive_private_key(7, ec.SECP256R1()), "sha256:" + "a" * 64
    public = key.public_key()
    statement = provenance.statement("h.org/base", digest, signing.SIGNED, {})
    sealed = signing.envelope(key, provenance.IN_TOTO, statement)
    bundle, payload = signing.bundle(key, sealed), signing.payload("h.org/base", digest)
    component = {"name": "a", "version": "1", "purl": "pkg:pypi/a@1", "licenses": [{"expression": "MIT"}]}
    cyclonedx = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": "urn:uuid:0", "version": 1}
    cyclonedx |= {"metadata": {"component": {"version": digest}}, "components": [component]}
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:pypi/a@1"}
    rows = [{"SPDXID": "SPDXRef-image", "name": "i", "versionInfo": digest, "externalRefs": [reference]}]
    spdx = {"spdxVersion": "SPDX-2.3", "packages": [*rows, rows[0] | {"SPDXID": "SPDXRef-a"}]}
    image = SimpleNamespace(digest=digest)
    # What nobody signed may be anything: these only say that it is no statement, payload or bundle of this key.
    for name, data, feed in (
        ("in-toto statement", statement, lambda data: provenance.subjects(data)),
        ("Sigstore bundle", bundle, lambda data: signing.open_bundle(public, data)[1]),
        ("DSSE envelope", sealed, lambda data: signing.open_envelope(public, data)),
        ("cosign payload", payload, lambda data: signing.signed_digest(data) and signing.signed_name(data)),
    ):
        yield Target(name=name, **broken(data, json.loads, to_json), feed=lambda data, f=feed: _opened(f(data)))
    for name, document, kind in (("CycloneDX", cyclonedx, sbom.CYCLONEDX), ("SPDX", spdx, sbom.SPDX)):
        yield Target(
            name=f"{name} of a registry",
            **broken(json.dumps(document).encode(), json.loads, to_json),
            feed=lambda data, k=kind: list(verify.content_faults(k, data, image)) and None,
        )


def _opened(opened: object) -> None:
    """Count what is no signed document of this key as refused."""
    if not opened:
        raise HelioError(Stage.CHECK, "refused")


def _osv(data: bytes) -> None:
    advisory = osv.parse(data, "x.json")
    packages = [
        audit.AuditedPackage(
            package=Package(
                kind=kind,
                name="demo",
                version="1.0",
                file_name="pool/main/d/demo/demo.deb",
                purl=purl,
                depends=("python",),
            ),
            file="f",
            images=("i",),
        )
        for kind, purl in (("wheel", ""), ("debian", "pkg:deb/debian/demo@1.0?distro=trixie"), ("conda", ""))
    ]
    audit.audit(packages, [advisory]).lines()


def buffers(seed: int) -> Iterator[bytes]:
    """Yield random bytes that hypothesis turns into input."""
    chance = random.Random(seed)
    while True:
        yield chance.randbytes(chance.choice((32, 128, 512)))


# -- what somebody gives


_FORMS = {to_yaml: (yaml.safe_load, to_yaml), to_toml: (_load_toml, to_toml)}


def _given() -> Iterator[Target]:
    for name, reader in READERS.items():
        load, dump = _FORMS.get(reader.dump, (json.loads, to_json))
        good = reader.dump(reader.document)
        yield Target(name=f"given {name}", **broken(good, load, dump), feed=_silent(reader.feed))


def _silent(feed: Callable[[bytes], object]) -> Callable[[bytes], None]:
    return lambda data: feed(data) and None
