"""CITATION.cff of a work: what is read of it, what is refused and how that is told, and what is written."""

from __future__ import annotations

import pytest
import yaml
from works_support import CITATION

from helioimages.core.errors import HelioError, Stage
from helioimages.works import citation

LEAST = """\
cff-version: 1.2.0
message: Cite me.
title: A
authors: [{name: Team}]
license: MIT
"""


def test_what_is_read():
    read = citation.parse(CITATION)
    assert [author.whole for author in read.authors] == ["Eugene Parker", "Hannes von Alfvén", "The Wind Team"]
    assert read.licenses == ("BSD-3-Clause", "CC-BY-4.0")
    assert (read.version, read.released, read.url) == ("1.0", "2026-11-21", "https://example.org/wind")
    assert read.keywords == ("solar wind", "magnetic field")


def test_the_example_that_a_folder_without_one_is_told_to_write_is_good():
    assert citation.parse(citation.EXAMPLE).authors[0].whole == "Eugene Parker"
    error = citation.missing("wind/CITATION.cff")
    assert error.stage is Stage.SPEC
    assert str(error).startswith("`wind/CITATION.cff` is not there\n")
    assert citation.EXAMPLE.splitlines()[3] in error.hint


@pytest.mark.parametrize(
    ("before", "after", "where", "detail"),
    [
        ("title: A\n", "", "CITATION.cff at title", "expected this key, found nothing"),
        ("license: MIT\n", "", "CITATION.cff at license", "expected this key, found nothing"),
        ("MIT", "The MIT licence", "CITATION.cff at license", "expected an SPDX identifier, e.g. CC-BY-4.0, not"),
        ("MIT", "[]", "CITATION.cff at license", "expected at least one licence"),
        ("1.2.0", "1.1.0", "CITATION.cff at cff-version", "expected 1.2.0, not '1.1.0'"),
        ("[{name: Team}]", "[]", "CITATION.cff at authors", "expected at least one author"),
        ("[{name: Team}]", "[{affiliation: B}]", "CITATION.cff at authors[0]", "expected family-names and given-names"),
        ("{name: Team}", "{name: T, orcid: 0000-1}", "CITATION.cff at authors[0].orcid", "expected https://orcid.org/"),
        ("{name: Team}", "{name: T, family-names: U}", "at authors[0].family-names", "this key is not understood"),
        ("license:", "licence:", "CITATION.cff at license", "expected this key, found nothing"),
        ("title: A\n", "title: A\ncolour: red\n", "CITATION.cff at colour", "this key is not understood"),
        ("title: A\n", "title: A\ndate-released: soon\n", "at date-released", "expected a date, e.g. 2026-11-21, not"),
        ("title: A\n", "title: A\ndoi: 11.1/a\n", "CITATION.cff at doi", "expected a DOI, e.g. 10.5281/zenodo.1234567"),
        ("title: A\n", "title: A\nversion: [1]\n", "CITATION.cff at version", "expected a text or a number"),
        ("title: A\n", "title: A\nidentifiers: [1]\n", "CITATION.cff at identifiers", "expected a list of mappings"),
        ("title: A\n", "title: A\ntitle: B\n", "CITATION.cff", "duplicate key 'title'"),
        ("title: A\n", "title: [A\n", "CITATION.cff", ""),
    ],
)
def test_what_is_refused(before, after, where, detail):
    with pytest.raises(HelioError) as caught:
        citation.parse(LEAST.replace(before, after, 1))
    assert caught.value.stage is Stage.SPEC
    assert where in caught.value.where
    assert detail in caught.value.detail


def test_what_is_written_is_read_again_and_names_the_image_once():
    first = citation.dump(citation.parse(LEAST), doi="", released="2026-01-02", image="docker://h:1/a@sha256:0")
    assert "doi:" not in first
    again = citation.dump(
        citation.parse(first), doi="10.5281/zenodo.1", released="2026-01-02", image="docker://h:1/a@sha256:0"
    )
    document = yaml.safe_load(again)
    assert [row["value"] for row in document["identifiers"]] == ["docker://h:1/a@sha256:0"]
    assert document["doi"] == "10.5281/zenodo.1"
    assert citation.parse(again).released == "2026-01-02"
