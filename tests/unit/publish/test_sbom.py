"""Licences, owners and provenance, without an image."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest
from building_support import workshops

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.publish import provenance, sbom, sbom_files


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: other\n", "BSD-3-Clause"),
        ("License: MIT\n", "MIT"),
        ("License: " + "x" * 101 + "\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("Name: a\n", ""),
    ],
)
def test_the_licence_of_a_wheel(metadata, licence):
    assert sbom.wheel_licence(metadata) == licence


def test_only_whole_expressions_are_expressions():
    def expression(text: str) -> str:
        return sbom.Component(package=Package(kind="wheel", name="a", version="1", licenses=text)).expression

    assert [expression(text) for text in ("mit or apache-2.0", "MIT License", "LicenseRef-x", "")] == [
        "MIT OR Apache-2.0",
        "",
        "",
        "",
    ]


def test_dpkg_lists_and_copyright_files():
    assert sbom_files.listed("/.\n/lib/x\n/usr/bin/y\n/etc/lib/z\n") == ("usr/lib/x", "usr/bin/y", "etc/lib/z")
    assert sbom_files.listed("/.\n/usr/a\u2028b\n/usr/c\x85\n") == ("usr/a\u2028b", "usr/c\x85")
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    assert sbom_files.licence_names(head + "License: GPL-2+\n text\nLicense: MIT\nLicense: MIT\n") == ("GPL-2+", "MIT")
    assert sbom_files.licence_names("License: GPL\n") == ()


def test_the_commit_says_whether_the_checkout_was_clean(tmp_path):
    assert provenance.commit_of(tmp_path) == ""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert provenance.commit_of(tmp_path) == head
    (tmp_path / "new").write_text("of nobody's commit")
    assert provenance.commit_of(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert provenance.commit_of(tmp_path) == head + "-dirty"


@pytest.fixture
def shop(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)()


def test_every_file_has_its_owner_and_the_upper_layer_wins(shop):
    child = shop.build("child")
    components = {
        (component.package.kind, component.package.name): component for component in sbom.components(shop.store, child)
    }
    owned = {key: [path for path, _ in component.files] for key, component in components.items()}
    site, info = "srv/conda/envs/notebook/lib/python3.13/site-packages", "var/lib/dpkg/info"
    assert list(owned) == sorted(owned)
    assert {key: paths for key, paths in owned.items() if key[0] not in ("wheel", "conda")} == {
        ("debian", "apt"): [
            "usr/bin/apt",
            "usr/share/doc/apt/copyright",
            f"{info}/apt:amd64.list",
            f"{info}/apt:amd64.md5sums",
        ],
        ("debian", "curl"): [
            "usr/bin/curl",
            "usr/share/doc/curl/copyright",
            f"{info}/curl:amd64.list",
            f"{info}/curl:amd64.md5sums",
        ],
        ("image", "base"): ["srv/a", "srv/b", "srv/link", "srv/m", "srv/start", "srv/z"],
        ("system", "debian-configuration"): ["usr/bin/link", "var/cache/made"],
    }
    assert owned["wheel", "new"][:2] == [f"{site}/new-1.0.dist-info/INSTALLER", f"{site}/new-1.0.dist-info/METADATA"]
    assert owned["conda", "python"] == [
        "srv/conda/envs/notebook/bin/python3.13",
        "srv/conda/envs/notebook/conda-meta/python-3.13.5-0.json",
    ]
    held = dict(components["image", "base"].files)
    assert (held["srv/link"], held["srv/a"]) == ("", hashlib.sha256(b"a").hexdigest())
    assert components["debian", "curl"].package.licenses == "GPL-2+ AND MIT"
    assert components["image", "base"].package.licenses == shop.images["child"].licenses
    assert [components["wheel", "new"].package.version, components["conda", "python"].package.sha256] == [
        "1.0",
        shop.locks["child"].conda.packages[0].sha256,
    ]


def test_a_file_of_nobody_is_an_error(shop, monkeypatch):
    child = shop.build("child")
    materials = tuple(package for package in sbom.materials(child) if package.name != "one")
    monkeypatch.setattr(sbom, "materials", lambda _built: materials)
    with pytest.raises(HelioError) as caught:
        sbom.components(shop.store, child)
    assert caught.value.message == "`child` has 6 files of no component"
    assert caught.value.detail.splitlines()[0].endswith("/site-packages/one-1.0.dist-info/INSTALLER")


def test_both_documents_say_the_same(shop):
    child = shop.build("child")
    components = sbom.components(shop.store, child)
    cyclonedx = json.loads(sbom.cyclonedx(child, components, "9"))
    spdx = json.loads(sbom.spdx(child, components, "9"))
    assert cyclonedx["metadata"]["timestamp"] == spdx["creationInfo"]["created"] == "2023-11-15T22:13:20Z"
    assert [row["name"] for row in cyclonedx["components"]] == [row["name"] for row in spdx["packages"][1:]]
    rows = {row["bom-ref"]: row for row in cyclonedx["components"]}
    curl = next(row for row in spdx["packages"] if row["name"] == "curl")
    purl = "pkg:deb/debian/curl@8.1?arch=amd64&distro=trixie"
    assert rows["debian-curl"]["purl"] == curl["externalRefs"][0]["referenceLocator"] == purl
    assert rows["debian-curl"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert (curl["checksums"], curl["licenseDeclared"], curl["licenseComments"]) == (
        [{"algorithm": "SHA256", "checksumValue": "c" * 64}],
        "NOASSERTION",
        "The package says: GPL-2+ AND MIT",
    )
    assert rows["debian-curl"]["licenses"] == [{"license": {"name": "GPL-2+ AND MIT"}}]
    assert {"type": "file", "name": "srv/link"} in rows["image-base"]["components"]
    assert cyclonedx["dependencies"] == [{"ref": "image", "dependsOn": [row["bom-ref"] for row in rows.values()]}]
    assert len({row["SPDXID"] for row in spdx["packages"]}) == len(spdx["packages"])


def test_the_document_without_files_names_the_whole_one(shop):
    child = shop.build("child")
    whole = sbom.cyclonedx(child, sbom.components(shop.store, child), "9")
    short, digest = sbom.without_files(whole), hashlib.sha256(whole).hexdigest()
    assert sbom.whole_of(short) == f"sha256:{digest}"
    assert [row["name"] for row in short["components"]] == [row["name"] for row in json.loads(whole)["components"]]
    assert not any("components" in row for row in short["components"])
    assert short["serialNumber"] != json.loads(whole)["serialNumber"]
    for odd in ({}, {"externalReferences": []}, {"externalReferences": [{"type": "bom", "hashes": []}]}, None):
        assert sbom.whole_of(odd) == ""


def test_names_that_look_alike_have_identifiers_of_their_own():
    first, other = (sbom.Component(package=Package(kind="debian", name=name, version="1")) for name in ("g++", "g--"))
    assert sbom._spdx_id(first) != sbom._spdx_id(other)


def test_provenance_names_the_locks_and_the_parent(shop):
    child = shop.build("child")
    lock = shop.locks["child"]
    said = provenance.predicate(child, commit="1" * 40, tool_version="9")
    assert said["buildDefinition"]["externalParameters"] == {
        "image": "child",
        "platform": "linux/amd64",
        "channel": "local",
        "locks": {},
        "lockDigest": lock.digest,
        "sourceDateEpoch": lock.epoch,
    }
    materials = {
        dependency["name"]: dependency["digest"] for dependency in said["buildDefinition"]["resolvedDependencies"]
    }
    assert materials["base"] == {"sha256": child.parent.image.digest.removeprefix("sha256:")}
    assert (materials["curl"], materials["checkout"]) == ({"sha256": "c" * 64}, {"gitCommit": "1" * 40})
    dirty = provenance.predicate(child, commit="1" * 40 + "-dirty", tool_version="9")
    assert dirty["buildDefinition"]["internalParameters"] == {"commit": "1" * 40 + "-dirty"}
    assert "checkout" not in {dependency["name"] for dependency in dirty["buildDefinition"]["resolvedDependencies"]}


@pytest.mark.parametrize(
    ("record", "place", "detail"),
    [
        ("[]", "the top level", "expected an object not an array"),
        ("{", "line 1", "Expecting property name enclosed in "),
    ],
)
def test_a_record_of_a_cache_that_cannot_be_read_is_told(record, place, detail):
    package = Package(kind="conda", name="zlib", version="1")
    assert sbom._conda_licence(package, '{"license": "Zlib"}') == "Zlib"
    assert sbom._conda_licence(package, '{"license": null}') == sbom._conda_licence(package, "{}") == ""
    with pytest.raises(HelioError) as caught:
        sbom._conda_licence(package, record)
    assert caught.value.where == f"conda-meta of zlib at {place}"
    assert caught.value.detail.startswith(detail)
