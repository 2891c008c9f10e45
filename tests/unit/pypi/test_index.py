from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError
from helioimages.pypi import index as index_module
from helioimages.pypi.index import Index, IndexFile, parse_page, seconds_of


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


@pytest.mark.parametrize("json", [False, True])
def test_files_are_found_and_pages_kept(package_index, tmp_path, moment, json):
    package_index.json = json
    package_index.add("Demo_x-1.0-py3-none-any.whl", b"wheel")
    index = Index(package_index.url, tmp_path / "cache")
    (found,) = index.files("Demo.X")
    assert found.name == "Demo_x-1.0-py3-none-any.whl"
    assert found.size == (5 if json else None)
    assert Index(package_index.url, tmp_path / "cache").files("demo-x") == (found,)
    assert package_index.asked == ["GET /simple/demo-x/"]
    assert index.files("absent") == ()


def test_a_file_that_came_later_is_found(package_index, tmp_path):
    package_index.add("demo-1.0-py3-none-any.whl", b"one")
    index = Index(package_index.url, tmp_path / "cache")
    assert len(index.files("demo")) == 1
    package_index.add("demo-2.0-py3-none-any.whl", b"two")
    address = package_index.url.replace("simple", "files")
    assert index.urls("demo", "demo-2.0-py3-none-any.whl") == (f"{address}/demo-2.0-py3-none-any.whl",)
    assert index.urls("demo", "demo-3.0-py3-none-any.whl") == ()


def test_sizes_are_asked_once(package_index, tmp_path, moment):
    package_index.add("demo-1.0-py3-none-any.whl", b"12345")
    url = package_index.url.replace("simple", "files") + "/demo-1.0-py3-none-any.whl"
    for _ in range(2):
        assert Index(package_index.url, tmp_path / "c").sizes([("ab" * 32, url)]) == {"ab" * 32: 5}
    assert package_index.asked == ["HEAD /files/demo-1.0-py3-none-any.whl"]


def test_an_index_that_fails_is_said_without_its_address(package_index, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module.time, "sleep", lambda _s: None)
    package_index.broken.add("/simple/demo/")
    with pytest.raises(HelioError) as caught:
        Index(package_index.url, tmp_path / "c").files("demo")
    assert str(caught.value) == (
        "cannot ask the package index for the page of `demo`\n"
        "  503 Service Unavailable\n"
        "\n"
        "hint: check the network and the index that pip and uv are configured for"
    )
    assert len(package_index.asked) == 4
