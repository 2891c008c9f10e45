"""Packages, works and the image become references: narrowed, each once, in three formats that others read."""

from __future__ import annotations

import dataclasses
import tarfile
import zipfile

import pytest
import yaml
from packaging.utils import canonicalize_name
from pypi_support import wheel_bytes

from helioimages.cite import bibtex, facts, formats, references
from helioimages.cite.references import CitedImage, gather
from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST
from helioimages.pypi import markers

VALUES = markers.environment("3.13", FIRST)
IMAGE = CitedImage(title="Heliophysics & more", version="2026.11.21", reference="h.org/helio@sha256:00", year="2026")
METADATA = """\
Metadata-Version: 2.1
Name: My_Sun
Version: 8.0
Author-email: "The {Sun} Community" <sun@example.org>
Project-URL: Homepage, https://example.org/sun
Requires-Dist: numpy>=1.20
Requires-Dist: parfive ; extra == "net"
Requires-Dist: old ; python_version < "3.8"
Requires-Dist: arm ; platform_machine == "aarch64"
Requires-Dist: odd ; os_name ~= "posix"

[![DOI](https://zenodo.org/badge/DOI/10.5281/zenodo.591887.svg)](https://zenodo.org)
"""
CITATION = """\
Please cite:

@ARTICLE{sun2020,
  author = {{The Sun Community} and Barnes, Will T. and Mac{\\'\\i}as, Jos{\\'e}},
  title = "{The {Sun} Project}: a status",
  journal = {\\apj},
  year = 2020,
  pages = "68--70",
  doi = {10.3847/1538-4357/ab4f7a}
}
@misc{zenodo, title = {Sun}, doi = {10.5281/zenodo.1}}
@article{broken, title = {
"""


@pytest.fixture
def sun(tmp_path):
    path = tmp_path / "my_sun-8.0-py3-none-any.whl"
    files = {
        "sun/__init__.py": b"",
        "sun/CITATION.rst": CITATION.encode(),
        "sun/tests/CITATION.rst": b"@article{no, title = {no}}",
        "shared/sub/__init__.py": b"",
        "single.py": b"",
        "my_sun-8.0.dist-info/METADATA": METADATA.encode(),
    }
    path.write_bytes(wheel_bytes(files, name="my_sun", version="8.0"))
    return facts.of_wheel(path, VALUES)


def package(name: str, *, requires=(), doi="", entries=(), modules=()) -> facts.Facts:
    return facts.Facts(
        name=name,
        title=name,
        version="1.0",
        modules=modules or (name,),
        requires=requires,
        authors=(),
        url="",
        doi=doi,
        entries=entries,
    )


def test_what_a_wheel_says_of_itself(sun):
    assert (sun.name, sun.title, sun.version) == ("my-sun", "My_Sun", "8.0")
    assert sun.modules == ("shared.sub", "single", "sun")
    assert sun.requires == ("numpy",)
    assert (sun.authors, sun.url) == (("The {Sun} Community",), "https://example.org/sun")
    assert sun.doi == "10.5281/zenodo.591887"
    assert [(entry.kind, entry.key, entry.doi) for entry in sun.entries] == [
        ("article", "sun2020", "10.3847/1538-4357/ab4f7a"),
        ("misc", "zenodo", "10.5281/zenodo.1"),
    ]
    assert sun.entries[0].authors == ("The Sun Community", "Barnes, Will T.", "Macías, José")
    assert bibtex.plain(sun.entries[0].fields["title"]) == "The Sun Project: a status"


def test_a_layer_says_the_same(sun, tmp_path):
    wheel, layer = tmp_path / "my_sun-8.0-py3-none-any.whl", tmp_path / "layer.tar.gz"
    with zipfile.ZipFile(wheel) as archive, tarfile.open(layer, "w:gz") as tar:
        archive.extractall(tmp_path / "site")
        for name in archive.namelist():
            tar.add(tmp_path / "site" / name, f"srv/conda/envs/notebook/lib/python3.13/site-packages/{name}")
    assert facts.of_layer(layer, VALUES) == {"my-sun": sun}


def test_what_is_no_wheel(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"x")
    with pytest.raises(HelioError, match=r"`a.whl` is not a wheel"):
        facts.of_wheel(tmp_path / "a.whl", VALUES)
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("b/__init__.py", "")
    with pytest.raises(HelioError) as caught:
        facts.of_wheel(tmp_path / "b.whl", VALUES)
    assert caught.value.detail == "expected one *.dist-info/METADATA, found none"


def test_a_variable_may_hold_the_citation(tmp_path):
    path = tmp_path / "a.whl"
    code = b'__citation__ = """\n@article{a, title = {A}, doi = {10.1000/a}}\n"""\n'
    path.write_bytes(wheel_bytes({"a/__init__.py": code, "b/__init__.py": b"@article{b, title={B}}"}, name="a"))
    assert [entry.doi for entry in facts.of_wheel(path, VALUES).entries] == ["10.1000/a"]


def test_a_notebook_narrows_the_list():
    everything = [
        package("sunpy", requires=("numpy", "aiohttp", "astropy")),
        package("astropy", requires=("pyerfa",)),
        package("pyerfa", doi="10.5281/zenodo.3940699"),
        package("numpy"),
        package("aiohttp"),
        package("dask"),
        package("google-one", modules=("google.one",)),
        package("google-two", modules=("google.two",)),
    ]
    references = gather(everything, IMAGE, ["sunpy.map.Map", "google.one.x", "mine", "google"])
    assert [(package.name, package.imported) for package in references.packages] == [
        ("google-one", True),
        ("sunpy", True),
        ("astropy", False),
        ("numpy", False),
        ("pyerfa", False),
    ]
    assert references.unknown == ("mine",)
    assert len(gather(everything, IMAGE, None).packages) == len(everything)


def test_a_work_that_two_ask_for_is_there_once_and_keys_are_their_own():
    def entry(doi):
        return bibtex.BibEntry(kind="article", key="same", fields={"title": f"T {doi}", "doi": doi})

    first, other = package("a", entries=(entry("10.1000/x"),)), package("b", entries=(entry("10.1000/X"),))
    third = package("c", entries=(entry("10.1000/y"),))
    cited = gather([first, other, third], IMAGE, None)
    assert [(key, work.doi) for key, work in references.keyed(cited)] == [("same", "10.1000/x"), ("same+", "10.1000/y")]


def test_the_software_itself_is_cited_in_the_version_of_the_image(sun):
    (cited,) = gather([sun], IMAGE, None).packages
    assert [work.key for work in cited.works] == ["sun2020"]
    assert cited.doi == "10.5281/zenodo.591887"
    bare = dataclasses.replace(sun, doi="")
    assert gather([bare], IMAGE, None).packages[0].doi == "10.5281/zenodo.1"


def test_bibtex_is_read_again(sun):
    text = formats.as_bibtex(gather([sun], IMAGE, None))
    entries = {entry.key: entry for entry in bibtex.entries(text)}
    assert list(entries) == ["image", "my-sun-8.0", "sun2020"]
    assert "sha256:00" in entries["image"].fields["howpublished"]
    assert (entries["my-sun-8.0"].fields["version"], entries["my-sun-8.0"].doi) == ("8.0", "10.5281/zenodo.591887")
    assert entries["sun2020"] == sun.entries[0]
    assert text.count("{") == text.count("}")


def test_cff_has_what_its_schema_asks_for(sun):
    document = yaml.safe_load(formats.as_cff(gather([sun, package("plain")], IMAGE, None)))
    assert {"cff-version", "message", "title", "authors", "references"} <= document.keys()
    assert document["identifiers"][0]["value"] == "sha256:00"
    software, other, article = document["references"]
    assert software == {
        "type": "software",
        "title": "My_Sun",
        "authors": [{"name": "The {Sun} Community"}],
        "version": "8.0",
        "doi": "10.5281/zenodo.591887",
        "url": "https://example.org/sun",
    }
    assert other["authors"] == [{"name": "The authors of plain"}]
    assert article == {
        "type": "article",
        "title": "The Sun Project: a status",
        "authors": [
            {"name": "The Sun Community"},
            {"family-names": "Barnes", "given-names": "Will T."},
            {"family-names": "Macías", "given-names": "José"},
        ],
        "journal": "ApJ",
        "year": 2020,
        "start": "68",
        "end": "70",
        "doi": "10.3847/1538-4357/ab4f7a",
    }


def test_text_is_for_people(sun):
    text = formats.as_text(dataclasses.replace(gather([sun], IMAGE, ["sun"]), unknown=("mine",)))
    assert text.splitlines() == [
        "Heliophysics & more 2026.11.21, container image. h.org/helio@sha256:00",
        "",
        "My_Sun 8.0. The {Sun} Community. https://doi.org/10.5281/zenodo.591887",
        "    The Sun Community, Barnes, Will T., Macías, José (2020) The Sun Project: a status. ApJ. "
        "https://doi.org/10.3847/1538-4357/ab4f7a",
        "",
        "Not of the image: mine",
    ]


def test_the_reviewed_table_has_the_core_of_pyhc_and_a_source_for_each():
    core = {"hapiclient", "kamodo", "plasmapy", "pysat", "pyspedas", "spacepy", "sunpy"}
    assert core | {"numpy", "scipy", "matplotlib", "astropy", "pandas", "xarray", "dask"} <= references.known().keys()
    raw = list(bibtex.entries((references.files("helioimages.cite") / "known.bib").read_text("utf-8")))
    assert len({entry.key for entry in raw}) == len(raw)
    for entry in raw:
        assert entry.fields["source"].startswith("https://")
        assert entry.fields["package"] == canonicalize_name(entry.fields["package"])
        assert entry.authors and (entry.doi or entry.key == "scikit-learn2011")
        assert not {"source", "package"} & references.known()[entry.fields["package"]][0].fields.keys()
