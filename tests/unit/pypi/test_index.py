from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pypi_support import serving

from helioimages.core import http
from helioimages.core.errors import HelioError
from helioimages.pypi import index as index_module
from helioimages.pypi.index import IndexFile, PackageIndex, parse_page, seconds_of
from helioimages.pypi.places import IndexPlaces


def test_a_page_of_html():
    page = """<html><body>
    <a href="../../files/demo-1.0-py3-none-any.whl#sha256=ab" data-requires-python="&gt;=3.9"
       data-upload-time="2026-11-16T20:47:37.123456Z">demo-1.0-py3-none-any.whl</a>
    <a data-yanked href='https://files.example/demo%2B1.tar.gz'></a>
    <a name="top">top</a>
    </body></html>"""
    assert parse_page(page, "https://index.example/simple/demo/") == (
        IndexFile(
            name="demo-1.0-py3-none-any.whl",
            url="https://index.example/files/demo-1.0-py3-none-any.whl",
            sha256="ab",
            uploaded=1794862057,
            requires_python=">=3.9",
        ),
        IndexFile(name="demo+1.tar.gz", url="https://files.example/demo%2B1.tar.gz", yanked=True),
    )


def test_a_page_of_json():
    page = """{"meta": {"api-version": "1.1"}, "files": [
      {"filename": "demo-1.0.tar.gz", "url": "demo-1.0.tar.gz", "hashes": {"sha256": "cd"}, "size": 12,
       "upload-time": "2026-11-16T20:47:37Z", "requires-python": null, "yanked": "broken"},
      {"filename": "demo-1.1.tar.gz", "url": "demo-1.1.tar.gz", "hashes": {}, "yanked": false}]}"""
    assert parse_page(page, "https://index.example/simple/demo/") == (
        IndexFile(
            name="demo-1.0.tar.gz",
            url="https://index.example/simple/demo/demo-1.0.tar.gz",
            sha256="cd",
            size=12,
            uploaded=1794862057,
            yanked=True,
        ),
        IndexFile(name="demo-1.1.tar.gz", url="https://index.example/simple/demo/demo-1.1.tar.gz"),
    )
    assert seconds_of("") == 0


@pytest.fixture
def moment(tmp_path, monkeypatch) -> None:
    """Stop the clock at what the file system says of a file that is written now: they may be two clocks."""
    (tmp_path / "now").touch()
    now = (tmp_path / "now").stat().st_mtime + 60
    monkeypatch.setattr(index_module.time, "time", lambda: now)


PAGE = "https://index.example/simple/demo/"


@pytest.mark.parametrize(
    ("row", "name", "url"),
    [
        ('<base href="https://files.example/all/"><a href="demo-1.tar.gz">x</a>', "", "https://files.example/all/"),
        ('<base href="/all/"><base href="/other/"><a href="demo-1.tar.gz">x</a>', "", "https://index.example/all/"),
        ('<a data-requires-python=">=3.9" href="demo-1.tar.gz">demo-1.tar.gz</a>', "", PAGE),
        ("<a data-requires-python='>=3.9' href='demo-1.tar.gz'>demo-1.tar.gz</a>", "", PAGE),
        ("<a href=demo-1.tar.gz>demo-1.tar.gz</a>", "", PAGE),
        ("<A HREF = demo-1.tar.gz >demo-1.tar.gz</A>", "", PAGE),
        ('<a href="demo-1.tar.gz"><code>demo</code>-1 (source)</a>', "", PAGE),
        ('<a href="demo-1.tar.gz"><img src="x.png" alt="a > b"></a>', "", PAGE),
        ('<a href="demo-1.tar.gz" href="other-1.tar.gz">x</a>', "", PAGE),
        ('<!-- <a href="other-1.tar.gz">x</a> --><a href=" demo-1.tar.gz ">x</a>', "", PAGE),
        ('<a href="demo-1%2Blocal.tar.gz#md5=0&amp;sha256=ab">x</a>', "demo-1+local.tar.gz", PAGE),
        ('<a href="mailto:me@index.example">me</a><a href="../">up</a><a href="demo-1.tar.gz">x</a>', "", PAGE),
    ],
)
def test_pages_are_read_as_browsers_read_them(row, name, url):
    (file,) = parse_page(f"<!DOCTYPE html><html><head></head><body>{row}</body></html>", PAGE)
    assert file.name == (name or "demo-1.tar.gz")
    assert file.url == url + (name or "demo-1.tar.gz").replace("+", "%2B")
    assert file.requires_python == (">=3.9" if "requires" in row else "")
    assert file.sha256 == ("ab" if "sha256" in row else "")


@pytest.mark.parametrize(
    ("page", "where", "detail"),
    [
        ('{"files": [{"url": "x"}]}', "files[0].filename", "expected this key, found nothing"),
        ('{"files": {}}', "files", "expected a list, not a mapping: {}"),
        ('{"files": [{"filename": 3}]}', "files[0].filename", "expected a string, not a whole number: 3"),
        ('{"files": [{"filename": "a", "url": "b", "size": -1}]}', "files[0].size", "expected 0 or more, not -1"),
    ],
)
def test_a_page_of_json_that_is_wrong_names_the_key(page, where, detail):
    with pytest.raises(HelioError) as caught:
        parse_page(page, PAGE)
    assert caught.value.message == "cannot read a page of the package index: `/simple/demo/`"
    assert (caught.value.where, caught.value.detail) == (f"/simple/demo/ at {where}", detail)


USUAL = {
    "filename": "demo-1.tar.gz",
    "url": "https://files.example:8080/a%2B/demo-1.tar.gz",
    "hashes": {"sha256": "ab"},
    "size": 3,
    "upload-time": "2026-11-16T20:47:37Z",
    "requires-python": ">=3.9",
    "yanked": False,
    "core-metadata": True,
}
ADDRESSES = ("//x/y", "../x", "https://x", "https://x/y?#", "https://[x/y", "https://x/a b", "https://é.example/y")
ODD = (*ADDRESSES, None, 0, -1, True, False, 1.5, "", [], {}, {"sha256": None}, {"sha256": 3}, {"md5": "x"})


def test_what_is_usual_is_read_as_the_strict_reader_reads_it(monkeypatch):
    def told(rows: list[object]) -> object:
        try:
            return parse_page(json.dumps({"files": rows}), PAGE)
        except HelioError as error:
            return str(error)

    rows = [USUAL | {key: value} for key in USUAL for value in ODD]
    rows += [{name: value for name, value in USUAL.items() if name != key} for key in USUAL]
    pages = [[USUAL], [], *([USUAL, row] for row in [*rows, *ODD])]
    quick = [told(page) for page in pages]
    assert sum(all(map(index_module._usual, page)) for page in pages) > len(ODD)
    monkeypatch.setattr(index_module, "_usual", lambda _: None)
    assert quick == [told(page) for page in pages]


def test_a_page_that_is_no_json_says_so():
    with pytest.raises(HelioError) as caught:
        parse_page("{oops", PAGE)
    assert caught.value.message == "cannot read a page of the package index: `/simple/demo/`"


@pytest.mark.parametrize("as_json", [False, True])
def test_files_are_found_and_pages_kept(package_index, tmp_path, moment, as_json):
    package_index.json = as_json
    package_index.add("Demo_x-1.0-py3-none-any.whl", b"wheel")
    index = PackageIndex(package_index.url, tmp_path / "cache")
    (file,) = index.files("Demo.X")
    assert file.name == "Demo_x-1.0-py3-none-any.whl"
    assert file.size == (5 if as_json else None)
    assert PackageIndex(package_index.url, tmp_path / "cache").files("demo-x") == (file,)
    assert package_index.asked == ["GET /simple/demo-x/"]
    assert index.files("absent") == ()


def test_a_kept_page_is_read_once_until_another_run_writes_it(package_index, tmp_path, monkeypatch, moment):
    package_index.add("demo-1.0-py3-none-any.whl", b"one")
    PackageIndex(package_index.url, tmp_path / "cache").files("demo")
    index = PackageIndex(package_index.url, tmp_path / "cache")
    (file,) = index.files("demo")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
        assert index.files("demo") == (file,)
    package_index.add("demo-2.0-py3-none-any.whl", b"two")
    assert len(PackageIndex(package_index.url, tmp_path / "cache").files("demo", fresh=True)) == 2
    assert len(index.files("demo")) == 2


def test_a_file_that_came_later_is_found(package_index, tmp_path):
    package_index.add("demo-1.0-py3-none-any.whl", b"one")
    index = PackageIndex(package_index.url, tmp_path / "cache")
    assert len(index.files("demo")) == 1
    package_index.add("demo-2.0-py3-none-any.whl", b"two")
    address = package_index.url.replace("simple", "files")
    assert index.urls("demo", "demo-2.0-py3-none-any.whl") == (f"{address}/demo-2.0-py3-none-any.whl",)
    assert index.urls("demo", "demo-3.0-py3-none-any.whl") == ()


def test_sizes_are_asked_once(package_index, tmp_path, moment):
    package_index.add("demo-1.0-py3-none-any.whl", b"12345")
    url = package_index.url.replace("simple", "files") + "/demo-1.0-py3-none-any.whl"
    for _ in range(2):
        assert PackageIndex(package_index.url, tmp_path / "c").sizes([("ab" * 32, url)]) == {"ab" * 32: 5}
    assert package_index.asked == ["HEAD /files/demo-1.0-py3-none-any.whl"]


def test_an_index_that_fails_is_said_without_its_address(package_index, tmp_path, monkeypatch):
    monkeypatch.setattr(http.time, "sleep", lambda _s: None)
    package_index.broken.add("/simple/demo/")
    with pytest.raises(HelioError) as caught:
        PackageIndex(package_index.url, tmp_path / "c").files("demo")
    assert str(caught.value) == (
        "cannot ask the package index for the page of `demo`\n"
        "  503 Service Unavailable\n"
        "\n"
        "hint: check the network and the index that pip and uv are configured for"
    )
    assert len(package_index.asked) == 4


@pytest.fixture
def other_index():
    with serving() as index:
        yield index


def address(index, name: str) -> str:
    return f"{index.url.replace('simple', 'files')}/{name}"


def test_extra_indexes_are_asked_first_and_lists_beside_them(package_index, other_index, tmp_path):
    package_index.add("demo-1.0.tar.gz", b"one")
    package_index.add("only-1.0.tar.gz", b"here")
    other_index.add("demo-2.0.tar.gz", b"two")
    links = tmp_path / "links"
    links.mkdir()
    (links / "demo-3.0.tar.gz").write_bytes(b"three")
    (links / "README").write_text("no package")
    places = IndexPlaces(indexes=(other_index.url, package_index.url), links=(str(links),))
    index = PackageIndex(places, tmp_path / "cache")
    assert [file.name for file in index.files("demo")] == ["demo-3.0.tar.gz", "demo-2.0.tar.gz"]
    together = PackageIndex(dataclasses.replace(places, together=True), tmp_path / "cache").files("demo")
    assert [file.name for file in together] == ["demo-3.0.tar.gz", "demo-2.0.tar.gz", "demo-1.0.tar.gz"]
    assert [file.name for file in index.files("only")] == ["only-1.0.tar.gz"]
    assert index.urls("demo", "demo-3.0.tar.gz") == ((links / "demo-3.0.tar.gz").as_uri(),)
    assert index.urls("demo", "demo-2.0.tar.gz") == (address(other_index, "demo-2.0.tar.gz"),)
    # A lock of earlier may name a file of an index that comes later now.
    assert index.urls("demo", "demo-1.0.tar.gz") == (address(package_index, "demo-1.0.tar.gz"),)
    assert index.urls("demo", "demo-4.0.tar.gz") == ()
    assert index.sizes([("ab" * 32, (links / "demo-3.0.tar.gz").as_uri())]) == {"ab" * 32: 5}


def test_a_page_of_files_is_a_list_too(other_index, tmp_path):
    other_index.pages["all"] = b'<a href="/files/demo-1.0.tar.gz">x</a><a href="/files/more-1.0.tar.gz">y</a>'
    index = PackageIndex(IndexPlaces(indexes=(), links=(f"{other_index.url}/all",)), tmp_path / "cache")
    assert [file.name for file in index.files("demo")] == ["demo-1.0.tar.gz"]
    assert len(other_index.asked) == 1


def test_an_index_may_be_a_folder(package_index, tmp_path):
    package_index.add("demo-1.0.tar.gz", b"one")
    for project in ("here", "listed"):
        (tmp_path / "simple" / project).mkdir(parents=True)
    (tmp_path / "simple" / "here" / "here-1.0.tar.gz").write_bytes(b"12345")
    (tmp_path / "simple" / "listed" / "index.html").write_text('<a href="../../files/listed-1.0.tar.gz">x</a>')
    index = PackageIndex(IndexPlaces(indexes=((tmp_path / "simple").as_uri(), package_index.url)), tmp_path / "cache")
    (here,), (listed,), (demo,) = (index.files(name) for name in ("Here", "listed", "demo"))
    assert (here.url, here.size) == ((tmp_path / "simple" / "here" / "here-1.0.tar.gz").as_uri(), 5)
    assert listed.url == (tmp_path / "files" / "listed-1.0.tar.gz").as_uri()
    assert demo.url == address(package_index, "demo-1.0.tar.gz")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(HelioError) as caught:
        PackageIndex(IndexPlaces(indexes=(), links=(str(tmp_path / "none"),)), tmp_path / "cache").files("demo")
    assert (caught.value.where, caught.value.detail) == (str(tmp_path / "none"), "No such file or directory")


def test_a_login_goes_to_its_host_alone_and_into_no_cache(package_index, other_index, tmp_path):
    package_index.pages["demo"] = (
        f'<a href="/files/demo-1.0.tar.gz">x</a><a href="{address(other_index, "demo-2.0.tar.gz")}">y</a>'
    ).encode()
    url = package_index.url.replace("://", "://me:secret@")
    places = IndexPlaces(indexes=(url,))
    assert "secret" not in repr(places)
    for _ in range(2):
        first, other = PackageIndex(places, tmp_path / "cache").files("demo")
        assert first.url == address(package_index, "demo-1.0.tar.gz").replace("://", "://me:secret@")
        assert other.url == address(other_index, "demo-2.0.tar.gz")
    kept = [path.read_text() for path in (tmp_path / "cache").rglob("*.json")]
    assert kept and not any("secret" in text for text in kept)


def test_a_server_that_asks_to_wait_is_left_alone(package_index, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(http.time, "sleep", waits.append)
    package_index.broken.add("/simple/demo/")
    package_index.wait = "9"
    with pytest.raises(HelioError):
        PackageIndex(package_index.url, tmp_path / "c").files("demo")
    assert waits == [9.0, 9.0, 9.0]
