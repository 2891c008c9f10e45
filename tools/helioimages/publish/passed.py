"""Notebooks that passed on another machine: this very image, these very notebooks, and the report is in the registry.

Whoever publishes without a key believes the registry that is published to, as with all else there. Whoever signs
believes a report that the same key signed, for that key has vouched for it already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..core import files as core_files
from ..oci.document import load
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from ..smoke import rendered
from . import documents
from .referrers import CREATED, TITLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The report of a run that passed.

    Attributes:
        digest: of the artifact.
        created: RFC 3339, empty if it does not say.
        files: by name.
    """

    digest: str
    created: str
    files: Mapping[str, Descriptor]


def look(
    client: Registry, repository: str, digest: str, key: str, good: Callable[[bytes, str], bool] | None = None
) -> Passed | None:
    """Return the report of a run that passed, None if there is none.

    Args:
        digest: of the image.
        key: names the image and its notebooks; see `smoke.run.key`.
        good: says whether a signature (base64) over bytes is by a key that is believed; None asks for none.

    Raises:
        HelioError: the registry refuses, or a document is not what its digest says.
    """
    for referrer in client.referrers(repository, digest, documents.SMOKE):
        answer = client.get_manifest(repository, referrer.digest)
        where = f"{client.host}/{repository}@{referrer.digest}"
        manifest = Manifest.parse(answer[1], where) if answer else None
        if manifest is None or manifest.annotations.get(documents.SMOKE_KEY) != key:
            continue
        files = {layer.annotations.get(TITLE, ""): layer for layer in manifest.layers}
        if "report.json" not in files or any(not name or "/" in name or name.startswith(".") for name in files):
            continue
        signature = manifest.annotations.get(documents.SMOKE_SIGNATURE, "")
        signed = documents.run_payload(key, {name: file.digest for name, file in files.items()})
        if good is not None and not (signature and good(signed, signature)):
            continue
        told = load(client.get_bytes(repository, files["report.json"]), where)
        if not isinstance(told, dict) or told.get("passed") is not True:
            continue
        if str(told.get("reference")).endswith(f"@{digest}"):
            return Passed(digest=referrer.digest, created=manifest.annotations.get(CREATED, ""), files=files)
    return None


def fetch(client: Registry, repository: str, passed: Passed, report: Path) -> None:
    """Bring a report's files into a folder, with the time of the run, so that it is not attached as a new one.

    Raises:
        HelioError: the registry refuses, or a file is not what its digest says.
    """
    report.mkdir(parents=True, exist_ok=True)
    for name, file in passed.files.items():
        core_files.write(report / name, client.get_bytes(repository, file))
    rendered.write_all(report)
    try:
        created = datetime.fromisoformat(passed.created).timestamp()
    except ValueError:
        return
    os.utime(report / "report.json", (created, created))
