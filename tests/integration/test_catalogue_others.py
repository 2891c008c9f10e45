"""Images of other projects, as their tools leave them in a registry, in the catalogue."""

from __future__ import annotations

from dataclasses import replace

import catalogue_builds
import pytest
from catalogue_support import push, tag_of

from helioimages.catalogue import read as catalogue_read
from helioimages.core.errors import HelioError
from helioimages.machine.store import Store
from helioimages.oci.image import artifact
from helioimages.oci.registry import Registry
from helioimages.oci.types import INDEX, ImageIndex, Platform
from helioimages.publish.referrers import SIGNATURE


@pytest.fixture
def registry(tmp_path):
    with catalogue_builds.registry(Store(tmp_path / "registry"), 5500) as host:
        yield host


def test_other_projects_images(registry, tmp_path):
    """An index of two platforms with BuildKit's attestation, cosign's older tags, and a tag that is no image."""
    with Registry(registry) as client:
        store = Store(tmp_path / "store")
        images = [push(client, store, "other/app", day, count=5, stack=3, sbom=False) for day in (0, 1)]
        attestation = replace(images[0].descriptor, platform=Platform(os="unknown", architecture="unknown"))
        arm = replace(images[1].descriptor, platform=Platform.of("linux/arm64"))
        index = ImageIndex(manifests=(images[0].descriptor, arm, attestation)).dump()
        client.put_manifest("other/app", "v2", index, INDEX)
        payload = replace(images[0].layers[0], annotations={SIGNATURE: "good"})
        signature = replace(images[0].manifest, layers=(payload,)).dump()
        client.put_manifest("other/app", f"{images[0].digest.replace(':', '-')}.sig", signature)
        chart = artifact(images[0].descriptor, "application/vnd.cncf.helm.chart", images[0].layers[0])
        store.put_blob(b"{}")
        client.push_blob("other/app", chart.config, store.blob(chart.config.digest))
        client.put_manifest("other/app", "chart", chart.dump())
        source = catalogue_read.CatalogueSource(client=client, store=store, prefix="other/", known={}, yanks={})
        for _ in range(2):
            # The second time from the store.
            (page,) = catalogue_read.read(source, ["missing", "app"]).images
            by_tags = {entry.tags: entry for entry in page.entries}
            assert set(by_tags) == {("v2",), (tag_of(0),), (tag_of(1), "latest")}
            assert sorted(entry.digest for entry in page.entries if entry.tags == ("v2",)) == sorted(
                image.digest for image in images
            )
            first = by_tags[(tag_of(0),)]
            assert (first.signature, first.contents.source, first.has("sbom")) == ("attached", "none", False)
            assert by_tags[(tag_of(1), "latest")].signature == "none"
        for image, state in ((images[0], "verified"), (images[1], "bad")):
            good = f"good {image.digest}"
            checked = replace(
                source, verify=lambda _data, text, good=good: (good.removeprefix(f"{text} "), frozenset())
            )
            states = [entry.signature for entry in catalogue_read.read(checked, ["app"]).entries]
            assert sorted(states) == sorted([state, state, "none", "none"])
    with Registry(registry) as client, pytest.raises(HelioError) as caught:
        source = catalogue_read.CatalogueSource(client=client, store=store, prefix="other/", known={}, yanks={})
        catalogue_read.read(source, ["missing"])
    assert str(caught.value) == (
        f"the registry `{registry}` has none of the images\n  looked for other/missing\n\n"
        "hint: publish first (`buildimages publish`), or name the repositories"
    )
