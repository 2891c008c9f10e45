"""Solve in a process of its own: JSON on standard input, JSON on standard output.

Run by solve.py as a script. It imports nothing of ours, and it leaves through ``os._exit``, because py-rattler 0.28
now and then crashes while the interpreter shuts down, after the work is done.
"""

from __future__ import annotations

import asyncio
import datetime
import difflib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import rattler
import rattler.networking
from rattler.exceptions import SolverError

#: The newest index that is understood, as of CEP 36; conda refuses newer ones too.
_NEWEST = 2
_VERSION = re.compile(rb'"repodata_version"\s*:\s*([0-9]+)')


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"packages": [...]}``, or ``{"unsatisfiable": why}``, or ``{"unusable": [[spec, why], ...]}``.

    Asked for the ``order`` of packages instead, it returns ``{"order": [name, ...]}``.
    """
    if "order" in request:
        return {"order": _order(request["order"])}
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
    newest = request["exclude_newer"]
    priority = rattler.ChannelPriority.Strict if request["strict"] else rattler.ChannelPriority.Disabled
    options: dict[str, Any] = {
        "virtual_packages": virtual,
        "exclude_newer": None if newest is None else datetime.datetime.fromtimestamp(newest, datetime.UTC),
        "channel_priority": priority,
    }
    if "channels" in request:
        return asyncio.run(_of_channels(request, specs, options))
    sparse = _sparse(request)
    try:
        records = asyncio.run(
            rattler.solve_with_sparse_repodata(
                specs,
                sparse,
                locked_packages=_find(sparse, request["locked"]),
                pinned_packages=_find(sparse, request["pinned"]),
                **options,
            )
        )
    except SolverError as error:
        return _unsatisfiable(error, specs, {name for part in sparse for name in part.package_names()})
    return {"packages": [_package(record) for record in records]}


def _unsatisfiable(error: SolverError, specs: list[rattler.MatchSpec], known: set[str]) -> dict[str, Any]:
    """Return why, and the packages that no channel has, each with the name there that is most like it."""
    absent = sorted({spec.name.normalized for spec in specs} - known)
    near = [difflib.get_close_matches(name, known, n=1) for name in absent]
    return {
        "unsatisfiable": str(error),
        "absent": [[name, *nearest] for name, nearest in zip(absent, near, strict=True)],
    }


def _sparse(request: dict[str, Any]) -> list[rattler.SparseRepoData]:
    channel = rattler.Channel(Path(request["repodata_dirs"][0]).as_uri())
    return [
        rattler.SparseRepoData(channel, subdir, Path(folder) / subdir / "repodata.json")
        for folder in request["repodata_dirs"]
        for subdir in (request["platform"], "noarch")
        if (Path(folder) / subdir / "repodata.json").is_file()
    ]


async def _of_channels(request: dict[str, Any], specs: list[rattler.MatchSpec], options: dict[str, Any]) -> Any:
    """Solve on channels in order of priority; ``{"unreachable": [[channel, [[address, why], ...]], ...]}``.

    The first address of a channel that answers is taken; the gateway keeps what it read on disk.
    """
    asking: dict[str, dict[str, str]] = {}
    gateway = rattler.Gateway(
        cache_dir=request["cache"], client=_client(request, asking), show_progress=request["progress"]
    )
    platforms = [request["platform"], "noarch"]
    taken: list[tuple[str, rattler.Channel]] = []
    has: dict[str, set[str]] = {}
    faults = []
    for name, addresses in request["channels"]:
        tried = []
        for address, headers in addresses:
            channel = rattler.Channel(address)
            before = dict(asking)
            try:
                _ask_with(asking, address, headers)
            except ValueError as error:
                tried.append([address, str(error)])
                continue
            try:
                names = await gateway.names([channel], platforms)
                fault = _newer(channel, platforms, Path(request["cache"]))
            except Exception as error:  # the classes that rattler raises differ between minor versions
                fault = str(error)
            if not fault:
                taken.append((name, channel))
                has[name] = {match.normalized for match in names}
                break
            tried.append([address, fault])
            asking.clear()
            asking.update(before)
        else:
            faults.append([name, tried])
    if faults:
        return {"unreachable": faults}
    channels = [channel for _, channel in taken]
    of = {name: channel for name, channel in taken}
    asked = []
    for spec, text, name in zip(specs, request["specs"], request["of"], strict=True):
        # The gateway leaves out what a spec does not match, so to rattler a channel with other versions has none.
        wanted = spec.name.normalized
        first = name or next((name for name, _ in taken if request["strict"] and wanted in has[name]), "")
        asked.append(rattler.MatchSpec(f"{of[first].base_url}::{text}", strict=False) if first else spec)
    kept = []
    for wanted in (request["locked"], request["pinned"]):
        of_old = sorted({name for name, _ in wanted})
        answers = await gateway.query(channels, platforms, of_old, recursive=False) if of_old else []
        hashes = {sha256 for _, sha256 in wanted}
        kept.append(
            [record for answer in answers for record in answer if record.sha256 and record.sha256.hex() in hashes]
        )
    try:
        records = await rattler.solve(
            channels, asked, gateway, platforms, locked_packages=kept[0], pinned_packages=kept[1], **options
        )
    except SolverError as error:
        return _unsatisfiable(error, specs, set().union(*has.values()))
    packages = []
    for record in records:
        home = _clean(record.channel or "")
        name, base = next(
            (name, _clean(str(place.base_url))) for name, place in taken if _clean(str(place.base_url)) == home
        )
        stamp = record.timestamp
        packages.append(
            _package(record)
            | {"channel": name, "base": base, "timestamp": int(stamp.timestamp()) if stamp else 0}
            | {"url": _clean(str(record.url))}
        )
    return {"packages": packages}


def _newer(channel: rattler.Channel, platforms: list[str], cache: Path) -> str:
    """Return why a channel's index cannot be understood: rattler reads what it knows of any. Empty if it can.

    Spec: CEP 36, ``repodata_version``. A sharded index has none.
    """
    base = _clean(str(channel.base_url))
    for platform in platforms:
        if base.startswith("file:"):
            files = [Path(unquote(urlsplit(base).path), platform, "repodata.json")]
        else:
            # The gateway has put it there just now, beside where it is from.
            files = [
                note.with_name(note.name.replace(".info.json", ".json"))
                for note in cache.glob("*.info.json")
                if _clean(json.loads(note.read_bytes())["url"]).startswith(f"{base}/{platform}/repodata.json")
            ]
        for file in files:
            text = file.read_bytes() if file.is_file() else b""
            if (told := _VERSION.search(text)) and int(told[1]) > _NEWEST:
                return (
                    f"{platform}/repodata.json: expected a repodata_version of at most {_NEWEST} not {told[1].decode()}"
                )
    return ""


def _client(request: dict[str, Any], asking: dict[str, dict[str, str]]) -> rattler.Client:
    """Return rattler's own client; if a login is handed to it, one that sends ``asking``'s headers too.

    Args:
        asking: host and path of what is asked -> headers. rattler does not say the port.
    """
    if not any(headers for _, addresses in request["channels"] for _, headers in addresses):
        return rattler.Client.default_client()

    def headers_of(host: str, path: str) -> dict[str, str] | None:
        places = [place for place in asking if f"{host}{path}".startswith(place)]
        return asking[max(places, key=len)] if places else None

    return rattler.Client(
        [
            rattler.networking.RetryMiddleware(3),
            # Before rattler's own, which leaves a request alone that has a login.
            rattler.networking.AddHeadersMiddleware(headers_of),
            rattler.networking.AuthenticationMiddleware(),
            rattler.networking.OciMiddleware(),
            rattler.networking.GCSMiddleware(),
            rattler.networking.S3Middleware(),
        ]
    )


def _ask_with(asking: dict[str, dict[str, str]], address: str, headers: dict[str, str]) -> None:
    """Note what an address is asked with.

    Raises:
        ValueError: it cannot be told from another one, whose login would be sent to it.
    """
    parts = urlsplit(address)
    place = f"{parts.hostname}{parts.path.rstrip('/')}/"
    if asking.setdefault(place, headers) != headers:
        raise ValueError(
            "another port of this host has the same path and another login: "
            "write the login into its address in ~/.condarc"
        )


def _clean(url: str) -> str:
    """Return an address without its login: rattler leaves some of it out of some of its values."""
    return re.sub(r"(://.*?)/t/[^/]+", r"\1", re.sub(r"(?<=://)[^/@]*@", "", url)).rstrip("/")


def _order(rows: list[list[Any]]) -> list[str]:
    records = [
        rattler.PackageRecord(name, version, rattler.BuildString(build), 0, subdir, depends=depends)
        for name, version, build, subdir, depends in rows
    ]
    return [record.name.source for record in rattler.PackageRecord.sort_topologically(records)]


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
        # No attribute of its own has them.
        "purls": json.loads(record.to_json()).get("purls") or [],
    }


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what `main` does, or ``{"failed": why}``: an index may hold records that rattler cannot read."""
    try:
        return main(request)
    except Exception as error:  # the classes that rattler raises differ between minor versions
        return {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
    sys.stdout.flush()
    os._exit(0)
