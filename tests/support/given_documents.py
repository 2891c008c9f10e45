"""Documents that somebody gives, a good one of each kind, and who reads them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import tomli_w
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.secret import SecretBox

from helioimages.catalogue import advisories, from_file, read
from helioimages.cite.imports import of_notebook
from helioimages.conda import captured, solve
from helioimages.extend import covered
from helioimages.make import notes
from helioimages.prove import audit
from helioimages.publish import contents, holdings, signing
from helioimages.spec.foreign import read_foreign

HEX = "0" * 64
DIGEST = f"sha256:{HEX}"
CATALOGUE = {
    "version": 1,
    "registry": "ghcr.io",
    "images": [
        {
            "name": "base",
            "title": "Base",
            "repository": "org/base",
            "entries": [
                {
                    "reference": f"ghcr.io/org/base@{DIGEST}",
                    "digest": DIGEST,
                    "named": DIGEST,
                    "tags": ["2026.11.01"],
                    "size": 5,
                    "facts": {"python": "3.13.5"},
                    "signature": "none",
                    "smoke": {"passed": True},
                    "advisory": {"level": "yanked", "reason": "x"},
                }
            ],
        }
    ],
}
FAULT = {"kind": "wheel", "name": "a", "version": "1", "ids": ["CVE-1"], "severity": "high", "summary": "bad"}
AUDIT = {"newest": "", "asked": [["wheel", "a", "1"]], "findings": [FAULT | {"fixed": ["2"], "ignored": False}]}
BUILDS = {
    "version": 1,
    "packages": [{"kind": "wheel", "name": "a", "version": "1"}],
    "images": [{"name": "base", "entries": [{"tags": ["1"], "digest": DIGEST, "packages": {"rows": [0]}}]}],
}
LEFT = {
    "version": 1,
    "files": [["a", "file", 0o644, 3], ["b", "symlink", 0o777, "a"], ["c", "dir", 0o755, ""]],
    "removed": ["d"],
}
NOTES = {"files": {"usr/share/doc/a/copyright": "MIT"}, "shape": [["usr", 0o755, 0, 0], ["lib", "usr/lib"]]}
LISTED = {"version": 1, "packages": [{"name": "a", "version": "1", "kind": "wheel"}]}
SPDX = {
    "packages": [
        {
            "name": "a",
            "versionInfo": "1",
            "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:pypi/a@1?file_name=a.whl"}],
            "checksums": [{"algorithm": "SHA256", "checksumValue": HEX}],
        }
    ]
}
CYCLONEDX = {
    "components": [
        {
            "name": "a",
            "version": "1",
            "components": [{"name": "srv/conda/envs/notebook/a", "hashes": [{"content": HEX}]}],
        }
    ]
}
REPORT = {
    "version": 1,
    "passed": True,
    "notebooks": [
        {"name": "base/01", "title": "T", "status": "passed", "seconds": 1.5, "peak_memory_bytes": 7, "notebook": "1"}
    ],
}
NOTEBOOK = {
    "metadata": {"kernelspec": {"language": "python"}},
    "cells": [{"cell_type": "code", "source": "import numpy"}, {"cell_type": "code", "source": ["import ", "dask"]}],
}
CHOSEN = {
    **{"name": "a", "version": "1", "build": "0", "subdir": "noarch", "file_name": "a-1-0.conda", "url": "u"},
    **{"sha256": HEX, "md5": HEX[:32], "size": 3, "depends": ["b"], "purls": ["pkg:pypi/a"]},
    **{"channel": "c", "base": "u", "timestamp": 5},
}
_NONCE = bytes(24)
_DER = ec.derive_private_key(7, ec.SECP256R1()).private_bytes(
    serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
_SEALED = SecretBox(hashlib.scrypt(b"open", salt=b"salt", n=2, r=8, p=1, dklen=32)).encrypt(_DER, _NONCE).ciphertext
KEY = {
    "kdf": {"name": "scrypt", "params": {"N": 2, "r": 8, "p": 1}, "salt": base64.b64encode(b"salt").decode()},
    "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(_NONCE).decode()},
    "ciphertext": base64.b64encode(_SEALED).decode(),
}
ENVIRONMENT = {"name": "x", "channels": ["conda-forge"], "dependencies": ["python", {"pip": ["six"]}], "variables": {}}
CONDA_LOCK = {
    "metadata": {"platforms": ["linux-64"], "channels": [{"url": "conda-forge"}]},
    "package": [
        {
            "name": "a",
            "version": "1",
            "manager": "conda",
            "platform": "linux-64",
            "category": "main",
            "url": "x/a-1-0.conda",
        }
    ],
}
PIXI = {
    "environments": {
        "default": {"channels": [{"url": "c"}], "packages": {"linux-64": [{"conda": "https://c.example/a-1-0.conda"}]}}
    },
    "packages": [{"conda": "https://c.example/a-1-0.conda", "name": "a", "version": "1"}],
}
UV = {"version": 1, "package": [{"name": "a", "version": "1", "source": {"registry": "https://i.example"}}]}


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One document and who reads it.

    Attributes:
        feed: is given the document's bytes.
        file: as errors call it.
        dump: document -> bytes.
        free: keys that may be left out, by the last part of their name.
        unread: keys whose value may be anything.
    """

    document: dict[str, Any]
    feed: Callable[[bytes], object]
    file: str
    dump: Callable[[Any], bytes] = lambda document: json.dumps(document).encode()
    free: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def foreign(file: str) -> Callable[[bytes], object]:
    return lambda data: read_foreign(data.decode("utf-8", "replace"), file, "linux-64")


def solved(data: bytes) -> object:
    table = solve.load_json(data, "answer", solve._FORM)
    return solve.ChosenPackage.of(table)


def opened(data: bytes) -> object:
    pem = b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n" + base64.encodebytes(data)
    return signing.load_private(SimpleNamespace(name="cosign.key", read_bytes=lambda: pem), "open")


def to_yaml(document: Any) -> bytes:
    return yaml.safe_dump(document).encode()


def to_toml(document: Any) -> bytes:
    return tomli_w.dumps(document).encode()


READERS = {
    "catalogue": Reader(
        document=CATALOGUE,
        feed=lambda data: from_file.parse(data, "x.json"),
        file="x.json",
        free=("smoke", "advisory", "python"),
    ),
    "audit": Reader(document=AUDIT, feed=lambda data: advisories.parse(data, "x.json"), file="x.json"),
    "builds": Reader(document=BUILDS, feed=lambda data: audit.of_catalogue(data, "x.json", {}), file="x.json"),
    "post-link script": Reader(
        document=LEFT, feed=lambda data: captured.parse(data + b"\nabc", "tool-1.0"), file="tool-1.0"
    ),
    "notes": Reader(document=NOTES, feed=notes.parse, file="notes", free=("usr/share/doc/a/copyright",)),
    "package list": Reader(document=LISTED, feed=lambda data: contents.from_list(data, "r/a"), file="r/a"),
    "SPDX": Reader(
        document=SPDX,
        feed=lambda data: holdings.of_spdx(data, "r/a"),
        file="r/a",
        free=("packages", "versionInfo", "externalRefs", "referenceType", "checksums"),
    ),
    "CycloneDX": Reader(
        document=CYCLONEDX,
        feed=lambda data: list(covered._listed(covered.load_json(data, "r/a", contents.FORM))),
        file="r/a",
        free=("components", "name", "version", "hashes"),
    ),
    "report": Reader(document=REPORT, feed=read.read_smoke, file="report.json", free=("peak_memory_bytes",)),
    "notebook": Reader(
        document=NOTEBOOK,
        feed=lambda data: of_notebook(data, "a.ipynb"),
        file="a.ipynb",
        free=("metadata", "kernelspec", "language"),
    ),
    "solver": Reader(
        document=CHOSEN,
        feed=solved,
        file="answer",
        free=("sha256", "md5", "size", "purls", "channel", "base", "timestamp"),
    ),
    "key": Reader(document=KEY, feed=opened, file="cosign.key"),
    "environment.yml": Reader(
        document=ENVIRONMENT,
        feed=foreign("environment.yml"),
        file="environment.yml",
        dump=to_yaml,
        free=("name", "channels", "dependencies", "variables", "pip"),
        # A number is a name, too.
        unread=("name",),
    ),
    "conda-lock.yml": Reader(
        document=CONDA_LOCK,
        feed=foreign("conda-lock.yml"),
        file="conda-lock.yml",
        dump=to_yaml,
        free=("metadata", "package", "platforms", "category", "channels"),
    ),
    "pixi.lock": Reader(
        document=PIXI,
        feed=foreign("pixi.lock"),
        file="pixi.lock",
        dump=to_yaml,
        free=("environments", "linux-64", "packages", "conda", "name", "version", "channels"),
    ),
    "uv.lock": Reader(
        document=UV,
        feed=foreign("uv.lock"),
        file="uv.lock",
        dump=to_toml,
        free=("version", "package", "source", "registry"),
        unread=("version", "package[0].source.registry"),
    ),
}
