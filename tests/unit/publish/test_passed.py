"""A report of another machine's run: believed of this image and these notebooks, and with a key, if it signed it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from building_support import Site, workshops
from faulty_registry import Fault, FaultyRegistry
from trust_support import write_key

from helioimages.machine.store import Store
from helioimages.oci.registry import Registry
from helioimages.publish import documents, passed, push, release, signing

KEY, REPOSITORY = "a" * 64, "team/base"


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_module_wheel) -> Site:
    shop = workshops(tmp_path_factory.mktemp("passed"), make_module_wheel)()
    shop.build("base")
    return shop


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    made = FaultyRegistry()
    yield made
    made.close()


@pytest.fixture
def client(site, server) -> Iterator[Registry]:
    with Registry(server.host, pause=lambda _: None, tries=2) as made:
        push.push_untagged(made, site.build("base").image, REPOSITORY, site.store)
        yield made


def ran(site: Site, client: Registry, folder: Path, *, sign=None, ok: bool = True, notebooks=()) -> Path:
    """Leave a report as a run leaves it, and attach it."""
    built = site.build("base")
    folder.mkdir(exist_ok=True)
    told = {"reference": f"h.org/other@{built.image.digest}", "passed": ok, "notebooks": list(notebooks)}
    (folder / "report.json").write_text(json.dumps(told))
    (folder / "report.html").write_text("<p>")
    os.utime(folder / "report.json", (1_700_000_000, 1_700_000_000))
    documents.attach(client, REPOSITORY, built, folder, site.store, run=documents.ReportSubject(key=KEY, sign=sign))
    return folder


def test_a_report_comes_with_its_time_and_is_not_attached_again(site, client, tmp_path):
    ran(site, client, tmp_path / "there")
    digest = site.build("base").image.digest
    report = passed.look(client, REPOSITORY, digest, KEY)
    passed.fetch(client, REPOSITORY, report, tmp_path / "here")
    for name in ("report.json", "report.html"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    before = client.referrers(REPOSITORY, digest)
    documents.attach(
        client, REPOSITORY, site.build("base"), tmp_path / "here", site.store, run=documents.ReportSubject(key=KEY)
    )
    assert client.referrers(REPOSITORY, digest) == before


def test_the_notebooks_of_a_report_are_pages_here_too_and_nothing_else_is_written(site, client, tmp_path):
    """Pages are not sent; and a report may name any file, as one of elsewhere."""
    book = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
    rows = [
        {"notebook": "10-x.ipynb", "title": "X", "page": "10-x.ipynb.html"},
        {"notebook": "../outside.ipynb", "title": "Y", "page": "y"},
        {"notebook": "gone.ipynb", "title": "Z", "page": "z"},
        "odd",
    ]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "10-x.ipynb").write_text(book)
    (tmp_path / "outside.ipynb").write_text(book)
    ran(site, client, tmp_path / "there", notebooks=rows)
    passed.fetch(
        client, REPOSITORY, passed.look(client, REPOSITORY, site.build("base").image.digest, KEY), tmp_path / "here"
    )
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "10-x.ipynb",
        "10-x.ipynb.html",
        "report.html",
        "report.json",
    ]
    assert "<title>X</title>" in (tmp_path / "here" / "10-x.ipynb.html").read_text()
    assert sorted(path.name for path in tmp_path.glob("*.html")) == []


def test_other_notebooks_another_image_or_a_failure_do_not_count(site, client, tmp_path):
    digest = site.build("base").image.digest
    ran(site, client, tmp_path / "failed", ok=False)
    assert passed.look(client, REPOSITORY, digest, KEY) is None
    ran(site, client, tmp_path / "passed")
    assert passed.look(client, REPOSITORY, digest, KEY) is not None
    assert passed.look(client, REPOSITORY, digest, "b" * 64) is None
    assert passed.look(client, REPOSITORY, "sha256:" + "c" * 64, KEY) is None


def order(client: Registry, out: Path, key: Path | None, **changes: object) -> release.PublishOrder:
    return release.PublishOrder(**{"host": client.host, "prefix": "team/", "out": out, "key": key, **changes})


def asked(site: Site, client: Registry, folder: Path, key: Path | None, **changes: object) -> bool:
    machine = SimpleNamespace(store=Store(folder / "store"))
    return release._passed(client, machine, site.build("base"), order(client, folder / "out", key, **changes), KEY)


def test_who_signs_believes_what_the_same_key_signed(site, client, tmp_path):
    mine, others = (write_key(tmp_path / f"key{number}", number) for number in (1, 2))
    ran(site, client, tmp_path / "unsigned")
    assert not asked(site, client, tmp_path / "a", mine)
    ran(site, client, tmp_path / "others", sign=partial(signing.sign, signing.load_private(others)))
    assert not asked(site, client, tmp_path / "b", mine)
    ran(site, client, tmp_path / "mine", sign=release._signer(order(client, tmp_path, mine)))
    assert asked(site, client, tmp_path / "c", mine)
    assert json.loads((tmp_path / "c" / "out" / "base" / "report.json").read_bytes())["passed"] is True
    # A command that signs is given what was run here.
    assert not asked(site, client, tmp_path / "d", None, before_tag="true")
    assert asked(site, client, tmp_path / "e", None)


def test_another_checkout_of_this_machine_ran_them(site, client, tmp_path):
    """The registry of the machine has the report, this checkout's folder does not."""
    assert not asked(site, client, tmp_path / "before", None, host=None)
    ran(site, client, tmp_path / "there")
    assert asked(site, client, tmp_path / "after", None, host=None)
    assert json.loads((tmp_path / "after" / "out" / "base" / "report.json").read_bytes())["passed"] is True


@pytest.mark.parametrize("fault", ["lie", "truncate"])
def test_a_report_that_cannot_be_read_is_as_none(site, client, server, tmp_path, capsys, fault):
    """A registry whose disk cut a file: the notebooks run, and nothing ends."""
    ran(site, client, tmp_path / "there")
    server.faults.append(Fault(pattern="GET .*/blobs/", kind=fault, times=100))
    assert not asked(site, client, tmp_path / "a", None)
    told = capsys.readouterr().err
    assert "warning: the report of base cannot be read: " in told and "its notebooks are run" in told


def test_a_signature_is_over_every_file_of_the_report(site, client, tmp_path):
    key = write_key(tmp_path / "key", 1)
    sign = release._signer(order(client, tmp_path, key))
    folder = ran(site, client, tmp_path / "true", sign=sign)
    digest, good = site.build("base").image.digest, partial(signing.good, signing.load_private(key).public_key())
    true = passed.look(client, REPOSITORY, digest, KEY, good)
    signature = documents.ReportSubject(key=KEY, sign=sign).annotations(
        {name: d.digest for name, d in true.files.items()}
    )
    assert documents.SMOKE_SIGNATURE in signature
    # The same signature above another page.
    (folder / "report.html").write_text("<p>another")
    files = documents.smoke_files(folder, digest)
    said = signature | {"x": "y"}
    forged = documents.Attachment(artifact_type=documents.SMOKE, files=files, annotations=said)
    false = documents.attach_files(client, REPOSITORY, site.build("base").image, forged, site.store)
    assert false != true.digest
    assert passed.look(client, REPOSITORY, digest, KEY, good).digest == true.digest
