"""The package list and the smoke report that travel with an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.locks import read as locks
from helioimages.machine.checkout import load_images
from helioimages.machine.store import Store
from helioimages.publish.contents import Contents, dump_list, from_list
from helioimages.publish.documents import of_locks, passed, remember_passed, smoke_files

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "1" * 64


def test_a_package_list_reads_back():
    contents = of_locks(locks.load(ROOT, load_images(ROOT), "base"))
    contents_read = from_list(dump_list(contents.packages), "x")
    assert contents_read == Contents(packages=contents.packages, source="list", complete=True)
    assert {package.kind for package in contents_read.packages} == {"conda", "debian", "wheel"}


def test_a_package_list_is_the_same_each_time():
    rows = (Package(name="b", version="1", kind="wheel"), Package(name="a", version="2", kind="conda"))
    assert (
        dump_list(rows)
        == dump_list(reversed(rows))
        == (
            b'{"packages":[{"kind":"conda","name":"a","version":"2"},{"kind":"wheel","name":"b","version":"1"}],"version":1}'
        )
    )


@pytest.mark.parametrize(
    ("data", "place", "detail"),
    [
        (b'{"version": 2}', "version", "expected 1 not 2"),
        (b"[]", "the top level", "expected an object not an array"),
        (b'{"version": 1}', "packages", "expected an array, found nothing"),
    ],
)
def test_what_is_no_package_list(data, place, detail):
    with pytest.raises(HelioError) as caught:
        from_list(data, "org/helio")
    assert str(caught.value) == f"cannot read what an image holds\n  in org/helio at {place}\n  {detail}"


def report(folder: Path, digest: str) -> Path:
    (folder / "report.json").write_text(json.dumps({"reference": f"127.0.0.1:5000/base@{digest}"}))
    for name in ("report.html", "02-dask.ipynb", "01-imports.ipynb", "notes.txt"):
        (folder / name).write_text(name)
    return folder


def test_a_report_of_this_image_is_attached_and_no_other(tmp_path):
    assert smoke_files(tmp_path, DIGEST) == ()
    folder = report(tmp_path, DIGEST)
    assert [(file.name, file.media_type) for file in smoke_files(folder, DIGEST)] == [
        ("report.json", "application/json"),
        ("report.html", "text/html"),
        ("01-imports.ipynb", "application/x-ipynb+json"),
        ("02-dask.ipynb", "application/x-ipynb+json"),
    ]
    # The image passed in an earlier run, and another was run into the folder since.
    assert smoke_files(report(tmp_path, "sha256:" + "2" * 64), DIGEST) == ()


def test_only_the_report_of_this_very_run_counts_as_passed(tmp_path):
    store, folder = Store(tmp_path / "store"), tmp_path / "report"
    folder.mkdir()
    report(folder, DIGEST)
    assert not passed(store, "notebooks", folder, DIGEST), "nobody recorded a run"
    remember_passed(store, "notebooks", folder, DIGEST)
    assert passed(store, "notebooks", folder, DIGEST)
    assert not passed(store, "other notebooks", folder, DIGEST)
    # Another image was run into the folder since.
    report(folder, "sha256:" + "2" * 64)
    assert not passed(store, "notebooks", folder, DIGEST)
    # One notebook of this image was.
    report(folder, DIGEST)
    document = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(document | {"notebooks": []}))
    assert not passed(store, "notebooks", folder, DIGEST)
    # Older tools remembered no report.
    store.remember("smoke", "notebooks", {"image": DIGEST, "passed": True})
    assert not passed(store, "notebooks", report(folder, DIGEST), DIGEST)
