"""Solve in a process of its own: JSON on standard input, JSON on standard output.

Run by solve.py as a script. It imports nothing of ours, and it leaves through ``os._exit``, because py-rattler 0.28
now and then crashes while the interpreter shuts down, after the work is done.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import rattler
from rattler.exceptions import SolverError


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"packages": [...]}``, or ``{"unsatisfiable": why}``, or ``{"unusable": [[spec, why], ...]}``."""
    channel = rattler.Channel(Path(request["repodata_dirs"][0]).as_uri())
    sparse = [
        rattler.SparseRepoData(channel, subdir, Path(folder) / subdir / "repodata.json")
        for folder in request["repodata_dirs"]
        for subdir in (request["platform"], "noarch")
        if (Path(folder) / subdir / "repodata.json").is_file()
    ]
    newest = request["exclude_newer"]
    virtual = [_virtual(name, version) for name, version in request["virtual_packages"].items()]
    specs, unusable = [], []
    for spec in request["specs"]:
        try:
            # Strict is what packages may say; people and `conda env export` write `numpy=1.26.0=py313h_0`.
            specs.append(rattler.MatchSpec(spec, strict=False))
        except Exception as error:  # the classes that rattler raises differ between minor versions
            unusable.append([spec, str(error)])
    if unusable:
        return {"unusable": unusable}
    try:
        records = asyncio.run(
            rattler.solve_with_sparse_repodata(
                specs,
                sparse,
                locked_packages=_find(sparse, request["locked"]),
                pinned_packages=_find(sparse, request["pinned"]),
                virtual_packages=virtual,
                exclude_newer=None if newest is None else datetime.datetime.fromtimestamp(newest, datetime.UTC),
                channel_priority=rattler.ChannelPriority.Strict,
            )
        )
    except SolverError as error:
        return {"unsatisfiable": str(error)}
    return {"packages": [_package(record) for record in records]}


def _virtual(name: str, version: str) -> rattler.GenericVirtualPackage:
    # __archspec has no version of its own: its build says the processor.
    build = "0"
    if name == "__archspec":
        version, build = "1", re.sub(r"^1=", "", version)
    elif "=" in version:
        version, _, build = version.partition("=")
    return rattler.GenericVirtualPackage(
        rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
    )


def _find(sparse: list[rattler.SparseRepoData], wanted: list[list[str]]) -> list[rattler.RepoDataRecord]:
    """Return the channel's own records of the wanted [name, sha256] pairs."""
    hashes = {sha256 for _, sha256 in wanted}
    return [
        record
        for name in sorted({name for name, _ in wanted})
        for data in sparse
        for record in data.load_records(rattler.PackageName(name))
        if record.sha256 is not None and record.sha256.hex() in hashes
    ]


def _package(record: rattler.RepoDataRecord) -> dict[str, Any]:
    return {
        "name": record.name.source,
        "version": str(record.version),
        "build": str(record.build),
        "subdir": str(record.subdir),
        "file_name": record.file_name,
        "url": str(record.url),
        "sha256": record.sha256.hex() if record.sha256 else None,
        "md5": record.md5.hex() if record.md5 else None,
        "size": record.size,
        "depends": [str(spec) for spec in record.depends],
    }


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
    sys.stdout.flush()
    os._exit(0)
