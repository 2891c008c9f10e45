"""A small image that is published, attached and signed, and the cosign programs of two Debian suites."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from helioimages.core import entries
from helioimages.debian.lock import Deb
from helioimages.engines import registry_server
from helioimages.locks import apt
from helioimages.locks import mirror as debian_mirror
from helioimages.machine import fetch
from helioimages.machine.store import Store, default_root
from helioimages.make import building, linking
from helioimages.oci.image import Addition, Settings, append
from helioimages.oci.registry import Registry
from helioimages.oci.types import Platform
from helioimages.publish import attach as trust
from helioimages.publish import documents, sbom
from helioimages.publish import push as publish

PLATFORM = Platform.of("linux/amd64")


def without_files(built: building.Built) -> tuple[sbom.Component, ...]:
    """Return an image's packages as an SBOM has them, with neither files nor licences."""
    return tuple(sbom.Component(package=package) for package in sbom.materials(built))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A registry with one signed image; `key` is the private one, and `key.pub` lies beside it."""

    store: Store
    client: Registry
    built: building.Built
    root: Path
    key: Path

    @property
    def pub(self) -> Path:
        return self.key.with_suffix(".pub")

    def subject(self, repository: str, others: tuple[documents.Document, ...]) -> trust.Subject:
        return trust.Subject(
            client=self.client, repository=repository, built=self.built, root=self.root, store=self.store, others=others
        )

    def attach(self, key: Path | None, repository: str = "base") -> None:
        report = self.store.root / "no report"
        documents.attach(self.client, repository, self.built, report, self.store)
        others = documents.unsigned(self.built, report)
        trust.attach(self.subject(repository, others), key=key)

    def stored(self, digest: str) -> Path:
        """Return the file in which the registry keeps a blob."""
        algorithm, _, name = digest.partition(":")
        (path,) = (self.store.root / "registry").rglob(f"blobs/{algorithm}/{name[:2]}/{name}/data")
        return path


def make(store: Store, built: building.Built, *, content: bytes = b"0123456789") -> building.Built:
    """Return a one-layer image with the locks of another, as `build` leaves one."""
    key = hashlib.sha256(content).hexdigest()
    entry = entries.file("srv/data.txt", content, origin="images/base/files")
    layer = building.BuiltLayer(name="files", comment="files", key=key, layer=linking.write(store, key, [entry]))
    image = append(
        None,
        [Addition(layer=layer.layer, created_by="ADD files")],
        Settings(labels={"io.helioimages.lock": built.locks.digest}),
        platform=PLATFORM,
        created_epoch=built.locks.epoch,
    )
    store.put_blob(image.config_bytes)
    return dataclasses.replace(built, parent=None, image=image, layers=(layer,))


def write_key(path: Path, number: int) -> Path:
    """Write a key pair and return the private key's file."""
    key = ec.derive_private_key(number, ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@contextlib.contextmanager
def shop(folder: Path, built: building.Built, root: Path, *, port: int) -> Iterator[Shop]:
    """Publish and sign a small image in a registry of its own."""
    store = Store(folder / "store")
    server = registry_server.start(store.root, port=port)
    try:
        with Registry(server.host) as client:
            made = Shop(
                store=store, client=client, built=make(store, built), root=root, key=write_key(folder / "key", 7)
            )
            publish.push_untagged(client, made.built.image, "base", store)
            made.attach(made.key)
            publish.promote(client, "base", made.built.image.digest, [made.built.tag, "latest"])
            yield made
    finally:
        registry_server.stop(store.root)


def pinned_cosigns() -> dict[str, tuple[str, Deb]]:
    """Return major version -> (Debian suite, package) of the cosigns that the tests ask."""
    rows = json.loads(Path(__file__).with_name("cosign.json").read_text("utf-8"))
    return {major: (row.pop("suite"), Deb(**row)) for major, row in rows.items()}


def cosign(major: str, folder: Path, *, today: bool = False) -> Path:
    """Return the pinned cosign of a major version, or the one that its Debian suite has today."""
    suite, deb = pinned_cosigns()[major]
    return unpacked(suite, deb, folder, today=today) / "usr" / "bin" / "cosign"


def unpacked(suite: str, deb: Deb, folder: Path, *, today: bool = False) -> Path:
    """Return a folder with the files of a pinned Debian package, or of the one that its suite has today."""
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    if today:
        lock = apt.resolve((deb.name,), suite=suite, architecture=architecture)
        (deb,) = (package for package in lock.packages if package.name == deb.name)
    elif architecture != deb.architecture:
        pytest.skip(f"{deb.name} {deb.version} is pinned for {deb.architecture}")
    # In the store of the machine, so that the next run finds it whatever the archive has dropped meanwhile.
    store = Store(default_root())
    if not store.artefact(deb.sha256).exists() and debian_mirror.missing([deb]):
        pytest.skip(
            f"the Debian mirror dropped {deb.name} {deb.version}: tests/run --world says so, and which one is there"
        )
    wanted = fetch.WantedFile(
        name=deb.file_name, sha256=deb.sha256, size=deb.size, where=suite, urls=lambda: debian_mirror.mirror_urls(deb)
    )
    (path,) = fetch.fetch_all([wanted], store).values()
    subprocess.run(["dpkg-deb", "-x", str(path), str(folder / "tree")], check=True)
    return folder / "tree"


def run_cosign(program: Path, *words: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run cosign with a home of its own and nothing of the network but loopback."""
    home = program.parents[3] / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [str(program), *words],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "COSIGN_PASSWORD": password},
        cwd=home,
    )


def has_registry() -> bool:
    return any(shutil.which(name) for name in ("docker-registry", "registry"))
