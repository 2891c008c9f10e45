from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from catalogue_support import PNG, catalogue, digest, entry, page, tag_of

from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.delta import delta
from helioimages.catalogue.model import (
    Attached,
    File,
    Notebook,
    Smoke,
    columns,
    document,
    newest_entries_first,
    order_tags,
    package_table,
)
from helioimages.catalogue.read import read_smoke
from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.core.platform import Platform
from helioimages.core.words import human_size
from helioimages.publish.contents import NOTHING, Contents

SCHEMA = json.loads(catalogue_site.SCHEMA.read_text())


def full():
    """Return a catalogue with one of everything."""
    smoke = Smoke(
        passed=True,
        report="files/0/report.html",
        notebooks=(
            Notebook(name="base/01", title="Imports", status="passed", seconds=3.2, peak_memory_bytes=None),
            Notebook(
                name="base/02",
                title="<Dask>",
                status="passed",
                seconds=9.0,
                peak_memory_bytes=1,
                figures=("files/1/a.png",),
            ),
        ),
    )
    attached = Attached(
        kind="sbom",
        type="application/vnd.cyclonedx+json",
        digest=digest("sbom"),
        files=(File(name="sbom.json", media_type="application/vnd.cyclonedx+json", digest=digest("s"), size=9),),
    )
    rich = entry(day=2, smoke=smoke, attached=(attached,), signature="attached", faults=("something is odd",))
    bare = entry(day=1, contents=NOTHING, tags=(), facts={})
    return catalogue(
        page("helio", rich, bare, entry()), page("org/ml-gpu", entry("org/ml-gpu", facts={"cuda": "13.0"}))
    )


def test_the_document_follows_its_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document(full()), SCHEMA)


def test_the_schema_refuses_what_nobody_documented():
    wrong = document(full())
    wrong["images"][0]["entries"][0]["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError, match="'colour' was unexpected"):
        jsonschema.validate(wrong, SCHEMA)


def test_tables_hold_everything_once():
    whole = document(full())
    assert len({layer["digest"] for layer in whole["layers"]}) == len(whole["layers"])
    keys = [(package["kind"], package["name"], package["version"]) for package in whole["packages"]]
    assert len(set(keys)) == len(keys)
    first = whole["images"][0]["entries"][0]
    assert sum(whole["layers"][row]["size"] for row in first["layers"]) + first["config"]["size"] == first["size"]
    assert [whole["packages"][row]["name"] for row in first["packages"]["rows"]][:2] == ["python", "bash"]


def test_rows_of_a_package_are_in_the_order_of_its_versions():
    versions = ("1.10", "1.9", "1.9.post1", "2.0a1", "1!0.1")
    rows = [
        entry(
            day=day,
            contents=Contents(
                packages=(Package(name="x", version=version, kind="wheel"),), source="sbom", complete=True
            ),
        )
        for day, version in enumerate(versions)
    ]
    assert [package.version for package in package_table(rows)] == ["1.9", "1.9.post1", "1.10", "2.0a1", "1!0.1"]


def test_the_pages_data_unpack_to_the_document():
    """Says what app.js does with the differences."""
    whole = document(catalogue(page("helio", *(entry(day=day) for day in range(60))), page("base", entry("base", 7))))
    packed = columns(whole)
    entries = [row for image in whole["images"] for row in image["entries"]]
    rows: set[int] = set()
    for whole_entry, small in zip(entries, packed["entries"], strict=True):
        removed, added = small["packages"]
        rows = (rows - set(removed)) | set(added)
        assert sorted(rows) == whole_entry["packages"]["rows"]
    assert len(json.dumps(packed)) < len(json.dumps(whole)) / 2


def test_an_image_alone_and_in_an_index_has_two_pages(tmp_path: Path):
    index = digest("index")
    rows = (
        entry(),
        entry(named=index, tags=("v2",)),
        entry(named=index, tags=("v2",), digest=digest("arm"), platform=Platform.of("linux/arm64")),
    )
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(catalogue(page("helio", *rows)))
    assert len(list((tmp_path / "site" / "tags").iterdir())) == len({row.id for row in rows}) == 3
    packed = columns(document(catalogue(page("helio", *rows))))
    assert {row["id"] for row in packed["entries"]} == {row.id for row in rows}
    assert "linux/arm64" in (tmp_path / "site" / "compare.html").read_text()


def test_orders():
    assert order_tags(["latest", "lock-0123456789ab", "2026.01.02", "2026.01.02-10", "2026.01.02-9", "dev"]) == (
        "2026.01.02-10",
        "2026.01.02-9",
        "2026.01.02",
        "lock-0123456789ab",
        "dev",
        "latest",
    )
    second = entry(day=1, tags=(f"{tag_of(1)}-2", "latest"), digest=digest("second"))
    ordered = newest_entries_first([entry(day=1), entry(day=0), second])
    assert [row.tag for row in ordered] == ["2026.05.06-2", "2026.05.06", "2026.05.05"]


def test_a_site_stands_alone(tmp_path: Path):
    with catalogue_site.writing(tmp_path / "site") as site:
        path = site.keep(PNG, "../../evil dir/../a b.png", digest("report"))
        other = site.keep(b"<html>", "report.html", digest("report"))
        assert path.rpartition("/")[0] == other.rpartition("/")[0], "a report's links hold"
        site.write(full())
    folder = tmp_path / "site"
    assert (folder / path).read_bytes() == PNG and path.startswith("files/") and path.endswith("/a-b.png")
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
    assert [name for name in pages if "/" not in name] == [
        "compare.html",
        "index.html",
        "notebooks.html",
        "packages.html",
    ]
    assert "images/org-ml-gpu.html" in pages and f"tags/helio-{digest('helio 2')[7:19]}.html" in pages
    for name in pages:
        text = (folder / name).read_text()
        assert 'src="http' not in text and '<link rel="stylesheet" href="http' not in text
        assert "<Dask>" not in text, "what comes from a registry is escaped"
    shown = (folder / f"tags/helio-{digest('helio 2')[7:19]}.html").read_text()
    for part in ("&lt;Dask&gt;", "something is odd", "signed, not checked", "2 of 2", "../files/1/a.png"):
        assert part in shown
    bare = (folder / f"tags/helio-{digest('helio 1')[7:19]}.html").read_text()
    for part in ("no SBOM", "not signed", "No smoke report is attached", "history names none"):
        assert part in bare
    whole = json.loads((folder / "catalogue.json").read_text())
    jsonschema.validate(whole, json.loads((folder / "catalogue.schema.json").read_text()))


def test_a_site_is_the_same_each_time_and_replaces_itself(tmp_path: Path):
    def bytes_of() -> dict[str, bytes]:
        with catalogue_site.writing(tmp_path / "site") as site:
            site.write(full())
        return {
            path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
        }

    first = bytes_of()
    (tmp_path / "site" / "old.html").write_text("old")
    assert bytes_of() == first
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_folder_that_is_no_catalogue_stays(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(HelioError) as caught, catalogue_site.writing(tmp_path):
        raise AssertionError("not reached")
    assert str(caught.value) == (
        f"`{tmp_path}` is not empty, and not a catalogue\n  a catalogue replaces the whole folder\n\n"
        "hint: name a new folder with --output"
    )
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_an_error_leaves_the_old_site(tmp_path: Path):
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(full())
    with pytest.raises(RuntimeError), catalogue_site.writing(tmp_path / "site"):
        raise RuntimeError
    assert (tmp_path / "site" / "index.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_snippets():
    texts = {snippet.title: snippet.text for snippet in catalogue_site.snippets(entry(), "ghcr.io/org/helio")}
    reference = f"ghcr.io/org/helio@{digest('helio 0')}"
    assert texts == {
        "Pull": f"docker pull {reference}",
        "Docker": f'docker run --rm -it -p 127.0.0.1:8888:8888 \\\n  -v "$PWD":/home/jovyan/work \\\n  {reference}',
        "Podman": "podman run --rm -it -p 127.0.0.1:8888:8888 --userns=keep-id:uid=1000,gid=1000 \\\n"
        f'  -v "$PWD":/home/jovyan/work \\\n  {reference}',
        "Apptainer": f"apptainer pull helio.sif docker://{reference}\n"
        "apptainer exec helio.sif jupyter lab --no-browser",
        "Zero to JupyterHub": "singleuser:\n  image:\n    name: ghcr.io/org/helio\n"
        f'    tag: "2026.05.05@{digest("helio 0")}"',
        "Binder": f"FROM {reference}",
    }
    without = {
        snippet.title: snippet.text for snippet in catalogue_site.snippets(entry(tags=("latest",)), "ghcr.io/org/helio")
    }
    assert without["Zero to JupyterHub"] == (
        f'singleuser:\n  image:\n    name: ghcr.io/org/helio@sha256\n    tag: "{digest("helio 0")[7:]}"'
    )


def test_snippets_with_a_gpu():
    gpu = entry("org/ml-gpu", facts={"cuda": "13.0"})
    texts = {snippet.title: snippet.text.splitlines() for snippet in catalogue_site.snippets(gpu, "ghcr.io/org/ml-gpu")}
    assert texts["Docker with a GPU"][0] == "docker run --rm -it -p 127.0.0.1:8888:8888 --gpus all \\"
    assert texts["Podman with a GPU"][0] == (
        "podman run --rm -it -p 127.0.0.1:8888:8888 --device nvidia.com/gpu=all --userns=keep-id:uid=1000,gid=1000 \\"
    )
    assert texts["Apptainer with a GPU"][1] == "apptainer exec --nv ml-gpu.sif jupyter lab --no-browser"
    assert "Docker" not in texts


def test_a_step_is_what_delta_says(tmp_path: Path):
    rows = (entry(day=1), entry(day=0))
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(catalogue(page("helio", *rows)))
    difference = delta(rows[1].side(), rows[0].side())
    text = (tmp_path / "site" / "images" / "helio.html").read_text()
    assert difference.pull_bytes == 1_000_000 + 9 + 5_000
    assert f'{human_size(difference.pull_bytes)}</a> <span class="soft">1 layer</span>' in text


def test_a_smoke_report_is_read():
    row = {
        "name": "base/01",
        "title": "T",
        "status": "passed",
        "seconds": 1.5,
        "peak_memory_bytes": 7,
        "notebook": "01.ipynb",
    }
    report = read_smoke(json.dumps({"version": 1, "passed": True, "notebooks": [row]}).encode())
    assert report == Smoke(
        passed=True,
        notebooks=(
            Notebook(name="base/01", title="T", status="passed", seconds=1.5, peak_memory_bytes=7, path="01.ipynb"),
        ),
    )
    for key, value in (("status", "fine"), ("seconds", -1), ("peak_memory_bytes", -1)):
        with pytest.raises(HelioError, match=rf"in report\.json at notebooks\[0\]\.{key}\n  expected "):
            read_smoke(json.dumps({"version": 1, "passed": True, "notebooks": [row | {key: value}]}).encode())
    with pytest.raises(HelioError, match=r"in report\.json at version\n  expected 1 not 2"):
        read_smoke(b'{"version": 2}')


def test_a_new_site_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path, monkeypatch):
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(full())
    before = sorted(path.name for path in (tmp_path / "site").iterdir())
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(".site.") and ".old." not in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left"), catalogue_site.writing(tmp_path / "site") as site:
        site.write(full())
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
