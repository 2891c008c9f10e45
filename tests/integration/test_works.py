"""A work on the real base image and a registry: published, judged by its documents' makers, given a DOI, run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from works_support import changed, judged, work, write

from helioimages.core.platform import Platform
from helioimages.oci.reference import Reference
from helioimages.publish import attach, release
from helioimages.works import attached
from helioimages.works import work as works

COMMAND = [sys.executable, str(Path(__file__).parents[2] / "tools" / "buildimages.py")]
pytestmark = [pytest.mark.engine, pytest.mark.network]
CITATION = """\
cff-version: 1.2.0
message: If you use this work, please cite it.
title: Two numbers and a figure
authors:
  - {family-names: Parker, given-names: Eugene}
license: CC-BY-4.0
keywords: [irradiance]
date-released: 2026-11-21
"""
CELLS = (
    "import csv, pathlib\nrows = list(csv.DictReader(open('data/in.csv')))\n"
    "total = float(factor) * sum(float(row['y']) for row in rows)\nprint('total', total)",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2], [1, total])",
    "pathlib.Path('out.csv').write_text(f'total\\n{total}\\n')\nfrom IPython.display import display\n"
    "display({'application/vnd.helioimages.numbers+json': {'total': total}}, raw=True)",
    "import time\ntime.time()  # NBVAL_IGNORE_OUTPUT\n# NBVAL_IGNORE_OUTPUT",
)


def cell(source: str, at: int, *tags: str) -> dict:
    more = {"execution_count": None, "outputs": [], "metadata": {"tags": list(tags)}}
    return {"cell_type": "code", "id": f"c{at}", "source": source, **more}


def given(folder: Path, *cells: str) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "in.csv").write_text("x,y\n1,2\n3,4.5\n")
    (folder / "CITATION.cff").write_text(CITATION)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    rows = [cell("factor = 1", 0, "parameters"), *(cell(source, at) for at, source in enumerate(cells, 1))]
    title = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# A first look"}
    document = {"cells": [title, *rows], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "look.ipynb").write_text(json.dumps(document))
    return folder


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def image(workspace, built) -> Iterator[str]:
    """Return a copy of base in a repository of ours, as `publish` leaves it: the registry is everybody's."""
    name = f"test-works-{os.getpid()}/base"
    with release.connect(workspace.store, None) as client:
        reference = workspace.push(client, built, name.removesuffix("base")).reference
        subject = attach.Subject(
            client=client, repository=name, built=built, root=workspace.root, store=workspace.store, others=()
        )
        attach.attach(subject, key=None)
        yield reference
        for tag in client.tags(name):
            if descriptor := client.head_manifest(name, tag):
                client.delete_manifest(name, descriptor.digest)
        client.delete_manifest(name, built.image.digest)


@pytest.fixture(scope="module")
def crate(image, tmp_path_factory) -> Path:
    """Publish a work on the base image as a registry of ours has it."""
    place = tmp_path_factory.mktemp("works")
    given(place / "team", *CELLS)
    words = ("publish-work", "team", "--image", image, "--parameter", "factor=3", "--output", "crate", "--json")
    done = run(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "crate.json").write_text(done.stdout)
    return place / "crate"


def told(crate: Path) -> dict:
    return json.loads(crate.with_name("crate.json").read_text())


def test_documents_are_good_by_their_makers_own_validators(crate, tmp_path):
    """Those of a real work, and of made ones with what people write; a spoilt one shows that each validator looks."""
    made = write(work(), tmp_path / "made")
    registered = write(changed(work(), doi="10.5281/zenodo.1234567"), tmp_path / "registered")
    spoilt = write(work(), tmp_path / "spoilt")
    for name, before, after in (
        ("ro-crate-metadata.json", '"instrument"', '"tool"'),
        ("ro-crate-metadata.json", '"mainEntity"', '"main"'),
        ("datacite.json", '"ComputationalNotebook"', '"Notebook"'),
        ("CITATION.cff", "title:", "titel:"),
        ("spase/Collection/work.xml", "Member>", "Part>"),
    ):
        text = (spoilt / name).read_text()
        assert before in text
        (spoilt / name).write_text(text.replace(before, after))
    *good, bad = judged(crate, made, registered, spoilt)
    assert [{name: faults for name, faults in judgement.items() if faults} for judgement in good] == [{}, {}, {}]
    # The made crate's DataCite, as XML, would not be written at all.
    assert {name for name, faults in bad.items() if faults} >= {
        *("roc-validator process-run-crate-0.5", "roc-validator workflow-run-crate-0.5", "rocrate"),
        *("spase", "datacite 4.5 (JSON)", "datacite 4.7 (XSD)", "cffconvert"),
    }


def test_what_the_crate_says(crate, image):
    made = works.parse((crate / "work.json").read_bytes())
    assert made.image.reference == image
    assert (made.image.title, made.image.python[:2]) == ("Heliophysics hub base", "3.")
    assert {"BSD-3-Clause", "PSF-2.0"} <= set(made.image.licenses)
    (book,) = made.books
    assert (book.title, book.figures, book.made) == ("A first look", ("figures/look/cell-4-1.png",), ("made/out.csv",))
    assert json.loads((crate / "numbers/look.json").read_text()) == {"total": 19.5}
    assert (crate / "made/out.csv").read_text() == "total\n19.5\n"
    assert (crate / book.figures[0]).read_bytes().startswith(b"\x89PNG")


def test_it_hangs_on_the_image_and_the_image_stays_as_it_is(crate, image, workspace):
    reference = Reference.parse(image)
    with release.connect(workspace.store, reference.host) as client:
        shelf = attached.Shelf(client=client, repository=reference.repository, store=workspace.store)
        files = attached.files(shelf, told(crate)["artifact"])
        here = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
        assert files.keys() == here
        assert attached.read(shelf, told(crate)["artifact"]).id == told(crate)["id"]
        listed = client.referrers(reference.repository, reference.digest)
        assert told(crate)["artifact"] in {
            referrer.digest for referrer in listed if referrer.artifact_type == attached.WORK
        }
        assert client.get_image(reference.repository, reference.digest, Platform.of("linux/amd64"))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_from_the_crate_alone_the_same_image_and_the_same_numbers(crate, image, tmp_path, form):
    source = crate
    if form == "zip":
        source = tmp_path / "crate.zip"
        with zipfile.ZipFile(source, "w") as file:
            for path in sorted(crate.rglob("*")):
                file.write(path, f"deposit/{path.relative_to(crate)}")
    done = run("restore", str(source), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["same"], verdict["differences"], verdict["image"]) == (True, [], image)
    assert (verdict["cells"], verdict["left_out"], verdict["figures"]) == (5, 1, 0)
    again = json.loads((tmp_path / "_restored" / "look.ipynb").read_text())
    assert again["cells"][3]["outputs"][0]["text"] in ("total 19.5\n", ["total 19.5\n"])


def test_other_numbers_end_with_12(crate, tmp_path):
    other = shutil.copytree(crate, tmp_path / "other")
    executed = other / "executed" / "look.ipynb"
    executed.write_text(executed.read_text().replace("total 19.5", "total 19.4"))
    done = run("restore", str(other), cwd=tmp_path)
    assert done.returncode == 12
    assert done.stdout.startswith("other numbers\n")
    assert "look.ipynb cell 2: text `total 19.4` became `total 19.5`" in done.stderr


def test_a_doi_becomes_an_artifact_of_the_work_and_its_digest_stays(crate, image, workspace, tmp_path):
    copy = shutil.copytree(crate, tmp_path / "crate")
    done = run("set-doi", str(copy), "https://doi.org/10.5281/zenodo.1234567", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    reference = Reference.parse(image)
    with release.connect(workspace.store, reference.host) as client:
        shelf = attached.Shelf(client=client, repository=reference.repository, store=workspace.store)
        assert attached.read(shelf, told(crate)["artifact"]).doi == "10.5281/zenodo.1234567"
        (referrer,) = client.referrers(reference.repository, told(crate)["artifact"])
        assert referrer.digest == json.loads(done.stdout)["artifact"]


def test_a_notebook_that_fails(image, tmp_path):
    given(tmp_path / "team", "print('before')", "1 / 0")
    done = run("publish-work", "team", "--image", image, cwd=tmp_path)
    assert done.returncode == 8
    assert "`look.ipynb` failed" in done.stderr and "ZeroDivisionError" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["team"]


@pytest.mark.parametrize(
    ("image", "code", "message"),
    [("no-such-image", 2, "`no-such-image` is not in the registry"), ("base@sha256:" + "0" * 64, 2, "is not in the")],
)
def test_an_image_that_is_not_there(tmp_path, image, code, message):
    given(tmp_path / "team", "1")
    done = run("publish-work", "team", "--image", image, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_an_image_that_is_gone(crate, tmp_path):
    other = shutil.copytree(crate, tmp_path / "other")
    metadata = other / "ro-crate-metadata.json"
    digest = works.parse((crate / "work.json").read_bytes()).image.digest.removeprefix("sha256:")
    metadata.write_text(metadata.read_text().replace(f'"sha256": "{digest}"', f'"sha256": "{"0" * 64}"'))
    done = run("restore", str(other), cwd=tmp_path)
    assert done.returncode == 12
    assert "the image of this work is gone" in done.stderr
