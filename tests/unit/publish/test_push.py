"""Pushing, promoting, attaching, signing and verifying, against a registry in memory."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from building_support import workshops
from faulty_registry import FaultyRegistry
from trust_support import write_key

from helioimages.catalogue import read as catalogue_read
from helioimages.catalogue.model import CatalogueEntry
from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.machine.store import Store
from helioimages.make.building import Built
from helioimages.oci.image import Image, artifact
from helioimages.oci.reference import Reference
from helioimages.oci.registry import Registry
from helioimages.oci.transport import Credential
from helioimages.oci.types import Descriptor, ImageIndex
from helioimages.prove import verify
from helioimages.publish import attach as trust
from helioimages.publish import documents, provenance, sbom, signing
from helioimages.publish import push as publish
from helioimages.publish.contents import dump_list
from helioimages.publish.documents import Document
from helioimages.verbs import catalogue as verbs_catalogue

BUNDLE = signing.BUNDLE


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A registry, a child image with its parent, and keys; `folder` is no checkout."""

    registry: FaultyRegistry
    client: Registry
    store: Store
    child: Built
    folder: object

    @property
    def image(self) -> Image:
        return self.child.image

    def push(self, built: Built | None = None, repository: str = "child", **options) -> publish.PushReport:
        image = (built or self.child).image
        return publish.push_untagged(self.client, image, repository, self.store, **options)

    def attach(self, number: int | None = 7, *, others: Sequence[Document] = ()) -> tuple[str, ...]:
        key = write_key(self.folder / f"key{number}", number) if number else None
        return trust.attach(
            trust.Subject(
                client=self.client,
                repository="child",
                built=self.child,
                root=self.folder,
                store=self.store,
                others=tuple(others),
            ),
            key=key,
        )

    def report(self, seconds: float) -> Path:
        """Write a smoke report of the image, and return its folder."""
        folder = self.folder / "report"
        folder.mkdir(exist_ok=True)
        row = {"name": "x", "title": "x", "status": "passed", "seconds": seconds, "notebook": "x.ipynb"}
        told = {
            "version": 1,
            "reference": f"h.org/child@{self.image.digest}",
            "passed": True,
            "notebooks": [row | {"peak_memory_bytes": None}],
        }
        (folder / "report.json").write_text(json.dumps(told))
        (folder / "report.html").write_text("<!doctype html><title>report</title>")
        return folder

    def forge(self, kind: str, files: Sequence[Document], created: str) -> None:
        attachment = documents.Attachment(artifact_type=kind, files=tuple(files), created=created)
        documents.attach_files(self.client, "child", self.image, attachment, self.store)

    def entry(self, number: int | None) -> CatalogueEntry:
        """Return what a catalogue says of the image."""
        key = write_key(self.folder / f"key{number}", number).with_suffix(".pub") if number else None
        checker = verbs_catalogue._verifier(key) if key else None
        source = catalogue_read.CatalogueSource(
            client=self.client, store=self.store, known={}, yanks={}, verify=checker
        )
        ((entry,),) = [page.entries for page in catalogue_read.read(source, ["child"]).images]
        return entry

    def faults(self, number: int | None = 7, **options) -> list[str]:
        reference = Reference(host=self.registry.host, repository="child", digest=self.image.digest)
        reference = dataclasses.replace(reference, tag=options.pop("tag", ""))
        key = write_key(self.folder / f"key{number}", number).with_suffix(".pub") if number else None
        with verify.folder(self.store) as pulled:
            folder = type(self.folder)(pulled)
            return list(verify.published(self.client, reference, self.image, folder, key=key, **options)[1])

    def sent(self) -> list[str]:
        """Return what was written since this was asked last."""
        lines = [line.partition("?")[0] for line in self.registry.log if line.split()[0] in ("PUT", "POST", "PATCH")]
        self.registry.log.clear()
        return lines

    def referrer(self, kind: str) -> Descriptor:
        (referrer,) = [
            attached for attached in self.client.referrers("child", self.image.digest) if attached.artifact_type == kind
        ]
        return referrer


@pytest.fixture(scope="module")
def built(tmp_path_factory, make_module_wheel) -> tuple[Store, Built]:
    """Build the two images once; each test has a copy of their store."""
    shop = workshops(tmp_path_factory.mktemp("site"), make_module_wheel)()
    return shop.store, shop.build("child")


@pytest.fixture
def place(tmp_path, built):
    shutil.copytree(built[0].root, tmp_path / "store")
    registry = FaultyRegistry()
    try:
        with Registry(registry.host, pause=lambda _: None, tries=2) as client:
            store = Store(tmp_path / "store")
            yield Place(registry=registry, client=client, store=store, child=built[1], folder=tmp_path)
    finally:
        registry.close()


def counts(report: publish.PushReport) -> tuple[int, int, int, int]:
    return report.bytes_sent, report.blobs_sent, report.blobs_mounted, report.blobs_present


def test_a_push_sends_what_is_not_there_and_the_manifest_last(place):
    base = place.child.parent
    sizes = [layer.size for layer in base.image.layers] + [base.image.manifest.config.size]
    report = place.push(base, "base")
    assert (report.reference, report.digest) == (f"{place.registry.host}/base@{base.image.digest}", base.image.digest)
    assert counts(report) == (sum(sizes), 6, 0, 0)
    assert place.sent()[-1] == f"PUT /v2/base/manifests/{base.image.digest}"
    assert place.client.tags("base") == ()
    assert counts(place.push(base, "base")) == (0, 0, 0, 6)
    assert place.sent() == []


def test_a_child_mounts_what_its_parents_repository_has(place):
    place.push(place.child.parent, "base")
    own = [built_layer.layer.size for built_layer in place.child.layers] + [place.image.manifest.config.size]
    assert counts(place.push(mount_from=("base",))) == (sum(own), 3, 5, 0)
    place.registry.manifests.clear()
    assert counts(place.push()) == (0, 0, 0, 8)


@pytest.mark.parametrize(("how", "told"), [("gone", "found no file"), ("cut", "not {}")])
def test_a_layer_that_the_store_lost_is_told_before_a_byte_is_sent(place, how, told):
    layer = place.image.layers[2]
    path = place.store.blob(layer.digest)
    path.chmod(0o644)
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HelioError) as caught:
        place.push()
    assert caught.value.message == f"the store lacks a blob of the image: {layer.digest}"
    assert caught.value.detail == f"expected {layer.size:,} bytes, " + told.format(f"{layer.size - 1:,}")
    assert place.sent() == []


def test_tags_move_only_where_they_may_and_all_or_none(place):
    base, child = place.child.parent.image.digest, place.image.digest
    for built in (place.child.parent, place.child):
        place.push(built)
    dated = ("2026.11.21", "latest")
    assert publish.promote(place.client, "child", base, dated) == publish.Promotion(
        digest=base, moved=dated, unchanged=()
    )
    place.sent()
    assert publish.promote(place.client, "child", base, dated).unchanged == dated
    assert place.sent() == []
    with pytest.raises(HelioError) as caught:
        publish.promote(place.client, "child", child, ("latest", "2026.11.21"))
    assert caught.value.message == "`2026.11.21` is immutable and names another image"
    assert place.sent() == []
    assert publish.promote(place.client, "child", child, ("2026.11.21-2", "latest")).moved == ("2026.11.21-2", "latest")
    index = ImageIndex(manifests=()).dump()
    place.client.put_manifest("child", "sha256-" + "0" * 64, index)
    tags = {tag: digest for tag, digest in publish.existing_tags(place.client, "child").items() if ":" not in tag}
    assert tags == {"2026.11.21": base, "2026.11.21-2": child, "latest": child}


def test_the_first_push_makes_the_repository(place):
    """To whoever may only pull, a repository that is not there is one that they may not see: Quay says 401."""
    registry = place.registry
    registry.auth, registry.users, registry.strict = "bearer", {"ada": "s3cret"}, True
    login = Credential(username="ada", secret="s3cret")
    image = place.child.image
    with Registry(registry.host, credentials=lambda _: login, pause=lambda _: None, tries=2) as client:
        with pytest.raises(HelioError, match="refuses"):
            client.head_manifest("new", image.digest)
        report = publish.push_untagged(client, image, "new", place.store)
        assert report.blobs_sent == len({descriptor.digest for descriptor in (*image.layers, image.manifest.config)})
        assert publish.promote(client, "new", image.digest, ("latest",)).moved == ("latest",)
        assert publish.existing_tags(client, "new") == {"latest": image.digest}


def test_a_parent_that_we_may_not_read_is_sent(place):
    place.push(place.child.parent, "base")
    registry = place.registry
    registry.auth, registry.users, registry.strict = "bearer", {"ada": "s3cret"}, True
    registry.denied = "base"
    login = Credential(username="ada", secret="s3cret")
    with Registry(registry.host, credentials=lambda _: login, pause=lambda _: None, tries=2) as client:
        report = publish.push_untagged(client, place.image, "child", place.store, mount_from=("base",))
    assert report.blobs_mounted == 0 and report.blobs_sent > 0
    assert ("child", place.image.digest) in registry.manifests


def test_what_was_not_pushed_gets_no_tag(place):
    with pytest.raises(HelioError) as caught:
        publish.promote(place.client, "child", "sha256:" + "0" * 64, ("latest",))
    assert caught.value.message == f"`{place.registry.host}/child` has no image sha256:{'0' * 64}"


@pytest.mark.parametrize("api", [True, False])
def test_what_is_published_can_be_verified_and_is_published_once(place, api):
    place.registry.referrers_api = api
    place.push()
    attached = place.attach()
    assert place.faults() == []
    place.sent()
    assert place.attach() == attached
    assert place.sent() == []


def test_documents_are_made_once_and_again_where_the_store_lost_one(place, monkeypatch):
    place.push()
    attached = place.attach()
    digest = place.referrer(provenance.IN_TOTO).digest
    manifest = json.loads(place.registry.manifests["child", digest][1])
    lost = place.store.blob(manifest["layers"][0]["digest"])
    lost.unlink()
    assert place.attach() == attached and lost.exists()
    monkeypatch.setattr(sbom, "components", None)
    assert place.attach() == attached


def test_two_keys_sign_beside_each_other(place):
    place.push()
    place.attach(7)
    place.attach(8)
    assert place.faults(7) == place.faults(8) == []
    tag = place.image.digest.replace(":", "-")
    for suffix, rows in (("sig", 2), ("att", 8)):
        assert len(json.loads(place.registry.manifests["child", f"{tag}.{suffix}"][1])["layers"]) == rows


def test_nothing_attached(place):
    place.push()
    assert place.faults(None) == ["there is no SBOM that can be read", "there is no provenance that can be read"]
    assert place.faults(7)[2:] == [f"signature: none of 0 is this key's over {place.image.digest}"]


def test_another_key_signed_nothing(place):
    place.push()
    place.attach()
    told = place.faults(8)
    assert told[0] == f"signature: none of 6 is this key's over {place.image.digest}"
    assert {line.partition(":")[0] for line in told[1:]} == {provenance.IN_TOTO, sbom.SPDX, sbom.CYCLONEDX}
    assert len(told) == 4


def test_a_signature_names_its_repository(place):
    place.push()
    place.attach()
    host = place.registry.host
    assert place.faults(identity=f"{host}/released") == [
        f"signature: expected one made for {host}/released not for {host}/child"
    ]
    assert place.faults(identity="other.example.org/child") == [
        f"signature: expected one made for other.example.org/child not for {host}/child"
    ]
    assert place.faults(identity="*") == []


def test_a_layer_with_other_bytes(place):
    place.push()
    place.attach()
    layer = place.image.layers[1]
    place.registry.blobs[layer.digest] = bytes(layer.size)
    (told,) = place.faults()
    actual = of_bytes(bytes(layer.size))
    assert told == (
        f"layers[1]: digest mismatch from the registry `{place.registry.host}`"
        f" expected {layer.digest} not {actual} ({layer.size:,} bytes read)"
    )


def test_a_lock_tag_of_another_image(place):
    place.push()
    place.attach()
    assert place.faults(tag=place.child.tag) == []
    assert place.faults(tag="lock-abcdefabcdef") == [
        f"tag: expected an image of lock-abcdefabcdef not of {place.child.tag}"
    ]


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        (
            provenance.IN_TOTO,
            provenance.statement("child", "sha256:" + "2" * 64, provenance.PREDICATE, {}),
            "expected a statement about {image} not about sha256:" + "2" * 64,
        ),
        (
            sbom.CYCLONEDX,
            b'{"bomFormat":"CycloneDX","specVersion":"1.6","components":[],"metadata":{"component":{"version":"x"}}}',
            "expected an SBOM of {image} not of x",
        ),
    ],
    ids=["provenance", "sbom"],
)
def test_a_document_of_another_image(place, kind, data, told):
    place.push()
    place.attach(None)
    payload = Descriptor(media_type=kind, digest=place.store.put_blob(data), size=len(data))
    manifest = artifact(place.image.descriptor, kind, payload)
    place.store.put_blob(b"{}")
    for descriptor in (payload, manifest.config):
        place.client.push_blob("child", descriptor, place.store.blob(descriptor.digest))
    digest = place.client.attach("child", manifest)
    assert f"{kind} {digest}: {told.format(image=place.image.digest)}" in place.faults(None)
    assert len(place.faults(None)) == (2 if kind == sbom.CYCLONEDX else 1), "the empty SBOM names no package either"


def test_a_referrer_that_speaks_of_another_image(place):
    place.push()
    place.attach(None)
    subject = dataclasses.replace(place.image.descriptor, digest="sha256:" + "2" * 64)
    payload = Descriptor(media_type="text/x", digest=place.store.put_blob(b"hello"), size=5)
    data = artifact(subject, "text/x", payload).dump()
    digest = of_bytes(data)
    place.client.put_manifest("child", digest, data)
    listed = (*place.client.referrers("child", place.image.digest), Descriptor(media_type="m", digest=digest, size=1))
    place.registry.referrers_api = False
    tag = place.image.digest.replace(":", "-")
    place.client.put_manifest("child", tag, ImageIndex(manifests=listed).dump())
    assert place.faults(None) == [
        f"referrer {digest}: it speaks of another image expected {place.image.digest} not sha256:{'2' * 64}"
    ]


# -- reports and package lists: attached as they are, and named by one signed statement -------------------------------


@pytest.fixture
def reported(place):
    """An image with a signed report and package list, under a tag."""
    place.push()
    publish.promote(place.client, "child", place.image.digest, ("latest",))
    report = place.report(1.5)
    documents.attach(place.client, "child", place.child, report, place.store)
    place.attach(others=documents.unsigned(place.child, report))
    return place


def shown(entry: CatalogueEntry) -> tuple[float, set[str], tuple[str, ...]]:
    """Return the seconds of an entry's notebook, the names of its packages, and its faults."""
    return entry.smoke.notebooks[0].seconds, {package.name for package in entry.contents.packages}, entry.faults


def test_a_signed_report_and_package_list(reported):
    assert reported.faults() == []
    referrers = reported.client.referrers("child", reported.image.digest)
    manifests = [json.loads(reported.registry.manifests["child", referrer.digest][1]) for referrer in referrers]
    (bundle,) = [
        reported.registry.blobs[manifest["layers"][0]["digest"]]
        for manifest in manifests
        if manifest.get("annotations", {}).get("dev.sigstore.bundle.predicateType") == provenance.REFERENCE
    ]
    said = json.loads(signing.open_bundle(signing.load_private(reported.folder / "key7").public_key(), bundle)[1])
    names = ("sbom.cdx.json", "sbom.spdx.json", "provenance.json", "packages.json", "report.json", "report.html")
    place = f"http://{reported.registry.host}/v2/child/blobs/"
    for row, name in zip(said["predicate"]["references"], names, strict=True):
        digest = "sha256:" + row["digest"]["sha256"]
        assert (row["name"], row["downloadLocation"]) == (name, place + digest)
        assert digest in reported.registry.blobs
    assert reported.entry(7).signature == "verified"
    assert shown(reported.entry(7)) == shown(reported.entry(None))


def test_a_newer_report_that_nobody_signed(reported):
    files = documents.smoke_files(reported.report(9.5), reported.image.digest)
    before = shown(reported.entry(7))
    reported.forge(documents.SMOKE, files, "2999-01-01T00:00:00Z")
    assert reported.faults() == [f"{documents.SMOKE}: this key did not sign {of_bytes(files[0].data)}"]
    assert shown(reported.entry(None))[0] == 9.5
    told = ("a smoke report of 2999-01-01T00:00:00Z is not signed with the given key",)
    assert shown(reported.entry(7)) == (*before[:2], told)


def test_an_older_report_of_the_time_before_the_key(reported):
    files = documents.smoke_files(reported.report(9.5), reported.image.digest)
    reported.forge(documents.SMOKE, files, "1999-01-01T00:00:00Z")
    assert reported.faults() == []
    assert shown(reported.entry(7))[0] == shown(reported.entry(None))[0] == 1.5


@pytest.mark.parametrize("kind", [documents.PACKAGES, "application/vnd.someone.packages"])
def test_a_longer_package_list_that_nobody_signed(reported, kind):
    packages = tuple(Package(name=f"p{number}", version="1", kind="wheel") for number in range(99))
    data = dump_list(packages)
    before = shown(reported.entry(7))
    reported.forge(kind, [Document(name="packages.json", media_type=documents.PACKAGES, data=data)], "2999")
    assert reported.faults() == [f"{documents.PACKAGES}: this key did not sign {of_bytes(data)}"]
    assert "p98" in shown(reported.entry(None))[1]
    assert shown(reported.entry(7)) == (*before[:2], ("a package list of 2999 is not signed with the given key",))
    assert "p98" not in before[1]
