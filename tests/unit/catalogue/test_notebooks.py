"""The page of notebooks: which are on it, in which order, and what they are found by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from catalogue_support import catalogue, entry, page

from helioimages.catalogue import notebooks
from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.model import Notebook, Smoke
from helioimages.catalogue.works import Shown


def smoke(*titles: str, status: str = "passed") -> Smoke:
    books = [Notebook(name=title, title=title, status=status, seconds=1.0, peak_memory_bytes=None) for title in titles]
    return Smoke(passed=status == "passed", notebooks=tuple(books))


def work(title: str, *titles: str, when: str = "2026-01-01T00:00:00Z", **more) -> Shown:
    values = {"reference": "h:1/n@sha256:1", "authors": ("E. Parker", "H. Alfvén"), "licenses": ("MIT",), "doi": ""}
    return Shown(title=title, when=when, notebooks=titles, **(values | more))


HOME = catalogue(
    page("base", entry("base", 0, smoke=smoke("Old")), entry("base", 1, smoke=smoke("Imports", "Dask"))),
    page(
        "helio",
        entry("helio", 0, works=(work("Old work", "Seen by AIA"), work("B", "b", when="2026-03-01T00:00:00Z"))),
        entry("helio", 1, smoke=smoke("Broken", status="failed")),
    ),
)


def test_works_come_first_the_newest_first_and_smoke_notebooks_that_passed_in_the_newest_build():
    index = notebooks.index(HOME)
    assert [(row.title, row.who, row.work) for row in index.rows] == [
        ("b", "E. Parker, H. Alfvén", "B"),
        ("Seen by AIA", "E. Parker, H. Alfvén", "Old work"),
        ("Dask", "", ""),
        ("Imports", "", ""),
    ]
    assert [row.run for row in index.rows[1:3]] == ["buildimages restore h:1/n@sha256:1", ""]


def test_a_row_is_found_by_the_packages_of_its_own_image():
    index = notebooks.index(HOME)
    by_title = {row.title: index.packages[row.packages].split() for row in index.rows}
    assert "package-001" in by_title["Dask"] and "python" in by_title["b"]
    assert max(row.packages for row in index.rows) < len(index.packages)


def test_rows_of_another_registry_say_where_they_are_and_lead_to_no_page_here():
    other = dataclasses.replace(HOME, registry="other.example:5000", images=HOME.images[:1])
    rows = [row for row in notebooks.index(HOME, [other]).rows if row.title == "Dask"]
    assert {(row.name, bool(row.page)) for row in rows} == {("base", True), ("other.example:5000/org/base", False)}
    assert all(row.image.partition("@")[0].endswith("/org/base") for row in rows)


def test_the_page_escapes_what_people_wrote(tmp_path: Path):
    odd = work("</script><b>", "A <look>", authors=("<i>",), doi="10.1234/a")
    made = catalogue(page("helio", entry("helio", 0, works=(odd,))))
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(made)
    for name in ("notebooks.html", f"tags/{made.images[0].newest.id}.html"):
        text = (tmp_path / "site" / name).read_text()
        assert "A &lt;look&gt;" in text and "https://doi.org/10.1234/a" in text
        assert not any(part in text for part in ("</script><b>", "<look>", "<i>"))


def test_a_catalogue_without_notebooks_says_so(tmp_path: Path):
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(catalogue(page("helio", entry("helio", 0))))
    assert "no published work is attached" in (tmp_path / "site" / "notebooks.html").read_text()
