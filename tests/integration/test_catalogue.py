"""The catalogue of 200 tags in Debian's docker-registry, read, written as a site, and used in a real Chromium.

`CATALOGUE_SHOTS=DIR` keeps screenshots for people to look at.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import catalogue_builds
import jsonschema
import pytest
from catalogue_builds import BASE, HELIO, WEIGHED
from catalogue_pages import FILLED, Pages, Tabs
from catalogue_support import PNG, catalogue, entry, page, tag_of

from helioimages.catalogue import read as catalogue_read
from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.delta import delta
from helioimages.catalogue.model import document
from helioimages.core.words import human_size
from helioimages.machine.store import Store
from helioimages.oci.registry import Registry
from helioimages.spec import yanks as yanked

WITH_REASON = "package-007"
ACCESSIBILITY = (Path(__file__).parents[1] / "support" / "accessibility.js").read_text()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with 120 builds of one image and 80 of another; one has no SBOM, one has a report, one a bad SBOM."""
    store = Store(tmp_path_factory.mktemp("store"))
    with catalogue_builds.registry(store, 5400) as host:
        catalogue_builds.fill(host, store)
        yield host


@pytest.fixture(scope="module")
def site(registry, tmp_path_factory):
    """The site's folder and the catalogue it shows."""
    folder = tmp_path_factory.mktemp("site") / "site"
    store = Store(tmp_path_factory.mktemp("reader"))
    yanks = yanked.parse(
        f'[[yanked]]\ntag = "{tag_of(100)}"\nreason = "code runs when a header is read"\ndate = 2026-09-01\n'
        f'replacement = "{tag_of(101)}"\naliases = ["CVE-2026-00001"]\n',
        "helio",
        "images/helio/yanked.toml",
    )
    start = time.monotonic()
    with Registry(registry) as client, catalogue_site.writing(folder) as made:
        source = catalogue_read.CatalogueSource(
            client=client, store=store, prefix="t/", known={}, yanks={"helio": yanks}, keep=made.keep
        )
        offered = catalogue_read.read(source, ["base", "helio"], jobs=8)
        read = time.monotonic() - start
        made.write(
            offered,
            [catalogue(page("wind", entry("wind")), page("solar", entry("solar", day=3)))],
            audit=catalogue_builds.audit(offered),
            notes={"helio": {tag_of(119): "Maps are <faster>.\n\nSay if not."}},
            modules={"package-010": "cv2", "package-011": "other_cv2_tools"},
            reasons={"helio": {("debian", "bash"): "asked for", ("wheel", WITH_REASON): "drawn in by package-000"}},
        )
    print(f"\n{len(offered.entries)} builds read in {read:.1f} s, written in {time.monotonic() - start - read:.1f} s")
    return folder, offered


@pytest.fixture(scope="module")
def tabs(browser):
    tabs = Tabs(browser)
    yield tabs
    tabs.close()


@pytest.fixture
def open_page(site, tabs):
    """Open a page of the site; fails if it logs an error or asks a host for anything."""
    pages = Pages(tabs, site[0])
    yield pages
    pages.give_back()
    assert pages.faults == []


def follow(page, link) -> None:
    """Click a link and wait for the whole page that it leads to: a click returns when the page has begun."""
    with page.expect_navigation(wait_until="load"):
        link.click()
    page.wait_for_function(FILLED)


def test_what_is_read(site):
    folder, offered = site
    base, helio = offered.images
    assert (len(base.entries), len(helio.entries)) == (BASE, HELIO)
    newest, noted = helio.entries[0], {entry.tag: entry for entry in helio.entries}
    assert newest.tags == (tag_of(HELIO - 1), "latest")
    assert (newest.contents.source, len(newest.contents.packages)) == ("sbom", 302)
    assert newest.facts == {"python": "3.13.5", "jupyterhub": "5.4.0", "dask": "2026.4.0"}
    assert {artifact.kind for artifact in newest.attached} == {"sbom", "smoke"}
    (notebook,) = newest.smoke.notebooks
    assert (notebook.title, notebook.peak_memory_bytes) == ("A map of the Sun", 812_000_000)
    assert (folder / notebook.figures[0]).read_bytes() == PNG
    assert (folder / newest.smoke.report).read_bytes().startswith(b"<!doctype html>")
    assert (folder / newest.smoke.report).with_name("20-sunpy-map.ipynb") == folder / notebook.path
    assert notebook.page == f"{notebook.path}.html"
    (sbom,) = [file for artifact in newest.attached if artifact.kind == "sbom" for file in artifact.files]
    assert json.loads((folder / sbom.path).read_text())["components"] and sbom.path.endswith(".json")
    assert noted[tag_of(5)].contents.source == "none"
    (fault,) = noted[tag_of(3)].faults
    told = r"its packages cannot be read: \S+/helio@sha256:\w+ at line 1: Expecting property name enclosed in .*"
    assert re.fullmatch(told, fault)
    weighed, other = (noted[tag_of(day)] for day in WEIGHED)
    assert weighed.weight is not None and weighed.unpacked == 62 * 3_000_000 and weighed.faults == ()
    assert [(one.name, one.alone) for one in weighed.weight.asked] == [("package-000", 2_000_000)]
    assert other.weight is None and other.faults[0].startswith("what it weighs cannot be read: ")
    assert other.faults[0].endswith(" is of another image") and newest.weight is None
    assert noted[tag_of(100)].yanked and not noted[tag_of(101)].yanked
    jsonschema.validate(document(offered), json.loads(catalogue_site.SCHEMA.read_text()))


def test_overview_and_a_long_table(open_page):
    page = open_page("index.html", name="light-index")
    assert page.get_by_role("heading", level=1).inner_text() == "Images"
    follow(page, page.get_by_role("link", name="The helio image"))
    assert page.locator("#tags tbody tr").count() == HELIO
    page.get_by_role("searchbox").fill(tag_of(100))
    assert page.locator("#tags tbody tr:visible").count() == 1
    assert page.locator("#filter-count").inner_text() == f"1 of {HELIO} builds"
    follow(page, page.locator("#tags tbody tr:visible a").first)
    banner = page.get_by_role("note").inner_text()
    assert "code runs when a header is read" in banner and f"Use {tag_of(101)} instead" in banner


def test_a_phone_hides_what_a_search_leaves_out(open_page, site):
    page = open_page("images/helio.html", width=390)
    page.get_by_role("searchbox").fill(tag_of(100))
    assert page.locator("#tags tbody tr:visible").count() == 1
    page.get_by_role("searchbox").fill("nothing has this")
    assert page.locator("#tags tbody tr:visible").count() == 0
    page = open_page(f"tags/{site[1].images[1].entries[0].id}.html", width=390)
    page.get_by_label("Search").fill("nothing has this")
    assert page.locator("#package-rows tr:visible").count() == 0


def test_an_address_of_a_build_that_is_gone_is_said(open_page, site):
    entry = site[1].images[1].entries[3]
    page = open_page(f"compare.html#helio-000000000000..{entry.id}")
    assert "not in this catalogue" in page.get_by_role("note").inner_text()
    page.get_by_label("A node has").select_option(value=entry.id)
    page.get_by_role("heading", name=f"From {entry.image} {entry.tag} to").wait_for()
    assert page.get_by_role("note").count() == 0
    assert open_page("compare.html").get_by_role("note").count() == 0


def test_compare_says_what_delta_says(open_page, site):
    _, offered = site
    entries = {f"{entry.image} {entry.tag}": entry for entry in offered.entries}
    cases = [(f"helio {tag_of(70)}", f"helio {tag_of(110)}"), (f"base {tag_of(79)}", f"helio {tag_of(119)}")]
    page = open_page("compare.html", name="light-compare")
    for old, new in cases:
        page.get_by_label("A node has").select_option(label=old)
        page.get_by_label("It should run").select_option(label=new)
        page.get_by_role("heading", name=f"From {old} to {new}").wait_for()
        want = delta(entries[old].side(), entries[new].side())
        totals = page.locator(".totals")
        assert int(totals.get_attribute("data-pull")) == want.pull_bytes
        assert int(totals.get_attribute("data-layers")) == len(want.pull)
        sizes = page.locator(".total b").all_inner_texts()[:2]
        unpacked = sum(layer.size for layer in want.unpack)
        assert sizes == [human_size(want.pull_bytes), human_size(unpacked)]
        rows = page.get_by_role("table", name="Packages that changed").locator("tbody tr").all_inner_texts()
        shown = [row.split("\t") for row in rows]
        said = [(kind, name, old.replace("–", ""), new.replace("–", "")) for kind, name, old, new, *_ in shown]
        assert said == [(change.kind, change.name, change.old, change.new) for change in want.changes]
        assert len(said) > 50
    page.get_by_role("button", name="Swap the two images").click()
    assert page.get_by_label("A node has").input_value() == entries[cases[-1][1]].id
    page.get_by_role("heading", name=f"From {cases[-1][1]} to {cases[-1][0]}").wait_for()
    # The address is what one sends to a colleague.
    again = open_page("compare.html#" + page.url.partition("#")[2])
    assert again.locator("#result").inner_text() == page.locator("#result").inner_text()


def test_two_builds_that_the_site_has_no_delta_of(open_page, site):
    _, offered = site
    base, helio = offered.images
    older, newest = helio.entries[-1], helio.entries[0]
    for old, new in ((older, newest), (newest, older), (base.entries[3], newest)):
        page = open_page(f"compare.html#{old.id}..{new.id}")
        assert "`buildimages delta A B` compares any two" in page.get_by_role("note").inner_text()
        assert page.locator(".totals").count() == 0
    page.get_by_label("A node has").select_option(value=helio.entries[1].id)
    page.locator(".totals").wait_for()
    assert page.get_by_role("note").count() == 0


def test_a_notebook_is_read_as_a_page(open_page, site):
    page = open_page(f"tags/{site[1].images[1].entries[0].id}.html")
    page.get_by_role("link", name="A map of the Sun", exact=True).click()
    page.wait_for_url("**/20-sunpy-map.ipynb.html")
    assert page.title() == "A map of the Sun" and page.locator("pre.code").inner_text() == "draw()"
    assert page.locator("img").evaluate("one => one.naturalWidth") == 1
    link = page.get_by_role("link", name="20-sunpy-map.ipynb")
    assert json.loads((site[0] / site[1].images[1].entries[0].smoke.notebooks[0].path).read_text())["nbformat"] == 4
    assert link.get_attribute("href") == "20-sunpy-map.ipynb"


def test_an_entry_notebooks_packages_and_copying(open_page, site):
    _, offered = site
    entry = offered.images[1].entries[0]
    page = open_page(f"tags/{entry.id}.html", name="light-entry")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    image = page.get_by_role("img", name="Figure 1 of A map of the Sun")
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.figures img').complete")
    assert image.evaluate("one => one.naturalWidth") == 1
    page.get_by_label("Search").fill("package-07 bsd")
    assert page.locator("#package-rows tr:visible").count() == 10
    assert page.locator("#package-count").inner_text() == "10 of 302 packages"
    reference = f"{offered.registry}/t/helio@{entry.digest}"
    for button, text in (
        (page.locator('button[data-copy="copy-5"]'), page.locator("#copy-5").inner_text()),
        (page.locator('button[data-copy="copy-1"]'), f"docker pull {reference}"),
        (page.get_by_role("button", name="Copy the digest", exact=True), entry.digest),
        (page.get_by_role("button", name="Copy the reference by digest"), reference),
    ):
        page.evaluate("document.getElementById('said').textContent = ''")
        button.click()
        page.wait_for_function("document.getElementById('said').textContent === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == text
    page.get_by_text("62 layers").click()
    page.evaluate("document.getElementById('said').textContent = ''")
    page.get_by_role("button", name="Copy the digest of layer 2", exact=True).click()
    page.wait_for_function("document.getElementById('said').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == entry.layers[1].digest
    page.get_by_role("textbox", name="Hub").fill("https://hub.example.edu/")
    page.get_by_role("textbox", name="Open").fill("a b.ipynb")
    assert page.locator("#gitpuller-link").inner_text() == (
        "https://hub.example.edu/hub/user-redirect/git-pull?repo=https%3A%2F%2Fexample.org%2Fgroup%2Fnotebooks"
        "&branch=main&targetpath=notebooks&urlpath=lab%2Ftree%2Fnotebooks%2Fa%2520b.ipynb"
    )
    assert page.locator("#binder-link").inner_text() == (
        "https://mybinder.org/v2/git/https%3A%2F%2Fexample.org%2Fgroup%2Fnotebooks/main"
        "?urlpath=lab%2Ftree%2Fa%2520b.ipynb"
    )


def test_faults_of_a_build_and_the_tag_that_mends_them(open_page, site):
    entries = {entry.tag: entry for entry in site[1].images[1].entries}
    # package-007 is 1.2.0 from day 73 on; Debian's bash of the newest builds was not looked at.
    page = open_page(f"tags/{entries[tag_of(60)].id}.html", name="light-faults")
    rows = page.get_by_role("table", name="Known faults").locator("tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["critical", "package-007 PyPI", "1.1.0", "CVE-2026-00007", "1.2.0", tag_of(73), "Reads what it is not given"],
        ["low", "package-008 PyPI", "1.1.0", "GHSA-2", "–", "none yet", "Slow where a name is long"],
    ]
    assert page.locator(".states").inner_text().split("\n")[0] == "2 faults, critical"
    follow(page, page.get_by_role("link", name=tag_of(73), exact=True))
    assert page.locator("#faults + p").inner_text() == (
        "1 fault, the worst of them low, by advisories until 2026-09-02."
    )
    page = open_page(f"tags/{entries[tag_of(119)].id}.html#faults")
    assert "The audit did not look at 1 package of it." in page.locator("#faults + p").inner_text()
    page = open_page("images/helio.html")
    page.get_by_role("searchbox").fill(tag_of(60))
    assert "2 faults, critical" in page.locator("#tags tbody tr:visible").inner_text()


def test_a_change_log_has_the_notes_of_people(open_page, site):
    page = open_page("images/helio.html", name="light-log")
    first = page.locator(".log li").first.inner_text()
    assert first.startswith(tag_of(119)) and "Maps are <faster>.\n\nSay if not." in first
    assert "8 upgraded: package-001 1.2.0 → 1.3.0" in first
    assert (page.locator(".log li").count(), page.locator(".log li:visible").count()) == (HELIO, 12)
    page.get_by_text("108 older builds").click()
    assert page.locator(".log li:visible").last.inner_text().endswith("The first build.")


def column(page, table: str, at: int) -> list[str]:
    return page.locator(f"{table} tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{at}].innerText.trim())")


def figure(text: str) -> float:
    """Return the bytes that a cell tells; a first build's are below all."""
    value, unit = (*text.split(), "")[:2]
    return float(value) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit] if unit in ("B", "kB", "MB") else -1


def test_tables_are_sorted(open_page, site):
    """A figure by its value, a word by its letters; the second time the other way round. Versions have no button."""
    entries = site[1].images[1].entries
    page = open_page("images/helio.html")
    pull = page.get_by_role("button", name="Pull from the one before")
    pull.click()
    sorted_by = page.locator('#tags th[aria-sort="descending"]').inner_text()
    assert sorted_by.split() == ["Pull", "from", "the", "one", "before"]
    shown = [figure(text) for text in column(page, "#tags", 3)]
    assert shown == sorted(shown, reverse=True) and len(set(shown)) > 2
    assert column(page, "#tags", 3)[-1] == "first"
    pull.click()
    assert [figure(text) for text in column(page, "#tags", 3)] == sorted(shown)
    page.get_by_role("button", name="Tag", exact=True).click()
    assert column(page, "#tags", 0)[0].startswith(tag_of(0)) and page.locator("#tags [aria-sort]").count() == 1
    page.get_by_role("searchbox").fill(tag_of(100))
    assert page.locator("#tags tbody tr:visible").count() == 1
    assert page.get_by_role("columnheader", name="Python").get_by_role("button").count() == 0
    page = open_page(f"tags/{entries[0].id}.html")
    page.get_by_role("button", name="From", exact=True).focus()
    page.keyboard.press("Enter")
    kinds = column(page, ".scroll[aria-label=Packages] table", 2)
    assert kinds == sorted(kinds, key=str.lower) and len(set(kinds)) == 3


def test_changes_are_filtered_grouped_and_taken_along(open_page, site):
    helio = {entry.tag: entry for entry in site[1].images[1].entries}
    old, new = helio[tag_of(70)], helio[tag_of(110)]
    page = open_page(f"compare.html#{old.id}..{new.id}", name="light-compare-tools")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    rows = page.get_by_role("table", name="Packages that changed").locator("tbody tr")
    count = rows.count()
    page.get_by_label("Filter").fill("debian up")
    assert rows.all_inner_texts() == ["upgraded\tbash\t5.2-2\t5.2-3\tDebian\tasked for"]
    assert page.locator("#change-count").inner_text() == f"1 of {count}"
    page.get_by_role("button", name="Copy as Markdown").click()
    page.wait_for_function("document.getElementById('said').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == (
        "### Packages that changed\n\n| Change | Package | From | To | Kind | Why |\n"
        "|---|---|---|---|---|---|\n| upgraded | bash | 5.2-2 | 5.2-3 | Debian | asked for |\n"
    )
    page.get_by_label("Filter").fill("")
    page.get_by_label("Group by").select_option("kind")
    kinds = page.locator("#result h3").all_inner_texts()
    assert sorted(kinds) == ["Debian (1)", f"PyPI ({count - 1})"]
    assert page.get_by_role("table", name="Packages that changed: Debian").locator("tbody tr").count() == 1
    assert "#### Debian\n\n| Change" in page.locator("#change-markdown").get_attribute("data-text")
    page.get_by_label("Group by").select_option("reason")
    # What people ask for is first, and what nobody can tell is last.
    reasons = page.locator("#result h3").all_inner_texts()
    assert reasons == ["asked for (1)", "drawn in by package-000 (1)", f"no reason known ({count - 2})"]
    table = page.get_by_role("table", name="Packages that changed: drawn in by package-000")
    assert table.locator("tbody tr").count() == 1 and table.locator("thead th").count() == 5


def test_which_builds_have_a_package(open_page):
    page = open_page("packages.html#bash", name="light-packages")
    table = page.get_by_role("table", name="Versions of bash")
    rows = table.locator("tbody tr").all_inner_texts()
    # Two builds of helio say nothing of their packages.
    assert [row.split("\t")[:2] for row in rows] == [["5.2-3", "20"], ["5.2-2", "80"], ["5.2-1", "98"]]
    cell = table.locator("tbody tr").first.locator("td").last
    assert (cell.locator("a").count(), cell.locator("a:visible").count()) == (20, 6)
    cell.get_by_text("and 14 more").click()
    assert cell.locator("a:visible").count() == 20


@pytest.mark.parametrize(
    ("asked", "packages"), [("cv2", ["package-010", "package-011"]), ("package_299", ["package-299"])]
)
def test_a_package_is_found_by_its_module_and_however_its_name_is_written(open_page, asked, packages):
    page = open_page(f"packages.html#{asked}")
    assert [text.split()[0] for text in page.locator("#found h2").all_inner_texts()] == packages
    assert page.locator("#found p").all_inner_texts() == (
        ["imported as cv2", "imported as other_cv2_tools"] if asked == "cv2" else []
    )


def test_a_search_says_how_many_packages_it_shows(open_page, site):
    page = open_page("packages.html#PACKAGE")
    assert page.locator("#package-count").inner_text() == "300 packages found, the first 12 shown"
    assert page.locator("#found section").count() == 12
    # Lists of other projects' tools have names such as PyYAML.
    data = site[0] / "data" / "contents.js"
    text = data.read_text()
    try:
        data.write_text(text.replace('"package-017"', '"Package-017"'))
        assert open_page("packages.html#package-017").locator("#found h2").inner_text() == "Package-017 PyPI"
    finally:
        data.write_text(text)


def test_images_of_other_teams_are_found_by_name_and_by_package(open_page):
    page = open_page("index.html")
    rows = page.locator("#other-images tbody tr")
    assert rows.first.inner_text().split("\t")[:2] == [
        "registry.example:5000/org/wind The wind image",
        "2026.05.05 2026-05-05",
    ]
    for text, shown in (("WIND", 1), ("org package-017", 2), ("solar package-099", 0), ("", 2)):
        page.fill("#filter", text)
        assert rows.filter(visible=True).count() == shown, text
    command = rows.first.get_by_role("button").get_attribute("data-text")
    assert command.startswith("buildimages run --from registry.example:5000/org/wind@sha256:")


def test_notebooks_are_found_by_words_of_titles_and_by_packages(open_page):
    page = open_page("notebooks.html")
    rows = page.locator("#notebooks tbody tr")
    assert rows.count() == 1
    for text, shown in (("map sun", 1), ("MAP package-017", 1), ("moon", 0), ("", 1)):
        page.fill("#filter", text)
        assert rows.filter(visible=True).count() == shown, text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_readable(open_page, site, scheme, width):
    """Contrast of all text, names of all controls, one heading, no sideways scrolling; wide and on a phone."""
    _, offered = site
    helio = {entry.tag: entry for entry in offered.images[1].entries}
    shape = "phone" if width < 500 else "wide"
    for path, name in (
        ("index.html", "index"),
        ("images/helio.html", "image"),
        (f"tags/{helio[tag_of(119)].id}.html", "entry"),
        (f"tags/{helio[tag_of(100)].id}.html", "yanked"),
        (f"tags/{helio[tag_of(3)].id}.html", "bare"),
        (f"compare.html#{helio[tag_of(90)].id}..{helio[tag_of(119)].id}", "compare"),
        ("packages.html#package-01", "packages"),
        ("notebooks.html", "notebooks"),
    ):
        page = open_page(path, scheme=scheme, width=width, name=f"{scheme}-{shape}-{name}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate(ACCESSIBILITY) == [], path
        assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        open_page.give_back()


def test_the_keyboard_reaches_everything(open_page):
    page = open_page("images/helio.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "filter"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_seconds_of_200_builds(open_page, site, capsys):
    folder, offered = site
    times = {}
    for path in (
        "index.html",
        "images/helio.html",
        "compare.html",
        "packages.html#python",
        f"tags/{offered.entries[-1].id}.html",
    ):
        page = open_page(path)
        page.wait_for_load_state("networkidle")
        times[path] = round(page.loaded, 3)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    data = (folder / "data" / "contents.js").stat().st_size
    deltas = sum(file.stat().st_size for file in (folder / "data" / "deltas").iterdir())
    with capsys.disabled():
        print(
            f"\ncatalogue of {len(offered.entries)} builds: {size / 1e6:.1f} MB, data {data / 1e3:.0f} kB,"
            f" deltas {deltas / 1e6:.1f} MB,"
            f" seconds to load: {times}"
        )
    assert data < 1_000_000 and deltas < 10_000_000
