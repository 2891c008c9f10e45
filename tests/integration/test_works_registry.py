"""Works in Debian's docker-registry: hung on a made image, told of by the catalogue, fetched again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import pytest
from catalogue_support import PNG, push
from command_line import main
from ports import free
from works_support import CONTENTS, changed, work

from helioimages.catalogue import read as catalogue_read
from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.model import document
from helioimages.core.errors import HelioError, Stage
from helioimages.engines import registry_server
from helioimages.machine.store import Store
from helioimages.oci.image import Image
from helioimages.oci.registry import Registry
from helioimages.works import attached, documents
from helioimages.works.attached import Shelf
from helioimages.works.work import Work


@dataclass(frozen=True, kw_only=True)
class Place:
    """A registry with one image, and a work on it."""

    shelf: Shelf
    image: Image
    made: Work
    digest: str


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "registry"
    try:
        with Registry(registry_server.start(folder, port=free()).host) as client:
            store = Store(tmp_path / "store")
            image = push(client, store, "org/helio", 1)
            shelf = Shelf(client=client, repository="org/helio", store=store)
            of = replace(work().image, registry=client.host, digest=image.digest)
            made = changed(work(), image=of)
            yield Place(shelf=shelf, image=image, made=made, digest=hang(shelf, image, made))
    finally:
        registry_server.stop(folder)


def crate(made: Work) -> dict[str, bytes]:
    return CONTENTS | {"figures/a look/cell-1-1.png": PNG} | documents.of(made)


def hang(shelf: Shelf, image: Image, made: Work, **files: bytes) -> str:
    return attached.attach(shelf, image.descriptor, made, crate(made) | files)


def catalogue(place: Place, folder: Path):
    source = catalogue_read.CatalogueSource(
        client=place.shelf.client, store=place.shelf.store, prefix="org/", known={}, yanks={}
    )
    with catalogue_site.writing(folder) as site:
        made = catalogue_read.read(replace(source, keep=site.keep), ("helio",))
        site.write(made)
    return made


def test_the_same_work_hangs_there_once(place):
    assert hang(place.shelf, place.image, place.made) == place.digest
    assert len(place.shelf.client.referrers("org/helio", place.digest)) == 0
    kinds = [referrer.artifact_type for referrer in place.shelf.client.referrers("org/helio", place.image.digest)]
    assert kinds.count(attached.WORK) == 1


def test_it_is_fetched_as_it_was(place, tmp_path):
    attached.fetch(place.shelf, place.digest, tmp_path / "again")
    files = {p.relative_to(tmp_path / "again").as_posix(): p for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in files.items()} == crate(place.made)


def test_what_is_no_work_is_not_fetched(place, tmp_path):
    with pytest.raises(HelioError) as caught:
        attached.fetch(place.shelf, place.image.digest, tmp_path)
    assert (caught.value.stage, "is not a published work" in caught.value.message) == (Stage.USAGE, True)


def test_a_work_that_leads_out_of_itself_is_not_fetched(place, tmp_path):
    digest = hang(place.shelf, place.image, place.made, **{"../out": b"x"})
    with pytest.raises(HelioError, match="a work leads out of itself"):
        attached.fetch(place.shelf, digest, tmp_path / "again")
    assert not (tmp_path / "out").exists()


def test_the_catalogue_shows_it_and_its_doi_later(place, tmp_path):
    (shown,) = catalogue(place, tmp_path / "site").images[0].newest.works
    assert (shown.title, shown.doi) == ("The Sun & its <wind>", "")
    assert shown.reference == f"{place.shelf.client.host}/org/helio@{place.digest}"
    told = changed(place.made, doi="10.5281/zenodo.1")
    assert attached.attach_doi(place.shelf, told, documents.of(told))
    catalogue_shown = catalogue(place, tmp_path / "site")
    (shown,) = catalogue_shown.images[0].newest.works
    assert shown.doi == "10.5281/zenodo.1"
    assert (tmp_path / "site" / shown.figures[0]).read_bytes() == PNG
    page = (tmp_path / "site" / "tags" / f"{catalogue_shown.images[0].newest.id}.html").read_text()
    for text in (
        "The Sun &amp; its &lt;wind&gt;",
        "Eugene Parker, Hannes von Alfvén, The Wind Team",
        'href="https://doi.org/10.5281/zenodo.1"',
        f'src="../{shown.figures[0]}"',
        f"buildimages restore {shown.reference}",
        "A look at &lt;B&gt; · B",
    ):
        assert text in page
    assert "<wind>" not in page
    whole = json.loads(json.dumps(document(catalogue_shown)))
    jsonschema.validate(whole, json.loads(catalogue_site.SCHEMA.read_text()))
    assert whole["images"][0]["entries"][0]["works"][0]["doi"] == "10.5281/zenodo.1"


def test_the_verb_finds_works_of_other_repositories(place, tmp_path, monkeypatch):
    """`catalogue --also`: a row that says where the image is."""
    push(place.shelf.client, place.shelf.store, "mine/base", 2)
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    host = place.shelf.client.host
    words = ["catalogue", "base", "--registry", host, "--prefix", "mine/", "--output", str(tmp_path / "site")]
    main([*words, "--also", f"{host}/org/helio"], standalone_mode=False)
    page = (tmp_path / "site" / "notebooks.html").read_text()
    assert f"{host}/org/helio" in page and f"buildimages restore {host}/org/helio@{place.digest}" in page
    assert 'href="tags/' not in page
    first = (tmp_path / "site" / "index.html").read_text()
    assert f"buildimages run --from {host}/org/helio@sha256:" in first


def test_a_work_that_cannot_be_read_is_a_fault_and_hides_nothing(place, tmp_path):
    hang(place.shelf, place.image, place.made, **{"work.json": b"{}"})
    entry = catalogue(place, tmp_path / "site").images[0].newest
    assert [work.title for work in entry.works] == ["The Sun & its <wind>"]
    assert entry.faults == (
        "a work that hangs on it cannot be read: cannot read `org/helio@" + _second(place) + " at work.json`",
    )


def _second(place: Place) -> str:
    listed = place.shelf.client.referrers("org/helio", place.image.digest)
    return next(
        referrer.digest
        for referrer in listed
        if referrer.artifact_type == attached.WORK and referrer.digest != place.digest
    )


def test_a_doi_of_a_work_that_is_not_there(place):
    other = changed(place.made, inputs=())
    assert attached.attach_doi(place.shelf, other, {"work.json": b"{}"}) == ""


def test_works_that_were_deleted_are_none_though_the_registry_lists_them(place, tmp_path):
    told = changed(place.made, doi="10.5281/zenodo.1")
    doi = attached.attach_doi(place.shelf, told, documents.of(told))
    if not place.shelf.client.delete_manifest("org/helio", doi):
        pytest.skip("this registry deletes nothing")
    assert attached.read(place.shelf, place.digest).doi == ""
    place.shelf.client.delete_manifest("org/helio", place.digest)
    assert attached.attach_doi(place.shelf, told, documents.of(told)) == ""
    entry = catalogue(place, tmp_path / "site").images[0].newest
    assert (entry.works, entry.faults) == ((), ())
