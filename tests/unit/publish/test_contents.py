from __future__ import annotations

import json
from dataclasses import replace

import pytest

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.locks.ecosystems import of_purl
from helioimages.oci.types import History, ImageConfig, Platform
from helioimages.publish.contents import (
    NOTHING,
    Contents,
    from_history,
    from_list,
    from_sbom,
    layer_names,
    layer_titles,
)

SUNPY = Package(name="sunpy", version="7.0.5", kind="wheel", licenses="BSD-2-Clause", purl="pkg:pypi/sunpy@7.0.5")
BASH = Package(name="bash", version="5.2-1+b1", kind="debian", purl="pkg:deb/debian/bash@5.2-1%2Bb1?arch=amd64")


def test_cyclonedx():
    document = {
        "bomFormat": "CycloneDX",
        "components": [
            {
                "name": "sunpy",
                "version": "7.0.5",
                "purl": SUNPY.purl,
                "licenses": [{"license": {"id": "BSD-2-Clause"}}],
            },
            {"name": "bash", "purl": BASH.purl},
            {"name": "/srv/start", "type": "file"},
        ],
    }
    contents = from_sbom(json.dumps(document).encode(), "x")
    assert contents == Contents(packages=(BASH, SUNPY), source="sbom", complete=True)


def test_spdx():
    def package(known: Package, declared: str) -> dict:
        return {
            "name": known.name,
            "versionInfo": known.version,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared,
            "externalRefs": [{"referenceType": "purl", "referenceLocator": known.purl}],
        }

    packages = [package(SUNPY, "BSD-2-Clause"), package(BASH, "NOASSERTION"), {"name": "image"}]
    data = json.dumps({"spdxVersion": "SPDX-2.3", "packages": packages}).encode()
    assert from_sbom(data, "x") == Contents(packages=(BASH, SUNPY), source="sbom", complete=True)


@pytest.mark.parametrize(
    ("data", "place", "detail"),
    [
        (b"[]", "the top level", "expected an object not an array"),
        (b"{}", "the top level", "expected CycloneDX (bomFormat) or SPDX 2 (spdxVersion)"),
        (b"{", "line 1", "Expecting property name enclosed in double quotes"),
    ],
)
def test_what_is_no_sbom(data, place, detail):
    with pytest.raises(HelioError) as caught:
        from_sbom(data, "r/helio@x")
    assert str(caught.value) == f"cannot read what an image holds\n  in r/helio@x at {place}\n  {detail}"


def config(*history: History, layers: int) -> ImageConfig:
    return ImageConfig(
        platform=Platform.of("linux/amd64"), diff_ids=("sha256:" + "0" * 64,) * layers, history=tuple(history)
    )


def test_history_names_what_it_can():
    written_config = config(
        History(created_by="ADD debian", comment="Debian trixie: bash 5.2-1, dash 0.5"),
        History(created_by="ADD python", comment="python: python 3.13.5"),
        History(created_by="ADD sunpy", comment="sunpy: sunpy 7.0.5"),
        History(created_by="ADD wheels-01"),
        History(created_by="ADD files", comment="files of images/base"),
        layers=5,
    )
    contents = from_history(written_config)
    assert [(package.name, package.version, package.kind) for package in contents.packages] == [
        ("python", "3.13.5", "conda"),
        ("bash", "5.2-1", "debian"),
        ("dash", "0.5", "debian"),
        ("sunpy", "7.0.5", "wheel"),
    ]
    assert (contents.source, contents.complete) == ("history", False)
    assert layer_names(written_config) == ("debian", "python", "sunpy", "wheels-01", "files")


def test_layers_of_a_line_say_whose_they_are():
    lines = ("debian", "", "numpy", "", "wheels-00", "", "files", "files of images/base", "debian", "", "wheels-00", "")
    line = [History(created_by=f"ADD {name}", comment=said) for name, said in zip(lines[::2], lines[1::2], strict=True)]
    written_config = replace(config(*line, layers=6), env=("A=b", "HELIOIMAGES_IMAGE=ml-tf"))
    assert layer_titles(written_config) == (
        *("debian of base", "numpy", "wheels-00 of base", "files of base", "debian of ml-tf", "wheels-00 of ml-tf"),
    )
    small = replace(config(History(created_by="ADD wheels-small-00", comment=""), layers=1), env=written_config.env)
    assert layer_titles(replace(small, history=(*small.history, line[3]), diff_ids=written_config.diff_ids[:2])) == (
        "wheels-small-00 of base",
        "files of base",
    )
    # Who does not say its name, and other tools' images, keep the names as they are.
    assert layer_titles(replace(written_config, env=()))[-2:] == ("debian", "wheels-00")
    assert layer_titles(config(*line[:2], layers=2)) == ("debian", "numpy")


def test_another_tools_history():
    written_config = config(
        History(created_by="ENV A=b", empty_layer=True),
        History(created_by="RUN   apt-get update", comment="buildkit.dockerfile.v0"),
        layers=2,
    )
    assert from_history(written_config) == NOTHING
    assert layer_names(written_config) == ("RUN apt-get update", "")


@pytest.mark.parametrize(("purl", "kind"), [("pkg:conda/python@3", "conda"), ("pkg:npm/x@1", ""), ("x", "")])
def test_kinds(purl, kind):
    assert of_purl(purl) == kind


@pytest.mark.parametrize("read", [from_sbom, from_list])
def test_nesting_without_end_is_refused(read):
    with pytest.raises(HelioError, match=r"maximum recursion depth exceeded"):
        read(b"[" * 100_000, "x")


def history(*rows: tuple[str, str]) -> list[tuple[str, str]]:
    written_config = config(*(History(created_by=f"ADD {name}", comment=text) for name, text in rows), layers=len(rows))
    return [(package.kind, package.name) for package in from_history(written_config).packages]


def alone(*names: str) -> list[tuple[str, str]]:
    return [(name, f"{name}: {name} 1.0") for name in names]


@pytest.mark.parametrize(
    ("rows", "conda"),
    [
        # What precedes the layer `conda` is conda's, and what follows it is not.
        ([*alone("gcc", "openssl"), ("conda", ""), *alone("numpy", "scipy"), ("wheels-00", "")], ["gcc", "openssl"]),
        # Nothing shares a layer: the interpreter, and a step back in the order of names.
        ([*alone("openssl", "python", "torch")], ["openssl", "python"]),
        ([*alone("gcc", "tk", "numpy", "scipy")], ["gcc", "tk"]),
        # A name, and a version, that no wheel has.
        ([*alone("_openmp_mutex", "numpy")], ["_openmp_mutex"]),
        ([("jpeg", "jpeg: jpeg 9e"), *alone("numpy")], ["jpeg"]),
        # A child's layers are in an order of their own.
        ([("conda", ""), *alone("numpy"), ("files", "files of images/a"), *alone("astropy")], []),
        ([("conda", ""), *alone("numpy"), *alone("astropy")], []),
    ],
)
def test_a_conda_package_alone_in_its_layer_is_one(rows, conda):
    assert [name for kind, name in history(*rows) if kind == "conda"] == conda
