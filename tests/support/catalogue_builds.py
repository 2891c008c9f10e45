"""A registry of 200 builds, as a project has them after half a year, and what an audit says of them."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from catalogue_support import PNG, packages, push

from helioimages.catalogue.advisories import Audit, parse
from helioimages.catalogue.model import Catalogue, package_table
from helioimages.engines import registry_server
from helioimages.locks.reasons import Needs
from helioimages.machine.store import Store
from helioimages.oci.registry import Registry
from helioimages.publish import weights
from helioimages.publish.weights import Weights

HELIO, BASE = 120, 80
#: Days of helio that have a weight; the second one's is of another image.
WEIGHED = (HELIO - 2, HELIO - 3)
SMOKE = "application/vnd.helioimages.smoke.v1"


def report() -> tuple[tuple[str, str, str, bytes], ...]:
    """Return a smoke report as files: JSON, page, and an executed notebook with a picture."""
    row = {
        "name": "helio/20-sunpy-map",
        "title": "A map of the Sun",
        "status": "passed",
        "seconds": 12.25,
        "peak_memory_bytes": 812_000_000,
        "notebook": "20-sunpy-map.ipynb",
    }
    picture = {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode()}}
    cell = {"cell_type": "code", "source": "draw()", "metadata": {}, "execution_count": 1, "outputs": [picture]}
    return (
        (
            SMOKE,
            "report.json",
            "application/json",
            json.dumps({"version": 1, "passed": True, "notebooks": [row]}).encode(),
        ),
        (
            SMOKE,
            "report.html",
            "text/html",
            b"<!doctype html><title>report</title><a href=20-sunpy-map.ipynb>notebook</a>",
        ),
        (
            SMOKE,
            "20-sunpy-map.ipynb",
            "application/x-ipynb+json",
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}).encode(),
        ),
    )


def weight(day: int, *, layers: int) -> tuple[str, str, str, bytes]:
    """Return what a build of helio weighs, as a file: one package is asked for, and draws in another."""
    listed = {
        (package.kind, package.name): replace(package, size=1_000_000) for package in packages("t/helio", day, 300)
    }
    first, second = ("wheel", "package-000"), ("wheel", "package-001")
    known = Weights(
        line=("base", "helio"),
        unpacked=(3_000_000,) * layers,
        owners=dict.fromkeys(listed, "helio"),
        needs=Needs(packages=listed, asked={first: ("environments/helio",)}, needs={first: (second,)}),
    )
    return (weights.TYPE, "weight.json", weights.TYPE, weights.dump(known))


def push_helio(host: str, store: Store) -> None:
    with Registry(host) as client:
        for day in range(HELIO):
            documents = report() if day == HELIO - 1 else ()
            if day in WEIGHED:
                documents = (weight(day, layers=62 if day == WEIGHED[0] else 61),)
            if day == 3:
                documents = (("application/spdx+json", "sbom", "application/spdx+json", b"{"),)
            push(client, store, "t/helio", day, count=300, stack=60, documents=documents, sbom=day not in (3, 5))


def push_base(host: str, store: Store) -> None:
    with Registry(host) as client:
        for day in range(BASE):
            push(client, store, "t/base", day, count=120, stack=20)


@contextlib.contextmanager
def registry(store: Store, port: int) -> Iterator[str]:
    """Yield the host of an empty registry in a store's folder; skips the test where there is no program for one."""
    if not any(shutil.which(name) for name in ("docker-registry", "registry")):
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    server = registry_server.start(store.root, port=port)
    try:
        yield server.host
    finally:
        registry_server.stop(store.root)


def fill(host: str, store: Store) -> None:
    """Push all builds: days one after the other, for the last one has `latest`; images beside each other."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(push_all, host, store) for push_all in (push_helio, push_base)]:
            done.result()


def audit(built: Catalogue) -> Audit:
    """Return an audit of all builds but of Debian's newest bash: a fault that 1.2.0 mends, and one that nobody does."""
    asked = [
        (package.kind, package.name, package.version)
        for package in package_table(built.entries)
        if package.version != "5.2-3"
    ]
    rows = [
        ("package-007", ["GHSA-1", "CVE-2026-00007"], "critical", ["1.2.0"], "Reads what it is not given"),
        ("package-008", ["GHSA-2"], "low", [], "Slow where a name is long"),
    ]
    findings = [
        {"kind": "wheel", "name": name, "version": version, "ids": ids, "severity": severity, "summary": summary}
        | {"fixed": fixed, "ignored": False}
        for name, ids, severity, fixed, summary in rows
        for version in ("1.0.0", "1.1.0", *(() if fixed else ("1.2.0", "1.3.0")))
    ]
    return parse(json.dumps({"newest": "2026-09-02T00:00:00Z", "asked": asked, "findings": findings}), "audit.json")
